// A backend whose answers a test decides: deltas, results, errors, silence. It records what was sent, cancelled, closed.

import type { Clock, Timer } from '../../src/clock.ts'
import type { BackendDefinition } from '../../src/engines/backend-definition.ts'
import type { ChatContext, ChatSink, ProbeResult } from '../../src/engines/driver.ts'
import type { OrlaError } from '../../src/errors.ts'
import { BackendSettings, type BackendOptions } from '../../src/schema/backend.ts'
import type { Capabilities } from '../../src/schema/capabilities.ts'
import type { ChatRequest, ChatResult, DeltaChannel } from '../../src/schema/chat.ts'
import type { ToolCall } from '../../src/schema/message.ts'

/** What a result is made of, where a test does not care for the rest. */
export type Answer =
  | string
  | (Omit<Partial<ChatResult>, 'toolCalls'> & { toolCalls?: (Partial<ToolCall> & { name: string })[] })

/** One request that the runtime sent. */
export class ScriptedCall {
  readonly request: ChatRequest
  readonly context: ChatContext
  readonly atMs: number
  readonly result: Promise<ChatResult>
  /** Why the runtime stopped it. */
  cancelled: OrlaError | undefined
  #settled = false
  readonly #onSettled: () => void
  readonly #sink: ChatSink
  readonly #clock: Clock
  #timer: Timer | undefined
  readonly #resolve: (result: ChatResult) => void
  readonly #reject: (error: OrlaError) => void

  constructor(request: ChatRequest, context: ChatContext, sink: ChatSink, clock: Clock, onSettled: () => void) {
    const { promise, resolve, reject } = Promise.withResolvers<ChatResult>()
    this.request = request
    this.context = context
    this.atMs = clock.nowMs()
    this.result = promise
    this.#onSettled = onSettled
    this.#sink = sink
    this.#clock = clock
    this.#resolve = resolve
    this.#reject = reject
  }

  get settled(): boolean {
    return this.#settled
  }

  /** The stage that asked, taken from the request id. */
  get stage(): string {
    return this.context.requestId.split('/')[1]!
  }

  /** The text of the last message. */
  get lastText(): string {
    return this.request.messages.at(-1)!.content
  }

  delta(text: string, channel: DeltaChannel = 'content'): this {
    if (!this.settled) this.#sink.delta(channel, text)
    return this
  }

  /** Ends the call with an answer, `afterMs` from now (default: at once). */
  answer(answer: Answer = 'ok', afterMs?: number): void {
    this.#later(afterMs, () => {
      this.#settle()
      this.#resolve(resultOf(answer))
    })
  }

  /** Ends the call with an error, `afterMs` from now (default: at once). */
  fail(error: OrlaError, afterMs?: number): void {
    this.#later(afterMs, () => {
      this.#settle()
      this.#reject(error)
    })
  }

  cancel(reason: OrlaError): void {
    if (this.settled) return
    this.#settle()
    this.cancelled = reason
    this.#clock.clearTimer(this.#timer)
    this.#reject(reason)
  }

  #settle(): void {
    this.#settled = true
    this.#onSettled()
  }

  #later(afterMs: number | undefined, end: () => void): void {
    if (afterMs === undefined) {
      if (!this.settled) end()
    } else {
      this.#timer = this.#clock.setTimer(afterMs, () => {
        if (!this.settled) end()
      })
    }
  }
}

function resultOf(answer: Answer): ChatResult {
  const { toolCalls, ...rest } = typeof answer === 'string' ? { content: answer, toolCalls: undefined } : answer
  const calls = (toolCalls ?? []).map((call, i) => ({ id: `call-${i + 1}`, arguments: '{}', ...call }))
  return {
    content: '',
    reasoning: '',
    finishReason: calls.length > 0 ? 'tool_calls' : 'stop',
    usage: { promptTokens: 10, cachedTokens: 0, completionTokens: 5 },
    ...rest,
    toolCalls: calls,
  }
}

/** Decides what happens to a call. Without one, calls hang until the test ends them. */
export type Script = (call: ScriptedCall, index: number) => void

/** A backend under a test's control. */
export interface ScriptedBackend extends BackendDefinition {
  /** Every call so far, in order. */
  readonly calls: ScriptedCall[]
  /** Calls that neither ended nor were cancelled. */
  readonly open: ScriptedCall[]
  /** Most calls that were open at once. */
  readonly openMax: number
  /** Times that the driver was closed. */
  readonly closed: number
  /** Replaces the script for the calls that come. */
  script: Script
}

/** Makes a backend under a test's control. */
export function scripted(
  script: Script = () => {},
  options: Partial<BackendOptions> & { capabilities?: Partial<Capabilities>; probe?: ProbeResult } = {},
): ScriptedBackend {
  const { capabilities: declared, probe, ...settings } = options
  const calls: ScriptedCall[] = []
  const open = (): ScriptedCall[] => calls.filter((call) => !call.settled)
  let openMax = 0
  let closed = 0
  const backend = {
    engine: 'scripted',
    settings: BackendSettings.parse({ model: 'scripted-model', ...settings }),
    calls,
    script,
    get open() {
      return open()
    },
    get openMax() {
      return openMax
    },
    get closed() {
      return closed
    },
    connect({ clock }: { clock: Clock }) {
      const capabilities: Capabilities = {
        engine: 'scripted',
        tools: true,
        jsonSchema: true,
        cachedTokens: 'always',
        sharedPrefix: true,
        kv: { flushAll: 'none', releaseSession: 'none', isolate: 'none', retain: 'none' },
        ...declared,
      }
      let openNow = 0
      return Promise.resolve({
        capabilities,
        probe: () => Promise.resolve(probe ?? { state: 'ready' as const, capabilities }),
        chat(request: ChatRequest, context: ChatContext, sink: ChatSink) {
          const call = new ScriptedCall(request, context, sink, clock, () => void openNow--)
          calls.push(call)
          openMax = Math.max(openMax, ++openNow)
          backend.script(call, calls.length - 1)
          return call
        },
        close() {
          closed++
          return Promise.resolve()
        },
      })
    },
  }
  return backend
}
