// A workload: what clients would ask for, as tokens without text.
//
// It fixes lengths, waits, order, and which prefixes could be shared. What is shared in fact is up to the engine's cache.

import type { JsonValue } from '../../schema/json.ts'
import type { TokenSpan } from '../../schema/message.ts'

/** One request of a step. The prompt is given by what it adds, so a session of 500 turns does not hold 500 prompts. */
export interface WorkloadTurn {
  /** Tokens that it takes over from the beginning of the previous turn's prompt and answer. 0 for a step's first turn. */
  shared: number
  /**
   * What follows, at least one token, in a stream of its own unless it is meant to be found again. The answer lies behind
   * the last span, in the same stream; a last span without tokens only says where.
   */
  fresh: readonly TokenSpan[]
  /** Tokens of the answer, at least 1. */
  outputTokens: number
  /** Milliseconds between the previous turn's end (or the step's start) and this turn. */
  waitMs: number
  /** What is waited for: a tool's name, `user`. */
  waitFor: string
}

/** One stage of a run. */
export interface WorkloadStep {
  name: string
  /** Names of the steps it waits for. */
  after: readonly string[]
  turns: readonly WorkloadTurn[]
}

/** One run: a session, a single request, or a DAG. */
export interface WorkloadRun {
  id: string
  /** Milliseconds from the workload's start. Absent where the source gives no times: then runs follow each other. */
  arrivalMs?: number
  tenant?: string
  /** Higher is sooner. */
  priority?: number
  /** Ms from its start within which it should be done. */
  targetMs?: number
  steps: readonly WorkloadStep[]
}

/** What clients would ask for. */
export interface Workload {
  /** `claude-code`, or the name of a file. */
  name: string
  /** Where the figures come from, for people. */
  source: string
  /** In order of arrival, where they have one. */
  runs: readonly WorkloadRun[]
  /** Seed that it was generated or recorded with. */
  seed?: number
  /** Settings that a recorded workload was recorded under. */
  settings?: Readonly<Record<string, JsonValue>>
}

/** Name of the one step of a session. */
export const sessionStep = 'turns'

/** A run of one step: a session, or a single request. */
export function sessionRun(id: string, turns: readonly WorkloadTurn[], arrivalMs?: number): WorkloadRun {
  const steps = [{ name: sessionStep, after: [], turns }]
  return arrivalMs === undefined ? { id, steps } : { id, arrivalMs, steps }
}

/** A request by itself: nothing before it, nothing to wait for. */
export function singleTurn(fresh: readonly TokenSpan[], outputTokens: number): WorkloadTurn {
  return { shared: 0, fresh, outputTokens, waitMs: 0, waitFor: 'user' }
}
