// vLLM's ways: errors nested with a numeric code, priorities low first, a flush that is refused with 200.

import { nestedFault, openAiLook, usageCounts } from '../wire-response.ts'
import { parseChatRequest } from '../wire-request.ts'
import { metricsText, type Flavour, type FlavourOptions, type FrontAccess, type FrontReply } from './flavour.ts'

/** A front like vLLM's. */
export function vllmFlavour(options: FlavourOptions, { engine }: FrontAccess): Flavour {
  const { devMode = true, cacheReport = true, priorities = true } = options
  /** Counts preempting resets: what was cached before is in a namespace that nobody asks for any more. */
  let resets = 0

  const reset = (preempt: boolean): FrontReply => {
    if (engine.engine.flush()) return { status: 200, json: { success: true } }
    if (preempt) resets++
    return { status: 200, json: { success: preempt } }
  }

  const metrics = (): string => {
    const stats = engine.engine.stats()
    return metricsText(engine.model, {
      'vllm:num_requests_running': stats.running,
      'vllm:num_requests_waiting': stats.waiting,
      'vllm:kv_cache_usage_perc': stats.kvTokensLive / stats.kvTokensTotal,
      'vllm:prefix_cache_queries_total': stats.promptTokens,
      'vllm:prefix_cache_hits_total': stats.cachedTokens,
      'vllm:generation_tokens_total': stats.outputTokens,
      'vllm:num_preemptions_total': stats.preemptions,
    })
  }

  const paths: Readonly<Record<string, (body: object, query: URLSearchParams) => FrontReply>> = {
    'GET /version': () => ({ status: 200, json: { version: '0.28.0' } }),
    'GET /metrics': () => ({ status: 200, text: metrics() }),
    'GET /openapi.json': () => ({
      status: 200,
      json: { paths: { '/v1/chat/completions': {}, ...(devMode && { '/reset_prefix_cache': {} }) } },
    }),
    'POST /tokenize': (body) => {
      const parsed = parseChatRequest(body, engine.model)
      if ('fault' in parsed) return { status: 400, json: openAiLook.fault(parsed.fault, 'status').body }
      const count = engine.promptTokens(parsed.request.chat)
      return { status: 200, json: { count, max_model_len: engine.contextLength, tokens: [] } }
    },
    ...(devMode && {
      'POST /reset_prefix_cache': (_body: object, query: URLSearchParams) =>
        reset(query.get('reset_running_requests') === 'true'),
    }),
  }

  return {
    look: {
      ...openAiLook,
      usage: (usage) => ({
        ...usageCounts(usage),
        // Null with the flag as well, when nothing was cached.
        prompt_tokens_details: cacheReport && usage.cachedTokens ? { cached_tokens: usage.cachedTokens } : null,
      }),
      fault: (fault) => ({
        status: fault.status,
        body:
          fault.status === 401 ? { error: 'Unauthorized' } : { error: { ...nestedFault(fault), code: fault.status } },
      }),
    },
    modelCard: { owned_by: 'vllm', root: engine.model, parent: null, max_model_len: engine.contextLength },
    respond: ({ method, path, body, query }) => paths[`${method} ${path}`]?.(body, query),
    read(request) {
      const { priority, ...rest } = request
      // Lower is sooner here, higher in the model. Without the flag priorities are ignored.
      return priorities && priority !== undefined ? { ...rest, priority: -priority } : rest
    },
    responseId: (body) => (typeof body['request_id'] === 'string' ? `chatcmpl-${body['request_id']}` : undefined),
    admit({ demand }, start) {
      start(resets === 0 ? demand : { ...demand, salt: `${resets}:${demand.salt ?? ''}` })
      return () => {}
    },
  }
}
