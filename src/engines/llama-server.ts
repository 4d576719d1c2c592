// llama-server of llama.cpp.
//
// Sources: its README and server source, v0.5.0 of September 2026, and measurements against it.

import { z } from 'zod'
import { BackendTimeoutError } from '../errors.ts'
import type { ChatRequest } from '../schema/chat.ts'
import { parseOptions } from '../schema/options.ts'
import type { BackendDefinition } from './backend-definition.ts'
import { readEngineError, statusError } from './engine-error.ts'
import { countField, objectOf, probeAs, type JsonObject } from './fingerprint.ts'
import type { JsonReply } from './http.ts'
import { failed, untilIdle, type FlushResult, type KvControl, type KvUsage } from './kv-control.ts'
import { declaredCapabilities, openAiDialect, type EngineAccess, type OpenAiDialect } from './openai-driver.ts'
import { checkHeaders, EngineFields } from './openai-options.ts'
import { chatBody } from './openai-request.ts'
import { parseMetrics } from './prometheus.ts'
import { SlotTable } from './slot-table.ts'
import { wireBackend } from './wire-backend.ts'

const LlamaServerFields = EngineFields.extend({
  /** Slots of the server (`-np`); found by probing when absent. */
  slots: z.int().min(1).max(10_000).optional(),
  /** Keep each run in a slot of its own, as far as there are slots. */
  pinSlots: z.boolean().default(true),
  /** The server keeps a second cache in host memory, as it does unless started with `--cache-ram 0`. It cannot tell. */
  hostCache: z.boolean().default(true),
})
const LlamaServerSettings = LlamaServerFields.superRefine(checkHeaders)

/** Options of {@link llamaServer}. */
export type LlamaServerOptions = z.input<typeof LlamaServerSettings>

type SlotOptions = Pick<z.infer<typeof LlamaServerSettings>, 'slots' | 'pinSlots' | 'hostCache'>

/** Milliseconds for a command or a count. */
const commandTimeoutMs = 10_000

/** Why an emptied slot is not an emptied engine. */
const hostCacheReason =
  'the slots are empty, but a copy stays in host memory: start it with --cache-ram 0 for a real flush'

/**
 * A backend behind llama-server. Start it with `llama-server -m <file> -np 4 --slot-save-path <folder> --metrics`, and
 * with `--cache-ram 0` (and `hostCache: false` here) if flushes are to be complete.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` with every problem of the options
 */
export function llamaServer(options: LlamaServerOptions): BackendDefinition {
  const { slots, pinSlots, hostCache, ...fields } = parseOptions(
    LlamaServerSettings,
    options,
    'options of llamaServer()',
  )
  return wireBackend({ ...fields, maxTokensField: 'max_tokens', promptCacheKey: false }, () =>
    llamaServerDialect({ slots, pinSlots, hostCache }),
  )
}

/** The slots of one server, once they are known. */
interface Slots {
  table: SlotTable | undefined
}

function llamaServerDialect(given: SlotOptions): OpenAiDialect {
  const slots: Slots = { table: given.slots === undefined ? undefined : new SlotTable(given.slots) }
  return {
    ...openAiDialect,
    engine: 'llamacpp',
    capabilities: (settings) => ({
      ...declaredCapabilities('llamacpp', settings),
      cachedTokens: 'always',
      // Each slot holds one sequence of its own: route by affinity, not by overlap.
      sharedPrefix: false,
      ...(given.slots !== undefined && { concurrencyMax: given.slots }),
      kv: { flushAll: 'none', releaseSession: 'none', isolate: 'none', retain: given.pinSlots ? 'hint' : 'none' },
    }),
    reasoningFields: ['reasoning_content', 'reasoning'],
    extras(_request, { sessionId }) {
      if (!given.pinSlots || sessionId === undefined || slots.table === undefined) return { fields: {} }
      const { slot, release } = slots.table.take(sessionId)
      return { fields: { id_slot: slot }, closed: release }
    },
    async probe(access, declared, timeoutMs) {
      const { http } = access
      const [{ seen, capabilities }, action] = await Promise.all([
        probeAs('llamacpp', access, declared, timeoutMs),
        // An action that does not exist: 400 where slot actions are on, 501 where they are off.
        http
          .send({ method: 'POST', path: `${http.url.rootPath}/slots/0?action=none`, body: {}, timeoutMs })
          .catch(() => undefined),
      ])
      if (seen.engine !== 'llamacpp') return capabilities
      const notes = capabilities.notes ?? []
      const total = countField(seen.about, 'total_slots')
      if (total !== undefined) {
        if (slots.table?.size !== total) slots.table = new SlotTable(total)
        capabilities.concurrencyMax = total
      }
      const length = countField(objectOf(seen.about['default_generation_settings']), 'n_ctx')
      if (declared.contextLength === undefined && length !== undefined) capabilities.contextLength = length
      notes.push('concurrent requests do not share a prefix: each slot keeps its own copy')
      if (action?.status !== 400) {
        notes.push('its slots cannot be emptied or saved: start it with --slot-save-path for that')
        return { ...capabilities, notes }
      }
      if (given.hostCache)
        notes.push('a flush is partial unless it was started with --cache-ram 0 (then set hostCache: false)')
      const support = given.hostCache ? 'best-effort' : 'exact'
      return { ...capabilities, notes, kv: { ...capabilities.kv, flushAll: support, releaseSession: support } }
    },
    async countTokens({ http }, request: ChatRequest, signal) {
      const path = `${http.url.apiPath}/chat/completions/input_tokens`
      const body = chatBody(request, 'max_tokens')
      const reply = await http.send({
        method: 'POST',
        path,
        body,
        timeoutMs: commandTimeoutMs,
        ...(signal && { signal }),
      })
      const { input_tokens: count } = objectOf(reply.value)
      if (reply.status === 200 && typeof count === 'number') return count
      throw refusal(http, reply)
    },
    kv: (access) => llamaServerKv(access, slots, given.hostCache),
  }
}

