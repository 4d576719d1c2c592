// What a backend's engine does with turns, as measured
//
// Owns: how long turns took lately, what a token took of it, and what is in flight since when.
// Does not own: who is in flight or waits (backend actor), or what follows from the figures (placement, rerouting, windows).
// Invariants
//   V1. Bounded: sums and counts, nothing for each request.
//   V2. A turn that is not answered counts too: figures grow with the age of what is in flight, so that an engine that
//       answers nothing any more is not taken for the one it was.

import { ServiceFit, type Speed } from '../prediction/service-fit.ts'
import type { QueuePace, ServedTurn } from '../schema/queue-pace.ts'

/** Share of what was known that a turn leaves: some ten turns are remembered. */
const memory = 0.9
/**
 * What is in flight is older than turns take by this much before its age counts. Lengths of answers spread so that long
 * ones are often twice or three times as old as a turn takes: they are in flight for longer than others.
 */
const oldFactor = 5
/** Service of a turn where nothing is known, ms. Only compared with others of the same ignorance. */
const turnMsGuess = 1_000

/** What waits for an engine. */
export interface Queued {
  /** Requests. */
  readonly size: number
  /** Tokens of their prompts that are not cached, all together. */
  readonly uncachedTokens: number
  /** Tokens of their answers, predicted, all together. */
  readonly outputTokens: number
}

/** Measures what an engine does. */
export class ServiceMeter {
  #turns = 0
  #durationMs = 0
  /** The same turns by `#fit`, as each was before it was learned from. */
  #fittedMs = 0
  /** Service by tokens; undefined before the first answer. */
  #fit: ServiceFit | undefined
  #answeredAtMs: number | undefined
  #inFlight = 0
  /** Sum of the times at which what is in flight was granted, ms. */
  #grantedMs = 0

  /** A request was granted. */
  granted(nowMs: number): void {
    this.#inFlight++
    this.#grantedMs += nowMs
  }

  /** It gave its slot back. @param served - how it went; undefined if it was not answered */
  ended(grantedAtMs: number, nowMs: number, served: ServedTurn | undefined): void {
    this.#inFlight--
    this.#grantedMs = this.#inFlight === 0 ? 0 : this.#grantedMs - grantedAtMs
    if (served === undefined) return
    this.#answeredAtMs = nowMs
    this.#turns = this.#turns * memory + 1
    this.#durationMs = this.#durationMs * memory + served.durationMs
    const { uncachedTokens, outputTokens, durationMs } = served
    // An engine that does not say how long its answer was teaches nothing about tokens.
    const isTold = outputTokens > 0
    const known = isTold ? this.#fit?.speed : undefined
    this.#fittedMs *= memory
    this.#fittedMs += known === undefined ? durationMs : serviceMs(known, uncachedTokens, outputTokens)
    if (isTold) (this.#fit ??= new ServiceFit()).add(uncachedTokens, outputTokens, durationMs)
  }

  /** The engine is another: what was served says nothing any more. */
  forget(): void {
    this.#turns = 0
    this.#durationMs = 0
    this.#fittedMs = 0
    this.#fit = undefined
    this.#answeredAtMs = undefined
  }

  /** How fast it was lately, under the load that it had; undefined before its first answer. */
  get speed(): Speed | undefined {
    return this.#fit?.speed
  }

  /**
   * What all of it comes to.
   *
   * @param queued - what waits in line, counted by its work: turns differ, from a router's bit to a long answer
   * @param others - requests that wait elsewhere for the same places, counted as usual turns
   */
  pace(nowMs: number, queued: Queued, others: number, windowRequests: number): QueuePace {
    const turnMs = this.#turnMs(nowMs)
    const ahead = queued.size + others + this.#inFlight + 1 - windowRequests
    const pace: QueuePace = {
      waitMs: ahead <= 0 ? 0 : (ahead / Math.max(1, windowRequests)) * this.#queuedMs(queued, turnMs ?? turnMsGuess),
    }
    if (turnMs !== undefined) pace.turnMs = turnMs
    if (this.#answeredAtMs !== undefined) pace.answeredAtMs = this.#answeredAtMs
    return pace
  }

  /** What one of those that wait is expected to take, where a turn takes `turnMs`. */
  #queuedMs({ size, uncachedTokens, outputTokens }: Queued, turnMs: number): number {
    if (this.#fit === undefined || size === 0 || this.#fittedMs === 0) return turnMs
    // The fit remembers more turns than the meter: as much as the last turns were slower than it, these will be.
    const fittedTurnMs = this.#fittedMs / this.#turns
    return (serviceMs(this.#fit.speed, uncachedTokens, outputTokens) / size) * (turnMs / fittedTurnMs)
  }

  /** What turns took lately, or what those in flight have taken already, if that is far more. */
  #turnMs(nowMs: number): number | undefined {
    const known = this.#turns === 0 ? undefined : this.#durationMs / this.#turns
    const age = this.#inFlight === 0 ? 0 : nowMs - this.#grantedMs / this.#inFlight
    if (known === undefined) return age > 0 ? age : undefined
    return age > oldFactor * known ? age : known
  }
}

function serviceMs(
  { msPerPromptToken, msPerOutputToken }: Speed,
  uncachedTokens: number,
  outputTokens: number,
): number {
  return uncachedTokens * msPerPromptToken + outputTokens * msPerOutputToken
}
