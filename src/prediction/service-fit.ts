// Service by tokens: what a token of a prompt and a token of an answer take, fitted to answers as they come

/** Speed, lately. */
export interface Speed {
  /** For each token of a prompt that is not cached, ms. */
  msPerPromptToken: number
  /** For each token of an answer, ms. */
  msPerOutputToken: number
  /** Of a turn, ms. */
  serviceMs: number
}

/** Costs where nothing was measured: a model of some 8B on a data-centre GPU, lightly loaded. */
export const speedGuess: Readonly<Speed> = { msPerPromptToken: 0.1, msPerOutputToken: 10, serviceMs: 2_000 }

/** What a new answer leaves of the weight of those before it: the last 50 count. */
const fading = 0.98
/** Tokens of the one answer, as guessed, that everything measured is weighed against. */
const guessed = { promptTokens: 200, outputTokens: 20 }

/**
 * Least squares of `service = a * prompt tokens + b * output tokens`, with sums that fade: a few numbers, whatever was
 * measured. Costs are never negative.
 */
export class ServiceFit {
  #weight = 0
  #service = 0
  #pp = guessed.promptTokens ** 2
  #oo = guessed.outputTokens ** 2
  #po = 0
  #ps = this.#pp * speedGuess.msPerPromptToken
  #os = this.#oo * speedGuess.msPerOutputToken

  /** An answer: tokens of its prompt that were not cached, its own, and ms from grant to release. */
  add(promptTokens: number, outputTokens: number, serviceMs: number): void {
    this.#weight = this.#weight * fading + 1
    this.#service = this.#service * fading + serviceMs
    this.#pp = this.#pp * fading + promptTokens ** 2
    this.#oo = this.#oo * fading + outputTokens ** 2
    this.#po = this.#po * fading + promptTokens * outputTokens
    this.#ps = this.#ps * fading + promptTokens * serviceMs
    this.#os = this.#os * fading + outputTokens * serviceMs
  }

  /** What fits best; the guess, before any answer. */
  get speed(): Speed {
    const [pp, oo, po, ps, os] = [this.#pp, this.#oo, this.#po, this.#ps, this.#os]
    const serviceMs = this.#weight === 0 ? speedGuess.serviceMs : this.#service / this.#weight
    const alone = (sum: number, square: number): number => (square > 0 ? Math.max(0, sum / square) : 0)
    const determinant = pp * oo - po * po
    // Prompts and answers that always have the same proportion tell nothing apart.
    const distinct = determinant > 1e-9 * pp * oo
    const prompt = distinct ? (ps * oo - os * po) / determinant : 0
    const output = distinct ? (os * pp - ps * po) / determinant : alone(os, oo)
    if (prompt < 0) return { msPerPromptToken: 0, msPerOutputToken: alone(os, oo), serviceMs }
    if (output < 0) return { msPerPromptToken: alone(ps, pp), msPerOutputToken: 0, serviceMs }
    return { msPerPromptToken: prompt, msPerOutputToken: output, serviceMs }
  }
}
