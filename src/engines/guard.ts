// The deadlines of one inference
//
// Owns: the first-token, idle and total deadlines of one call, and the last word on its outcome.
// Does not own: the connect deadline (the driver knows when it connects), retries.
// Invariants
//   G1. At most one timer is armed, and none once the result has settled.
//   G2. The result settles as soon as a deadline passes or the call is cancelled, whatever the driver does then.
//   G3. After the result has settled no delta is delivered.
//   G4. The result rejects with OrlaError only, also over a driver that breaks its contract.

import type { Clock, Timer } from '../clock.ts'
import { BackendError, BackendTimeoutError, messageOf, OrlaError, type TimeoutKind } from '../errors.ts'
import type { Timeouts } from '../schema/backend.ts'
import type { ChatRequest, ChatResult, DeltaChannel } from '../schema/chat.ts'
import type { ChatCall, ChatContext, ChatSink, Driver } from './driver.ts'
import { resultProblems } from './result-check.ts'

/** What a guarded call needs besides the call itself. */
export interface GuardOptions {
  clock: Clock
  /** ms each; `connectMs` is the driver's own. */
  timeouts: Pick<Timeouts, 'firstTokenMs' | 'idleMs' | 'totalMs'>
  /** Name of the backend, for errors. */
  backend: string
  /** Characters of all deltas together; more is `ORLA_BACKEND_PROTOCOL`. Unbounded when absent. */
  responseCharsMax?: number
  /** Hears that the driver is done with the call, before whoever waits for `result` does; undefined if it failed. */
  ended?: (result: ChatResult | undefined) => void
}

/**
 * A chat call with deadlines. Only deltas count as life: comments and pings of an engine do not.
 *
 * `result` rejects with `ORLA_BACKEND_TIMEOUT` (`details.timeout` is firstToken, idle or total), with what the driver
 * rejects with, with the reason of `cancel`, or with `ORLA_BACKEND_PROTOCOL` where the driver throws or answers
 * something that is neither a result nor an OrlaError.
 */
export function guardedChat(
  driver: Driver,
  request: ChatRequest,
  context: ChatContext,
  sink: ChatSink,
  options: GuardOptions,
): ChatCall {
  return new GuardedCall(sink, options).start(driver, request, context)
}

class GuardedCall implements ChatCall, ChatSink {
  readonly result: Promise<ChatResult>

  readonly #sink: ChatSink
  readonly #options: GuardOptions
  readonly #resolve: (result: ChatResult) => void
  readonly #reject: (error: OrlaError) => void
  readonly #startedAtMs: number
  #lastDeltaAtMs: number | undefined
  #chars = 0
  #timer: Timer | undefined
  #timerDueMs = Infinity
  #inner: ChatCall | undefined
  /** Why it ended; undefined while it runs and after it succeeded. */
  #error: OrlaError | undefined
  #settled = false

  constructor(sink: ChatSink, options: GuardOptions) {
    const { promise, resolve, reject } = Promise.withResolvers<ChatResult>()
    this.result = promise
    this.#resolve = resolve
    this.#reject = reject
    this.#sink = sink
    this.#options = options
    this.#startedAtMs = options.clock.nowMs()
  }

  start(driver: Driver, request: ChatRequest, context: ChatContext): this {
    this.#arm(this.#startedAtMs)
    try {
      this.#inner = driver.chat(request, context, this)
      this.#inner.result.then(
        (result) => this.#succeed(result),
        (error: unknown) => this.#fail(this.#contained(error, 'rejected')),
      )
    } catch (error) {
      this.#fail(this.#contained(error, 'threw'))
    }
    // A deadline or a delta may have ended the call before the driver returned.
    if (this.#error !== undefined) this.#cancelInner(this.#error)
    return this
  }

  cancel(reason: OrlaError): void {
    this.#fail(reason)
  }

