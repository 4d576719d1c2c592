// The `openai` client as its documentation calls it, without retries.

import OpenAI from 'openai'

/** @param {string} origin */
const clientOf = (origin) => new OpenAI({ baseURL: `${origin}/v1`, apiKey: 'none', maxRetries: 0 })

/** @type {(messages: () => object[]) => Record<'streaming' | 'whole', import('../http/caller.ts').CallerKind>} */
export const kinds = (messages) => ({
  streaming: {
    open({ origin }) {
      const client = clientOf(origin)
      return Promise.resolve({
        callsPerTurn: 1,
        async once() {
          const stream = await client.chat.completions.create({
            model: 'none',
            messages: messages(),
            stream: true,
            stream_options: { include_usage: true },
          })
          let text = ''
          for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? ''
          return text.length
        },
      })
    },
  },
  whole: {
    open({ origin }) {
      const client = clientOf(origin)
      return Promise.resolve({
        callsPerTurn: 1,
        async once() {
          const { choices } = await client.chat.completions.create({ model: 'none', messages: messages() })
          return choices[0].message.content.length
        },
      })
    },
  },
})
