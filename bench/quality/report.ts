// What the exam says: rows and sentences.

import type { Row } from '../lib/bench.ts'
import { weakCost } from './cascade.ts'
import { interval } from './curve.ts'
import { warmName } from './mappers.ts'
import type { CascadeVerdict, ExamOutcome, Verdict } from './judge.ts'

/** What was judged. */
export interface About {
  dataset: 'gsm8k' | 'synthetic'
  questions: number
  splits: number
  /** Bootstrap draws. */
  draws: number
}

const round = (value: number): number => Number(value.toFixed(4))
const range = ([low, high]: readonly [number, number]): string => `${low.toFixed(4)} to ${high.toFixed(4)}`
const half = ({ points }: Verdict): number => points.find(({ cost }) => cost === 0.5)!.accuracy
const percent = (share: number): string => `${Math.round(share * 100)} %`

/** Name of a cascade. */
export function cascadeName({ falseAccept, falseReject }: CascadeVerdict): string {
  return `cascade, checker accepts ${percent(falseAccept)} of the wrong, rejects ${percent(falseReject)} of the right`
}

/** Lines of the table. Arms with a knob at half the cost, cascades at theirs. */
export function tableRows({ verdicts, cascade }: ExamOutcome): Row[] {
  const arms = verdicts.map((each): Row => ({
    arm: each.arm,
    looksAtLabels: each.looksAtLabels ? 'yes' : 'no',
    learnsFrom: each.learnsFrom,
    area: each.area.toFixed(4),
    overRandom: each.overRandom.toFixed(4),
    interval95: range(each.interval),
    ofOracle: percent(each.ofOracle),
    cost: 0.5,
    accuracy: round(half(each)),
  }))
  const cascades = cascade.map((each): Row => ({
    arm: cascadeName(each),
    looksAtLabels: 'yes',
    learnsFrom: 'nothing',
    area: '',
    overRandom: (each.accuracy - each.randomAccuracy).toFixed(4),
    interval95: range(each.interval),
    ofOracle: '',
    cost: round(each.cost),
    accuracy: round(each.accuracy),
  }))
  return [...arms, ...cascades]
}

/** Rows of the JSON. Accuracies, costs and areas are 0 to 1; cascades may cost more. */
export function jsonRows({ verdicts, cascade }: ExamOutcome, { dataset, splits, draws }: About): object[] {
  const arms = verdicts.map((each) => ({
    dataset,
    arm: each.arm,
    looksAtLabels: each.looksAtLabels,
    learnsFrom: each.learnsFrom,
    area: round(each.area),
    areaOverRandom: round(each.overRandom),
    interval: each.interval.map(round),
    ofOracle: round(each.ofOracle),
    accuracyAtHalfCost: round(half(each)),
    curve: each.points.map(({ cost, accuracy }) => [round(cost), round(accuracy)]),
    seeds: splits,
    spread: { areaOverRandom: round(each.spread) },
    draws,
  }))
  const cascades = cascade.map(
    ({ falseAccept, falseReject, escalated, cost, accuracy, randomAccuracy, learnedAccuracy, interval: gap }) => ({
      dataset,
      arm: 'cascade',
      looksAtLabels: true,
      falseAccept,
      falseReject,
      escalated: round(escalated),
      cost: round(cost),
      accuracy: round(accuracy),
      randomAccuracy: round(randomAccuracy),
      learnedAccuracy: round(learnedAccuracy),
      interval: gap.map(round),
      draws,
    }),
  )
  return [...arms, ...cascades]
}

/** Sentences that belong to the figures. */
export function findings({ verdicts, cascade }: ExamOutcome, about: About): string[] {
  const of = (name: string): Verdict => verdicts.find(({ arm }) => arm === name)!
  const warm = of(warmName)
  const words = of('threshold (words)')
  const [low] = warm.interval
  const over = interval(warm.draws.map((draw, i) => draw - words.draws[i]!))
  const source =
    about.dataset === 'gsm8k'
      ? `${about.questions} questions of GSM8K with the answers of a weak and a strong model judged right or wrong (RouteLLM)`
      : `${about.questions} synthetic questions with synthetic labels: they show that the bench works and say nothing about real ones; give --gsm8k FILE`
  const beaten = cascade.filter(({ accuracy, learnedAccuracy }) => accuracy > learnedAccuracy)
  const losing = cascade.filter(({ interval: [from] }) => from <= 0)
  return [
    `${source}. Learners see the prompts and labels of one half and are judged on the other; ${about.splits} splits, intervals at 95 % from ${about.draws} bootstrap draws of the questions. Cost is the share of questions that the strong model answers.`,
    `The learned mapper's area is ${warm.overRandom.toFixed(4)} above random routing, ${range(warm.interval)}: ${low > 0 ? 'the interval excludes zero' : 'the interval includes zero, so these features do not carry it'}. That is ${percent(warm.ofOracle)} of what an oracle gains. What it knows of a question are eighteen figures about the shape of its text; no model reads it.`,
    `Against a threshold on the number of words, which learns nothing, it is ${(warm.overRandom - words.overRandom).toFixed(4)} better, ${range(over)}.`,
    `The random arm is a check of the method: drawn lots against the straight line that they are in expectation, ${range(of('random').interval)}.`,
    `One-bit is a fixed rule here (50 words make a question complex), set before any label was looked at: no model was asked. The simulated one-bit routers, the oracle and the cascades look at labels, with the errors that they state; they are no mappers.`,
    `A cascade pays ${weakCost} of a strong answer for each weak one, and both where it goes on; random routing at the same cost is what it is compared with. ${losing.length === 0 ? 'With every checker of the sweep it is better.' : `It is not better for sure with ${losing.length} of ${cascade.length} checkers: ${losing.map(({ falseAccept, falseReject }) => `${percent(falseAccept)}/${percent(falseReject)}`).join(', ')} (accepted of the wrong/rejected of the right).`} It is better than the learned mapper at the same cost with ${beaten.length}.`,
    'Not shown: costs in dollars (the file has no token counts), latency, other models than these two, other questions than these. As a bandit the mapper begins with nothing, sees only the answers that it chose, and may explore in half of its decisions.',
  ]
}
