// A mapper that learns where stages of a class do well for their money.
//
// For each stage class and backend three ridge regressions over features of the request predict the rating of its answer,
// its cost and its time. The best sum wins; a bounded share of decisions goes to what is best if one hopes (LinUCB, Li et
// al. 2010, disjoint models). It hears what became of its decisions through `observe`, and of nothing else.
//
// Owns: what was learned, by stage class.
// Does not own: ratings (whoever judges answers gives them), when `observe` is called (the runtime does).
// Invariants
//   L1. At most `learnedClassesMax` stage classes; the one asked about longest ago goes first.
//   L2. Frozen, it neither learns nor explores: equal requests get equal decisions, whatever happens.
//   L3. Exported and imported, it decides the same.
//   L4. An outcome counts once, and so does its rating, whether it comes with the outcome or after it.

import { z } from 'zod'
import type { Random } from '../clock.ts'
import { MappingError, messageOf, OptionsError } from '../errors.ts'
import { limits } from '../limits.ts'
import { parseOptions } from '../schema/options.ts'
import { candidates } from './candidates.ts'
import { costUsd } from './cost.ts'
import { LearnedClass, type ArmView, type Expectation } from './learned-class.ts'
import { LearnedDataSchema, type LearnedData } from './learned-data.ts'
import type { BackendView, Mapper, MappingContext, MappingDecision, MappingOutcome, MappingRequest } from './mapper.ts'
import { promptShape, textOf, type FeatureSource } from './prompt-shape.ts'

/** One outcome of the past, to begin with. */
export interface LearnedExample<Input = unknown, Results = unknown> extends FeatureSource<Input, Results> {
  backend: string
  /** Default: whatever model the backend has when it is first asked about. */
  model?: string
  /** Whether the stage completed, default true. */
  completed?: boolean
  /** How good its answer was, 0..1. */
  rating?: number
  costUsd?: number
  durationMs?: number
}

/** How to learn. */
export interface LearnedOptions<Input = unknown, Results = unknown> {
  /** Backends to choose among; all that can serve the stage when absent. */
  among?: readonly string[]
  /**
   * Numbers that say what kind of request it is, best between 0 and 1, always as many for a stage class (at most 64, each
   * at most 1,000 in size). Default {@link promptShape}.
   */
  features?(source: FeatureSource<Input, Results>): readonly number[]
  /** Quality that a dollar is worth: 100 makes a cent weigh as much as a whole right answer. From 0, default 0. */
  costWeight?: number
  /** Quality that a second is worth. From 0, default 0. */
  latencyWeight?: number
  /** Largest share of decisions that may be other than the best guess, 0..0.5, default 0.1. */
  explore?: number
  /** How much the uncertainty of a backend's quality and cost speaks for exploring it. From 0, default 1. */
  optimism?: number
  /** Rating that is expected before any was seen, of backends that do not say their `quality`. 0..1, default 0.5. */
  priorQuality?: number
  /** Observations that the first guess is worth. Above 0, default 1. */
  ridge?: number
  /** Outcomes of a stage class after which one counts half: what changes is learned anew. At least 1, default 1,000. */
  halfLife?: number
  /** Neither learns nor explores. Default false. */
  frozen?: boolean
  /** Outcomes of the past, all of which count in full. */
  warmStart?: readonly LearnedExample<Input, Results>[]
  /** What another one knew, from its `export()`. */
  from?: LearnedData
  /** Chance, for exploring. Default that of the runtime, which its seed determines. */
  random?: Random
  /** What decisions are `by`: two learned mappers of one stage need two names. Default `learned`. */
  name?: string
}

/** What a learned mapper knows of a stage class. */
export interface LearnedFacts {
  /** `workflow/stage` */
  stageClass: string
  decisions: number
  /** Decisions that were not the best guess. */
  explored: number
}

/** A mapper that learns, and can be kept as data. */
export interface LearnedMapper<Input = unknown, Results = unknown> extends Mapper<Input, Results> {
  /** Learns from what became of a decision of its own; ignores others. */
  observe(outcome: MappingOutcome): void
  /** Everything it knows as JSON. Features are code: give the same function to who reads it. */
  export(): LearnedData
  /** From now on it neither learns nor explores. */
  freeze(): void
  /** What it was asked, by stage class. */
  facts(): LearnedFacts[]
}

