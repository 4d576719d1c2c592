// A driver straight over a chat engine: no sockets, the runtime's own clock.
//
// Owns: the requests under way, so that close can end them.
// Does not own: what is answered and when (chat-engine, engine-model).
// Keeps the driver contract D1-D4 (engines/driver.ts). Works on a virtual clock.

import { BackendError, CancelledError, OrlaError } from '../errors.ts'
import type { Capabilities } from '../schema/capabilities.ts'
import type { ChatRequest, ChatResult } from '../schema/chat.ts'
import type { ChatCall, ChatContext, ChatSink, Driver } from '../engines/driver.ts'
import type { KvControl } from '../engines/kv-control.ts'
import type { AnswerPart } from './answer.ts'
import type { ChatEngine, ChatDemand, EngineFault } from './chat-engine.ts'
import type { EngineModel } from './engine-model.ts'

/** What an in-process driver is made of. */
export interface InProcessOptions {
  engine: ChatEngine
  /** Name of the backend, for messages. */
  backend: string
  /** Requests that the engine runs at once, when known. */
  concurrencyMax: number | undefined
  /** Report token by token; otherwise several at once, which costs far fewer timers. */
  watched: boolean
}

/** Makes a driver over `engine`. */
export function inProcessDriver(options: InProcessOptions): Driver {
  const { engine, backend, watched } = options
  const capabilities = simulatedCapabilities(engine.model, engine.contextLength, options.concurrencyMax)
  const live = new Set<ChatCall>()
  let calls = 0
  let closed = false

  const driver: Driver = {
    capabilities,
    elsewhere: false,
    kv: kvControl(engine.engine, (request, context) => driver.chat(request, context, { delta() {} })),
    probe: () => Promise.resolve({ state: 'ready', capabilities }),
    chat(request, context, sink) {
      const { promise, resolve, reject } = Promise.withResolvers<ChatResult>()
      let abort = (): void => {}
      let settled = false
      const call: ChatCall = {
        result: promise,
        cancel(reason) {
          if (settled) return
          settle()
          abort()
          reject(reason)
        },
      }
      const settle = (): void => {
        settled = true
        live.delete(call)
      }
      live.add(call)
      if (closed) {
        call.cancel(new OrlaError('ORLA_CLOSED', `backend "${backend}" is closed`))
        return call
      }
      // Attempts of one turn share a request id; the engine needs one for each.
      const demand: ChatDemand = { requestId: `${context.requestId}#${++calls}`, watched }
      if (context.salt !== undefined) demand.salt = context.salt
      if (context.priority !== undefined) demand.priority = context.priority
      abort = engine.chat(request, demand, {
        parts(parts) {
          // The watcher of one part may cancel before the next.
          for (const part of parts) if (!settled) deliver(part, sink)
        },
        finished(end) {
          settle()
          if (end.outcome === 'completed') resolve(end.result)
          else reject(errorOf(end.fault, backend))
        },
      })
      return call
    },
    close() {
      closed = true
      for (const call of live) call.cancel(new CancelledError('shutdown', `backend "${backend}" closes`))
      return Promise.resolve()
    },
  }
  return driver
}

/** What an engine of today can do with its cache: empty it while nothing runs, compute ahead, say how full it is. */
function kvControl(engine: EngineModel, chat: (request: ChatRequest, context: ChatContext) => ChatCall): KvControl {
  return {
    flushAll: () =>
      Promise.resolve(
        engine.flush()
          ? { outcome: 'flushed', scope: 'all' }
          : { outcome: 'busy', reason: 'requests run or wait in the engine' },
      ),
    endSession: () => Promise.resolve({ outcome: 'unsupported', reason: 'the simulated engine has no sessions' }),
    async prefill(request, context, options) {
      const call = chat({ ...request, params: { ...request.params, maxTokens: 1 } }, context)
      const onAbort = (): void => call.cancel(new CancelledError('caller', 'a prefill was cancelled'))
      options?.signal?.addEventListener('abort', onAbort, { once: true })
      if (options?.signal?.aborted === true) onAbort()
      try {
        return (await call.result).usage
      } finally {
        options?.signal?.removeEventListener('abort', onAbort)
      }
    },
    usage() {
      const { running, waiting, preemptions, kvTokensLive, kvTokensTotal, kvTokensCached } = engine.stats()
      const usedFraction = kvTokensLive / kvTokensTotal
      return Promise.resolve({ running, waiting, preemptions, usedFraction, evictableTokens: kvTokensCached })
    },
  }
}

/** What a simulated engine can do. */
export function simulatedCapabilities(
  model: string,
  contextLength: number,
  concurrencyMax: number | undefined,
): Capabilities {
  const capabilities: Capabilities = {
    engine: 'simulated',
    models: [model],
    contextLength,
    tools: true,
    jsonSchema: true,
    cachedTokens: 'always',
    sharedPrefix: true,
    kv: { flushAll: 'exact', releaseSession: 'none', isolate: 'exact', retain: 'none' },
  }
  if (concurrencyMax !== undefined) capabilities.concurrencyMax = concurrencyMax
  return capabilities
}

function deliver(part: AnswerPart, sink: ChatSink): void {
  // A call's opening has no text, and a refusal is part of the result only.
  if (part.channel !== 'call' && part.channel !== 'refusal') sink.delta(part.channel, part.text)
}

function errorOf(fault: EngineFault, backend: string): OrlaError {
  const { status, type, message, code } = fault
  const details = { backend, status, type }
  if (code === 'context_length_exceeded') return new BackendError('ORLA_CONTEXT_LENGTH', message, { details })
  const retryable = status === 408 || status === 429 || status >= 500
  return new BackendError('ORLA_BACKEND_HTTP', `backend "${backend}" answered ${status}: ${message}`, {
    retryable,
    details,
  })
}
