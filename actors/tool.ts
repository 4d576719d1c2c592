// Tool actor
//
// Owns: the calls of one tool that run or wait, its concurrency limit and its deadlines.
// Does not own: what a stage does with a result.
// In:  tool.call, tool.cancel   Out: stage.toolResult
// Invariants
//   T1. Every call that is not cancelled gets exactly one result, whatever the tool does: throw, hang, settle twice.
//   T2. Arguments are checked against the tool's schema before the tool sees them.
//   T3. A result is text of bounded length. What cannot be put into JSON is an error to the model, not a crash.
//   T4. A call that was cancelled, or whose time is up, and whose function does not heed its signal, is a stray. With a
//       limit it keeps its place until the function ends, for `toolStrayMs` at most: then others may have it, and the log
//       says so. With `toolStraysMax` strays further calls are refused, in words for the model. When no run is live that
//       has the tool, its actor ends, and what is left of its strays is nobody's.

import { roundMs, type Clock, type Timer } from '../src/clock.ts'
import { messageOf } from '../src/errors.ts'
import { limits } from '../src/limits.ts'
import type { Logger } from '../src/log.ts'
import { parseJson } from '../src/schema/json.ts'
import { check } from '../src/schema/standard.ts'
import type { ToolDefinition } from '../src/workflow/tool.ts'
import { guarded, type ActorState, type StateLogic } from './logic.ts'
import type { Post, StageAddress, ToolCallMessage, ToolMessage } from './messages.ts'
import { TurnoverMap } from '../src/turnover-map.ts'

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
  /** Its deadline; of a stray, when its place is given away. */
  timer: Timer | undefined
  startedAtMs: number
}

/** State of a tool actor, changed in place. */
export class ToolState implements ActorState<ToolMessage> {
  onCrash?: ((error: unknown) => void) | undefined
  readonly #input: ToolInput
  readonly #concurrency: number
  readonly #running = new TurnoverMap<string, Call>()
  readonly #waiting = new TurnoverMap<string, Call>()
  /** Calls that have their answer, or need none, and whose functions still run; true: they have a place. */
  readonly #strays = new Map<Call, boolean>()
  #straysPlaced = 0

  constructor(input: ToolInput) {
    this.#input = input
    this.#concurrency = input.definition.concurrency ?? Number.POSITIVE_INFINITY
  }

  handle(message: ToolMessage): void {
    const key = keyOf(message.replyTo, message.callId)
    if (message.type === 'tool.cancel') return this.#cancel(key)
    const call: Call = { message, controller: undefined, timer: undefined, startedAtMs: this.#input.clock.nowMs() }
    if (this.#strays.size >= limits.toolStraysMax) {
      return this.#answer(
        message,
        false,
        `error: ${this.#strays.size} calls of this tool were stopped and still run`,
        0,
      )
    }
    if (this.#free) return this.#start(key, call)
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
    for (const call of this.#strays.keys()) this.#input.clock.clearTimer(call.timer)
    this.#strays.clear()
    this.#straysPlaced = 0
  }

  #cancel(key: string): void {
    this.#waiting.delete(key)
    const call = this.#running.get(key)
    if (call === undefined) return
    this.#forget(key, call)
    this.#strand(call)
  }

  /** Tells a function that runs to stop, and waits for it to do so. */
  #strand(call: Call): void {
    const { clock, log, name } = this.#input
    const isPlaced = this.#concurrency !== Infinity
    this.#strays.set(call, isPlaced)
    if (isPlaced) {
      this.#straysPlaced++
      call.timer = clock.setTimer(
        limits.toolStrayMs,
        this.#guarded(() => {
          log.warn(
            { tool: name, ...call.message.replyTo },
            'a tool that was told to stop still runs; its place is given away',
          )
          this.#strays.set(call, false)
          this.#straysPlaced--
          this.#startNext()
        }),
      )
    }
    call.controller?.abort()
  }

  /** The function of a call has ended. */
  #returned(call: Call): void {
    const wasPlaced = this.#strays.get(call)
    if (wasPlaced === undefined) return
    this.#strays.delete(call)
    if (!wasPlaced) return
    this.#straysPlaced--
    this.#input.clock.clearTimer(call.timer)
    this.#guarded(() => this.#startNext())()
  }

  get #free(): boolean {
    return this.#running.size + this.#straysPlaced < this.#concurrency
  }

  #start(key: string, call: Call): void {
    const { clock, definition, name } = this.#input
    this.#running.set(key, call)
    call.controller = new AbortController()
    const timeoutMs = definition.timeoutMs ?? limits.toolTimeoutMsDefault
    call.timer = clock.setTimer(timeoutMs, () => {
      this.#forget(key, call)
      this.#strand(call)
      this.#tell(call, false, `error: tool "${name}" did not answer within ${timeoutMs} ms`)
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

  /** A function has ended. What it says after its time was up, or it was cancelled, nobody hears (T1). */
  #settle(key: string, call: Call, ok: boolean, content: string): void {
    if (this.#running.get(key) !== call) return this.#returned(call)
    this.#forget(key, call)
    this.#tell(call, ok, content)
    this.#guarded(() => this.#startNext())()
  }

  #tell(call: Call, ok: boolean, content: string): void {
    this.#answer(call.message, ok, bounded(content), roundMs(this.#input.clock.nowMs() - call.startedAtMs))
  }

  #guarded(run: () => void): () => void {
    const { log, name } = this.#input
    return guarded(this, (error) => log.error({ tool: name, error }, 'tool actor failed'), run)
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
      if (!this.#free) return
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
export const toolLogic: StateLogic<ToolState, ToolMessage, ToolInput> = {
  create: (input) => new ToolState(input),
  onError: (state, error, message) => state.report(error, message),
}
