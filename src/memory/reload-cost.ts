// What it costs a backend to compute a context again, learned from the first tokens it gives
//
// Owns: two numbers for one backend: ms for each uncached prompt token, and ms that any request takes.
// Does not own: queueing (times count from the grant).
// A straight line underestimates long contexts, whose attention grows with the square; the slope is learned on the
// contexts that the backend really gets, so the error is small where it matters.

/** Before anything was seen, ms per token: an 8B model on a large GPU computes some 20,000 prompt tokens a second. */
const priorMsPerToken = 0.05
/** Weight of one more observation. */
const weight = 0.05

/** Learns what a backend's prefill costs. */
export class ReloadCost {
  #msPerToken = priorMsPerToken
  #overheadMs = 0
  #seen = 0

  /** Learned ms for each token that is not cached. */
  get msPerToken(): number {
    return this.#msPerToken
  }

  /**
   * Takes in one first token.
   *
   * @param uncachedTokens - prompt tokens that the engine computed
   * @param firstTokenMs - from grant to first token
   */
  observe(uncachedTokens: number, firstTokenMs: number): void {
    if (!(firstTokenMs >= 0) || !(uncachedTokens >= 0)) return
    const rate = Math.max(weight, 1 / ++this.#seen)
    if (uncachedTokens < 512) {
      this.#overheadMs += (firstTokenMs - this.#overheadMs) * rate
      return
    }
    const sample = Math.max(0, firstTokenMs - this.#overheadMs) / uncachedTokens
    this.#msPerToken += (sample - this.#msPerToken) * rate
  }

  /** Ms to compute `tokens` again. */
  reloadMs(tokens: number): number {
    return this.#msPerToken * tokens
  }
}