function llamaServerKv(
  { http, clock, settings }: EngineAccess,
  slots: Slots,
  hostCache: boolean,
): Omit<KvControl, 'prefill'> {
  const { rootPath } = http.url
  const ask = (path: string, signal: AbortSignal | undefined) =>
    http.send({ path: `${rootPath}${path}`, timeoutMs: commandTimeoutMs, ...(signal && { signal }) })
  // On a busy slot an action waits until the slot is idle, so it has a deadline of its own. A router wants the model.
  const act = (slot: number, action: string, more: object, timeoutMs: number, signal: AbortSignal | undefined) =>
    http.send({
      method: 'POST',
      path: `${rootPath}/slots/${slot}?action=${action}`,
      body: { model: settings.model, ...more },
      timeoutMs,
      ...(signal && { signal }),
    })

  const erase = async (
    numbers: readonly number[],
    scope: 'all' | 'session',
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<FlushResult> => {
    let tokens = 0
    for (const slot of numbers) {
      let reply: JsonReply
      try {
        reply = await act(slot, 'erase', {}, timeoutMs, signal)
      } catch (error) {
        if (!(error instanceof BackendTimeoutError)) throw error
        return { outcome: 'busy', reason: `slot ${slot} was not idle within ${timeoutMs} ms` }
      }
      if (reply.status === 501) {
        return { outcome: 'unsupported', reason: 'llama-server empties slots only with --slot-save-path' }
      }
      if (reply.status !== 200) throw refusal(http, reply)
      tokens += countField(objectOf(reply.value), 'n_erased') ?? 0
    }
    return hostCache ? { outcome: 'partial', reason: hostCacheReason } : { outcome: 'flushed', scope, tokens }
  }

  return {
    flushAll: (options = {}) =>
      untilIdle(clock, options, async () => {
        const { signal } = options
        const states = slotsOf(await ask('/slots', signal))
        if (states.some((slot) => slot['is_processing'] === true)) {
          return { outcome: 'busy', reason: 'requests of this or another client run in its slots' }
        }
        const count = states.length > 0 ? states.length : (slots.table?.size ?? 1)
        return erase(
          Array.from({ length: count }, (_, slot) => slot),
          'all',
          commandTimeoutMs,
          signal,
        )
      }),
    async endSession(sessionId, { signal } = {}) {
      const slot = slots.table?.forget(sessionId)
      if (slot === undefined) {
        return {
          outcome: 'unknown',
          reason: 'the session has no slot of its own now: its cache gave way, or was never pinned',
        }
      }
      return erase([slot], 'session', commandTimeoutMs, signal).catch(failed)
    },
    async usage({ signal } = {}) {
      const [slotReply, metricReply] = await Promise.all([ask('/slots', signal), ask('/metrics', signal)])
      const usage: KvUsage = {}
      const states = slotsOf(slotReply)
      if (states.length > 0) {
        const busy = states.filter((slot) => slot['is_processing'] === true)
        usage.running = busy.length
        const room = states.reduce((sum, slot) => sum + (countField(slot, 'n_ctx') ?? 0), 0)
        const held = busy.reduce((sum, slot) => sum + (countField(slot, 'n_prompt_tokens') ?? 0), 0)
        if (room > 0) usage.usedFraction = Math.min(1, held / room)
      }
      if (metricReply.status !== 200) return usage
      const metrics = parseMetrics(metricReply.text)
      usage.running ??= metrics.sum('llamacpp:requests_processing') ?? 0
      usage.waiting = metrics.sum('llamacpp:requests_deferred') ?? 0
      const computed = metrics.sum('llamacpp:prompt_tokens_total')
      const cached = metrics.sum('llamacpp:prompt_tokens_cached_total')
      // The first counts without the second.
      if (computed !== undefined && cached !== undefined) usage.hit = { cached, prompt: computed + cached }
      return usage
    },
    async snapshot(sessionId, name, { signal } = {}) {
      const reply = await act(
        pinnedSlot(slots, sessionId),
        'save',
        { filename: name },
        settings.timeouts.totalMs,
        signal,
      )
      if (reply.status !== 200) throw refusal(http, reply)
      const saved = objectOf(reply.value)
      return { tokens: countField(saved, 'n_saved') ?? 0, bytes: countField(saved, 'n_written') ?? 0 }
    },
    async restore(sessionId, name, { signal } = {}) {
      const slot = pinnedSlot(slots, sessionId)
      const reply = await act(slot, 'restore', { filename: name }, settings.timeouts.totalMs, signal)
      if (reply.status !== 200) throw refusal(http, reply)
      return { tokens: countField(objectOf(reply.value), 'n_restored') ?? 0 }
    },
  }
}

function refusal(http: EngineAccess['http'], reply: JsonReply): Error {
  return statusError(http.scope, reply.status, readEngineError(reply.value), reply.text)
}

function slotsOf(reply: JsonReply): JsonObject[] {
  return reply.status === 200 && Array.isArray(reply.value) ? (reply.value as unknown[]).map(objectOf) : []
}

/** The slot that a session sits in, taken for it if it has none. */
function pinnedSlot({ table }: Slots, sessionId: string): number {
  const { slot, release } = (table ?? new SlotTable(1)).take(sessionId)
  release()
  return slot
}
