// A score that a model gives: 1 to 5.

import { messageOf } from '../errors.ts'
import { routerCall, type RouterOptions } from './router-call.ts'
import type { Score } from './threshold.ts'

/** How to have a model score stages. */
export interface ModelScoreOptions<Input = unknown, Results = unknown> extends RouterOptions<Input, Results> {
  /** Score of a stage of which the model says nothing usable, 1 to 5; default 5: as hard as can be. */
  unsure?: number
}

const task =
  'How hard is the task below for a language model? Answer with one digit from 1 (trivial) to 5 (very hard) and nothing else.'
const values = [1, 2, 3, 4, 5]

/**
 * A score for {@link threshold}: a small model says from 1 to 5 how hard a stage is. Costs and failures as with
 * `oneBit`.
 *
 * Source: reference system, `ScorePredictor` (an integer from 1 to 5 at temperature 0).
 *
 * @throws {OptionsError} `ORLA_OPTIONS` for a bound below 1
 * @example
 * mapping: threshold({ score: modelScore({ router: 'light' }), at: 4, below: 'light', above: 'heavy' })
 */
export function modelScore<Input = unknown, Results = unknown>(
  options: ModelScoreOptions<Input, Results>,
): Score<Input, Results> {
  const { unsure = 5 } = options
  const ask = routerCall(options, task, values)
  return async (request, context) => {
    try {
      const answer = await ask(request, context)
      if (answer.value !== undefined) return answer.value
      return { score: unsure, why: answer.why }
    } catch (error) {
      if (context.signal.aborted) throw error
      return { score: unsure, why: messageOf(error) }
    }
  }
}
