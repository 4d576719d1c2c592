// Tool actor
//
// Owns: the calls of one tool that run or wait, its concurrency limit and its deadlines.
// Does not own: what a stage does with a result.
// In:  tool.call, tool.cancel   Out: stage.toolResult
// Invariants
//   T1. Every call that is not cancelled gets exactly one result, whatever the tool does: throw, hang, settle twice.
//   T2. Arguments are checked against the tool's schema before the tool sees them.
//   T3. A result is text of bounded length. What cannot be put into JSON is an error to the model, not a crash.

import { roundMs, type Clock, type Timer } from '../src/clock.ts'
import { messageOf } from '../src/errors.ts'
import { limits } from '../src/limits.ts'
import type { Logger } from '../src/log.ts'
import { parseJson } from '../src/schema/json.ts'
import { check } from '../src/schema/standard.ts'
import type { ToolDefinition } from '../src/workflow/tool.ts'
import { guarded, stateLogic, type ActorState } from './logic.ts'
import type { Post, StageAddress, ToolCallMessage, ToolMessage } from './messages.ts'

/** What a tool actor is made with. */
export interface ToolInput {
  name: string
  definition: ToolDefinition
  clock: Clock
  log: Logger
  post: Post
}

interface Call {
  message: ToolCallMessage
  /** Made when the call starts; aborting it tells the tool. */
  controller: AbortController | undefined
  timer: Timer | undefined
  startedAtMs: number
}

/** State of a tool actor, changed in place. */
export class ToolState implements ActorState<ToolMessage> {
  onCrash?: ((error: unknown) => void) | undefined
  readonly #input: ToolInput
  readonly #concurrency: number
  readonly #running = new Map<string, Call>()
  readonly #waiting = new Map<string, Call>()

  constructor(input: ToolInput) {
    this.#input = input
    this.#concurrency = input.definition.concurrency ?? Number.POSITIVE_INFINITY
  }

  handle(message: ToolMessage): void {
    const key = keyOf(message.replyTo, message.callId)
    if (message.type === 'tool.cancel') return this.#cancel(key)
    const call: Call = { message, controller: undefined, timer: undefined, startedAtMs: this.#input.clock.nowMs() }
    if (this.#running.size < this.#concurrency) return this.#start(key, call)
    if (this.#waiting.size < limits.toolCallsWaitingMax) return void this.#waiting.set(key, call)
    this.#answer(message, false, `error: ${limits.toolCallsWaitingMax} calls of this tool wait already`, 0)
  }

  /** A message could not be handled: a bug, said loudly, that must not stop the tool for others. */
  report(error: unknown, message: ToolMessage): void {
    if (message.type === 'tool.call') {
      const { callId, replyTo } = message
      const known = this.#running.has(keyOf(replyTo, callId)) || this.#waiting.has(keyOf(replyTo, callId))
      if (!known) this.#answer(message, false, brokeMessage, 0)
    }
    this.#input.log.error({ tool: this.#input.name, message: message.type, error }, 'tool actor failed')
  }

  /** Ends every call, in words for the model: the actor broke, or goes. */
  stop(): void {
    const calls = [...this.#running, ...this.#waiting]
    this.#waiting.clear()
    for (const [key, call] of calls) {
      this.#forget(key, call)
      this.#answer(call.message, false, brokeMessage, 0)
      call.controller?.abort()
    }
  }

  #cancel(key: string): void {
    this.#waiting.delete(key)
    const call = this.#running.get(key)
    if (call === undefined) return
    this.#forget(key, call)
    call.controller?.abort()
    this.#startNext()
  }

  #start(key: string, call: Call): void {
    const { clock, definition, name } = this.#input
    this.#running.set(key, call)
    call.controller = new AbortController()
    const timeoutMs = definition.timeoutMs ?? limits.toolTimeoutMsDefault
    call.timer = clock.setTimer(timeoutMs, () => {
      this.#settle(key, call, false, `error: tool "${name}" did not answer within ${timeoutMs} ms`)
      call.controller?.abort()
    })
    this.#run(call).then(
      (text) => this.#settle(key, call, true, text),
      (error: unknown) => this.#settle(key, call, false, `error: ${messageOf(error)}`),
    )
  }

  async #run(call: Call): Promise<string> {
    const { name, definition } = this.#input
    const { message } = call
    // Engines send an empty string for a call without arguments.
    const parsed = parseJson(message.arguments.trim() === '' ? '{}' : message.arguments)
    if (!parsed.ok) throw new Error(`the arguments of "${name}" are not JSON: ${parsed.message}`)
    const checked = await check(definition.input, parsed.value, 'arguments')
    if (!checked.ok) {
      const listed = checked.issues.slice(0, 20).map((issue) => `${issue.path}: ${issue.message}`)
      throw new Error(`the arguments of "${name}" do not match its schema: ${listed.join('; ')}`)
    }
    const result: unknown = await definition.run(checked.value, {
      runId: message.replyTo.runId,
      stage: message.replyTo.stage,
      callId: message.callId,
      idempotencyKey: keyOf(message.replyTo, message.callId),
      signal: call.controller!.signal,
    })
    return toText(result)
  }

  /** The first settlement wins; a late one finds the call gone (T1). */
  #settle(key: string, call: Call, ok: boolean, content: string): void {
    if (this.#running.get(key) !== call) return
    this.#forget(key, call)
    this.#answer(call.message, ok, bounded(content), roundMs(this.#input.clock.nowMs() - call.startedAtMs))
    guarded(
      this,
      (error) => this.#input.log.error({ tool: this.#input.name, error }, 'tool actor failed'),
      () => this.#startNext(),
    )()
  }

  #answer({ replyTo, callId }: ToolCallMessage, ok: boolean, content: string, durationMs: number): void {
    this.#input.post(replyTo, { type: 'stage.toolResult', callId, ok, content, durationMs })
  }

  #forget(key: string, call: Call): void {
    this.#running.delete(key)
    this.#input.clock.clearTimer(call.timer)
  }

  #startNext(): void {
    for (const [key, call] of this.#waiting) {
      if (this.#running.size >= this.#concurrency) return
      this.#waiting.delete(key)
      this.#start(key, call)
    }
  }
}

const brokeMessage = 'error: the tool was stopped before it answered'

function keyOf(replyTo: StageAddress, callId: string): string {
  return `${replyTo.runId}/${replyTo.stage}/${callId}`
}

function toText(result: unknown): string {
  // JSON.stringify(undefined) is undefined: a tool that returns nothing has done its work.
  return typeof result === 'string' ? result : (JSON.stringify(result) ?? 'done')
}

/** Results and errors alike: what a tool throws may be as long as what it returns. */
function bounded(text: string): string {
  if (text.length <= limits.toolResultCharsMax) return text
  return `${text.slice(0, limits.toolResultCharsMax)}\n[cut: the result has ${text.length} characters]`
}

/** Logic of a tool actor. */
export const toolLogic = stateLogic<ToolState, ToolMessage, ToolInput>(
  (input) => new ToolState(input),
  (state, error, message) => state.report(error, message),
)
