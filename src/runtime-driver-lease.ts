// The driver of one backend, for as long as calls of it are under way
//
// Owns: the count of calls under way at one driver, and closing it.
// Does not own: which driver a backend uses (runtime), or how a call ends (guard).
// Invariants
//   L1. A driver that is retired is closed once, after its last call has settled.

import type { ChatContext, ChatSink, ChatCall, Driver } from './engines/driver.ts'
import { guardedChat, type GuardOptions } from './engines/guard.ts'
import type { Timeouts } from './schema/backend.ts'
import type { ChatRequest, ChatResult } from './schema/chat.ts'

/** A driver in use. */
export class DriverLease {
  readonly driver: Driver
  readonly #guard: Omit<GuardOptions, 'ended'>
  /** By the deadlines of a stage, which are the same for all of its calls: 200 bytes less for each under way. */
  readonly #options = new WeakMap<Partial<Timeouts>, GuardOptions>()
  readonly #modelChanged: (before: string, now: string) => void
  /** Model that the last answer named. */
  #model: string | undefined
  #calls = 0
  #retired = false
  readonly #closed = Promise.withResolvers<void>()

  /** Told by the guard rather than waited for: one promise less for each call. */
  readonly #ended = (result: ChatResult | undefined): void => {
    if (result !== undefined) this.#heedModel(result)
    this.#calls--
    this.#closeWhenIdle()
  }

  /**
   * @param guard - deadlines of the backend, and what else holds for all of its calls
   * @param modelChanged - hears that answers name another model than before: the engine is not the one it was
   */
  constructor(driver: Driver, guard: Omit<GuardOptions, 'ended'>, modelChanged: (before: string, now: string) => void) {
    this.driver = driver
    this.#guard = guard
    this.#modelChanged = modelChanged
    // Whoever retires it hears of a close that fails; nobody else has to.
    this.#closed.promise.catch(() => {})
  }

  /** Starts an inference under its deadlines. */
  chat(request: ChatRequest, context: ChatContext, sink: ChatSink, timeouts: Partial<Timeouts>): ChatCall {
    this.#calls++
    let options = this.#options.get(timeouts)
    if (options === undefined) {
      const guard = this.#guard
      options = { ...guard, timeouts: { ...guard.timeouts, ...timeouts }, ended: this.#ended }
      this.#options.set(timeouts, options)
    }
    return guardedChat(this.driver, request, context, sink, options)
  }

  /** Lets calls under way finish, and closes the driver then. Rejects if closing fails. */
  retire(): Promise<void> {
    if (!this.#retired) {
      this.#retired = true
      this.#closeWhenIdle()
    }
    return this.#closed.promise
  }

  #heedModel(result: ChatResult): void {
    const { model } = result
    if (model === undefined || model === this.#model) return
    const before = this.#model
    this.#model = model
    if (before === undefined) return
    const message = `the engine names the model "${model}", and named "${before}" before`
    result.notes = [...(result.notes ?? []), { code: 'model_changed', message }]
    this.#modelChanged(before, model)
  }

  #closeWhenIdle(): void {
    if (this.#retired && this.#calls === 0) this.driver.close().then(this.#closed.resolve, this.#closed.reject)
  }
}
