// Calls of a user's functions: what they throw becomes an error that says whose it was.

import { messageOf, StageError } from '../errors.ts'
import type { Hint, StageContext } from './definition.ts'

/**
 * Calls a user's function.
 *
 * @param what - which function, for the message: `the prompt builder`
 * @throws {StageError} `ORLA_STAGE_BUILDER` if it throws
 */
export function callUser<T>(stage: string, what: string, call: () => T): T {
  try {
    return call()
  } catch (cause) {
    throw new StageError('ORLA_STAGE_BUILDER', `stage "${stage}": ${what} threw: ${messageOf(cause)}`, { cause })
  }
}

/**
 * Calls a user's function whose value must be there at once.
 *
 * @throws {StageError} `ORLA_STAGE_BUILDER` if it throws, or returns a promise
 */
export function callUserNow<T>(stage: string, what: string, call: () => T): T {
  const value = callUser(stage, what, call)
  if (!(value instanceof Promise)) return value
  value.catch(() => {})
  const message = `stage "${stage}": ${what} returned a promise; it must be synchronous`
  throw new StageError('ORLA_STAGE_BUILDER', message)
}

/**
 * The value of a priority.
 *
 * @throws {StageError} `ORLA_STAGE_BUILDER` if its function throws, or gives no finite number
 */
export function priorityOf(stage: string, hint: Hint, context: StageContext): number {
  if (typeof hint === 'number') return hint
  const value = callUserNow(stage, 'the priority', () => hint(context))
  if (Number.isFinite(value)) return value
  throw new StageError('ORLA_STAGE_BUILDER', `stage "${stage}": the priority is ${String(value)}, not a number`)
}
