// The transition feed: everything that happens to a run, one small plain object a step.
//
// `seq` counts up within a run, from 1. `atMs` is the runtime clock's time since the run started. The memory manager
// lives on this feed; terminals, metrics, traces and the journal get all they know from it.

import type { ErrorFacts } from '../errors.ts'
import type { AnswerNote, DeltaChannel, FinishReason, Usage } from './chat.ts'

/** States of a run, as `machines/workflow.ts` draws them. */
export type RunState = 'pending' | 'running' | 'failing' | 'cancelling' | 'completed' | 'failed' | 'cancelled'

/** States of a stage, as `machines/stage.ts` draws them. */
export type StageState =
  | 'pending'
  | 'mapping'
  | 'building'
  | 'queued'
  | 'inferring'
  | 'validating'
  | 'tooling'
  | 'waiting'
  | 'completed'
  | 'failed'
  | 'skipped'
  | 'cancelled'

interface RunTransition {
  seq: number
  /** Milliseconds since the run started. */
  atMs: number
  runId: string
  from: RunState
  to: RunState
  /** Why, in words for a person. */
  reason: string
}

interface StageTransition {
  seq: number
  /** Milliseconds since the run started. */
  atMs: number
  runId: string
  stage: string
  from: StageState
  to: StageState
  /** Why, in words for a person. */
  reason: string
}

interface TurnTransition extends StageTransition {
  /** Number of the turn within its stage, from 1. */
  turn: number
  backend: string
  model: string
}

/** A run began. */
export interface RunStarted extends RunTransition {
  type: 'run.started'
  workflow: string
  tenant: string
  stages: number
}
/** A stage or the outside asked the run to stop; siblings are being cancelled. */
export interface RunStopping extends RunTransition {
  type: 'run.stopping'
  error: ErrorFacts
}
/** Every stage ended well. The last transition of a run. */
export interface RunCompleted extends RunTransition {
  type: 'run.completed'
}
/** The run failed or was cancelled (see `to`). The last transition of a run. */
export interface RunFailed extends RunTransition {
  type: 'run.failed'
  error: ErrorFacts
}

/** A stage's dependencies are done and it began. */
export interface StageStarted extends StageTransition {
  type: 'stage.started'
}
/** How a decision came about, as reports and transitions tell it. */
export interface MappingFacts {
  by: string
  /** From the question to the answer, ms. */
  decisionMs: number
  /** Of its calls, and what the mapper itself says; absent if nothing or not known. */
  costUsd?: number
  figures?: Readonly<Record<string, number>>
}

/** A stage got its backend and model. */
export interface StageMapped extends StageTransition {
  type: 'stage.mapped'
  backend: string
  model: string
  /** How a mapper came to it; absent where the stage names its backend. */
  mapping?: MappingFacts
}
/** The prompt of a turn is ready, and the turn waits in its backend's sub-queue. */
export interface StageQueued extends TurnTransition {
  type: 'stage.queued'
  requestId: string
  stagePriority: number
  requestPriority: number
  /** Estimated tokens of the whole prompt. */
  promptTokens: number
  /** Estimated tokens that neither the last request of the run nor that of the stage on this backend and model had. */
  addedTokens: number
  /** Hash of the context chain: equal hashes mean equal prompts, message by message. */
  contextHash: string
  /** The first links of the context chain, at most 3: what other runs may share. */
  prefix?: readonly PrefixMark[]
  /** What the stage says about its KV cache; absent where it leaves that to the memory manager. */
  cacheHint?: 'preserve' | 'flush'
}
/** A beginning of a prompt, in whole messages: prompts with equal hashes share it. */
export interface PrefixMark {
  hash: string
  /** Estimated tokens of it. */
  tokens: number
}

