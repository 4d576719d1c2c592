// Ollama's ways: fields ignored without a word, prompts cut, no cached tokens, errors within a stream swallowed.

import { openAiLook, usageCounts } from '../wire-response.ts'
import type { ParsedRequest } from '../wire-request.ts'
import { textOf, type Flavour, type FrontAccess, type FrontReply, type JsonObject } from './flavour.ts'

/** Fields that `/v1/chat/completions` reads; all others are ignored. */
const fields = [
  'model',
  'messages',
  'stream',
  'stream_options',
  'max_tokens',
  'seed',
  'stop',
  'temperature',
  'top_p',
  'response_format',
  'tools',
  'reasoning_effort',
]

/** Tokens that a cut prompt leaves for the answer where the request does not say. */
const answerRoomTokens = 256

/** A front like Ollama's. */
export function ollamaFlavour({ engine, live }: FrontAccess): Flavour {
  let loaded = false
  let unloading = false

  /** Takes the model out of memory, once nobody uses it. */
  const settle = (): void => {
    if (!unloading || live() > 0) return
    unloading = false
    loaded = false
    engine.engine.flush()
  }

  const generate = (body: JsonObject): FrontReply => {
    if (body['model'] !== engine.model) {
      return { status: 404, json: { error: `model '${textOf(body, 'model')}' not found` } }
    }
    if (body['keep_alive'] === 0) {
      unloading = true
      settle()
      return { status: 200, json: { model: engine.model, response: '', done: true, done_reason: 'unload' } }
    }
    loaded = true
    return { status: 200, json: { model: engine.model, response: '', done: true, done_reason: 'load' } }
  }

  const processes = (): object => {
    settle()
    const model = { name: engine.model, model: engine.model, context_length: engine.contextLength }
    return { models: loaded ? [model] : [] }
  }

  /** Drops the oldest messages, but for the system's, until the rest fits. */
  const cut = ({ chat, ...rest }: ParsedRequest): ParsedRequest => {
    const room = engine.contextLength - Math.min(chat.params.maxTokens ?? answerRoomTokens, engine.contextLength / 2)
    let { messages } = chat
    while (messages.length > 1 && engine.promptTokens({ ...chat, messages }) > room) {
      const oldest = messages.findIndex(({ role }) => role !== 'system')
      messages = messages.toSpliced(Math.max(0, oldest), 1)
    }
    if (messages.length === 1 && engine.promptTokens({ ...chat, messages }) > room) {
      // A character is at least about a third of a token: what is kept surely fits.
      const [only] = messages
      messages = only === undefined ? [] : [{ ...only, content: only.content.slice(-Math.floor(room / 2)) }]
    }
    return { ...rest, chat: { ...chat, messages } }
  }

  return {
    look: {
      ...openAiLook,
      wholeCalls: true,
      usage: usageCounts,
      fault({ status, message, code }) {
        const missing = code === 'model_not_found'
        const kind = missing ? 'not_found_error' : status < 500 ? 'invalid_request_error' : 'api_error'
        const said = missing ? message.replace(/^The model `(.*)` does not exist\.$/, "model '$1' not found") : message
        return { status, body: { error: { message: said, type: kind, param: null, code: null } } }
      },
      streamFault: { event: false, done: false },
    },
    modelCard: { owned_by: 'library' },
    respond({ method, path, body }) {
      switch (`${method} ${path}`) {
        case 'GET /':
          return { status: 200, text: 'Ollama is running' }
        case 'GET /api/version':
          return { status: 200, json: { version: '0.33.0' } }
        case 'GET /api/ps':
          return { status: 200, json: processes() }
        case 'POST /api/generate':
          return generate(body)
        default:
          return undefined
      }
    },
    readBody: (body) => Object.fromEntries(fields.filter((name) => name in body).map((name) => [name, body[name]])),
    read: cut,
    admit({ demand }, start) {
      loaded = true
      start(demand)
      return () => void setImmediate(settle)
    },
  }
}
