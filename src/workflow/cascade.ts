// Cascades: an answer that is not good enough is made again by the next backend.

import { messageOf, StageError } from '../errors.ts'
import { user, type Message } from '../schema/message.ts'
import type { StageContext } from './definition.ts'
import type { ToolCallReport } from './report.ts'

/** An answer that is to be checked. */
export interface CascadeAnswer<Input = unknown, Results = unknown, Value = unknown> {
  /** The stage's result, as it would be. */
  readonly value: Value
  readonly input: Input
  readonly results: Results
  /** What the stage did: its tool calls tell, where the answer only says so. */
  readonly toolCalls: readonly ToolCallReport[]
  /** Who answered. */
  readonly backend: string
}

/** Whether an answer is good enough: true, or false, or why it is not. */
export type CascadeVerdict = boolean | string

/** Where a stage goes on when its answer is not good enough. */
export interface Cascade {
  /** Backends after the first, in their order. */
  readonly to: readonly string[]
  readonly accept: ((answer: CascadeAnswer) => CascadeVerdict | Promise<CascadeVerdict>) | undefined
}

/**
 * Asks whether an answer is good enough. Undefined if it is, else why it is not.
 *
 * @throws {StageError} `ORLA_STAGE_BUILDER` if the check throws, or says something else
 */
export function judge(
  { accept }: Cascade,
  stage: string,
  context: StageContext,
  answer: Pick<CascadeAnswer, 'value' | 'toolCalls' | 'backend'>,
): string | undefined | Promise<string | undefined> {
  if (accept === undefined) return undefined
  const read = (verdict: unknown): string | undefined => {
    if (verdict === true) return undefined
    if (verdict === false) return 'its check did not accept the answer'
    if (typeof verdict === 'string') return verdict
    const what = `the check \`accept\` of its cascade returned ${messageOf(verdict)}, not true, false or a reason`
    throw new StageError('ORLA_STAGE_BUILDER', `stage "${stage}": ${what}`)
  }
  const threw = (error: unknown): never => {
    if (error instanceof StageError) throw error
    const what = `the check \`accept\` of its cascade threw: ${messageOf(error)}`
    throw new StageError('ORLA_STAGE_BUILDER', `stage "${stage}": ${what}`, { cause: error })
  }
  try {
    const verdict = accept({ ...answer, input: context.input, results: context.results })
    return verdict instanceof Promise ? verdict.then(read).catch(threw) : read(verdict)
  } catch (error) {
    return threw(error)
  }
}

/**
 * The conversation that the next backend gets.
 *
 * Without tool calls it begins anew: what a weaker model said would only lead it astray. With tool calls it goes on from
 * them: what was done is done, and must not be done again by a model that does not know of it.
 */
export function reopen(
  opening: readonly Message[],
  conversation: readonly Message[],
  toolCalls: readonly ToolCallReport[],
  why: string,
): readonly Message[] {
  if (toolCalls.length === 0) return opening
  return [...conversation, user(`Your answer was not accepted: ${why}\nDo what is still missing, and answer again.`)]
}