  delta(channel: DeltaChannel, text: string): void {
    if (this.#settled) return
    const isFirst = this.#lastDeltaAtMs === undefined
    const nowMs = this.#options.clock.nowMs()
    this.#lastDeltaAtMs = nowMs
    this.#chars += text.length
    const { responseCharsMax = Infinity } = this.#options
    if (this.#chars > responseCharsMax) {
      this.#fail(this.#protocolError(`the answer is longer than ${responseCharsMax} characters`))
      return
    }
    // Later deltas only move the deadline away: the timer finds that out when it fires.
    if (isFirst) this.#arm(nowMs)
    try {
      this.#sink.delta(channel, text)
    } catch (error) {
      this.#fail(new OrlaError('ORLA_INVARIANT', `a receiver of tokens threw: ${messageOf(error)}`, { cause: error }))
    }
  }

  /** When the deadline that passes first does, ms on the clock. */
  #dueMs(): number {
    const { firstTokenMs, idleMs, totalMs } = this.#options.timeouts
    const tokenAtMs =
      this.#lastDeltaAtMs === undefined ? this.#startedAtMs + firstTokenMs : this.#lastDeltaAtMs + idleMs
    return Math.min(tokenAtMs, this.#startedAtMs + totalMs)
  }

  /** The deadline that passed. */
  #passed(): BackendTimeoutError {
    const { timeouts, backend } = this.#options
    const { firstTokenMs, idleMs, totalMs } = timeouts
    const kind: TimeoutKind =
      this.#dueMs() >= this.#startedAtMs + totalMs ? 'total' : this.#lastDeltaAtMs === undefined ? 'firstToken' : 'idle'
    const limitMs = kind === 'total' ? totalMs : kind === 'idle' ? idleMs : firstTokenMs
    return new BackendTimeoutError(backend, kind, limitMs)
  }

  /** Arms the timer unless one is armed that fires early enough. */
  #arm(nowMs: number): void {
    const { clock } = this.#options
    const atMs = this.#dueMs()
    if (this.#timerDueMs <= atMs) return
    clock.clearTimer(this.#timer)
    this.#timerDueMs = atMs
    this.#timer = clock.setTimer(atMs - nowMs, () => this.#fired())
  }

  #fired(): void {
    this.#timer = undefined
    this.#timerDueMs = Infinity
    const nowMs = this.#options.clock.nowMs()
    if (nowMs < this.#dueMs()) this.#arm(nowMs)
    else this.#fail(this.#passed())
  }

  #succeed(result: unknown): void {
    if (this.#settled) return
    const problems = resultProblems(result)
    if (problems.length > 0) {
      this.#fail(this.#protocolError(`the driver resolved with something that is not a result: ${problems.join('; ')}`))
      return
    }
    this.#settle()
    this.#options.ended?.(result as ChatResult)
    this.#resolve(result as ChatResult)
  }

  #fail(error: OrlaError): void {
    if (this.#settled) return
    this.#settle()
    this.#error = error
    this.#reject(error)
    this.#cancelInner(error)
    this.#options.ended?.(undefined)
  }

  #settle(): void {
    this.#settled = true
    this.#options.clock.clearTimer(this.#timer)
    this.#timer = undefined
  }

  /** Tells the driver, which may have ended already; it no longer has a say in the outcome. */
  #cancelInner(reason: OrlaError): void {
    try {
      this.#inner?.cancel(reason)
    } catch {
      // The result is out, with the reason that counts.
    }
  }

  #contained(error: unknown, how: string): OrlaError {
    if (error instanceof OrlaError) return error
    return this.#protocolError(`the driver ${how} with something that is not an OrlaError: ${messageOf(error)}`, error)
  }

  #protocolError(what: string, cause?: unknown): BackendError {
    const { backend } = this.#options
    return new BackendError('ORLA_BACKEND_PROTOCOL', `backend "${backend}": ${what}`, { details: { backend }, cause })
  }
}
