// The driver for a model in a process of its own
//
// Owns: the requests and KV actions that the process has not answered yet.
// Does not own: the process (model-process), deadlines, retries.
// Invariants: D1 to D4 of driver.ts, and
//   L1. When the process ends, every request in it fails: `ORLA_BACKEND_TRUNCATED` if a part of its answer was
//       delivered, else `ORLA_BACKEND_UNREACHABLE`; both say truly whether another try may help.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { BackendError, CancelledError, errorFromFacts, OrlaError, toOrlaError } from '../../errors.ts'
import type { Capabilities } from '../../schema/capabilities.ts'
import type { ChatRequest, ChatResult } from '../../schema/chat.ts'
import type { ChatCall, ChatContext, ChatSink, Driver, DriverEnvironment, ProbeResult } from '../driver.ts'
import { closedError, truncatedError, type ErrorScope } from '../engine-error.ts'
import { failed, untilIdle } from '../kv-control.ts'
import type { FlushOptions, FlushResult, KvControl, KvOptions } from '../kv-control.ts'
import { ModelProcess, type ModelProcessOptions } from './model-process.ts'
import type { LlamaCppPlan } from './options.ts'
import type { ChatCommand, FromModel, KvAnswer, KvCommand, LoadedModel, ToModel } from './protocol.ts'

/** A KV action before it has its number. */
type Unnumbered<Command> = Command extends { id: number } ? Omit<Command, 'id'> : never

interface Pending {
  sink: ChatSink | undefined
  delivered: number
  settle: (outcome: { ok: true; value: ChatResult | KvAnswer } | { ok: false; error: OrlaError }) => void
}

/** A driver that also shows the process behind it. */
export interface LlamaDriver extends Driver {
  readonly kv: KvControl
  /** Id of the model's process; undefined while there is none. */
  readonly pid: number | undefined
}

/**
 * Makes the driver and starts loading the model.
 *
 * @param entry - entry file of the process
 */
