// What can be done with the KV cache of an engine, and what came of it.
//
// Engines differ most here: one answers a refused flush with 200, another with 400, a third waits. So every action
// has an outcome of its own, and none is ever taken for done because a status said so.

import type { Clock } from '../clock.ts'
import { messageOf, OrlaError } from '../errors.ts'
import type { ChatRequest, Usage } from '../schema/chat.ts'
import type { ChatContext } from './driver.ts'

/** What came of a flush, or of the end of a session. */
export type FlushResult =
  /** The engine says that it is done, in a form that means it. */
  | { outcome: 'flushed'; scope: 'all' | 'session'; tokens?: number }
  /** Refused because requests hold KV cache. */
  | { outcome: 'busy'; reason: string; retryAfterMs?: number }
  /** Done in one place, while a copy stays in another. */
  | { outcome: 'partial'; reason: string }
  /** The engine was told and may act on it later. Nothing is free yet. */
  | { outcome: 'hinted'; reason: string }
  /** The engine took the command and did not say what came of it. */
  | { outcome: 'unknown'; reason: string }
  /** The engine cannot, or not as it was started. */
  | { outcome: 'unsupported'; reason: string }
  | { outcome: 'failed'; message: string; status?: number }

/** Options of every KV action. */
export interface KvOptions {
  signal?: AbortSignal
}

/** Options of a flush. */
export interface FlushOptions extends KvOptions {
  /** How long to wait for an engine that is busy, ms; 0, the default, asks once. */
  waitIdleMs?: number
  /** Put running requests back into the engine's queue rather than wait for them, where an engine can. */
  preempt?: boolean
}

/** Load of an engine at one instant. What it does not tell is absent. */
export interface KvUsage {
  /** Requests that run. */
  running?: number
  /** Requests that wait. */
  waiting?: number
  /** Preemptions since the engine's start. */
  preemptions?: number
  /** Share of the KV pool that live requests hold, 0 to 1. Idle prefixes count as free: low is not empty. */
  usedFraction?: number
  /** Tokens of idle prefixes that are kept and may be evicted. */
  evictableTokens?: number
  /** Prompt tokens since the engine's start, and how many of them were cached. */
  hit?: { cached: number; prompt: number }
}

/** A share that an engine tells; what is none, because it is not between 0 and 1, is unknown. */
export function shareOf(told: unknown): number | undefined {
  return typeof told === 'number' && told >= 0 && told <= 1 ? told : undefined
}

/** Control of one engine's KV cache. */
export interface KvControl {
  /** Empties the cache for everybody who shares the engine. Never rejects. */
  flushAll(options?: FlushOptions): Promise<FlushResult>
  /** Tells that nothing follows in a session (`ChatContext.sessionId`). Never rejects. */
  endSession(sessionId: string, options?: KvOptions): Promise<FlushResult>
  /**
   * Computes a prompt for later use: the request with an answer of one token.
   *
   * @throws {OrlaError} as `chat` rejects; `ORLA_CANCELLED` on the signal
   */
  prefill(request: ChatRequest, context: ChatContext, options?: KvOptions): Promise<Usage>
  /** @throws {OrlaError} `ORLA_BACKEND_*` where the engine does not answer */
  usage(options?: KvOptions): Promise<KvUsage>
  /**
   * Writes a session's cache to the engine's disk, under a name.
   *
   * @throws {OrlaError} `ORLA_BACKEND_HTTP` where it cannot
   */
  snapshot?(sessionId: string, name: string, options?: KvOptions): Promise<{ tokens: number; bytes: number }>
  /**
   * Reads a saved cache into a session.
   *
   * @throws {OrlaError} `ORLA_BACKEND_HTTP` where it cannot
   */
  restore?(sessionId: string, name: string, options?: KvOptions): Promise<{ tokens: number }>
}

/** First pause before an engine that is busy is asked again, ms; doubles each time. */
const busyPauseMsMin = 25
/** Longest such pause, ms. */
const busyPauseMsMax = 1_000

/** Asks again while the outcome is `busy` and `waitIdleMs` is not over. Never rejects. */
export async function untilIdle(
  clock: Clock,
  { waitIdleMs = 0, signal }: FlushOptions,
  attempt: (leftMs: number) => Promise<FlushResult>,
): Promise<FlushResult> {
  const untilMs = clock.nowMs() + waitIdleMs
  for (let pauseMs = busyPauseMsMin; ; pauseMs = Math.min(2 * pauseMs, busyPauseMsMax)) {
    const result = await attempt(Math.max(0, untilMs - clock.nowMs())).catch(failed)
    if (result.outcome !== 'busy' || clock.nowMs() + pauseMs > untilMs) return result
    await pause(clock, pauseMs, signal)
    if (signal?.aborted === true) return { outcome: 'failed', message: 'cancelled while the engine was busy' }
  }
}

/** The outcome of an action that threw. */
export function failed(error: unknown): FlushResult {
  const status = error instanceof OrlaError ? error.details?.['status'] : undefined
  const result: FlushResult = { outcome: 'failed', message: messageOf(error) }
  return typeof status === 'number' ? { ...result, status } : result
}

/** Resolves after `ms`, or as soon as the signal aborts. */
export function pause(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clock.clearTimer(timer)
      signal?.removeEventListener('abort', end)
      resolve()
    }
    const timer = clock.setTimer(ms, end)
    signal?.addEventListener('abort', end, { once: true })
    if (signal?.aborted === true) end()
  })
}
