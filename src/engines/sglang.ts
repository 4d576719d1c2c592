// SGLang.
//
// Sources: SGLang's docs and server source, July 2026 (v0.5.1x), changes up to v0.5.17.

import type { z } from 'zod'
import { parseOptions } from '../schema/options.ts'
import type { BackendDefinition } from './backend-definition.ts'
import { cachedTokensMemory } from './cached-tokens.ts'
import { echoedId } from './echoed-id.ts'
import { readEngineError, statusError } from './engine-error.ts'
import { countField, objectOf, probeAs, type JsonObject } from './fingerprint.ts'
import {
  failed,
  shareOf,
  untilIdle,
  type FlushOptions,
  type FlushResult,
  type KvControl,
  type KvUsage,
} from './kv-control.ts'
import { declaredCapabilities, openAiDialect, type EngineAccess, type OpenAiDialect } from './openai-driver.ts'
import { checkHeaders, EngineFields } from './openai-options.ts'
import { parseMetrics } from './prometheus.ts'
import { wireBackend } from './wire-backend.ts'

const SglangSettings = EngineFields.superRefine(checkHeaders)

/** Options of {@link sglang}. */
export type SglangOptions = z.input<typeof SglangSettings>

/** Milliseconds for a command. */
const commandTimeoutMs = 10_000

/** Milliseconds that the answer to a flush may take beyond the time that the engine was told to wait. */
const flushGraceMs = 2_000

/**
 * A backend behind SGLang. Start it with `python -m sglang.launch_server --model-path <model> --enable-cache-report
 * --enable-priority-scheduling`; its flags are found by probing.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` with every problem of the options
 */
export function sglang(options: SglangOptions): BackendDefinition {
  const fields = parseOptions(SglangSettings, options, 'options of sglang()')
  return wireBackend({ ...fields, maxTokensField: 'max_tokens', promptCacheKey: false }, sglangDialect)
}

function sglangDialect(): OpenAiDialect {
  const cached = cachedTokensMemory(false)
  /** The server's flags; undefined until it was asked. */
  let flags: JsonObject | undefined
  let rids = 0
  return {
    ...openAiDialect,
    engine: 'sglang',
    capabilities: (settings) => ({
      ...declaredCapabilities('sglang', settings),
      priority: 'high-first',
      kv: { flushAll: 'exact', releaseSession: 'none', isolate: 'exact', retain: 'none' },
    }),
    reasoningFields: ['reasoning_content', 'reasoning'],
    extras(_request, { requestId, priority = 0, salt, sessionId }, access) {
      // The scheduler aborts by prefix, so no id may begin with another.
      const rid = echoedId(access.clock.epochMs(), ++rids, requestId)
      const fields: JsonObject = { rid }
      if (priority !== 0 && flags?.['enable_priority_scheduling'] !== false) {
        const sign = flags?.['schedule_low_priority_values_first'] === true ? -1 : 1
        fields['priority'] = sign * Math.round(priority)
      }
      if (salt !== undefined && salt !== '') fields['cache_salt'] = salt
      if (sessionId !== undefined) fields['session_id'] = sessionId
      return {
        fields,
        echoedId: rid,
        // After a disconnect alone SGLang generates for two more seconds.
        cancelled() {
          const { http } = access
          const path = `${http.url.rootPath}/abort_request`
          http.send({ method: 'POST', path, body: { rid }, timeoutMs: commandTimeoutMs }).catch(() => {})
        },
      }
    },
    completeUsage: cached.complete,
    async probe(access, declared, timeoutMs) {
      const { seen, capabilities } = await probeAs('sglang', access, declared, timeoutMs)
      const { about } = seen
      if (Object.keys(about).length === 0) return capabilities
      flags = about
      const notes = capabilities.notes ?? []
      if (about['enable_cache_report'] === true) {
        cached.confirm()
        capabilities.cachedTokens = 'when-nonzero'
      } else notes.push('it does not report cached tokens: start it with --enable-cache-report')
      if (about['enable_priority_scheduling'] === true) {
        const lowFirst = about['schedule_low_priority_values_first'] === true
        capabilities.priority = lowFirst ? 'low-first' : 'high-first'
      } else {
        capabilities.priority = 'none'
        notes.push('it ignores priorities: start it with --enable-priority-scheduling')
      }
      if (about['disable_radix_cache'] === true) {
        capabilities.sharedPrefix = false
        notes.push('its prefix cache is switched off (--disable-radix-cache)')
      }
      const session = about['enable_session_radix_cache'] === true
      const retains = capabilities.priority !== 'none' && about['radix_eviction_policy'] === 'priority'
      const length = countField(about, 'context_length')
      const concurrencyMax = countField(about, 'max_running_requests')
      if (capabilities.contextLength === undefined && length !== undefined) capabilities.contextLength = length
      if (concurrencyMax !== undefined) capabilities.concurrencyMax = concurrencyMax
      const kv = {
        ...capabilities.kv,
        releaseSession: session ? 'hint' : 'none',
        retain: retains ? 'hint' : 'none',
      } as const
      return { ...capabilities, notes, kv }
    },
    kv: (access) => sglangKv(access, () => flags),
  }
}

