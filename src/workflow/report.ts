// What a run leaves behind: how each stage went, in figures.

import type { ErrorFacts } from '../errors.ts'
import type { FinishReason } from '../schema/chat.ts'
import type { MappingFacts, StageState } from '../schema/transition.ts'

/** One turn of a stage. Null means that the engine did not say. */
export interface TurnReport {
  /** In the sub-queue, ms; over all attempts. */
  queueWaitMs: number
  /** From the turn being ready to its first token, queue included, ms. */
  ttftMs: number | null
  promptTokens: number | null
  cachedTokens: number | null
  completionTokens: number | null
  finishReason: FinishReason | null
  /** What it cost, dollars; absent where nobody can say. */
  costUsd?: number
  /** Attempts it took. */
  attempts: number
}

/** One tool call of a stage. */
export interface ToolCallReport {
  name: string
  /** Parsed when they are JSON, else the text. */
  arguments: unknown
  ok: boolean
}

/** One stage of a run. `queueWaitMs` and tokens are sums over its turns, `ttftMs` is its first turn's. */
export interface StageReport {
  state: StageState
  backend: string | null
  model: string | null
  /** How a mapper chose them; absent where the stage names its backend, and where no mapper has answered. */
  mapping?: MappingFacts & { reason: string }
  turns: TurnReport[]
  toolCalls: ToolCallReport[]
  /** Answers that were not good enough, and why, in order; absent without any. */
  escalations?: { from: string; to: string; reason: string }[]
  /** Ms since the run started; null if it did not start. */
  startedAtMs: number | null
  /** Ms since the run started; null if it did not end. */
  endedAtMs: number | null
  queueWaitMs: number
  ttftMs: number | null
  promptTokens: number | null
  cachedTokens: number | null
  completionTokens: number | null
  /** Of the last turn. */
  finishReason: FinishReason | null
  /** Sum over the turns of which it is known, and of being mapped, dollars; absent if of none. */
  costUsd?: number
  /** True if its answer was cut by the token limit. */
  truncated: boolean
  error?: ErrorFacts
  /** Why it ended as it did. */
  reason?: string
}

/** The report of a stage that did nothing yet. */
export function emptyReport(): StageReport {
  return {
    state: 'pending',
    backend: null,
    model: null,
    turns: [],
    toolCalls: [],
    startedAtMs: null,
    endedAtMs: null,
    queueWaitMs: 0,
    ttftMs: null,
    promptTokens: null,
    cachedTokens: null,
    completionTokens: null,
    finishReason: null,
    truncated: false,
  }
}

/** Fills in the figures of a stage, summed up from its turns. */
export function addTurns(report: StageReport): void {
  const { turns } = report
  report.queueWaitMs = 0
  report.promptTokens = report.cachedTokens = report.completionTokens = null
  for (const turn of turns) {
    report.queueWaitMs += turn.queueWaitMs
    report.promptTokens = plus(report.promptTokens, turn.promptTokens)
    report.cachedTokens = plus(report.cachedTokens, turn.cachedTokens)
    report.completionTokens = plus(report.completionTokens, turn.completionTokens)
  }
  report.ttftMs = turns[0]?.ttftMs ?? null
  report.finishReason = turns.at(-1)?.finishReason ?? null
  const costUsd = sumCosts(turns)
  if (costUsd !== undefined) report.costUsd = costUsd
}

/** Unknown counts for nothing, and a sum of unknowns is unknown. */
function plus(total: number | null, tokens: number | null): number | null {
  return tokens === null ? total : (total ?? 0) + tokens
}

/** Sum of the costs that are known, dollars; undefined if none is. */
export function sumCosts(parts: Iterable<{ costUsd?: number }>): number | undefined {
  let sum: number | undefined
  for (const { costUsd } of parts) if (costUsd !== undefined) sum = (sum ?? 0) + costUsd
  return sum
}

/** How a run ended: everything it leaves behind. */
export interface RunOutcome<Output = unknown> {
  runId: string
  workflow: string
  state: 'completed' | 'failed' | 'cancelled'
  /** The run's result; absent unless completed. */
  result?: Output
  /** Why it did not complete. */
  error?: ErrorFacts
  /** Results of the stages that completed, by name: also of a run that failed. */
  results: Readonly<Record<string, unknown>>
  stages: Record<string, StageReport>
  /** From start to end, ms. */
  durationMs: number
  /** Sum over the stages of which it is known, dollars; absent if of none. */
  costUsd?: number
}
