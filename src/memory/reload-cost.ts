// What it costs a backend to compute a context again, learned from the first tokens it gives
//
// Owns: a fit of first-token times for one backend: a part for each computed token, and one for each pair of a computed
// token with one that it attends to. The second makes long contexts dearer than their length: at 100,000 tokens it is
// most of the cost.
// Does not own: queueing. Callers pass the engine's time for a prompt, not the time that its sender waited: under load
// the second is twenty times the first, and whoever takes it for a cost keeps what is not worth its room.

/** Before anything was seen: an 8B model on a large GPU computes some 20,000 tokens of short prompts a second. */
const priorMsPerToken = 0.05
/** Attention of an 8B model on a large GPU at a third of its arithmetic, ms for each pair. */
const priorMsPerPair = 1.6e-6
/** Observations that the prior counts for. */
const priorWeight = 20
/** Old observations fade by this factor with each new one. */
const decay = 0.995
/** Computed tokens below which a first token says more of the engine's overhead than of prefill. */
const tokensMin = 256
/** Typical request, to give the prior its weight: computed tokens and attended ones. */
const typicalTokens = 10_000

/** Learns what a backend's prefill costs. */
export class ReloadCost {
  /** Sums of products for least squares over (tokens, pairs) without intercept. */
  #tt = priorWeight * typicalTokens ** 2
  #tp = 0
  #pp = priorWeight * (typicalTokens ** 2 / 2) ** 2
  #ty = this.#tt * priorMsPerToken
  #py = this.#pp * priorMsPerPair

  /**
   * Takes in one first token.
   *
   * @param computedTokens - prompt tokens that were not cached
   * @param cachedTokens - those that were, which the others attend to
   * @param prefillMs - from the grant, or from the first token that the engine gave before if that is later, to this one
   */
  observe(computedTokens: number, cachedTokens: number, prefillMs: number): void {
    if (!(prefillMs >= 0) || !(computedTokens >= tokensMin)) return
    const pairs = computedTokens * (cachedTokens + computedTokens / 2)
    // Relative errors count, or the longest prompts would be all that is fitted.
    const weight = (typicalTokens / computedTokens) ** 2
    this.#tt = decay * this.#tt + weight * computedTokens ** 2
    this.#tp = decay * this.#tp + weight * computedTokens * pairs
    this.#pp = decay * this.#pp + weight * pairs ** 2
    this.#ty = decay * this.#ty + weight * computedTokens * prefillMs
    this.#py = decay * this.#py + weight * pairs * prefillMs
  }

  /** Ms to compute `tokens` again, from nothing. */
  reloadMs(tokens: number): number {
    const { msPerToken, msPerPair } = this.#fit()
    return msPerToken * tokens + (msPerPair * tokens ** 2) / 2
  }

  #fit(): { msPerToken: number; msPerPair: number } {
    const determinant = this.#tt * this.#pp - this.#tp ** 2
    if (determinant > 1e-9 * this.#tt * this.#pp) {
      const msPerToken = (this.#ty * this.#pp - this.#py * this.#tp) / determinant
      const msPerPair = (this.#py * this.#tt - this.#ty * this.#tp) / determinant
      if (msPerToken >= 0 && msPerPair >= 0) return { msPerToken, msPerPair }
      // One of the parts cannot be told: the other takes all.
      if (msPerPair < 0) return { msPerToken: this.#ty / this.#tt, msPerPair: 0 }
    }
    return { msPerToken: 0, msPerPair: this.#py / this.#pp }
  }
}
