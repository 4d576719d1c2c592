// The dialect of simulated engines: the OpenAI wire, and on it what only a simulated engine understands.

import { parseOptions } from '../schema/options.ts'
import type { ChatRequest } from '../schema/chat.ts'
import type { Message } from '../schema/message.ts'
import type { BackendDefinition } from './backend-definition.ts'
import type { ChatCall } from './driver.ts'
import { openAiDialect, type OpenAiDialect } from './openai-driver.ts'
import { OpenAiSettings, type OpenAiOptions } from './openai-options.ts'
import { wireMessage, type WireBody } from './openai-request.ts'
import { wireBackend } from './wire-backend.ts'

/**
 * A backend of a simulated engine behind HTTP. Tokens without text travel as spans, not as filler text.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` with every problem of the options
 */
export function simulatedHttp(options: OpenAiOptions): BackendDefinition {
  const settings = parseOptions(OpenAiSettings, options, 'options of a simulated backend')
  const backend = wireBackend(settings, simulatedDialect)
  return {
    ...backend,
    async connect(environment) {
      const driver = await backend.connect(environment)
      return { ...driver, chat: (request, ...rest) => withSpan(request, driver.chat(request, ...rest)) }
    },
  }
}

/**
 * The wire brings an answer to a prompt without text as words that mean nothing. What counts is where its tokens lie,
 * which both sides know: behind the prompt, in the stream of its last message.
 */
function withSpan({ messages, params }: ChatRequest, call: ChatCall): ChatCall {
  const last = messages.at(-1)?.span
  const { maxTokens, ignoreEos } = params
  if (last === undefined || maxTokens === undefined || ignoreEos !== true) return call
  const result = call.result.then((answer) => {
    const tokens = answer.usage.completionTokens ?? maxTokens
    return { ...answer, content: '', span: { stream: last.stream, from: last.to, to: last.to + tokens } }
  })
  return { result, cancel: (reason) => call.cancel(reason) }
}

function simulatedDialect(): OpenAiDialect {
  /** What was asked, by the request without spans that is written in its place. */
  const asked = new WeakMap<ChatRequest, ChatRequest>()
  return {
    ...openAiDialect,
    engine: 'simulated',
    prepare(request) {
      if (request.messages.every(({ span }) => span === undefined)) return request
      const bare = { ...request, messages: request.messages.map(withoutSpan) }
      asked.set(bare, request)
      return bare
    },
    extras(request, { salt, priority }) {
      const fields: WireBody = {}
      const messages = asked.get(request)?.messages
      if (messages !== undefined) {
        fields['messages'] = messages.map((message) => ({ ...wireMessage(withoutSpan(message)), span: message.span }))
      }
      if (salt !== undefined) fields['cache_salt'] = salt
      // The wire knows whole numbers only.
      if (priority !== undefined && priority !== 0) fields['priority'] = Math.round(priority)
      return { fields }
    },
  }
}

function withoutSpan(message: Message): Message {
  const { span: _span, ...rest } = message
  return rest
}
