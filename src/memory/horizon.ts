// Residency horizon: how long a prefix that nobody touches survives in a backend's cache
//
// Owns: for one backend, what came of contexts that came back, by how long they had been away.
// Does not own: what a policy does with it.
// Learned from the cached tokens that engines report. Engines that report none leave it at "nothing known".

/** Bounds of the ages, ms: each class twice as long as the one before, from a quarter of a second to some 2 hours. */
const classCount = 16
const firstMs = 250
/** Weight of one more observation. */
const weight = 0.1
/** A prefix counts as survived when at least this share of it was still cached. */
const survivedShare = 0.5

/** Learns how long untouched prefixes survive. */
export class ResidencyHorizon {
  /** Share that survived, by age; undefined without observations. */
  readonly #survived: (number | undefined)[] = Array.from({ length: classCount })

  /**
   * Takes in a context that came back.
   *
   * @param awayMs - since it was last touched
   * @param expectedTokens - of it that the prompt shares with what was there
   * @param cachedTokens - that the engine still had
   */
  observe(awayMs: number, expectedTokens: number, cachedTokens: number): void {
    if (expectedTokens <= 0) return
    const at = classOf(awayMs)
    const survived = cachedTokens >= expectedTokens * survivedShare ? 1 : 0
    const before = this.#survived[at]
    this.#survived[at] = before === undefined ? survived : before + (survived - before) * weight
  }

  /** Chance that a prefix untouched for `awayMs` is still there, 0..1. Optimistic where nothing is known. */
  survival(awayMs: number): number {
    const at = classOf(awayMs)
    for (let i = at; i >= 0; i--) {
      const share = this.#survived[i]
      if (share !== undefined) return share
    }
    return 1
  }

  /** The longest time away after which at least half survive, ms; undefined while nothing was lost. */
  get horizonMs(): number | undefined {
    let last: number | undefined
    for (let i = 0; i < classCount; i++) {
      const share = this.#survived[i]
      if (share === undefined) continue
      if (share < 0.5) return last ?? firstMs * 2 ** i
      last = firstMs * 2 ** (i + 1)
    }
    return undefined
  }
}

function classOf(awayMs: number): number {
  if (!(awayMs > firstMs)) return 0
  return Math.min(classCount - 1, Math.ceil(Math.log2(awayMs / firstMs)))
}
