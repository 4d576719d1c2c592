// A backend that fails as engines fail, on purpose
//
// Owns: which fault strikes which call.
// Does not own: the engine behind it, which answers where no fault strikes.
// Invariants
//   F1. A call without a fault is the engine's own.
//   F2. With equal seeds and equal calls, equal faults strike.

import type { Clock, Timer } from '../../clock.ts'
import type { BackendDefinition } from '../../engines/backend-definition.ts'
import type { ChatCall, ChatContext, ChatSink, Driver } from '../../engines/driver.ts'
import type { FlushResult, KvControl } from '../../engines/kv-control.ts'
import { BackendError, type OrlaError } from '../../errors.ts'
import type { ChatRequest, ChatResult } from '../../schema/chat.ts'
import { Draw, type SimFaultName } from './scenario.ts'

/** Faults of engines, among those of a simulation. */
type EngineFaultName = Extract<SimFaultName, 'refuse' | 'cut' | 'stall' | 'slow' | 'babble' | 'cache'>

/** What a faulty backend is told. */
export interface FaultyOptions {
  /** Whether a fault of that kind strikes now. Asked in the same order for the same calls. */
  strikes(fault: EngineFaultName): boolean
  /** Draws which form a fault takes. */
  draw: Draw
  /** Hears every call; what it returns hears what becomes of it. */
  onCall?(request: ChatRequest, context: ChatContext): CallWatcher
}

/** Hears what becomes of one call. */
export interface CallWatcher {
  /** The runtime cancels it. */
  cancelled(): void
  /** It ended, with a result or without. */
  ended(result: ChatResult | undefined): void
}

const unseen: CallWatcher = { cancelled() {}, ended() {} }

/** Wraps a backend so that faults strike its calls. */
export function faultyBackend(definition: BackendDefinition, options: FaultyOptions): BackendDefinition {
  return {
    ...definition,
    async connect(environment) {
      const driver = await definition.connect(environment)
      return { ...driver, ...faultyDriver(driver, environment.clock, options) }
    },
  }
}

function faultyDriver(driver: Driver, clock: Clock, options: FaultyOptions): Partial<Driver> {
  const { draw } = options
  const struckCall = (request: ChatRequest, context: ChatContext, sink: ChatSink): ChatCall => {
    const begin = (to: ChatSink): ChatCall => driver.chat(request, context, to)
    if (options.strikes('babble')) return babble(begin, request, sink, { clock, draw })
    if (options.strikes('refuse')) return new FaultyCall(clock, draw.int(0, 50)).rejects(refusal(draw))
    if (options.strikes('stall')) return new FaultyCall(clock).follow(begin, sink, draw.int(0, 3))
    if (options.strikes('cut')) return new FaultyCall(clock).follow(begin, sink, draw.int(0, 3), truncated)
    if (options.strikes('slow')) return new FaultyCall(clock, draw.int(500, 8_000)).starts(begin, sink)
    return begin(sink)
  }
  return {
    chat(request, context, sink) {
      const seen = options.onCall?.(request, context) ?? unseen
      let call: ChatCall
      try {
        call = struckCall(request, context, sink)
      } catch (error) {
        seen.ended(undefined)
        throw error
      }
      call.result.then(
        (result) => seen.ended(result),
        () => seen.ended(undefined),
      )
      return {
        result: call.result,
        cancel(reason) {
          seen.cancelled()
          call.cancel(reason)
        },
      }
    },
    ...(driver.kv !== undefined && { kv: faultyKv(driver.kv, options) }),
  }
}

/** A call that something happens to. */
class FaultyCall implements ChatCall {
  readonly result: Promise<ChatResult>
  readonly #resolve: (result: ChatResult) => void
  readonly #reject: (error: unknown) => void
  readonly #clock: Clock
  readonly #delayMs: number
  #timer: Timer | undefined
  #inner: ChatCall | undefined
  #over = false

  constructor(clock: Clock, delayMs = 0) {
    const { promise, resolve, reject } = Promise.withResolvers<ChatResult>()
    this.result = promise
    this.#resolve = resolve
    this.#reject = reject
    this.#clock = clock
    this.#delayMs = delayMs
  }

