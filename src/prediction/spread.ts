// How a quantity spreads, learned from what was seen of it
//
// Owns: counts in classes that grow by a fixed factor, and their sums.
// Invariants
//   P1. Bounded: `classCount` classes, whatever comes.
//   P2. What is newer counts more: after `halfLife` further observations one counts half.
//   P3. Quantiles are right to one class: within the factor `growth` of the true one.

/** Upper bound of a class over that of the one before it: a quantile is right to 19 %, the fourth root of two. */
const growth = 2 ** 0.25
/** Upper bound of the first class. */
const firstBound = 1
/** Covers up to 1 * growth^95, some 14 million: tokens of any context, and hours in ms. */
const classCount = 96
/** Observations after which one counts half. */
const halfLife = 200
const decay = 0.5 ** (1 / halfLife)

/** A distribution over non-negative numbers. */
export class Spread {
  readonly #weights = new Float64Array(classCount)
  readonly #sums = new Float64Array(classCount)
  #count = 0
  /** Weight of the next observation: grows, so that nothing has to be decayed in place. */
  #next = 1

  /** Observations so far, all of them. */
  get count(): number {
    return this.#count
  }

  /** Takes in one. What is no number, or below zero, is left out. */
  add(value: number): void {
    if (!(value >= 0) || value === Infinity) return
    const at = classOf(value)
    this.#weights[at]! += this.#next
    this.#sums[at]! += this.#next * value
    this.#count++
    this.#next /= decay
    if (this.#next > 1e12) this.#rescale()
  }

  /** Mean; undefined before anything was seen. O(classes). */
  get mean(): number | undefined {
    return this.meanBeyond(-1)
  }

  /** Mean of those that are larger than `value`; undefined if none was seen. O(classes). */
  meanBeyond(value: number): number | undefined {
    let weight = 0
    let sum = 0
    for (let i = value < 0 ? 0 : classOf(value) + 1; i < classCount; i++) {
      weight += this.#weights[i]!
      sum += this.#sums[i]!
    }
    return weight > 0 ? sum / weight : undefined
  }

  /** The value that a share `q` (0..1) does not exceed, to one class; undefined before anything was seen. O(classes). */
  quantile(q: number): number | undefined {
    let total = 0
    for (const weight of this.#weights) total += weight
    if (total === 0) return undefined
    let below = 0
    for (let i = 0; i < classCount; i++) {
      below += this.#weights[i]!
      if (this.#weights[i]! > 0 && below >= q * total * (1 - 1e-12)) return this.#sums[i]! / this.#weights[i]!
    }
    return undefined
  }

  #rescale(): void {
    for (let i = 0; i < classCount; i++) {
      this.#weights[i]! /= this.#next
      this.#sums[i]! /= this.#next
    }
    this.#next = 1
  }
}

function classOf(value: number): number {
  if (value <= firstBound) return 0
  return Math.min(classCount - 1, Math.ceil(Math.log(value / firstBound) / Math.log(growth) - 1e-9))
}
