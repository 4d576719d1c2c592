// What a run, or anybody, may spend
//
// Owns: what it has spent, and what is set aside for turns under way.
// Invariants
//   B1. Nothing is set aside beyond the budget: spent and set aside together never exceed it when a turn begins.
//   B2. What was set aside comes back when the turn ends, less what it cost.

/** The money of one run, or of a budget that runs share, dollars. */
export class RunBudget {
  /** Infinity without a bound. One that is lowered below what was spent lets nothing more in. */
  limitUsd: number
  #spentUsd = 0
  #reservedUsd = 0

  constructor(limitUsd: number) {
    this.limitUsd = limitUsd
  }

  /** Spent so far. */
  get spentUsd(): number {
    return this.#spentUsd
  }

  /** Set aside for turns under way. */
  get reservedUsd(): number {
    return this.#reservedUsd
  }

  /** Neither spent nor set aside; may be below 0 where something cost more than was thought. */
  get leftUsd(): number {
    return this.limitUsd - this.#spentUsd - this.#reservedUsd
  }

  /** Sets money aside. False, and nothing happens, if there is not enough. */
  reserve(usd: number): boolean {
    if (usd > this.leftUsd) return false
    this.#reservedUsd += usd
    return true
  }

  /** Gives back what was set aside, and takes what was spent. */
  settle(reservedUsd: number, spentUsd: number): void {
    // Sums of fractions leave crumbs.
    this.#reservedUsd = Math.max(0, this.#reservedUsd - reservedUsd)
    this.#spentUsd += spentUsd
  }

  /** Forgets what was spent: a new span of time begins. What is set aside stays so. */
  renew(): void {
    this.#spentUsd = 0
  }
}