export async function createLlamaDriver(
  plan: LlamaCppPlan,
  { backend, clock, log }: DriverEnvironment,
  entry?: URL,
): Promise<LlamaDriver> {
  const ownFolder = plan.saveFolder === undefined ? await mkdtemp(join(tmpdir(), 'orla-contexts-')) : undefined
  const scope: ErrorScope = { backend, origin: basename(plan.file), secrets: [] }
  const pending = new Map<number, Pending>()
  let ids = 0
  let closed = false
  let loaded: LoadedModel | undefined

  const options: ModelProcessOptions = {
    plan: {
      backend,
      file: plan.file,
      contextLength: plan.contextLength,
      sequences: plan.sequences,
      threads: plan.threads,
      gpu: plan.gpu,
      waitingMax: plan.settings.windowRequests,
      saveFolder: plan.saveFolder ?? ownFolder ?? tmpdir(),
    },
    scope,
    clock,
    log,
    loadTimeoutMs: plan.loadTimeoutMs,
    onMessage: heard,
    onEnded(why) {
      for (const { settle, delivered } of pending.values()) settle({ ok: false, error: endedError(why, delivered) })
    },
  }
  if (entry !== undefined) options.entry = entry
  const model = new ModelProcess(options)
  // Loading takes a while and can begin now; whoever needs the model waits for it, or hears why it cannot be.
  void ready().catch(() => undefined)

  async function ready(): Promise<LoadedModel> {
    loaded = await model.ready()
    return loaded
  }

  function heard(message: Exclude<FromModel, { type: 'loaded' | 'unloadable' }>): void {
    const waiting = pending.get(message.id)
    if (waiting === undefined) return
    switch (message.type) {
      case 'delta':
        waiting.delivered++
        waiting.sink?.delta(message.channel, message.text)
        break
      case 'finished':
        waiting.settle({ ok: true, value: message.result })
        break
      case 'done':
        waiting.settle({ ok: true, value: message.answer })
        break
      case 'failed':
        waiting.settle({ ok: false, error: errorFromFacts(message.error) })
        break
    }
  }

  function endedError(why: string, delivered: number): OrlaError {
    if (delivered > 0) return truncatedError(scope, why, delivered)
    return new BackendError('ORLA_BACKEND_UNREACHABLE', `backend "${backend}" (${scope.origin}): ${why}`, {
      retryable: true,
      details: { backend },
    })
  }

  /** Sends a command once the model is there. The answer settles it, or `cancel`, or the end of the process. */
  function ask<Value>(
    command: (id: number) => Exclude<ToModel, { type: 'load' | 'cancel' }>,
    sink?: ChatSink,
  ): { result: Promise<Value>; cancel: (reason: OrlaError) => void } {
    const { promise, resolve, reject } = Promise.withResolvers<Value>()
    const id = ++ids
    let sent = false
    const settle: Pending['settle'] = (outcome) => {
      if (!pending.delete(id)) return
      if (pending.size === 0) model.hold(false)
      if (outcome.ok) resolve(outcome.value as Value)
      else reject(outcome.error)
    }
    const cancel = (reason: OrlaError): void => {
      if (!pending.has(id)) return
      settle({ ok: false, error: reason })
      if (sent) model.send({ type: 'cancel', id })
    }
    pending.set(id, { sink, delivered: 0, settle })
    model.hold(true)
    const send = async (): Promise<void> => {
      try {
        if (closed) throw closedError(scope)
        await ready()
        if (!pending.has(id)) return
        sent = true
        model.send(command(id))
      } catch (error) {
        settle({ ok: false, error: toOrlaError(error, 'ORLA_BACKEND_UNREACHABLE', `backend "${backend}"`) })
      }
    }
    void send()
    return { result: promise, cancel }
  }

  const chat = (request: ChatRequest, context: ChatContext, prefillOnly: boolean, sink?: ChatSink): ChatCall => {
    const { sessionId, runId, priority = 0, salt } = context
    const { model: served } = plan.settings
    const call = ask<ChatResult>((id): ChatCommand => {
      const session = sessionId ?? runId
      return { type: 'chat', id, request, session, priority, prefillOnly, ...(salt !== undefined && { salt }) }
    }, sink)
    if (request.model !== served) {
      const what = `backend "${backend}" serves the model "${served}", not "${request.model}"`
      call.cancel(new BackendError('ORLA_BACKEND_HTTP', what, { details: { backend } }))
    }
    return call
  }

  const act = async (command: Unnumbered<KvCommand>, signal?: AbortSignal): Promise<KvAnswer> => {
    const call = ask<KvAnswer>((id) => ({ ...command, id }))
    return await cancellable(call, signal)
  }

  const kv: KvControl = {
    flushAll: (given = {}) => erase({ type: 'flushAll' }, 'all', given),
    endSession: (session, given = {}) => erase({ type: 'endSession', session }, 'session', given),
    async prefill(request, context, given) {
      return (await cancellable(chat(request, context, true), given?.signal)).usage
    },
    async usage(given) {
      const { running = 0, waiting = 0, idleTokens = 0, hit } = await act({ type: 'usage' }, given?.signal)
      return { running, waiting, evictableTokens: idleTokens, ...(hit !== undefined && { hit }) }
    },
    async snapshot(session, name, given) {
      const { tokens = 0, bytes = 0 } = await act({ type: 'save', session, name }, given?.signal)
      return { tokens, bytes }
    },
    async restore(session, name, given) {
      const { tokens = 0 } = await act({ type: 'restore', session, name }, given?.signal)
      return { tokens }
    },
  }

  function erase(command: Unnumbered<KvCommand>, what: 'all' | 'session', given: FlushOptions): Promise<FlushResult> {
    return untilIdle(clock, given, async () => {
      try {
        const { tokens = 0, busy = 0 } = await act(command, given.signal)
        if (busy === 0) return { outcome: 'flushed', scope: what, tokens }
        return { outcome: 'busy', reason: `${busy} sequence(s) are in use; ${tokens} tokens of others were erased` }
      } catch (error) {
        return failed(error)
      }
    })
  }

  return {
    elsewhere: false,
    get capabilities() {
      return capabilitiesOf(plan, loaded)
    },
    get pid() {
      return model.pid
    },
    kv,
    async probe(timeoutMs): Promise<ProbeResult> {
      const late = Promise.withResolvers<never>()
      const timer = clock.setTimer(timeoutMs, () => {
        const what = `backend "${backend}": ${scope.origin} is not loaded after ${timeoutMs} ms`
        late.reject(new BackendError('ORLA_BACKEND_UNREACHABLE', what, { retryable: true, details: { backend } }))
      })
      model.hold(true)
      try {
        return { state: 'ready', capabilities: capabilitiesOf(plan, await Promise.race([ready(), late.promise])) }
      } catch (error) {
        return { state: 'unreachable', error: toOrlaError(error, 'ORLA_BACKEND_UNREACHABLE', `probe of "${backend}"`) }
      } finally {
        clock.clearTimer(timer)
        if (pending.size === 0) model.hold(false)
      }
    },
    chat: (request, context, sink) => chat(request, context, false, sink),
    async countTokens(request, given?: KvOptions) {
      const { tokens = 0 } = await act({ type: 'count', request }, given?.signal)
      return tokens
    },
    async close() {
      if (closed) return
      closed = true
      const reason = new CancelledError('shutdown', `backend "${backend}" was closed`)
      for (const { settle } of pending.values()) settle({ ok: false, error: reason })
      await model.close()
      if (ownFolder !== undefined) await rm(ownFolder, { recursive: true, force: true })
    },
  }
}

/** What the model can do: known from the options, and better once it is loaded. */
function capabilitiesOf(plan: LlamaCppPlan, loaded: LoadedModel | undefined): Capabilities {
  const { settings } = plan
  const capabilities: Capabilities = {
    engine: 'llama-cpp',
    models: [settings.model],
    contextLength: loaded?.contextLength ?? plan.contextLength,
    concurrencyMax: plan.sequences,
    tools: settings.tools ?? loaded?.tools ?? true,
    jsonSchema: settings.jsonSchema ?? true,
    cachedTokens: 'always',
    sharedPrefix: false,
    priority: 'high-first',
    kv: { flushAll: 'exact', releaseSession: 'exact', isolate: 'exact', retain: 'best-effort' },
  }
  if (loaded !== undefined) capabilities.version = loaded.version
  return capabilities
}

/** The result of a call that also ends with a signal. */
async function cancellable<Value>(
  { result, cancel }: { result: Promise<Value>; cancel: (reason: OrlaError) => void },
  signal: AbortSignal | undefined,
): Promise<Value> {
  const stop = (): void => cancel(toOrlaError(signal?.reason, 'ORLA_CANCELLED', 'cancelled'))
  signal?.addEventListener('abort', stop, { once: true })
  if (signal?.aborted === true) stop()
  try {
    return await result
  } finally {
    signal?.removeEventListener('abort', stop)
  }
}
