// One bit decides: simple or complex.

import { messageOf } from '../errors.ts'
import { candidates, leastBy, loadOf } from './candidates.ts'
import type { Mapper, MappingContext, MappingRequest } from './mapper.ts'
import { routerCall, type RouterAnswer, type RouterOptions } from './router-call.ts'

/** How to have a model say whether a stage is simple or complex. */
export interface ModelBitOptions<Input = unknown, Results = unknown> extends RouterOptions<Input, Results> {
  /** What a stage is taken for when the router says neither, or cannot be asked; default `complex`. */
  unsure?: 'simple' | 'complex'
}

/** How to map by one bit. */
export interface OneBitOptions<Input = unknown, Results = unknown> extends ModelBitOptions<Input, Results> {
  /** Backends for what is simple; the least loaded takes it. */
  light: string | readonly string[]
  /** Backends for what is complex; the least loaded takes it. */
  heavy: string | readonly string[]
}

const task =
  'You decide which language model works on the task below. Answer with one digit and nothing else: 0 if a small model can do it well, 1 if it needs a large one.'
const criteriaDefault =
  'Small: one clear step, an obvious place to look, a short or formulaic answer. Large: several steps or places, an unclear cause, a design to be made, a mistake that would be costly.'

/**
 * Asks a small model for one bit about each stage, simple or complex, and maps by it.
 *
 * The question is one short call with one token of answer. It waits in the router's queue, its time is the stage's and its
 * cost the run's. A router that fails does not fail the stage: the stage is taken for `unsure`, and the reason says why.
 *
 * Source: paper, section 2.2 "Stage Mapper" (one-bit router), and its reference criteria for SWE-bench.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` for a bound below 1
 */
export function oneBit<Input = unknown, Results = unknown>(
  options: OneBitOptions<Input, Results>,
): Mapper<Input, Results> {
  const bit = asker(options)
  return async (request, context) => {
    const { isComplex, why } = await bit(request, context)
    const names = isComplex ? options.heavy : options.light
    const { name } = leastBy(candidates(request, typeof names === 'string' ? [names] : names), loadOf)
    return { backend: name, by: 'one-bit', reason: why, figures: { complex: Number(isComplex) } }
  }
}

/**
 * How hard a stage is, for `loadAware`: 1 if a small model takes it for complex, else 0. Costs and failures as with
 * {@link oneBit}.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` for a bound below 1
 */
export function modelBit<Input = unknown, Results = unknown>(
  options: ModelBitOptions<Input, Results>,
): (request: MappingRequest<Input, Results>, context: MappingContext) => Promise<number> {
  const bit = asker(options)
  return async (request, context) => Number((await bit(request, context)).isComplex)
}

function asker<Input, Results>(options: ModelBitOptions<Input, Results>) {
  const { unsure = 'complex', router } = options
  const ask = routerCall({ criteria: criteriaDefault, ...options }, task, [0, 1])
  return async (
    request: MappingRequest<Input, Results>,
    context: MappingContext,
  ): Promise<{ isComplex: boolean; why: string }> => {
    let answer: RouterAnswer
    try {
      answer = await ask(request, context)
    } catch (error) {
      if (context.signal.aborted) throw error
      answer = { value: undefined, why: messageOf(error) }
    }
    if (answer.value === undefined) {
      return { isComplex: unsure === 'complex', why: `taken for ${unsure}: ${answer.why}` }
    }
    const isComplex = answer.value === 1
    const kind = isComplex ? 'complex' : 'simple'
    return { isComplex, why: `"${router}" takes it for ${kind}${answer.cached ? ', as before' : ''}` }
  }
}
