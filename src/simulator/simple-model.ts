// Simple engine model
//
// Owns: the requests of one simulated engine, their times, and its KV pool.
// Does not own: text and wire (chat-engine), identity of tokens (prompt-spans).
// A request takes overhead, then prefill of what the cache does not hold, then decode; requests do not slow each
// other down. For demonstrations and tests of what stands above an engine; for measurements there is a step model.
// Invariants
//   S1. At most requestsMax requests run; the others wait and start in order of arrival.
//   S2. Tokens of running requests (shared prefixes once) and of idle prefixes together never exceed kvTokensMax.
//   S3. A request that runs has room for its whole answer, so none is preempted.
//   S4. A request reports started once, then all its tokens, then finished once; after an abort nothing.
//   S5. Prompts are found again from their first token on, answers from their end on; an aborted prefill leaves nothing.

import type { Clock, Timer } from '../clock.ts'
import type { TokenSpan } from '../schema/message.ts'
import { spanTokens, type EngineListener, type EngineModel, type EngineRequest } from './engine-model.ts'
import { PrefixCache, type Prefix } from './prefix-cache.ts'

/** Times and sizes of a simple engine. */
export interface SimpleSpeed {
  /** Milliseconds per prompt token that is not cached. */
  prefillMsPerToken: number
  /** Milliseconds per token of the answer. */
  decodeMsPerToken: number
  /** Milliseconds before prefill: front end, tokenization, scheduling. */
  overheadMs: number
  /** Requests that run at once; vLLM's default is 256. */
  requestsMax: number
  /** Tokens that the KV pool holds. */
  kvTokensMax: number
}

/**
 * Speeds by name. `light` and `heavy` are about a 4B and an 8B model in 16 bit on one workstation GPU of 1.8 TB/s:
 * weights of 8 and 16 GB read per token, 144 KiB of KV cache per token in both. `instant` is for tests without times.
 */
export const simpleSpeeds = {
  light: { prefillMsPerToken: 0.05, decodeMsPerToken: 6, overheadMs: 20, requestsMax: 256, kvTokensMax: 400_000 },
  heavy: { prefillMsPerToken: 0.1, decodeMsPerToken: 11, overheadMs: 25, requestsMax: 256, kvTokensMax: 350_000 },
  instant: { prefillMsPerToken: 0, decodeMsPerToken: 0, overheadMs: 0, requestsMax: 4_096, kvTokensMax: 10_000_000 },
} as const satisfies Record<string, SimpleSpeed>

/** Longest silence between two reports about a request that nobody watches, ms. Idle deadlines are far above it. */
const reportEveryMs = 1_000

interface Running {
  request: EngineRequest
  listener: EngineListener
  /** What is kept in the cache for this request. Undefined while it waits. */
  prefix: Prefix | undefined
  /** What the cache did not hold of its prompt when it started. */
  uncached: readonly TokenSpan[]
  /** Tokens that are reserved for it outside the cache. */
  reservedTokens: number
  promptTokens: number
  outputTokens: number
  firstTokenAtMs: number
  reportedTokens: number
  timer: Timer | undefined
}