function sglangKv({ http, clock }: EngineAccess, flags: () => JsonObject | undefined): Omit<KvControl, 'prefill'> {
  const { rootPath } = http.url
  const post = (path: string, body: object | undefined, timeoutMs: number, signal: AbortSignal | undefined) =>
    http.send({
      method: 'POST',
      path: `${rootPath}${path}`,
      timeoutMs,
      ...(body !== undefined && { body }),
      ...(signal && { signal }),
    })

  const flush = async (leftMs: number, signal: AbortSignal | undefined): Promise<FlushResult> => {
    // Versions before 2026 know no timeout and refuse at once: then it is us who ask again.
    const query = leftMs > 0 ? `?timeout=${(leftMs / 1_000).toFixed(3)}` : ''
    const reply = await post(`/flush_cache${query}`, undefined, leftMs + flushGraceMs, signal)
    if (reply.status === 200) return { outcome: 'flushed', scope: 'all' }
    if (reply.status === 400) return { outcome: 'busy', reason: reply.text.trim().slice(0, 200) }
    if (reply.status === 404) return { outcome: 'unsupported', reason: 'there is no /flush_cache here' }
    throw statusError(http.scope, reply.status, readEngineError(reply.value), reply.text)
  }

  return {
    async flushAll(options: FlushOptions = {}) {
      const { signal } = options
      const run = (): Promise<FlushResult> => untilIdle(clock, options, (leftMs) => flush(leftMs, signal))
      if (options.preempt !== true) return run()
      try {
        const paused = await post('/pause_generation', { mode: 'retract' }, commandTimeoutMs, signal)
        if (paused.status !== 200) return await run()
        try {
          return await run()
        } finally {
          // Whatever came of it, and although the caller may have given up: what was paused goes on.
          await post('/continue_generation', {}, commandTimeoutMs, undefined)
        }
      } catch (error) {
        return failed(error)
      }
    },
    async endSession(sessionId, options = {}) {
      if (flags()?.['enable_session_radix_cache'] !== true) {
        return {
          outcome: 'unsupported',
          reason: 'SGLang ties cache to sessions only with --enable-session-radix-cache',
        }
      }
      try {
        const reply = await post('/close_session', { session_id: sessionId }, commandTimeoutMs, options.signal)
        if (reply.status !== 200) throw statusError(http.scope, reply.status, readEngineError(reply.value), reply.text)
        // Some versions free at once, others only no longer protect: neither says which.
        return { outcome: 'hinted', reason: 'the session was closed; its KV cache may stay until the room is needed' }
      } catch (error) {
        return failed(error)
      }
    },
    async usage({ signal } = {}) {
      const ask = (path: string) =>
        http.send({ path: `${rootPath}${path}`, timeoutMs: commandTimeoutMs, ...(signal && { signal }) })
      const [loads, metrics] = await Promise.all([ask('/v1/loads?include=core'), ask('/metrics')])
      const usage: KvUsage = {}
      const { loads: list } = objectOf(loads.value)
      for (const load of Array.isArray(list) ? (list as unknown[]).map(objectOf) : []) {
        usage.running = (usage.running ?? 0) + Number(load['num_running_reqs'] ?? 0)
        usage.waiting = (usage.waiting ?? 0) + Number(load['num_waiting_reqs'] ?? 0)
        const fraction = shareOf(load['token_usage'])
        if (fraction !== undefined) usage.usedFraction = Math.max(usage.usedFraction ?? 0, fraction)
      }
      if (metrics.status !== 200) return usage
      const found = parseMetrics(metrics.text)
      usage.running ??= found.sum('sglang:num_running_reqs') ?? 0
      usage.waiting ??= found.sum('sglang:num_queue_reqs') ?? 0
      const evictable = found.sum('sglang:kv_evictable_tokens')
      if (evictable !== undefined) usage.evictableTokens = evictable
      const prompt = found.sum('sglang:prompt_tokens_total')
      // Not `cache_hit_rate`: that is of the last batch, and zero during decode.
      if (prompt !== undefined) usage.hit = { cached: found.sum('sglang:cached_tokens_total') ?? 0, prompt }
      return usage
    },
  }
}
