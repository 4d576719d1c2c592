// The concurrency window of one backend
//
// Owns: how many requests a backend may have in flight, and how many it has.
// Does not own: who gets a slot (sub-queues), what happens to it (backend actor), windows in tokens.
// Invariants
//   W1. A take succeeds only while fewer are in flight than the size at that instant.
//   W2. What is in flight never goes below zero: every give answers one take.
//   W3. Shrinking takes nothing back: what runs finishes, and no slot is free until it is below the new size.

import { assert } from '../errors.ts'

/** Slots of one backend, in requests. */
export class RequestWindow {
  #size = 0
  #inFlight = 0

  /**
   * @param size - requests that may be in flight at once, a whole number from 0 (0 lets nothing in)
   * @throws {InvariantError} `ORLA_INVARIANT` for any other number; options are checked before they get here
   */
  constructor(size: number) {
    this.resize(size)
  }

  /** Requests that may be in flight at once. */
  get size(): number {
    return this.#size
  }

  /** Requests in flight. Above `size` only after the window shrank. */
  get inFlight(): number {
    return this.#inFlight
  }

  /** Slots that can be taken now, never negative. */
  get free(): number {
    return Math.max(0, this.#size - this.#inFlight)
  }

  /** Takes one slot. False, and nothing happens, if none is free. */
  take(): boolean {
    if (this.#inFlight >= this.#size) return false
    this.#inFlight++
    return true
  }

  /**
   * Gives one slot back.
   *
   * @throws {InvariantError} `ORLA_INVARIANT` if none was taken
   */
  give(): void {
    assert(this.#inFlight > 0, 'a slot was given back that nobody had taken', { size: this.#size })
    this.#inFlight--
  }

  /**
   * Changes the size, also while requests run.
   *
   * @param size - a whole number from 0
   * @throws {InvariantError} `ORLA_INVARIANT` for any other number
   */
  resize(size: number): void {
    assert(Number.isSafeInteger(size) && size >= 0, 'a window needs a whole number of requests from 0', { size })
    this.#size = size
  }
}
