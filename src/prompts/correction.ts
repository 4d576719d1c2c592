// Corrections of token estimates
//
// Owns: one factor for each (backend, model), learned from the usage that engines report.
// Does not own: the estimates themselves (estimator.ts).
// Invariants
//   K1. Every factor lies in [factorMin, factorMax], whatever is reported.
//   K2. At most `capacity` factors are kept; the one that was not learned from for longest leaves first.
//   K3. Usage that an engine did not report changes nothing: unknown is not zero.

import { OptionsError } from '../errors.ts'

/** Weight of a new observation. Ten reports settle nine tenths of a difference; one odd prompt moves a fifth. */
const newWeight = 0.2
/** Bounds of a factor: no vocabulary in use is four times finer or coarser than o200k_base on real text. */
const factorMin = 0.25
const factorMax = 4
const capacityDefault = 1_024

/** Turns estimates into what a certain model on a certain backend makes of the same prompt. */
export interface TokenCorrection {
  /** Actual tokens by estimated tokens, 0.25 to 4; 1 while nothing was learned. */
  factor(backend: string, model: string): number
  /** The estimate, corrected and rounded to an integer. */
  correct(backend: string, model: string, estimatedTokens: number): number
  /**
   * Learns from one inference. A vocabulary that differs and the tokens a chat template adds both end up in the factor.
   *
   * @param estimatedTokens - the uncorrected estimate of the prompt; ignored unless positive
   * @param actualTokens - `usage.promptTokens` as reported; ignored when absent, not finite, or not positive
   */
  learn(backend: string, model: string, estimatedTokens: number, actualTokens: number | undefined): void
  /** Factors kept now. */
  readonly size: number
}

/**
 * Makes an empty set of corrections.
 *
 * @param options.capacity - (backend, model) pairs remembered, at least 1, default 1,024
 * @throws {OptionsError} `ORLA_OPTIONS` if the capacity is not a positive integer
 */
export function createTokenCorrection(options: { capacity?: number } = {}): TokenCorrection {
  const capacity = options.capacity ?? capacityDefault
  if (!Number.isInteger(capacity) || capacity < 1) {
    throw new OptionsError('token correction', [
      { path: 'capacity', code: 'too_small', message: `must be an integer of at least 1, is ${capacity}` },
    ])
  }
  /** By backend, then by model: no key to join for each question, of which a turn asks four. */
  const factors = new Map<string, Map<string, Learned>>()
  let size = 0
  let lessons = 0

  const factor = (backend: string, model: string): number => factors.get(backend)?.get(model)?.factor ?? 1

  const forgetOldest = (): void => {
    let oldest: { backend: string; model: string; lesson: number } | undefined
    for (const [backend, models] of factors) {
      for (const [model, { lesson }] of models) {
        if (oldest === undefined || lesson < oldest.lesson) oldest = { backend, model, lesson }
      }
    }
    const models = factors.get(oldest!.backend)!
    models.delete(oldest!.model)
    if (models.size === 0) factors.delete(oldest!.backend)
    size--
  }

  return {
    factor,
    correct: (backend, model, estimatedTokens) => Math.round(estimatedTokens * factor(backend, model)),
    learn(backend, model, estimatedTokens, actualTokens) {
      if (actualTokens === undefined || !isPositive(actualTokens) || !isPositive(estimatedTokens)) return
      const observed = clamp(actualTokens / estimatedTokens)
      let models = factors.get(backend)
      if (models === undefined) factors.set(backend, (models = new Map()))
      const known = models.get(model)
      const learned = clamp((known?.factor ?? 1) * (1 - newWeight) + observed * newWeight)
      if (known !== undefined) {
        known.factor = learned
        known.lesson = ++lessons
        return
      }
      models.set(model, { factor: learned, lesson: ++lessons })
      if (++size > capacity) forgetOldest()
    },
    get size() {
      return size
    },
  }
}

interface Learned {
  factor: number
  /** Number of the observation that it was learned from last. */
  lesson: number
}

function isPositive(tokens: number): boolean {
  return Number.isFinite(tokens) && tokens > 0
}

function clamp(factor: number): number {
  return Math.min(factorMax, Math.max(factorMin, factor))
}
