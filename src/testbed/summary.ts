// The figures of a replay.

import type { Played } from './play.ts'

/** Percentiles, in the unit of what they are of. */
export interface Percentiles {
  p50: number
  p90: number
  p99: number
}

/** The figures of a replay. All but `wallSeconds` and `turnsPerWallSecond` are the same for the same seed. */
export interface ReplaySummary {
  type: 'replay.summary'
  /** completed + failed + truncated. */
  runs: number
  completed: number
  failed: number
  /** Runs that ended at a turn that did not fit the model's context. */
  truncated: number
  /** Turns that were answered. */
  turns: number
  /** From the first arrival to the last answer, seconds of virtual time. */
  virtualSeconds: number
  /** Of these, seconds in which the engine had work. */
  busySeconds: number
  wallSeconds: number
  turnsPerWallSecond: number
  /** From a turn being ready to its first token, queue and holds included. Zero without turns. */
  ttftMs: Percentiles
  /** In the runtime's queue. */
  queueWaitMs: Percentiles
  /** Of whole runs, waits between turns included. */
  e2eMs: Percentiles
  /** Prompt tokens that came from the engine's prefix cache, 0..1. */
  prefixHitRatio: number
  /** By virtual time. */
  outputTokensPerSecond: number
  contextScale: number
  seed: number
}

/** Sums a replay up. */
export function summarize(
  played: Played,
  facts: Pick<ReplaySummary, 'virtualSeconds' | 'busySeconds' | 'wallSeconds' | 'contextScale' | 'seed'>,
): ReplaySummary {
  const { completed, failed, truncated, turns, promptTokens, cachedTokens, outputTokens } = played
  const { virtualSeconds, busySeconds, wallSeconds, contextScale, seed } = facts
  return {
    type: 'replay.summary',
    runs: completed + failed + truncated,
    completed,
    failed,
    truncated,
    turns,
    virtualSeconds: round(virtualSeconds),
    busySeconds: round(busySeconds),
    wallSeconds: round(wallSeconds),
    turnsPerWallSecond: round(ratio(turns, wallSeconds)),
    ttftMs: percentiles(played.ttftsMs),
    queueWaitMs: percentiles(played.queueWaitsMs),
    e2eMs: percentiles(played.runsMs),
    prefixHitRatio: Math.round(ratio(cachedTokens, promptTokens) * 1e6) / 1e6,
    outputTokensPerSecond: round(ratio(outputTokens, virtualSeconds)),
    contextScale,
    seed,
  }
}

function ratio(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole
}

/** Thousandths are enough, and figures stay short. */
function round(value: number): number {
  return Math.round(value * 1_000) / 1_000
}

/** Nearest-rank percentiles; zeros of nothing. */
function percentiles(values: readonly number[]): Percentiles {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (share: number): number => round(sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0)
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99) }
}
