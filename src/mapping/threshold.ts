// One backend below a score, another from it on.

import { MappingError } from '../errors.ts'
import { candidates, leastBy, loadOf } from './candidates.ts'
import type { Mapper, MappingContext, MappingRequest } from './mapper.ts'

/** Says how hard a stage is: any finite number, with a word on it if there is one to be said. May take its time. */
export type Score<Input = unknown, Results = unknown> = (
  request: MappingRequest<Input, Results>,
  context: MappingContext,
) => ScoreValue | Promise<ScoreValue>

type ScoreValue = number | { score: number; why: string }

/** How to choose by a score. */
export interface ThresholdOptions<Input = unknown, Results = unknown> {
  score: Score<Input, Results>
  /** Scores below this go to `below`, others to `above`. */
  at: number
  /** Backends for the easy ones, the least loaded takes it. */
  below: string | readonly string[]
  /** Backends for the hard ones, the least loaded takes it. */
  above: string | readonly string[]
}

/**
 * Maps by a score: easy stages to light backends, hard ones to heavy ones.
 *
 * A score that is no finite number fails the stage (`ORLA_MAPPING_FAILED`): put the mapper into {@link firstOf} with
 * another behind it to go on instead.
 */
export function threshold<Input, Results>(options: ThresholdOptions<Input, Results>): Mapper<Input, Results> {
  const { at } = options
  return async (request, context) => {
    const value = await options.score(request, context)
    const { score, why } = typeof value === 'number' ? { score: value, why: undefined } : value
    if (!Number.isFinite(score)) {
      const message = `the score is ${String(score)}; a finite number is needed`
      throw new MappingError('ORLA_MAPPING_FAILED', `stage "${request.stage}" has no score`, [
        { path: `stages.${request.stage}.mapping`, code: 'no_score', message },
      ])
    }
    const isHard = score >= at
    const names = isHard ? options.above : options.below
    const { name } = leastBy(candidates(request, typeof names === 'string' ? [names] : names), loadOf)
    const reason = `score ${score} is ${isHard ? 'at least' : 'below'} ${at}${why === undefined ? '' : `: ${why}`}`
    return { backend: name, by: 'threshold', reason, figures: { score } }
  }
}
