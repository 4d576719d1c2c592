// Mappers one after the other.

import { MappingError, messageOf, OptionsError, type Issue } from '../errors.ts'
import type { Mapper, MappingContext, MappingDecision, MappingRequest } from './mapper.ts'

/** A mapper that may leave the decision to the next. */
export interface MappingStep<Input = unknown, Results = unknown> {
  (
    request: MappingRequest<Input, Results>,
    context: MappingContext,
  ): MappingDecision | undefined | Promise<MappingDecision | undefined>
  observe?: NonNullable<Mapper['observe']>
}

/**
 * Asks mappers in order; the first that decides has the word. One that throws, or answers with nothing, leaves it to the
 * next, and the reason of the decision says so.
 *
 * If none decides the stage fails (`ORLA_MAPPING_FAILED`) with what each of them said.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` without any mapper
 */
export function firstOf<Input, Results>(...steps: readonly MappingStep<Input, Results>[]): Mapper<Input, Results> {
  if (steps.length === 0) {
    const message = 'give at least one mapper'
    throw new OptionsError('options of firstOf()', [{ path: 'steps', code: 'empty', message }])
  }
  const mapper: Mapper<Input, Results> = async (request, context) => {
    const passed: string[] = []
    for (const [i, step] of steps.entries()) {
      try {
        const decision = await step(request, context)
        if (decision !== undefined) {
          return passed.length === 0 ? decision : { ...decision, reason: `${decision.reason} (${passed.join('; ')})` }
        }
        passed.push(`step ${i + 1} left it`)
      } catch (error) {
        if (context.signal.aborted) throw error
        passed.push(`step ${i + 1} failed: ${messageOf(error)}`)
      }
    }
    const issues = passed.map((message): Issue => ({
      path: `stages.${request.stage}.mapping`,
      code: 'undecided',
      message,
    }))
    throw new MappingError('ORLA_MAPPING_FAILED', `no mapper decided on stage "${request.stage}"`, issues)
  }
  mapper.observe = (outcome) => {
    for (const step of steps) step.observe?.(outcome)
  }
  return mapper
}
