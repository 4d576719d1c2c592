// vLLM.
//
// Sources: vLLM's docs and server source, main of August 2026 (v0.28) back to v0.8.

import { z } from 'zod'
import { parseOptions } from '../schema/options.ts'
import type { BackendDefinition } from './backend-definition.ts'
import { cachedTokensMemory } from './cached-tokens.ts'
import { echoedId } from './echoed-id.ts'
import { readEngineError, statusError } from './engine-error.ts'
import { objectOf, probeAs } from './fingerprint.ts'
import { shareOf, untilIdle, type FlushResult, type KvControl, type KvOptions } from './kv-control.ts'
import { declaredCapabilities, openAiDialect, type EngineAccess, type OpenAiDialect } from './openai-driver.ts'
import { checkHeaders, EngineFields } from './openai-options.ts'
import { chatBody } from './openai-request.ts'
import { parseMetrics } from './prometheus.ts'
import { wireBackend } from './wire-backend.ts'

const VllmSettings = EngineFields.extend({
  /** The server runs with `--enable-prompt-tokens-details`. Found out from the first answer with cached tokens. */
  cachedTokens: z.boolean().default(false),
  /** The server runs with `--scheduling-policy priority`. Without it vLLM ignores priorities. */
  priorities: z.boolean().default(true),
}).superRefine(checkHeaders)

/** Options of {@link vllm}. */
export type VllmOptions = z.input<typeof VllmSettings>

/** Milliseconds for a command or a count; flushes of a large cache take some tens. */
const commandTimeoutMs = 10_000

/**
 * A backend behind vLLM. Start it with `vllm serve <model> --enable-prompt-tokens-details --scheduling-policy priority`,
 * and with `VLLM_SERVER_DEV_MODE=1` if its cache is to be emptied.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` with every problem of the options
 */
export function vllm(options: VllmOptions): BackendDefinition {
  const { cachedTokens, priorities, ...fields } = parseOptions(VllmSettings, options, 'options of vllm()')
  const settings = { ...fields, maxTokensField: 'max_completion_tokens' as const, promptCacheKey: false }
  return wireBackend(settings, () => vllmDialect({ cachedTokens, priorities }))
}

function vllmDialect(given: { cachedTokens: boolean; priorities: boolean }): OpenAiDialect {
  const cached = cachedTokensMemory(given.cachedTokens)
  let requests = 0
  return {
    ...openAiDialect,
    engine: 'vllm',
    capabilities: (settings) => ({
      ...declaredCapabilities('vllm', settings),
      cachedTokens: given.cachedTokens ? 'always' : 'unknown',
      priority: given.priorities ? 'low-first' : 'none',
      kv: { flushAll: 'none', releaseSession: 'none', isolate: 'exact', retain: 'none' },
    }),
    extras(_request, { requestId, priority = 0, salt, sessionId }, { clock }) {
      const id = echoedId(clock.epochMs(), ++requests, requestId)
      const fields: Record<string, unknown> = { request_id: id }
      // Lower is sooner here. Zero is what a request without a priority has.
      if (given.priorities && priority !== 0) fields['priority'] = -Math.round(priority)
      if (salt !== undefined && salt !== '') fields['cache_salt'] = salt
      if (sessionId !== undefined) fields['session_id'] = sessionId
      return { fields, echoedId: id }
    },
    completeUsage: cached.complete,
    async probe(access, declared, timeoutMs) {
      const [{ seen, capabilities }, api] = await Promise.all([
        probeAs('vllm', access, declared, timeoutMs),
        access.http.send({ path: `${access.http.url.rootPath}/openapi.json`, timeoutMs }).catch(() => undefined),
      ])
      if (seen.engine !== 'vllm') return capabilities
      const notes = capabilities.notes ?? []
      if (!given.cachedTokens) notes.push('it reports cached tokens only with --enable-prompt-tokens-details')
      if (given.priorities) notes.push('it heeds priorities only with --scheduling-policy priority, and does not tell')
      const devMode = '/reset_prefix_cache' in objectOf(objectOf(api?.value)['paths'])
      if (!devMode) notes.push('its cache cannot be emptied: start it with VLLM_SERVER_DEV_MODE=1 for that')
      return { ...capabilities, notes, kv: { ...capabilities.kv, flushAll: devMode ? 'exact' : 'none' } }
    },
    countTokens,
    kv: vllmKv,
  }
}

