// What one engine step costs, and what many equal ones cost together.
//
// A step of a continuous-batching engine with p prefill tokens and d decoding sequences takes
//
//   c0 + c1 d + max(weights read, 2 P (p + d) / F) + K kappa / B + 4 L a sum(p_s x_s) / F
//
// where B and F are the achieved bandwidth and arithmetic rate, K the context of the decoding sequences together, and
// x_s the mean position of a chunk of p_s tokens: a roofline for the matrices, plus attention, which is bound by
// bandwidth when decoding and by arithmetic in prefill.
//
// From one decode step to the next only K moves, by d. So the time of n steps is a quadratic in n, and how many steps fit
// into a time is its root: thousands of steps cost as much as one.

import { z } from 'zod'

const ms = z.number().min(0)

/** The costs of one model on one GPU, ms. All are at least 0; one token must cost something. */
export const StepCosts = z.strictObject({
  /** Any step: launch, scheduling, sampling (c0). */
  stepMs: ms,
  /** One more decoding sequence in a step (c1). */
  sequenceMs: ms,
  /** Reading the weights that every token uses. */
  denseWeightsMs: ms,
  /** Reading the weights of all experts; 0 for a dense model. */
  expertWeightsMs: ms,
  /** Share of the experts that one token uses, 0..1; 0 for a dense model. */
  expertShare: z.number().min(0).max(1),
  /** Multiplying one token through the weights (2 P / F). */
  tokenMs: z.number().gt(0),
  /** Reading one context token's KV in decode (kappa / B). */
  contextTokenMs: ms,
  /** One prefill token attending to one earlier token (4 L a / F). */
  attentionPairMs: ms,
})
/** The costs of one model on one GPU, ms. All are at least 0; one token must cost something. */
export type StepCosts = z.infer<typeof StepCosts>

/**
 * Time to pass `tokens` tokens through the weights: reading them or multiplying, whichever takes longer.
 *
 * Of a mixture of experts only the experts that some token chose are read. With T tokens that choose independently,
 * a share 1 - (1 - k/E)^T of them is: k/E at one token, nearly all at a hundred.
 */
export function weightsMs(costs: StepCosts, tokens: number): number {
  const expertsRead = costs.expertWeightsMs === 0 ? 0 : 1 - (1 - costs.expertShare) ** tokens
  return Math.max(costs.denseWeightsMs + costs.expertWeightsMs * expertsRead, costs.tokenMs * tokens)
}

/** A step, or a run of decode steps with the same sequences. */
export interface StepShape {
  /** Sequences that decode one token in each step. */
  decoding: number
  /** Their contexts together in the first step, tokens, the token being written included. */
  contextTokens: number
  /** Prefill tokens; only a single step has any. */
  prefillTokens: number
  /** Sum over the prefill chunks of tokens times mean position. */
  attentionPairs: number
}

/** Time of a run of steps in closed form. */
export class StepRun {
  readonly #baseMs: number
  readonly #contextTokenMs: number
  readonly #contextTokens: number
  readonly #decoding: number

  constructor(costs: StepCosts, shape: StepShape) {
    this.#baseMs =
      costs.stepMs +
      costs.sequenceMs * shape.decoding +
      weightsMs(costs, shape.prefillTokens + shape.decoding) +
      costs.attentionPairMs * shape.attentionPairs
    this.#contextTokenMs = costs.contextTokenMs
    this.#contextTokens = shape.contextTokens
    this.#decoding = shape.decoding
  }

  /** Milliseconds that the first `steps` steps take together. Exact, O(1). */
  elapsedMs(steps: number): number {
    const contexts = steps * this.#contextTokens + (this.#decoding * steps * (steps - 1)) / 2
    return steps * this.#baseMs + this.#contextTokenMs * contexts
  }

  /** Steps that are over after `elapsed` ms, with a nanosecond's grace for rounding. O(1). */
  stepsWithin(elapsed: number): number {
    const target = elapsed + graceMs
    const square = (this.#contextTokenMs * this.#decoding) / 2
    const linear = this.#baseMs + this.#contextTokenMs * this.#contextTokens - square
    let steps = Math.floor((2 * target) / (linear + Math.sqrt(linear * linear + 4 * square * target)))
    // The root is right up to rounding: settle it on the sum itself.
    while (this.elapsedMs(steps + 1) <= target) steps++
    while (steps > 0 && this.elapsedMs(steps) > target) steps--
    return steps
  }
}

/** Two moments closer than this are one: what is left of rounding when times are added up along different ways. */
export const graceMs = 1e-6
