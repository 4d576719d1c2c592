// Holding of one backend
//
// Owns: requests that wait for a place in the KV window, before the sub-queues; the timer that ends it.
// Does not own: the KV window (memory manager, which admits), the sub-queues.
// In:  backend.admitted, backend.readmit, by way of the backend actor   Out: memory.admit, memory.left, memory.forced
// Invariants
//   K1. Nothing is held for longer than `holdMsMax`, whatever the memory manager does.
//   K2. Of every request that was held, the memory manager hears what became of it, if it was not admitted.

import type { Clock, Timer } from '../src/clock.ts'
import type { RequestView } from '../src/scheduling/request-view.ts'
import type { CallerAddress, MemoryMessage, Post } from './messages.ts'

/** What a backend's holding is made with. */
export interface HoldingInput {
  backend: string
  /** Longest that a request may be held, ms. */
  holdMsMax: number
  clock: Clock
  post: Post
  /** A held request goes on to the sub-queues: its time was up. */
  readonly admit: (held: Held) => void
  /** Something may be granted now. */
  readonly grant: () => void
  /** Makes a timer's work safe for the actor. */
  readonly guarded: (what: string, run: () => void) => () => void
}

/** A request that waits for a place in the KV window. */
export interface Held {
  view: RequestView
  replyTo: CallerAddress
}

/** Requests that are held. */
export class Holding {
  readonly #input: HoldingInput
  /** The longest wait first: all have the same bound, so one timer serves. */
  readonly #held = new Map<string, Held>()
  #timer: Timer | undefined

  constructor(input: HoldingInput) {
    this.#input = input
  }

  /** Requests held. */
  get size(): number {
    return this.#held.size
  }

  /** Where to answer, by request. */
  *callers(): Generator<[requestId: string, CallerAddress]> {
    for (const [requestId, { replyTo }] of this.#held) yield [requestId, replyTo]
  }

  /** Holds a request until the memory manager admits it. */
  hold(view: RequestView, replyTo: CallerAddress): void {
    this.#held.set(view.requestId, { view, replyTo })
    if (this.#timer === undefined) this.#arm(this.#input.holdMsMax)
    this.#ask(view)
  }

  /** Lets go of a request that is held: admitted, or not wanted any more. */
  take(requestId: string): Held | undefined {
    const held = this.#held.get(requestId)
    if (held === undefined) return undefined
    this.#held.delete(requestId)
    if (this.#held.size === 0) this.stop()
    return held
  }

  /** Tells the memory manager of a request that it let through, or holds, and that will not be served. */
  left(runId: string, requestId: string): void {
    this.#tell({ type: 'memory.left', backend: this.#input.backend, runId, requestId })
  }

  /** The memory manager was started again and knows of none. */
  askAgain(): void {
    for (const { view } of this.#held.values()) this.#ask(view)
  }

  /** Ends the timer. */
  stop(): void {
    this.#input.clock.clearTimer(this.#timer)
    this.#timer = undefined
  }

  #ask({ requestId, runId, promptTokens, askedTokens: outputTokens, uncachedTokens: addedTokens }: RequestView): void {
    this.#tell({
      type: 'memory.admit',
      backend: this.#input.backend,
      request: { requestId, runId, promptTokens, outputTokens, addedTokens },
    })
  }

  #tell(message: MemoryMessage): void {
    this.#input.post({ actor: 'memory' }, message)
  }

  #arm(delayMs: number): void {
    this.#timer = this.#input.clock.setTimer(
      delayMs,
      this.#input.guarded('hold timer', () => this.#letGo()),
    )
  }

  /** Lets through what was held as long as anything may be (K1). */
  #letGo(): void {
    this.#timer = undefined
    const { backend, clock, holdMsMax, admit, grant } = this.#input
    const dueMs = clock.nowMs() - holdMsMax
    const forced: Held[] = []
    for (const held of this.#held.values()) {
      // A microsecond of grace: sums of times are not exact, and a shorter timer would not move the clock.
      if (held.view.arrivalMs - dueMs > 0.001) {
        this.#arm(held.view.arrivalMs - dueMs)
        break
      }
      forced.push(held)
    }
    for (const { view } of forced) this.#held.delete(view.requestId)
    for (const each of forced) admit(each)
    for (const { view } of forced) {
      this.#tell({ type: 'memory.forced', backend, runId: view.runId, requestId: view.requestId })
    }
    grant()
  }
}