const Options = z.strictObject({
  among: z.array(z.string()).min(1).optional(),
  features: z.custom((value) => typeof value === 'function', 'expected a function').optional(),
  costWeight: z.number().min(0).default(0),
  latencyWeight: z.number().min(0).default(0),
  explore: z.number().min(0).max(0.5).default(0.1),
  optimism: z.number().min(0).default(1),
  priorQuality: z.number().min(0).max(1).default(0.5),
  ridge: z.number().positive().default(1),
  halfLife: z.number().min(1).default(1_000),
  frozen: z.boolean().default(false),
  warmStart: z
    .array(
      z.object({
        workflow: z.string().min(1),
        stage: z.string().min(1),
        backend: z.string().min(1),
        model: z.string().min(1).optional(),
        completed: z.boolean().optional(),
        rating: z.number().min(0).max(1).optional(),
        costUsd: z.number().min(0).optional(),
        durationMs: z.number().min(0).optional(),
      }),
    )
    .optional(),
  from: LearnedDataSchema.optional(),
  random: z.custom((value) => typeof value === 'function', 'expected a function').optional(),
  name: z.string().min(1).default('learned'),
})

/** Largest size of a feature: beyond it the regressions lose their precision. */
const featureMax = 1_000
/** Characters of a prompt for each of its tokens, where a guess is enough. */
const charsPerToken = 4

/**
 * Learns for each stage class, and from features of each request, which backend is worth it:
 * reward = quality - costWeight * dollars - latencyWeight * seconds.
 *
 * Quality is the expected rating times the share of stages that complete. Ratings come from outside (see `MappingOutcome`);
 * a stage that failed needs none, a cancelled one teaches nothing. Prices and `quality` of the backends are the first
 * guesses. For each backend O(features^2) for an outcome, O(features^3) for the decision after one.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` with every problem of the options, of `from` too
 */
export function learned<Input = unknown, Results = unknown>(
  options: LearnedOptions<Input, Results> = {},
): LearnedMapper<Input, Results> {
  const plan = parseOptions(Options, options, 'options of learned()')
  const features = (source: FeatureSource<Input, Results>): readonly number[] =>
    options.features === undefined ? promptShape(source) : options.features(source)
  /** In order of last use. */
  const classes = new Map<string, LearnedClass>()
  /** Outcomes that were counted, and whether with a rating, by run and stage. */
  const counted = new Map<string, boolean>()
  let isFrozen = plan.frozen

  const classOf = (stageClass: string, dimension: number): LearnedClass => {
    let known = classes.get(stageClass)
    if (known !== undefined && known.dimension !== dimension) {
      const message = `it was learned with ${known.dimension - 1} features, now there are ${dimension - 1}: give the function that it was learned with, or begin anew`
      throw new MappingError('ORLA_MAPPING_FAILED', `the features of "${stageClass}" do not fit`, [
        { path: stageClass, code: 'invalid_features', message },
      ])
    }
    known ??= new LearnedClass(dimension, plan)
    classes.delete(stageClass)
    classes.set(stageClass, known)
    if (classes.size > limits.learnedClassesMax) classes.delete(classes.keys().next().value!)
    return known
  }

  const map = (request: MappingRequest<Input, Results>, context: MappingContext): MappingDecision => {
    const given = checkFeatures(features(request), request)
    const x = [1, ...given]
    const chars = textOf(request.input, request.results).length
    const views = candidates(request as MappingRequest, plan.among).map((each) =>
      armOf(each, request as MappingRequest, chars),
    )
    const known = classOf(request.stageClass, x.length)
    const random = (): number => (options.random === undefined ? context.random() : options.random())
    const { chosen, best } = isFrozen ? known.best(x, views) : known.choose(x, views, random)
    const isExploring = chosen !== best
    return {
      backend: chosen.view.backend,
      reason: reasonOf(chosen, best),
      by: plan.name,
      features: given,
      figures: { ...figuresOf(chosen), explored: isExploring ? 1 : 0 },
    }
  }

  const observe = (outcome: MappingOutcome): void => {
    const { runId, stage, stageClass, decision, state, durationMs, rating } = outcome
    if (isFrozen || decision.by !== plan.name || decision.features === undefined || state === 'cancelled') return
    const known = classes.get(stageClass)
    const x = [1, ...decision.features]
    if (known === undefined || known.dimension !== x.length) return
    const key = `${runId}\n${stage}`
    const isRated = counted.get(key)
    if (isRated === true || (isRated === false && rating === undefined)) return
    counted.set(key, rating !== undefined)
    if (counted.size > limits.learnedOutcomesMax) counted.delete(counted.keys().next().value!)
    known.learn(x, decision.backend, decision.model, {
      // A stage that failed needs no rating; one it gets all the same is of what was left of it.
      ...(state === 'completed' && rating !== undefined && { rating }),
      ...(isRated === undefined && {
        completed: state === 'completed',
        seconds: durationMs / 1_000,
        ...(outcome.costUsd !== undefined && { costUsd: outcome.costUsd }),
      }),
    })
  }

  if (plan.from !== undefined) {
    const issues = plan.from.classes.flatMap((data, i) => {
      const wrong = classOf(data.stageClass, data.dimension).import(data)
      const message = 'these are no sums of squares: give what export() returned'
      return wrong === undefined ? [] : [{ path: `from.classes[${i}].${wrong}`, code: 'invalid_sums', message }]
    })
    if (issues.length > 0) throw new OptionsError('options of learned()', issues)
  }
  for (const [i, example] of (options.warmStart ?? []).entries()) {
    const x = [1, ...checkFeatures(features(example), example, `warmStart[${i}]`)]
    const { backend, model, completed = true, rating, durationMs } = example
    classOf(`${example.workflow}/${example.stage}`, x.length).learnExample(x, backend, model, {
      completed,
      ...(rating !== undefined && { rating }),
      ...(example.costUsd !== undefined && { costUsd: example.costUsd }),
      ...(durationMs !== undefined && { seconds: durationMs / 1_000 }),
    })
  }
  return Object.assign(map, {
    observe,
    export: () => ({ version: 1 as const, classes: [...classes].map(([name, each]) => each.export(name)) }),
    freeze: () => void (isFrozen = true),
    facts: () => [...classes].map(([stageClass, { decisions, explored }]) => ({ stageClass, decisions, explored })),
  })
}

