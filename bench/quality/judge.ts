// The exam: every decider on every split, its curve, and how sure its area is.
//
// Intervals are of the paired bootstrap: questions of the whole file are drawn with repetition, a thousand times, and every
// arm on every split is judged on the same draw. They say how much the outcome rests on the questions that happen to be in
// the file; what was learned stays as it is, and how much that varies shows between splits.

import { randomStream } from '../../src/clock.ts'
import { spread } from '../recipes/draw.ts'
import { checkers, playCascade, shareForCost, type CascadeOutcome, type Checker } from './cascade.ts'
import { accuracyAt, area, areaOverRandom, curve, interval, resample, type Graded, type Point } from './curve.ts'
import { deciders, warmName, type Decisions } from './mappers.ts'
import { Exam, type Grade, type Pair } from './pairs.ts'
import { references } from './references.ts'

/** What one arm did. */
export interface Verdict {
  arm: string
  /** True for references: what they do cannot be done. */
  looksAtLabels: boolean
  learnsFrom: string
  /** Mean over splits of the area under the curve: accuracy averaged over all costs. */
  area: number
  /** Mean over splits of the area over that of random routing, and its 95 % interval. */
  overRandom: number
  interval: [low: number, high: number]
  /** Standard deviation over splits. */
  spread: number
  /** Part of the oracle's area over random, 0..1. */
  ofOracle: number
  /** Mean curve over splits, at 21 costs. */
  points: Point[]
  /** Area over random of each bootstrap draw. */
  draws: number[]
}

/** What the cascade did with one checker. */
export interface CascadeVerdict extends Checker, CascadeOutcome {
  /** Accuracy of the warm learned mapper at the same cost. */
  learnedAccuracy: number
  /** 95 % interval of its accuracy less that of random routing at its cost. */
  interval: [low: number, high: number]
}

/** Outcome of the exam. */
export interface ExamOutcome {
  verdicts: Verdict[]
  cascade: CascadeVerdict[]
}

const costs = Array.from({ length: 21 }, (_, i) => i / 20)

/** Decisions of every arm, asked without labels; references get them. */
async function decideAll(pairs: readonly Pair[], seeds: readonly number[]): Promise<Map<string, Graded[]>> {
  const graded = new Map<string, Graded[]>()
  for (const seed of seeds) {
    const exam = new Exam(pairs, seed)
    const decided: [string, Decisions[]][] = []
    for (const decider of deciders) {
      decided.push([decider.name, await decider.decide(exam.lessons, exam.questions, seed)])
    }
    // From here on labels are known, and nothing is decided by a mapper any more.
    const grades = exam.grade()
    for (const reference of references) decided.push([reference.name, reference.decide(grades, seed)])
    const labels = {
      ids: grades.map(({ id }) => id),
      weakOk: Uint8Array.from(grades, ({ weakOk }) => Number(weakOk)),
      strongOk: Uint8Array.from(grades, ({ strongOk }) => Number(strongOk)),
    }
    for (const [name, settings] of decided) graded.set(name, [...(graded.get(name) ?? []), { ...labels, settings }])
  }
  return graded
}

const mean = (values: readonly number[]): number => spread(values).mean

/** Holds the exam. */
export async function judge(
  pairs: readonly Pair[],
  options: { seeds: readonly number[]; draws: number },
): Promise<ExamOutcome> {
  const graded = await decideAll(pairs, options.seeds)
  const random = randomStream(1, 'bootstrap')
  const weights = Array.from({ length: options.draws }, () => resample(pairs.length, random))
  const oracle = mean(graded.get('oracle')!.map((each) => areaOverRandom(curve(each))))
  const verdicts = [...graded].map(([arm, splits]): Verdict => {
    const curves = splits.map((each) => curve(each))
    const over = spread(curves.map(areaOverRandom))
    const draws = weights.map((draw) => mean(splits.map((each) => areaOverRandom(curve(each, draw)))))
    return {
      arm,
      looksAtLabels: references.some(({ name }) => name === arm),
      learnsFrom: deciders.find(({ name }) => name === arm)?.learnsFrom ?? 'nothing',
      area: mean(curves.map(area)),
      overRandom: over.mean,
      interval: interval(draws),
      spread: over.deviation,
      ofOracle: over.mean / oracle,
      points: costs.map((cost) => ({ cost, accuracy: mean(curves.map((points) => accuracyAt(points, cost))) })),
      draws,
    }
  })
  const all = pairs.map((pair, id): Grade => ({ id, weakOk: pair.weakOk, strongOk: pair.strongOk }))
  const learned = verdicts.find(({ arm }) => arm === warmName)!.points
  const cascade = checkers.map((checker): CascadeVerdict => {
    const gains = weights.map((draw) => {
      const { accuracy, randomAccuracy } = playCascade(all, checker, draw)
      return accuracy - randomAccuracy
    })
    const played = playCascade(all, checker)
    const learnedAccuracy = accuracyAt(learned, shareForCost(played.cost))
    return { ...checker, ...played, learnedAccuracy, interval: interval(gains) }
  })
  return { verdicts, cascade }
}
