// What a backend's engine does with turns, as measured
//
// Owns: how long turns took lately, and what is in flight since when.
// Does not own: who is in flight (backend actor), or what follows from the figures (placement, rerouting, windows).
// Invariants
//   V1. Bounded: sums and counts, nothing for each request.
//   V2. A turn that is not answered counts too: figures grow with the age of what is in flight, so that an engine that
//       answers nothing any more is not taken for the one it was.

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

/** Measures what an engine does. */
export class ServiceMeter {
  #turns = 0
  #durationMs = 0
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
  }

  /** The engine is another: what was served says nothing any more. */
  forget(): void {
    this.#turns = 0
    this.#durationMs = 0
    this.#answeredAtMs = undefined
  }

  /** What all of it comes to, with so many waiting for so many places. */
  pace(nowMs: number, waiting: number, windowRequests: number): QueuePace {
    const turnMs = this.#turnMs(nowMs)
    const ahead = waiting + this.#inFlight + 1 - windowRequests
    const pace: QueuePace = {
      waitMs: ahead <= 0 ? 0 : (ahead / Math.max(1, windowRequests)) * (turnMs ?? turnMsGuess),
    }
    if (turnMs !== undefined) pace.turnMs = turnMs
    if (this.#answeredAtMs !== undefined) pace.answeredAtMs = this.#answeredAtMs
    return pace
  }

  /** What turns took lately, or what those in flight have taken already, if that is far more. */
  #turnMs(nowMs: number): number | undefined {
    const known = this.#turns === 0 ? undefined : this.#durationMs / this.#turns
    const age = this.#inFlight === 0 ? 0 : nowMs - this.#grantedMs / this.#inFlight
    if (known === undefined) return age > 0 ? age : undefined
    return age > oldFactor * known ? age : known
  }
}
