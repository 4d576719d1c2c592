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
//   L4. The first rating of an outcome counts, once, whether it comes with the outcome or after it.

import { MappingError, OptionsError, type Issue } from '../errors.ts'
import { limits } from '../limits.ts'
import { parseOptions } from '../schema/options.ts'
import { candidates } from './candidates.ts'
import { costUsd } from './cost.ts'
import { featureIssue, type FeatureSource } from './features.ts'
import { LearnedClass, type ArmView, type Expectation } from './learned-class.ts'
import {
  LearnedOptionsSchema,
  type LearnedExample,
  type LearnedMapper,
  type LearnedOptions,
} from './learned-options.ts'
import type { BackendView, MappingContext, MappingDecision, MappingOutcome, MappingRequest } from './mapper.ts'
import { choosePlace, placesOf } from './place.ts'
import { promptShape, textOf } from './prompt-shape.ts'

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
  const plan = parseOptions(LearnedOptionsSchema, options, 'options of learned()')
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
      const message = unlike(known.dimension, dimension)
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
    const given = features(request)
    const wrong = featureIssue(given, `stages.${request.stage}.mapping`)
    if (wrong !== undefined) {
      throw new MappingError('ORLA_MAPPING_FAILED', `stage "${request.stage}" has no features`, [wrong])
    }
    const x = [1, ...given]
    const able = candidates(request, plan.among)
    const arms = Map.groupBy(able, (view) => (plan.per === 'model' ? modelOf(view, request) : view.name))
    const chars = textOf(request.input, request.results).length
    const views = [...arms].map(([name, [first]]) => armOf(name, first!, request, chars))
    const known = classOf(request.stageClass, x.length)
    const random = (): number => (options.random === undefined ? context.random() : options.random())
    const { chosen, best } = isFrozen ? known.best(x, views) : known.choose(x, views, random)
    const replicas = arms.get(chosen.view.name)!
    return {
      backend: choosePlace(placesOf(replicas, context.clock.nowMs()), () => 0)!.place.backend,
      ...(replicas.length > 1 && { among: replicas.map(({ name }) => name) }),
      reason: reasonOf(chosen, best),
      by: plan.name,
      features: given,
      figures: { ...figuresOf(chosen), explored: chosen === best ? 0 : 1 },
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
    if (isRated === true && rating !== undefined) return
    counted.set(key, rating !== undefined)
    if (counted.size > limits.learnedOutcomesMax) counted.delete(counted.keys().next().value!)
    known.learn(x, plan.per === 'model' ? decision.model : decision.backend, decision.model, {
      // A stage that failed needs no rating; one it gets all the same is of what was left of it.
      ...(state === 'completed' && rating !== undefined && { rating }),
      // Without a rating it is the stage that ended, if another of this name did before: in another runtime.
      ...((isRated === undefined || rating === undefined) && {
        completed: state === 'completed',
        seconds: durationMs / 1_000,
        ...(outcome.costUsd !== undefined && { costUsd: outcome.costUsd }),
      }),
    })
  }

  if (plan.from !== undefined) {
    if (plan.from.per !== plan.per) {
      const message = `it was learned by ${plan.from.per}, and this learns by ${plan.per}: give \`per\` as it was`
      throw new OptionsError('options of learned()', [{ path: 'from.per', code: 'another_kind', message }])
    }
    const issues = plan.from.classes.flatMap((data, i) => {
      const wrong = classOf(data.stageClass, data.dimension).import(data)
      const message = 'these are no sums of squares: give what export() returned'
      return wrong === undefined ? [] : [{ path: `from.classes[${i}].${wrong}`, code: 'invalid_sums', message }]
    })
    if (issues.length > 0) throw new OptionsError('options of learned()', issues)
  }
  const issues: Issue[] = []
  /** Learns from an example. Returns what is wrong with it. */
  const takeExample = (example: LearnedExample<Input, Results>, path: string): Issue | undefined => {
    const { workflow, stage, backend, model, completed = true, rating, durationMs } = example
    const name = plan.per === 'model' ? model : backend
    if (name === undefined)
      return { path: `${path}.model`, code: 'required', message: 'it is learned by models: give it' }
    const given = features(example)
    const wrong = featureIssue(given, path)
    if (wrong !== undefined) return wrong
    const stageClass = `${workflow}/${stage}`
    const known = classes.get(stageClass)
    if (known !== undefined && known.dimension !== given.length + 1) {
      return { path, code: 'invalid_features', message: unlike(known.dimension, given.length + 1) }
    }
    classOf(stageClass, given.length + 1).learnExample([1, ...given], name, model, {
      completed,
      ...(rating !== undefined && { rating }),
      ...(example.costUsd !== undefined && { costUsd: example.costUsd }),
      ...(durationMs !== undefined && { seconds: durationMs / 1_000 }),
    })
    return undefined
  }
  for (const [i, example] of (options.warmStart ?? []).entries()) {
    const issue = takeExample(example, `warmStart[${i}]`)
    if (issue !== undefined && issues.length < limits.issuesMax) issues.push(issue)
  }
  if (issues.length > 0) throw new OptionsError('options of learned()', issues)
  return Object.assign(map, {
    observe,
    export: () => ({
      version: 1 as const,
      per: plan.per,
      classes: [...classes].map(([name, each]) => each.export(name)),
    }),
    freeze: () => void (isFrozen = true),
    facts: () => [...classes].map(([stageClass, { decisions, explored }]) => ({ stageClass, decisions, explored })),
  })
}

function unlike(before: number, now: number): string {
  return `it was learned with ${before - 1} features, now there are ${now - 1}: give the function that it was learned with, or begin anew`
}

function modelOf({ model }: BackendView, { requirements }: Pick<MappingRequest, 'requirements'>): string {
  return requirements.model ?? model
}

/** An arm; the guess of its cost is what this request would cost there, uncached. */
function armOf(name: string, backend: BackendView, request: MappingRequest, chars: number): ArmView {
  const { quality, prices } = backend
  const { outputTokens } = request
  const usage = { promptTokens: chars / charsPerToken, completionTokens: outputTokens }
  return {
    name,
    model: modelOf(backend, request),
    ...(quality !== undefined && { quality }),
    costUsd: costUsd(usage, prices) ?? 0,
  }
}

function figuresOf({ quality, costUsd, seconds, reward, bonus }: Expectation): Record<string, number> {
  return { quality, costUsd, seconds, reward, bonus }
}

function reasonOf(chosen: Expectation, best: Expectation): string {
  const said = ({ view, quality, costUsd, seconds }: Expectation): string =>
    `quality ${quality.toFixed(2)} at $${Number(costUsd.toPrecision(2))} and ${seconds.toFixed(1)} s on "${view.name}"`
  if (chosen === best) return `expected ${said(best)}`
  return `to learn more: expected ${said(chosen)}, rather than ${said(best)}`
}