/** A model of an engine in which every request runs at its own constant speed. */
export function simpleEngineModel({ clock, ...speed }: SimpleSpeed & { clock: Clock }): EngineModel {
  const { prefillMsPerToken, decodeMsPerToken, overheadMs, requestsMax, kvTokensMax } = speed
  const cache = new PrefixCache()
  const waiting = new Set<Running>()
  const running = new Set<Running>()
  const totals = { promptTokens: 0, cachedTokens: 0, outputTokens: 0, busyMs: 0 }
  let reservedTokens = 0
  let busySinceMs = 0

  const saltOf = (request: EngineRequest): string => request.salt ?? ''

  const reserve = (entry: Running, tokens: number): void => {
    reservedTokens += tokens - entry.reservedTokens
    entry.reservedTokens = tokens
  }

  /** Starts a request if the pool has room for it (S2, S3). */
  const admit = (entry: Running): boolean => {
    const { request, listener, promptTokens, outputTokens } = entry
    const found = cache.use(request.prompt, saltOf(request))
    const needed = promptTokens - found.tokens + outputTokens
    const free = kvTokensMax - reservedTokens - cache.liveTokens
    if (needed > free) {
      cache.release(found.prefix)
      return false
    }
    cache.evict(needed - (free - cache.idleTokens))
    reserve(entry, needed)
    entry.prefix = found.prefix
    entry.uncached = found.rest
    waiting.delete(entry)
    if (running.size === 0) busySinceMs = clock.nowMs()
    running.add(entry)

    // The last prompt token is always computed: its state is what the first token comes from.
    const cachedTokens = Math.max(0, Math.min(found.tokens, promptTokens - 1))
    totals.promptTokens += promptTokens
    totals.cachedTokens += cachedTokens
    const prefillMs = overheadMs + (promptTokens - cachedTokens) * prefillMsPerToken
    entry.firstTokenAtMs = clock.nowMs() + prefillMs
    entry.timer = clock.setTimer(prefillMs, () => progress(entry))
    listener.started(cachedTokens)
    return true
  }

  const pump = (): void => {
    for (const entry of waiting) {
      if (running.size >= requestsMax || !admit(entry)) return
    }
  }

  const progress = (entry: Running): void => {
    const { request, listener, outputTokens } = entry
    if (entry.reportedTokens === 0 && entry.prefix !== undefined) {
      entry.prefix = cache.extend(entry.prefix, entry.uncached, saltOf(request))
      reserve(entry, outputTokens)
    }
    const elapsedMs = clock.nowMs() - entry.firstTokenAtMs
    const due = decodeMsPerToken === 0 ? outputTokens : 1 + Math.floor(elapsedMs / decodeMsPerToken)
    // A timer may fire a rounding error early; it was set for at least one token more.
    const reached = Math.min(outputTokens, Math.max(due, entry.reportedTokens + 1))
    const count = reached - entry.reportedTokens
    entry.reportedTokens = reached
    totals.outputTokens += count
    if (reached < outputTokens) {
      const left = outputTokens - reached
      const stride = request.watched ? 1 : Math.min(left, Math.max(1, Math.floor(reportEveryMs / decodeMsPerToken)))
      const nextAtMs = entry.firstTokenAtMs + (reached + stride - 1) * decodeMsPerToken
      entry.timer = clock.setTimer(nextAtMs - clock.nowMs(), () => progress(entry))
      listener.tokens(count)
      return
    }
    if (entry.prefix !== undefined) entry.prefix = cache.extend(entry.prefix, [request.output], saltOf(request))
    leave(entry)
    listener.tokens(count)
    listener.finished({ outcome: 'completed' })
    pump()
  }

  const leave = (entry: Running): void => {
    if (entry.prefix !== undefined) cache.release(entry.prefix)
    entry.prefix = undefined
    reserve(entry, 0)
    running.delete(entry)
    if (running.size === 0) totals.busyMs += clock.nowMs() - busySinceMs
  }

  return {
    submit(request, listener) {
      const promptTokens = spanTokens(request.prompt)
      const outputTokens = spanTokens([request.output])
      if (promptTokens + outputTokens > kvTokensMax) {
        const message = `${promptTokens} prompt and ${outputTokens} output tokens exceed the KV pool of ${kvTokensMax}`
        listener.finished({ outcome: 'refused', message })
        return () => {}
      }
      const entry: Running = {
        request,
        listener,
        prefix: undefined,
        uncached: [],
        reservedTokens: 0,
        promptTokens,
        outputTokens,
        firstTokenAtMs: 0,
        reportedTokens: 0,
        timer: undefined,
      }
      waiting.add(entry)
      pump()
      return () => {
        clock.clearTimer(entry.timer)
        if (waiting.delete(entry)) pump()
        if (!running.has(entry)) return
        leave(entry)
        pump()
      }
    },
    flush() {
      if (running.size + waiting.size > 0) return false
      cache.evict(cache.idleTokens)
      return true
    },
    stats: () => ({
      running: running.size,
      waiting: waiting.size,
      kvTokensTotal: kvTokensMax,
      kvTokensLive: cache.liveTokens + reservedTokens,
      kvTokensCached: cache.idleTokens,
      preemptions: 0,
      ...totals,
      busyMs: totals.busyMs + (running.size > 0 ? clock.nowMs() - busySinceMs : 0),
    }),
  }
}