async function countTokens(
  { http }: EngineAccess,
  request: Parameters<NonNullable<OpenAiDialect['countTokens']>>[1],
  signal: AbortSignal | undefined,
): Promise<number> {
  const { model, messages, tools } = chatBody(request, 'max_tokens')
  const reply = await http.send({
    method: 'POST',
    path: `${http.url.rootPath}/tokenize`,
    body: { model, messages, ...(tools !== undefined && { tools }) },
    timeoutMs: commandTimeoutMs,
    ...(signal && { signal }),
  })
  const { count } = objectOf(reply.value)
  if (reply.status === 200 && typeof count === 'number') return count
  throw statusError(http.scope, reply.status, readEngineError(reply.value), reply.text)
}

function vllmKv({ http, clock }: EngineAccess): Omit<KvControl, 'prefill'> {
  const { rootPath } = http.url
  return {
    flushAll: (options = {}) =>
      untilIdle(clock, options, async (): Promise<FlushResult> => {
        const preempt = options.preempt === true ? '?reset_running_requests=true' : ''
        const path = `${rootPath}/reset_prefix_cache${preempt}`
        const reply = await http.send({ method: 'POST', path, timeoutMs: commandTimeoutMs, ...signalOf(options) })
        if (reply.status === 404 || reply.status === 405) {
          return { outcome: 'unsupported', reason: 'vLLM empties its cache only with VLLM_SERVER_DEV_MODE=1' }
        }
        if (reply.status !== 200) throw statusError(http.scope, reply.status, readEngineError(reply.value), reply.text)
        // A refusal is a 200 as well; up to v0.10 there is no body at all.
        const { success } = objectOf(reply.value)
        if (success === true) return { outcome: 'flushed', scope: 'all' }
        if (success === false) return { outcome: 'busy', reason: 'requests of this or another client hold KV cache' }
        return { outcome: 'unknown', reason: 'this version of vLLM does not say whether it emptied its cache' }
      }),
    endSession: () =>
      Promise.resolve({ outcome: 'unsupported', reason: 'vLLM carries session_id, and no cache policy uses it' }),
    async usage(options = {}) {
      const reply = await http.send({ path: `${rootPath}/metrics`, timeoutMs: commandTimeoutMs, ...signalOf(options) })
      if (reply.status !== 200) throw statusError(http.scope, reply.status, readEngineError(reply.value), reply.text)
      const metrics = parseMetrics(reply.text)
      const running = metrics.sum('vllm:num_requests_running')
      const waiting = metrics.sum('vllm:num_requests_waiting')
      const preemptions = metrics.sum('vllm:num_preemptions_total')
      // The second name is that of v0.9 and older.
      const usedFraction = shareOf(metrics.max('vllm:kv_cache_usage_perc') ?? metrics.max('vllm:gpu_cache_usage_perc'))
      const prompt = metrics.sum('vllm:prefix_cache_queries_total')
      const hits = metrics.sum('vllm:prefix_cache_hits_total')
      return {
        ...(running !== undefined && { running }),
        ...(waiting !== undefined && { waiting }),
        ...(preemptions !== undefined && { preemptions }),
        ...(usedFraction !== undefined && { usedFraction }),
        ...(prompt !== undefined && hits !== undefined && { hit: { cached: hits, prompt } }),
      }
    },
  }
}

function signalOf({ signal }: KvOptions): KvOptions {
  return signal === undefined ? {} : { signal }
}
