// llama-server's ways: slots, a host cache that outlives an erase, any model name, 500 for a body that is not JSON.

import { nestedFault, openAiLook, usageCounts } from '../wire-response.ts'
import { parseChatRequest } from '../wire-request.ts'
import type { EngineFault } from '../chat-engine.ts'
import {
  metricsText,
  textOf,
  type Flavour,
  type FlavourOptions,
  type FrontAccess,
  type FrontReply,
  type FrontRequest,
} from './flavour.ts'
import { SlotBank } from './slot-bank.ts'

/** Slots where nothing is said (`-np`). */
const slotsDefault = 4

/** Bytes that a token takes in a saved slot: only the order of magnitude of a small model. */
const savedBytesPerToken = 100_000

/** A front like llama-server's. */
export function llamaCppFlavour(options: FlavourOptions, { engine }: FrontAccess): Flavour {
  const { slots = slotsDefault, slotActions = true, hostCache = true } = options
  const bank = new SlotBank(slots, hostCache)

  const act = async ({ path, query, body }: FrontRequest): Promise<FrontReply> => {
    if (!slotActions)
      return fault(
        501,
        'not_supported_error',
        'This server does not support slots action. Start it with `--slot-save-path`',
      )
    const action = query.get('action')
    if (action !== 'erase' && action !== 'save' && action !== 'restore') {
      return fault(400, 'invalid_request_error', 'Invalid action')
    }
    const slot = await bank.whenIdle(Number(path.split('/')[2]))
    const name = textOf(body, 'filename')
    if (action === 'erase') return { status: 200, json: { id_slot: slot.id, n_erased: bank.erase(slot) } }
    if (action === 'save') {
      const tokens = bank.save(slot, name)
      const json = { id_slot: slot.id, filename: name, n_saved: tokens, n_written: tokens * savedBytesPerToken }
      return { status: 200, json }
    }
    const tokens = bank.restore(slot, name)
    if (tokens === undefined)
      return fault(400, 'invalid_request_error', 'Unable to restore slot, no available space or no such file')
    return { status: 200, json: { id_slot: slot.id, filename: name, n_restored: tokens } }
  }

  const states = (): object[] =>
    bank.slots.map(({ id, busy, tokens }) => ({
      id,
      n_ctx: engine.contextLength,
      is_processing: busy,
      ...(tokens > 0 && { n_prompt_tokens: tokens }),
    }))

  const metrics = (): string => {
    const stats = engine.engine.stats()
    return metricsText(engine.model, {
      'llamacpp:prompt_tokens_total': stats.promptTokens - stats.cachedTokens,
      'llamacpp:prompt_tokens_cached_total': stats.cachedTokens,
      'llamacpp:tokens_predicted_total': stats.outputTokens,
      'llamacpp:requests_processing': bank.slots.filter(({ busy }) => busy).length,
      'llamacpp:requests_deferred': bank.deferred,
    })
  }

  const props = {
    total_slots: slots,
    default_generation_settings: { n_ctx: engine.contextLength },
    build_info: 'v0.5.0-de3ff81',
    endpoint_slots: true,
    endpoint_metrics: true,
    is_sleeping: false,
  }

  return {
    look: {
      ...openAiLook,
      role: { role: 'assistant', content: null },
      reasoningField: 'reasoning_content',
      usage: (usage) => ({ ...usageCounts(usage), prompt_tokens_details: { cached_tokens: usage.cachedTokens ?? 0 } }),
      beside: ({ promptTokens = 0, cachedTokens = 0, completionTokens = 0 }) => ({
        timings: { cache_n: cachedTokens, prompt_n: promptTokens - cachedTokens, predicted_n: completionTokens },
      }),
      fault: (given, place) => {
        const known = faultOf(given, engine.contextLength)
        return {
          status: known.status,
          body: { error: { ...nestedFault(known), ...(place === 'status' && known.extra), code: known.status } },
        }
      },
      streamFault: { event: true, done: false },
    },
    modelCard: { owned_by: 'llamacpp', meta: { n_ctx: engine.contextLength, n_ctx_train: engine.contextLength } },
    respond(request) {
      const { method, path, body } = request
      if (method === 'POST' && /^\/slots\/\d+$/.test(path)) return act(request)
      switch (`${method} ${path}`) {
        case 'GET /props':
          return { status: 200, json: props }
        case 'GET /slots':
          return { status: 200, json: states() }
        case 'GET /metrics':
          return { status: 200, text: metrics() }
        case 'POST /v1/chat/completions/input_tokens': {
          const parsed = parseChatRequest({ ...body, model: engine.model }, engine.model)
          if ('fault' in parsed) return { status: 400, json: { error: nestedFault(parsed.fault) } }
          return { status: 200, json: { input_tokens: engine.promptTokens(parsed.request.chat) } }
        }
        default:
          return undefined
      }
    },
    // Any name of a model will do; fields it does not know are ignored.
    readBody: (body) => ({ ...body, model: engine.model }),
    read: ({ salt: _salt, priority: _priority, ...rest }) => rest,
    admit({ chat, body }, start) {
      const pinned = typeof body['id_slot'] === 'number' ? body['id_slot'] : undefined
      const messages = [JSON.stringify(chat.tools ?? []), ...chat.messages.map((message) => JSON.stringify(message))]
      return bank.enter(pinned, messages, engine.promptTokens(chat), (space) => start({ salt: space }))
    },
  }
}

function fault(status: number, type: string, message: string): FrontReply {
  return { status, json: { error: { code: status, message, type } } }
}

function faultOf(given: EngineFault, contextLength: number): EngineFault & { extra?: object } {
  if (given.code === 'context_length_exceeded') {
    const message = `the request exceeds the available context size (${contextLength} tokens), try increasing it`
    return { ...given, message, type: 'exceed_context_size_error', extra: { n_ctx: contextLength } }
  }
  if (given.message.startsWith('the body is not JSON')) return { ...given, status: 500, type: 'server_error' }
  return given.status === 400 ? { ...given, type: 'invalid_request_error' } : given
}
