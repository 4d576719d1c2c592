// What somebody who records runs is told. Functions, not messages: a recorder lives where the stages live.

import type { DecisionRecord, FeedbackEntry } from '../accounting/decisions.ts'
import type { ContextChain } from '../prompts/chain.ts'
import type { ChatResult } from '../schema/chat.ts'
import type { Message } from '../schema/message.ts'
import type { WorkflowDefinition } from './definition.ts'
import type { RunOutcome } from './report.ts'

/** One turn that got its answer. Times are ms on the runtime's clock. */
export interface TurnFacts {
  runId: string
  tenant: string
  /** Of the run, higher is sooner. */
  priority: number
  runStartedAtMs: number
  stage: string
  /** When its stage began: after its dependencies. */
  stageStartedAtMs: number
  /** When its prompt began to be built, or its wait was over. */
  readyAtMs: number
  endedAtMs: number
  messages: readonly Message[]
  /** Of the messages, with estimated tokens. */
  chain: ContextChain
  result: ChatResult
  /** The answer as the conversation keeps it: later prompts that contain it hold this object. */
  answer: Message
}

/** Hears every turn and every run's end. Called synchronously; must not throw. */
export interface RunRecorder {
  turn(facts: TurnFacts): void
  ended(outcome: RunOutcome, definition: WorkflowDefinition): void
  /** A stage got feedback. The entry is the last of those of the decision. */
  feedback?(decision: DecisionRecord, entry: FeedbackEntry): void
}
