// What stages of a class took before, and what the next one will take
//
// Owns: for each stage class the spread of its answers, of a turn's service and of a stage's service, and how right its
// predictions were.
// Does not own: who uses a prediction (policies, mappers), or the transitions that it is learned from.
// Invariants
//   H1. At most `classesMax` classes; the one heard of longest ago goes first.
//   H2. A prediction never needs history: without one it rests on what the stage asks for.
// Service is time at the engine: from grant to release.

import { limits } from '../limits.ts'
import { ServiceFit, speedGuess } from './service-fit.ts'
import { Spread } from './spread.ts'

/** Answers of a class before its history counts for more than what the stage asks for. */
const historyMin = 3
/** Times the mean of a class that a prediction of its service may be more, or less: tokens beyond all that were seen. */
const beyondMean = 8

/** What is known of one stage class. */
export interface StageClassFacts {
  /** `workflow/stage` */
  stageClass: string
  /** Answers so far. */
  answers: number
  /** Tokens of an answer. */
  outputTokens: { mean: number; p50: number; p90: number }
  /** Of one turn, from grant to release, ms. */
  turnServiceMs: { mean: number; p50: number; p90: number }
  /** Of a whole stage, over its turns, ms; absent until one has ended. */
  stageServiceMs?: { mean: number; p50: number; p90: number }
  /** How far predictions of output tokens were off: mean of |predicted - true| / true; absent without any. */
  outputErrorShare?: number
}

interface Book {
  readonly output: Spread
  readonly turn: Spread
  readonly fit: ServiceFit
  readonly stage: Spread
  predictions: number
  errorSum: number
}

/** History of stage classes. */
export class StageHistory {
  /** In order of last touch. */
  readonly #books = new Map<string, Book>()
  #version = 0

  /** Grows with everything that is learned: what was computed from it may be stale. */
  get version(): number {
    return this.#version
  }

  /** A turn was answered. `uncachedTokens` are those of its prompt that the engine computed. */
  answered(
    stageClass: string,
    outputTokens: number | undefined,
    serviceMs: number,
    uncachedTokens: number | undefined,
  ): void {
    const book = this.#touch(stageClass)
    this.#version++
    book.turn.add(serviceMs)
    if (outputTokens === undefined) return
    if (uncachedTokens !== undefined) book.fit.add(uncachedTokens, outputTokens, serviceMs)
    const predicted = book.output.count >= historyMin ? book.output.mean! : undefined
    if (predicted !== undefined && outputTokens > 0) {
      book.predictions++
      book.errorSum += Math.abs(predicted - outputTokens) / outputTokens
    }
    book.output.add(outputTokens)
  }

  /** A stage ended well, after so much service over all its turns. */
  completed(stageClass: string, serviceMs: number): void {
    this.#touch(stageClass).stage.add(serviceMs)
    this.#version++
  }

  /**
   * Tokens that the next answer will have.
   *
   * @param maxTokens - that it may have at most; what counts without history. Without either, a usual number
   */
  outputTokens(stageClass: string, maxTokens: number | undefined): number {
    const book = this.#books.get(stageClass)
    if (book === undefined || book.output.count < historyMin) return maxTokens ?? limits.outputTokensGuess
    return Math.min(maxTokens ?? Infinity, book.output.mean!)
  }

  /** Service of the next turn, ms: what tokens of the class took, not too far from the mean; without history a guess. */
  turnServiceMs(stageClass: string, uncachedTokens: number, outputTokens: number): number {
    const book = this.#books.get(stageClass)
    const { msPerPromptToken, msPerOutputToken } = book?.fit.speed ?? speedGuess
    const fitted = uncachedTokens * msPerPromptToken + outputTokens * msPerOutputToken
    if (book === undefined || book.turn.count < historyMin) return fitted
    const mean = book.turn.mean!
    return Math.min(mean * beyondMean, Math.max(mean / beyondMean, fitted))
  }

  /**
   * Service that a stage still needs, ms, after it had `attainedMs`; undefined before a stage of the class has ended.
   *
   * Of stages that took longer than it has already: the longer it has run, the longer it may still run.
   */
  stageServiceLeftMs(stageClass: string, attainedMs: number): number | undefined {
    const spread = this.#books.get(stageClass)?.stage
    if (spread === undefined || spread.count === 0) return undefined
    const beyond = spread.meanBeyond(attainedMs)
    // Longer than any before it: as long again is the best guess.
    return beyond === undefined ? attainedMs : Math.max(0, beyond - attainedMs)
  }

  /** Everything that is known, by class. */
  facts(): StageClassFacts[] {
    return [...this.#books].map(([stageClass, { output, turn, stage, predictions, errorSum }]) => ({
      stageClass,
      answers: turn.count,
      outputTokens: summary(output),
      turnServiceMs: summary(turn),
      ...(stage.count > 0 && { stageServiceMs: summary(stage) }),
      ...(predictions > 0 && { outputErrorShare: errorSum / predictions }),
    }))
  }

  #touch(stageClass: string): Book {
    let book = this.#books.get(stageClass)
    if (book === undefined) {
      book = {
        output: new Spread(),
        turn: new Spread(),
        fit: new ServiceFit(),
        stage: new Spread(),
        predictions: 0,
        errorSum: 0,
      }
      this.#books.set(stageClass, book)
      if (this.#books.size > limits.stageClassesMax) this.#books.delete(this.#books.keys().next().value!)
    }
    return book
  }
}

function summary(spread: Spread): { mean: number; p50: number; p90: number } {
  return { mean: spread.mean ?? 0, p50: spread.quantile(0.5) ?? 0, p90: spread.quantile(0.9) ?? 0 }
}