  cancel(reason: OrlaError): void {
    if (this.#over) return
    this.#end()
    this.#inner?.cancel(reason)
    this.#reject(reason)
  }

  rejects(error: OrlaError): this {
    this.#timer = this.#clock.setTimer(this.#delayMs, () => {
      this.#end()
      this.#reject(error)
    })
    return this
  }

  /** Begins late. */
  starts(begin: (sink: ChatSink) => ChatCall, sink: ChatSink): this {
    this.#timer = this.#clock.setTimer(this.#delayMs, () => {
      this.#inner = begin(sink)
      this.#inner.result.then(
        (result) => this.#settle(() => this.#resolve(result)),
        (error: unknown) => this.#settle(() => this.#reject(error)),
      )
    })
    return this
  }

  /** Lets some tokens through, and then fails or falls silent. */
  follow(
    begin: (sink: ChatSink) => ChatCall,
    sink: ChatSink,
    tokens: number,
    failure?: (n: number) => OrlaError,
  ): this {
    let seen = 0
    const stop = (): void => {
      if (failure === undefined) return
      const error = failure(Math.min(seen, tokens))
      this.#inner?.cancel(error)
      this.#settle(() => this.#reject(error))
    }
    this.#inner = begin({
      delta(channel, text) {
        if (seen++ < tokens) sink.delta(channel, text)
        else stop()
      },
    })
    // An engine that ends before the fault strikes has its end swallowed, too.
    this.#inner.result.then(stop, stop)
    return this
  }

  #settle(how: () => void): void {
    if (this.#over) return
    this.#end()
    how()
  }

  #end(): void {
    this.#over = true
    this.#clock.clearTimer(this.#timer)
  }
}

function truncated(delivered: number): OrlaError {
  const message = 'the answer was cut'
  return new BackendError('ORLA_BACKEND_TRUNCATED', message, { retryable: delivered === 0, details: { delivered } })
}

function refusal(draw: Draw): OrlaError {
  switch (draw.int(0, 4)) {
    case 0:
      return new BackendError('ORLA_BACKEND_UNREACHABLE', 'no connection', { retryable: true })
    case 1:
      return new BackendError('ORLA_BACKEND_HTTP', 'not now', { retryable: true, details: { status: 503 } })
    case 2: {
      const details = { status: 429, retryAfterMs: draw.one([0, 200, 5_000]) }
      return new BackendError('ORLA_BACKEND_HTTP', 'too many', { retryable: true, details })
    }
    case 3:
      return new BackendError('ORLA_BACKEND_HTTP', 'no', { details: { status: 400 } })
    default:
      return new BackendError('ORLA_CONTEXT_LENGTH', 'too long')
  }
}

/** A driver that breaks its contract. */
function babble(
  begin: (sink: ChatSink) => ChatCall,
  request: ChatRequest,
  sink: ChatSink,
  { clock, draw }: { clock: Clock; draw: Draw },
): ChatCall {
  const changed = (change: (result: ChatResult) => unknown): ChatCall => {
    const inner = begin(sink)
    return {
      result: inner.result.then((result) => change(result) as ChatResult),
      cancel: (reason) => inner.cancel(reason),
    }
  }
  switch (draw.int(0, 7)) {
    case 0:
      throw new TypeError('the driver is broken')
    case 1:
      // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- a driver that breaks its contract does
      return { result: Promise.reject<ChatResult>('no reason'), cancel() {} }
    case 2:
      return changed(() => undefined)
    case 3:
      return changed(({ finishReason: _missing, ...rest }) => rest)
    case 4: {
      // Speaks after its end.
      const call = begin(sink)
      const speak = (): void => void clock.setTimer(1, () => sink.delta('content', 'too late'))
      call.result.then(speak, speak)
      return call
    }
    case 5: {
      const inner = begin(sink)
      return {
        result: inner.result,
        cancel(reason) {
          inner.cancel(reason)
          throw new Error('the driver cannot cancel')
        },
      }
    }
    case 6:
      return changed((result) => ({
        ...result,
        toolCalls: [{ id: 'x', name: 'nothing', arguments: '{' }],
        finishReason: 'tool_calls',
      }))
    default:
      // What the stage did not ask for, and has to be repaired.
      return changed((result) => (request.responseSchema === undefined ? result : { ...result, content: '{"id":' }))
  }
}

function faultyKv(kv: KvControl, options: FaultyOptions): KvControl {
  const { draw } = options
  const faulty = (really: () => Promise<FlushResult>): Promise<FlushResult> => {
    if (!options.strikes('cache')) return really()
    switch (draw.int(0, 3)) {
      case 0:
        return new Promise(() => {})
      case 1:
        return Promise.resolve({ outcome: 'failed', message: 'no', status: 500 })
      case 2:
        return Promise.reject(new Error('never rejects, they said'))
      default:
        return Promise.resolve({ outcome: 'flushed', scope: 'all' })
    }
  }
  return {
    ...kv,
    flushAll: (asked) => faulty(() => kv.flushAll(asked)),
    endSession: (sessionId, asked) => faulty(() => kv.endSession(sessionId, asked)),
    usage: (asked) => (options.strikes('cache') ? new Promise(() => {}) : kv.usage(asked)),
  }
}
