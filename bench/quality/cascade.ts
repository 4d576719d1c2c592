// A cascade with a simulated checker: the weak model answers first, a checker looks at its answer, and what it rejects goes
// to the strong model. The checker is stated by its two errors; what follows is in expectation over them, without a draw.

import type { Grade } from './pairs.ts'

/** How a checker errs. */
export interface Checker {
  /** Share of wrong answers that it accepts. */
  falseAccept: number
  /** Share of right answers that it rejects. */
  falseReject: number
}

/** What a cascade costs and gets right. Costs are in answers of the strong model. */
export interface CascadeOutcome {
  /** Share of questions that go on to the strong model. */
  escalated: number
  cost: number
  accuracy: number
  /** Accuracy of random routing between the two models at the same cost. */
  randomAccuracy: number
}

/** Price of an answer of the weak model over that of the strong one. A tenth is usual between model sizes of one vendor. */
export const weakCost = 0.1

/** Share of questions that routing may send to the strong model for a cost; it answers each question once. */
export function shareForCost(cost: number): number {
  return Math.min(1, Math.max(0, (cost - weakCost) / (1 - weakCost)))
}

/** Plays the cascade. `weights` says how often each question counts; absent: once. */
export function playCascade(grades: readonly Grade[], checker: Checker, weights?: Uint16Array): CascadeOutcome {
  const sums = { total: 0, weak: 0, strong: 0, escalated: 0, right: 0 }
  grades.forEach(({ id, weakOk, strongOk }) => {
    const weight = weights === undefined ? 1 : weights[id]!
    const rejects = weakOk ? checker.falseReject : 1 - checker.falseAccept
    sums.total += weight
    sums.weak += weight * Number(weakOk)
    sums.strong += weight * Number(strongOk)
    sums.escalated += weight * rejects
    sums.right += weight * ((1 - rejects) * Number(weakOk) + rejects * Number(strongOk))
  })
  const { total, weak, strong } = sums
  const escalated = sums.escalated / total
  const cost = weakCost + escalated
  const randomAccuracy = weak / total + (shareForCost(cost) * (strong - weak)) / total
  return { escalated, cost, accuracy: sums.right / total, randomAccuracy }
}

/** The sweep: from a checker without fault to one that hardly knows. */
export const checkers: readonly Checker[] = [0, 0.1, 0.2, 0.3, 0.5, 0.8].flatMap((falseAccept) =>
  [0, 0.1, 0.2, 0.4].map((falseReject) => ({ falseAccept, falseReject })),
)
