// A sequence: one request on its way through an engine.

import type { TokenSpan } from '../../schema/message.ts'
import type { HeapItem } from '../../scheduling/heap.ts'
import type { EngineListener, EngineRequest } from '../engine-model.ts'
import type { PrefixLease } from './prefix-cache.ts'
import { mergeRuns } from './runs.ts'

/** Where a request is. `ended`: completed, refused or aborted; nothing is reported any more. */
type SequenceState = 'arriving' | 'waiting' | 'running' | 'ended'

/** One request on its way through an engine. */
export interface Sequence extends HeapItem {
  readonly requestId: string
  readonly listener: EngineListener
  readonly watched: boolean
  /** Prompt, then answer. */
  readonly runs: readonly TokenSpan[]
  readonly salt: string
  readonly priority: number
  /** Counts up with arrival: the order of FCFS, kept through preemption. */
  readonly arrivalOrder: number
  /** When the scheduler first sees it, ms. */
  readonly arrivesAtMs: number
  readonly promptTokens: number
  readonly outputTokens: number
  state: SequenceState
  /** `started` has been reported. */
  started: boolean
  /** Its place in the prefix cache, while it runs. */
  lease: PrefixLease | undefined
  /** Tokens whose KV is computed or being computed by the step under way. */
  computed: number
  /** Tokens that prefill has to compute: the prompt and, after a preemption, what was generated. */
  prefillTarget: number
  /** Tokens of the answer that exist. */
  generated: number
  /** Tokens of the answer that were reported. */
  reported: number
  /** Work of the engine at the last report, ms. */
  reportedAtWorkMs: number
  /** Most tokens that were ever computed or found cached: what is computed again below this is waste. */
  furthest: number
}

/** A request as it enters. */
export function newSequence(
  request: EngineRequest,
  listener: EngineListener,
  arrivalOrder: number,
  arrivesAtMs: number,
): Sequence {
  const outputTokens = request.output.to - request.output.from
  const runs = mergeRuns([...request.prompt, request.output])
  const promptTokens = runs.reduce((total, run) => total + run.to - run.from, 0) - Math.max(0, outputTokens)
  return {
    requestId: request.id,
    position: -1,
    listener,
    watched: request.watched,
    runs,
    salt: request.salt ?? '',
    priority: request.priority ?? 0,
    arrivalOrder,
    arrivesAtMs,
    promptTokens,
    outputTokens,
    state: 'arriving',
    started: false,
    lease: undefined,
    computed: 0,
    prefillTarget: promptTokens,
    generated: 0,
    reported: 0,
    reportedAtWorkMs: 0,
    furthest: 0,
  }
}

/** True while the sequence has prefill to do. */
export function isPrefilling(sequence: Sequence): boolean {
  return sequence.computed < sequence.prefillTarget
}
