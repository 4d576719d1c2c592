// The driver of one backend, for as long as calls of it are under way
//
// Owns: the count of calls under way at one driver, and closing it.
// Does not own: which driver a backend uses (runtime), or how a call ends (guard).
// Invariants
//   L1. A driver that is retired is closed once, after its last call has settled.

import type { ChatContext, ChatSink, ChatCall, Driver } from './engines/driver.ts'
import { guardedChat, type GuardOptions } from './engines/guard.ts'
import type { ChatRequest } from './schema/chat.ts'

/** A driver in use. */
export class DriverLease {
  readonly driver: Driver
  #calls = 0
  #retired = false
  readonly #closed = Promise.withResolvers<void>()

  constructor(driver: Driver) {
    this.driver = driver
    // Whoever retires it hears of a close that fails; nobody else has to.
    this.#closed.promise.catch(() => {})
  }

  /** Starts an inference under its deadlines. */
  chat(request: ChatRequest, context: ChatContext, sink: ChatSink, options: GuardOptions): ChatCall {
    this.#calls++
    const call = guardedChat(this.driver, request, context, sink, options)
    const ended = (): void => {
      this.#calls--
      this.#closeWhenIdle()
    }
    call.result.then(ended, ended)
    return call
  }

  /** Lets calls under way finish, and closes the driver then. Rejects if closing fails. */
  retire(): Promise<void> {
    if (!this.#retired) {
      this.#retired = true
      this.#closeWhenIdle()
    }
    return this.#closed.promise
  }

  #closeWhenIdle(): void {
    if (this.#retired && this.#calls === 0) this.driver.close().then(this.#closed.resolve, this.#closed.reject)
  }
}
