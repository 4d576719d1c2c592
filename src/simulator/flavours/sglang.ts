// SGLang's ways: flat errors, a full queue within a 200, a flush that is refused with 400 and plain text.

import { openAiLook, usageCounts } from '../wire-response.ts'
import type { EngineFault } from '../chat-engine.ts'
import {
  metricsText,
  textOf,
  whenIdle,
  type Flavour,
  type FlavourOptions,
  type FrontAccess,
  type FrontReply,
  type FrontRequest,
  type JsonObject,
} from './flavour.ts'

/** A front like SGLang's. */
export function sglangFlavour(options: FlavourOptions, access: FrontAccess): Flavour {
  const { cacheReport = true, priorities = true, sessions = true } = options
  const { engine } = access
  let flushing = false
  /** Running requests were put back into the queue, so the cache can be emptied under them. */
  let paused = false
  /** Counts flushes under paused requests: what was cached before is in a namespace that nobody asks for any more. */
  let resets = 0

  const flush = async (query: URLSearchParams): Promise<FrontReply> => {
    if (flushing) return { status: 400, text: 'Another flush_cache is already in progress.\n' }
    flushing = true
    const timeoutS = Number(query.get('timeout') ?? 0)
    const idle = paused || (await whenIdle(access, timeoutS * 1_000))
    flushing = false
    if (engine.engine.flush())
      return { status: 200, text: 'Cache flushed.\nPlease check backend logs for more details.\n' }
    if (idle && paused) {
      resets++
      return { status: 200, text: 'Cache flushed.\n' }
    }
    return { status: 400, text: timeoutS > 0 ? 'Timed out waiting for idle state.\n' : 'Flush cache failed.\n' }
  }

  const abort = (body: JsonObject): FrontReply => {
    const rid = textOf(body, 'rid')
    // By prefix, as the scheduler does it.
    access.abort((live) => body['abort_all'] === true || textOf(live, 'rid').startsWith(rid))
    return { status: 200, text: '' }
  }

  const about = (): object => ({
    model_path: engine.model,
    tokenizer_path: engine.model,
    version: '0.5.12',
    context_length: engine.contextLength,
    enable_cache_report: cacheReport,
    enable_priority_scheduling: priorities,
    schedule_low_priority_values_first: false,
    enable_session_radix_cache: sessions,
    radix_eviction_policy: priorities ? 'priority' : 'lru',
    disable_radix_cache: false,
    schedule_policy: 'fcfs',
    max_total_num_tokens: engine.engine.stats().kvTokensTotal,
    internal_states: [{}],
  })

  const loads = (): object => {
    const { running, waiting, kvTokensLive, kvTokensTotal } = engine.engine.stats()
    const load = { dp_rank: 0, num_running_reqs: running, num_waiting_reqs: waiting, num_used_tokens: kvTokensLive }
    return { version: '0.5.12', loads: [{ ...load, token_usage: kvTokensLive / kvTokensTotal }] }
  }

  const metrics = (): string => {
    const stats = engine.engine.stats()
    return metricsText(engine.model, {
      'sglang:num_running_reqs': stats.running,
      'sglang:num_queue_reqs': stats.waiting,
      'sglang:token_usage': stats.kvTokensLive / stats.kvTokensTotal,
      'sglang:kv_evictable_tokens': stats.kvTokensCached,
      'sglang:cache_hit_rate': 0,
      'sglang:cached_tokens_total': stats.cachedTokens,
      'sglang:prompt_tokens_total': stats.promptTokens,
      'sglang:generation_tokens_total': stats.outputTokens,
    })
  }

  const paths: Readonly<Record<string, (request: FrontRequest) => FrontReply | Promise<FrontReply>>> = {
    'GET /server_info': () => ({ status: 200, json: about() }),
    'GET /v1/loads': () => ({ status: 200, json: loads() }),
    'GET /metrics': () => ({ status: 200, text: metrics() }),
    'POST /flush_cache': ({ query }) => flush(query),
    'POST /abort_request': ({ body }) => abort(body),
    'POST /close_session': () => ({ status: 200, text: '' }),
    'POST /pause_generation': () => {
      paused = true
      return { status: 200, json: { status: 'ok' } }
    },
    'POST /continue_generation': () => {
      paused = false
      return { status: 200, json: { status: 'ok' } }
    },
  }

  return {
    look: {
      ...openAiLook,
      role: { role: 'assistant', content: '', reasoning_content: null },
      reasoningField: 'reasoning_content',
      usage: (usage) => ({
        ...usageCounts(usage),
        ...(cacheReport && usage.cachedTokens && { prompt_tokens_details: { cached_tokens: usage.cachedTokens } }),
      }),
      fault(fault, place) {
        const flat = flatFault(fault, engine.contextLength)
        return { status: fault.status, body: place === 'stream' ? { error: flat } : flat }
      },
    },
    modelCard: { owned_by: 'sglang', root: engine.model, max_model_len: engine.contextLength },
    respond: (request) => paths[`${request.method} ${request.path}`]?.(request),
    // Any name of a model will do.
    readBody: (body) => ({ ...body, model: engine.model }),
    read(request) {
      const { priority, ...rest } = request
      return priorities && priority !== undefined ? { ...rest, priority } : rest
    },
    responseId: (body) => (typeof body['rid'] === 'string' ? body['rid'] : undefined),
    admit({ demand }, start) {
      start(resets === 0 ? demand : { ...demand, salt: `${resets}:${demand.salt ?? ''}` })
      return () => {}
    },
    faultsAsStream: ({ status }) => status === 503,
  }
}

function flatFault({ status, type, message, param, code }: EngineFault, contextLength: number): object {
  const said =
    code === 'context_length_exceeded'
      ? `The input is longer than the model's context length (${contextLength} tokens).`
      : message
  return {
    object: 'error',
    message: said,
    type: status === 503 ? 'SERVICE_UNAVAILABLE' : type,
    param: param ?? null,
    code: status,
  }
}
