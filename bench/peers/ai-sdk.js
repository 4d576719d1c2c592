// The AI SDK (`ai`) with its provider for engines that speak the OpenAI wire, without retries.

import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { generateText, streamText } from 'ai'

/** @param {string} origin */
const modelOf = (origin) =>
  createOpenAICompatible({ name: 'engine', baseURL: `${origin}/v1`, includeUsage: true }).chatModel('none')

/** @type {(messages: () => object[]) => Record<'streaming' | 'whole', import('../http/caller.ts').CallerKind>} */
export const kinds = (messages) => ({
  streaming: {
    open({ origin }) {
      const model = modelOf(origin)
      return Promise.resolve({
        callsPerTurn: 1,
        async once() {
          let text = ''
          for await (const part of streamText({
            model,
            messages: messages(),
            allowSystemInMessages: true,
            maxRetries: 0,
          }).textStream)
            text += part
          return text.length
        },
      })
    },
  },
  whole: {
    open({ origin }) {
      const model = modelOf(origin)
      return Promise.resolve({
        callsPerTurn: 1,
        async once() {
          const { text } = await generateText({
            model,
            messages: messages(),
            allowSystemInMessages: true,
            maxRetries: 0,
          })
          return text.length
        },
      })
    },
  },
})
