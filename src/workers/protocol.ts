// What crosses to the prompt threads and back: plain data both ways.
//
// Workers return tagged results and do not throw: an error that is thrown across a thread loses its class and code.

import type { ErrorFacts } from '../errors.ts'
import type { MessageFacts } from '../prompts/conversation.ts'
import type { EstimatorName } from '../prompts/estimator.ts'
import type { DraftMessage } from '../prompts/render.ts'
import type { Message } from '../schema/message.ts'

/** Count each text. */
export interface CountTask {
  type: 'prompt.count'
  estimator: EstimatorName
  texts: readonly string[]
}

/** Count and hash each message. */
export interface MeasureTask {
  type: 'prompt.measure'
  estimator: EstimatorName
  messages: readonly Message[]
}

/** Build messages from filled templates, then count and hash them. */
export interface BuildTask {
  type: 'prompt.build'
  estimator: EstimatorName
  drafts: readonly DraftMessage[]
}

/** A job for a prompt thread. */
export type PromptTask = CountTask | MeasureTask | BuildTask

/** What each kind of job results in, in the order of what it was given. */
export interface PromptResults {
  'prompt.count': number[]
  'prompt.measure': MessageFacts[]
  'prompt.build': { messages: Message[]; facts: MessageFacts[] }
}

/** The result of a job of type `Task`. */
export type PromptResult<Task extends PromptTask> = PromptResults[Task['type']]

/** A result, or the facts of an error. */
export type TaggedResult<Value> = { ok: true; value: Value } | { ok: false; error: ErrorFacts }
