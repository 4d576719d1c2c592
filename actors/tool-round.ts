// Tool calls of one turn
//
// Owns: the calls that a model made in one answer, their results, and how many run at once.
// Does not own: the tools (tool actors), what the stage does with the results.
// In:  start, settle, cancel (from its stage actor)   Out: tool.call, tool.cancel; tool.started, tool.ended; `done` once
// Invariants
//   R1. Every call has exactly one result when `done` is called, in the model's order; none after `cancel`.
//   R2. Never more than `parallelToolCalls` run at once.
//   R3. What cannot be run (unknown tool, too many calls) is answered to the model without running anything.

import { limits } from '../src/limits.ts'
import { parseJson } from '../src/schema/json.ts'
import type { Message, ToolCall } from '../src/schema/message.ts'
import type { StageState } from '../src/schema/transition.ts'
import type { StageDefinition } from '../src/workflow/definition.ts'
import type { ToolCallReport } from '../src/workflow/report.ts'
import type { Post, StageAddress, StageToolResult } from './messages.ts'
import type { TransitionBody } from './stage-host.ts'

/** What a round is made with. */
export interface ToolRoundInput {
  stage: StageDefinition
  definitionId: string
  /** Fields that every transition of the turn carries. */
  turn: { stage: string; turn: number; backend: string; model: string }
  replyTo: StageAddress
  post: Post
  emit(transition: TransitionBody): void
  /** Grows by one with each result. */
  report: ToolCallReport[]
  /** All results are there. */
  done(results: Message[]): void
}

interface Pending {
  call: ToolCall
  result: string | undefined
}

/** The tool calls of one turn. */
export class ToolRound {
  readonly #input: ToolRoundInput
  /** By id within the stage, in the model's order. */
  readonly #calls = new Map<string, Pending>()
  readonly #toStart: string[] = []

  constructor(input: ToolRoundInput) {
    this.#input = input
  }

  /** Starts as many calls as may run at once. */
  start(calls: readonly ToolCall[], from: StageState, reason: string): void {
    const { stage, turn } = this.#input
    let before = from
    calls.forEach((call, i) => {
      const callId = `${turn.turn}.${i + 1}`
      const pending: Pending = { call, result: undefined }
      this.#calls.set(callId, pending)
      const refusal = this.#refusal(call, i)
      if (refusal === undefined) return void this.#toStart.push(callId)
      this.#started(callId, call, before, reason)
      before = 'tooling'
      this.#ended(callId, pending, false, refusal, 0)
    })
    const first = this.#toStart.splice(0, stage.parallelToolCalls)
    for (const callId of first) {
      this.#call(callId, before, reason)
      before = 'tooling'
    }
    if (first.length === 0) this.#finish()
  }

  /** Takes a result. One that is not waited for is dropped. */
  settle({ callId, ok, content, durationMs }: StageToolResult): void {
    const pending = this.#calls.get(callId)
    if (pending === undefined || pending.result !== undefined) return
    this.#ended(callId, pending, ok, content, durationMs)
    const next = this.#toStart.shift()
    if (next === undefined) this.#finish()
    else this.#call(next, 'tooling', 'a place among the parallel calls came free')
  }

  /** Tells the tools that run that nobody waits for them. */
  cancel(): void {
    const { stage, definitionId, post, replyTo } = this.#input
    for (const [callId, { call, result }] of this.#calls) {
      if (result !== undefined || !stage.tools.has(call.name)) continue
      post(
        { actor: 'tool', definitionId, stage: stage.name, tool: call.name },
        { type: 'tool.cancel', callId, replyTo },
      )
    }
    this.#calls.clear()
  }

  /** Why a call is answered without running anything. */
  #refusal(call: ToolCall, place: number): string | undefined {
    const { tools } = this.#input.stage
    if (!tools.has(call.name)) {
      const known = tools.size === 0 ? 'none is offered' : `there are: ${[...tools.keys()].join(', ')}`
      return `error: there is no tool "${call.name}"; ${known}`
    }
    if (place < limits.toolCallsPerTurnMax) return undefined
    return `error: more than ${limits.toolCallsPerTurnMax} tool calls in one turn; this one was not made`
  }

  #call(callId: string, from: StageState, reason: string): void {
    const { stage, definitionId, post, replyTo } = this.#input
    const { call } = this.#calls.get(callId)!
    this.#started(callId, call, from, reason)
    post(
      { actor: 'tool', definitionId, stage: stage.name, tool: call.name },
      { type: 'tool.call', callId, arguments: call.arguments, replyTo },
    )
  }

  #started(callId: string, call: ToolCall, from: StageState, reason: string): void {
    const { turn } = this.#input
    const { name: tool, arguments: text } = call
    this.#input.emit({ ...turn, type: 'tool.started', from, to: 'tooling', reason, callId, tool, arguments: text })
  }

  #ended(callId: string, pending: Pending, ok: boolean, content: string, durationMs: number): void {
    const { turn, report } = this.#input
    pending.result = content
    const { name: tool, arguments: text } = pending.call
    const parsed = parseJson(text)
    report.push({ name: tool, arguments: parsed.ok ? parsed.value : text, ok })
    this.#input.emit({
      ...turn,
      type: 'tool.ended',
      from: 'tooling',
      to: 'tooling',
      reason: ok ? 'the tool answered' : 'the tool failed; the model is told',
      callId,
      tool,
      ok,
      durationMs,
      ...(!ok && { message: content }),
    })
  }

  /** Hands over the results once every call has one. */
  #finish(): void {
    const results: Message[] = []
    for (const { call, result } of this.#calls.values()) {
      if (result === undefined) return
      results.push({ role: 'tool', content: result, toolCallId: call.id })
    }
    this.#input.done(results)
  }
}