/** Checked features of a request. */
function checkFeatures(
  features: readonly number[],
  { stage }: FeatureSource,
  path = `stages.${stage}.mapping`,
): number[] {
  const given: unknown = features
  const isGood = (value: unknown): boolean => typeof value === 'number' && Math.abs(value) <= featureMax
  if (Array.isArray(given) && given.length <= limits.learnedFeaturesMax && given.every(isGood))
    return [...given] as number[]
  const what = Array.isArray(given)
    ? `${given.length} values, ${messageOf(given.find((each) => !isGood(each)))}`
    : messageOf(given)
  const message = `features are at most ${limits.learnedFeaturesMax} numbers from -${featureMax} to ${featureMax}; got ${what}`
  throw new MappingError('ORLA_MAPPING_FAILED', `stage "${stage}" has no features`, [
    { path, code: 'invalid_features', message },
  ])
}

/** A backend as what is learned of it sees it; the guess of its cost is what this request would cost there, uncached. */
function armOf(backend: BackendView, { requirements, outputTokens }: MappingRequest, chars: number): ArmView {
  const { name, model, quality, prices } = backend
  const usage = { promptTokens: chars / charsPerToken, completionTokens: outputTokens }
  return {
    backend: name,
    model: requirements.model ?? model,
    ...(quality !== undefined && { quality }),
    costUsd: costUsd(usage, prices) ?? 0,
  }
}

function figuresOf({ quality, costUsd, seconds, reward, bonus }: Expectation): Record<string, number> {
  return { quality, costUsd, seconds, reward, bonus }
}

function reasonOf(chosen: Expectation, best: Expectation): string {
  const said = ({ view, quality, costUsd, seconds }: Expectation): string =>
    `quality ${quality.toFixed(2)} at $${Number(costUsd.toPrecision(2))} and ${seconds.toFixed(1)} s on "${view.backend}"`
  if (chosen === best) return `expected ${said(best)}`
  return `to learn more: expected ${said(chosen)}, rather than ${said(best)}`
}
