// Cost against accuracy as a curve, the area under it, and how sure that is.
//
// Cost is the share of questions that the strong model answers. A curve begins with all questions at the weak model and
// ends with all at the strong one; between settings it is straight: that is what drawing lots between them gives. Random
// routing is the straight line from end to end, in expectation; areas are compared with it on the same questions.

import type { Random } from '../../src/clock.ts'
import type { Decisions } from './mappers.ts'

/** One half judged: what one way decided on each question at each setting, and what the answers were. */
export interface Graded {
  /** Positions in the file. */
  ids: readonly number[]
  weakOk: Uint8Array
  strongOk: Uint8Array
  settings: readonly Decisions[]
}

/** A point of a curve, both 0..1. */
export interface Point {
  cost: number
  accuracy: number
}

/** The points of a curve, by cost. `weights` says how often each question of the file counts; absent: once. */
export function curve({ ids, weakOk, strongOk, settings }: Graded, weights?: Uint16Array): Point[] {
  let total = 0
  let weak = 0
  let strong = 0
  const weightOf = (i: number): number => (weights === undefined ? 1 : weights[ids[i]!]!)
  for (let i = 0; i < ids.length; i++) {
    const weight = weightOf(i)
    total += weight
    weak += weight * weakOk[i]!
    strong += weight * strongOk[i]!
  }
  if (total === 0) return []
  const between = settings.map((decisions): Point => {
    let cost = 0
    let gain = 0
    for (let i = 0; i < ids.length; i++) {
      if (decisions[i] === 0) continue
      const weight = weightOf(i)
      cost += weight
      gain += weight * (strongOk[i]! - weakOk[i]!)
    }
    return { cost: cost / total, accuracy: (weak + gain) / total }
  })
  return [
    { cost: 0, accuracy: weak / total },
    ...between.toSorted((a, b) => a.cost - b.cost || a.accuracy - b.accuracy),
    { cost: 1, accuracy: strong / total },
  ]
}

/** Area under a curve: the accuracy that it has on average over all costs. */
export function area(points: readonly Point[]): number {
  let sum = 0
  for (let i = 1; i < points.length; i++) {
    const [a, b] = [points[i - 1]!, points[i]!]
    sum += ((b.cost - a.cost) * (a.accuracy + b.accuracy)) / 2
  }
  return sum
}

/** Area over that of random routing with the same two models on the same questions. */
export function areaOverRandom(points: readonly Point[]): number {
  return area(points) - ((points[0]?.accuracy ?? 0) + (points.at(-1)?.accuracy ?? 0)) / 2
}

/** Accuracy at a cost, on the straight line between the points beside it. */
export function accuracyAt(points: readonly Point[], cost: number): number {
  const right = Math.max(
    1,
    points.findIndex((point) => point.cost >= cost),
  )
  const [a, b] = [points[right - 1]!, points[right]!]
  if (b.cost === a.cost) return b.accuracy
  return a.accuracy + ((cost - a.cost) / (b.cost - a.cost)) * (b.accuracy - a.accuracy)
}

/** Draws as many questions as there are, with repetition: how often each counts. */
export function resample(count: number, random: Random): Uint16Array {
  const weights = new Uint16Array(count)
  for (let i = 0; i < count; i++) weights[Math.floor(random() * count)]!++
  return weights
}

/** The values that 2.5 % and 97.5 % are below. */
export function interval(values: readonly number[]): [low: number, high: number] {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
  return [at(0.025), at(0.975)]
}