/** A turn got a slot. */
export interface StageGranted extends TurnTransition {
  type: 'stage.granted'
  requestId: string
  queueWaitMs: number
}
/** A backend did not take the turn. */
export interface StageRejected extends TurnTransition {
  type: 'stage.rejected'
  requestId: string
  error: ErrorFacts
}
/** The first piece of an answer arrived. */
export interface StageFirstToken extends TurnTransition {
  type: 'stage.firstToken'
  /** From the turn being ready to now, queue included, ms. */
  ttftMs: number
}
/** A turn ended and gave its slot back. */
export interface StageReleased extends TurnTransition {
  type: 'stage.released'
  requestId: string
  outcome: 'ok' | 'failed' | 'cancelled'
  /** From grant to release, ms. */
  durationMs: number
  usage: Usage
  finishReason?: FinishReason
  /** What it cost, dollars; absent where its backend has no prices, or did not say how many tokens there were. */
  costUsd?: number
  /** What somebody should know of the answer although it is no error. */
  notes?: readonly AnswerNote[]
  error?: ErrorFacts
}
/** A turn will be tried again. */
export interface StageRetrying extends TurnTransition {
  type: 'stage.retrying'
  /** Number of the attempt that comes, from 2. */
  attempt: number
  delayMs: number
  /** Backend that it leaves; absent where it stays. `backend` is where it goes. */
  failedOverFrom?: string
  error: ErrorFacts
}
/** A tool began to run. The stage holds no slot meanwhile. */
export interface ToolStarted extends TurnTransition {
  type: 'tool.started'
  callId: string
  tool: string
  arguments: string
}
/** A tool ended. A failure is answered to the model. */
export interface ToolEnded extends TurnTransition {
  type: 'tool.ended'
  callId: string
  tool: string
  ok: boolean
  durationMs: number
  /** What went wrong, when not ok. */
  message?: string
}
/** A stage goes into another turn: tool results are there, an answer needs repair, or the final answer is due. */
export interface StageContinued extends StageTransition {
  type: 'stage.continued'
  /** Number of the turn that comes. */
  turn: number
  /** Backend whose answer was not good enough; absent where it goes on at the same one. */
  escalatedFrom?: string
  /** Where it goes on, with `escalatedFrom`. */
  backend?: string
}
/** A stage has its result. */
export interface StageCompleted extends StageTransition {
  type: 'stage.completed'
  turns: number
}
/** A stage failed. */
export interface StageFailed extends StageTransition {
  type: 'stage.failed'
  error: ErrorFacts
  /** What it cost to look for a backend, dollars, where none was found. */
  mappingCostUsd?: number
}
/** A stage was not taken, or all it depends on was skipped. */
export interface StageSkipped extends StageTransition {
  type: 'stage.skipped'
}
/** A stage was stopped with its run. */
export interface StageCancelled extends StageTransition {
  type: 'stage.cancelled'
}

/** The memory manager decided something about a run's context, or heard what came of it. Moves no state. */
export interface CacheTransition extends RunTransition {
  type:
    | 'cache.kept'
    | 'cache.released'
    | 'cache.flushed'
    | 'cache.flushFailed'
    | 'cache.held'
    | 'cache.admitted'
    | 'cache.prewarmed'
  backend: string
  /** Policy that decided. */
  policy: string
  /** Tokens of the context it is about. */
  tokens: number
  /** What the decision rests on, by name with the unit last. */
  figures: Readonly<Record<string, number>>
}

/** One step of a run. */
export type Transition =
  | CacheTransition
  | RunStarted
  | RunStopping
  | RunCompleted
  | RunFailed
  | StageStarted
  | StageMapped
  | StageQueued
  | StageGranted
  | StageRejected
  | StageFirstToken
  | StageReleased
  | StageRetrying
  | ToolStarted
  | ToolEnded
  | StageContinued
  | StageCompleted
  | StageFailed
  | StageSkipped
  | StageCancelled

/** A piece of a model's answer as it arrives. Not a transition: it has no `seq` and may be dropped for slow observers. */
export interface TokenEvent {
  type: 'stage.token'
  atMs: number
  runId: string
  stage: string
  turn: number
  channel: DeltaChannel
  text: string
}

/** An observer fell behind: `count` token events were dropped before this point. Transitions are never dropped. */
export interface EventsDropped {
  type: 'events.dropped'
  atMs: number
  runId: string
  count: number
}

/** What `run.events` and `runtime.events` yield. */
export type RunEvent = Transition | TokenEvent | EventsDropped
