// Event feeds: observers of a run, or of the whole runtime
//
// Owns: who listens, and how far each reader that iterates is behind.
// Does not own: the events.
// Invariants
//   F1. A reader gets transitions in the order they happened, none twice.
//   F2. A reader that is behind by `backlogMax` events loses token events, and is told how many; never transitions.
//   F3. A reader that is behind by ten times that is let go with an error: memory is bounded whoever stops reading.
//   F4. Without observers, publishing costs one length check.

import { OrlaError } from './errors.ts'
import { limits } from './limits.ts'
import type { RunEvent } from './schema/transition.ts'

/** Hears every event, synchronously. Must not throw; what it throws is lost. */
export type Observer = (event: RunEvent) => void

/** A feed that can be iterated by any number of readers, each from the moment it asks. */
export class Feed implements AsyncIterable<RunEvent> {
  readonly #observers = new Set<Observer>()
  readonly #readers = new Set<Reader>()
  readonly #backlogMax: number
  #closed = false
  /** Hears when the first observer comes and when the last goes. */
  observedChanged: ((observed: boolean) => void) | undefined

  constructor(backlogMax: number = limits.observerBacklogMax) {
    this.#backlogMax = backlogMax
  }

  /** True if anybody listens: publishers skip making token events otherwise. */
  get observed(): boolean {
    return this.#observers.size > 0
  }

  /** Calls `observer` with every event from now on. Returns how to stop. */
  subscribe(observer: Observer): () => void {
    if (!this.#closed) {
      this.#observers.add(observer)
      if (this.#observers.size === 1) this.observedChanged?.(true)
    }
    return () => {
      if (this.#observers.delete(observer) && this.#observers.size === 0) this.observedChanged?.(false)
    }
  }

  publish(event: RunEvent): void {
    if (this.#observers.size === 0) return
    // A copy: one that subscribes in here hears from the next event on.
    for (const observer of Array.from(this.#observers)) {
      if (!this.#observers.has(observer)) continue
      try {
        observer(event)
      } catch {
        // An observer watches; it must not be able to fail what it watches.
      }
    }
  }

  /** Ends the feed: readers finish what they have and are done. */
  close(): void {
    this.#closed = true
    this.#observers.clear()
    for (const reader of this.#readers) reader.end()
    this.#readers.clear()
  }

  /** Events from this call on, until the feed closes. Leaving the loop unsubscribes. */
  [Symbol.asyncIterator](): AsyncIterator<RunEvent> {
    const reader = new Reader(this.#backlogMax)
    if (this.#closed) {
      reader.end()
      return reader
    }
    const stop = this.subscribe((event) => reader.push(event))
    this.#readers.add(reader)
    reader.onLeave = () => {
      stop()
      this.#readers.delete(reader)
    }
    return reader
  }
}

const done: IteratorResult<RunEvent> = { value: undefined, done: true }

/** One reader's backlog, as an iterator. */
class Reader implements AsyncIterator<RunEvent> {
  onLeave: () => void = () => {}
  readonly #backlogMax: number
  #backlog: RunEvent[] = []
  /** Next event of the backlog to hand out: shifting a long array is slow. */
  #next = 0
  #dropped = 0
  #ended = false
  #error: OrlaError | undefined
  /** Questions that wait for an event, in order; empty unless the backlog is. */
  readonly #waiting: ((result: IteratorResult<RunEvent>) => void)[] = []

  constructor(backlogMax: number) {
    this.#backlogMax = backlogMax
  }

  push(event: RunEvent): void {
    const behind = this.#backlog.length - this.#next
    if (event.type === 'stage.token' && behind >= this.#backlogMax) {
      this.#dropped++
      return
    }
    if (behind >= this.#backlogMax * 10) {
      this.#error = new OrlaError('ORLA_LIMIT', `an event reader fell behind by ${behind} events and was let go`, {
        details: { behind },
      })
      this.#backlog = []
      this.#next = 0
      this.#ended = true
      this.onLeave()
      return
    }
    if (this.#dropped > 0) {
      this.#give({ type: 'events.dropped', atMs: event.atMs, runId: event.runId, count: this.#dropped })
      this.#dropped = 0
    }
    this.#give(event)
  }

  end(): void {
    this.#ended = true
    for (const resolve of this.#waiting.splice(0)) resolve(done)
  }

  #give(event: RunEvent): void {
    const resolve = this.#waiting.shift()
    if (resolve === undefined) this.#backlog.push(event)
    else resolve({ value: event, done: false })
  }

  next(): Promise<IteratorResult<RunEvent>> {
    if (this.#next < this.#backlog.length) {
      const value = this.#backlog[this.#next++]!
      if (this.#next === this.#backlog.length) {
        this.#backlog = []
        this.#next = 0
      }
      return Promise.resolve({ value, done: false })
    }
    if (this.#error !== undefined) {
      const error = this.#error
      this.#error = undefined
      return Promise.reject(error)
    }
    if (this.#ended) return Promise.resolve(done)
    return new Promise((resolve) => void this.#waiting.push(resolve))
  }

  return(): Promise<IteratorResult<RunEvent>> {
    this.onLeave()
    this.end()
    this.#backlog = []
    this.#next = 0
    return Promise.resolve(done)
  }
}
