// Tool calls put together from the pieces of a stream
//
// Owns: the calls of one answer while they grow.
// Invariants
//   T1. No call is ever completed by guessing: one without a name is a problem, arguments stay as the model wrote them.
//   T2. Pieces of one call end up in one call, whether the engine numbers them, names them by id, or does neither.
//   T3. Every piece costs constant time.

import { jsonDepthExceeds } from '../schema/json.ts'
import type { ToolCall } from '../schema/message.ts'
import { limits } from '../limits.ts'

interface GrowingCall {
  index: number | undefined
  id: string | undefined
  name: string | undefined
  arguments: string
}

/** The calls of an answer, or why they cannot be used. */
type MergedToolCalls = { ok: true; calls: ToolCall[] } | { ok: false; problem: string }

/** What one delta brought: text of arguments to hand on, perhaps empty, or why it cannot be used. */
type MergedPiece = { ok: true; text: string } | { ok: false; problem: string }

/** Merges the tool call deltas of one answer. */
export class ToolCallMerger {
  readonly #calls: GrowingCall[] = []
  readonly #byIndex = new Map<number, GrowingCall>()
  readonly #byId = new Map<string, GrowingCall>()

  /** Takes one element of `delta.tool_calls`. */
  add(piece: unknown): MergedPiece {
    if (typeof piece !== 'object' || piece === null) return { ok: false, problem: 'a tool call is not an object' }
    const raw = piece as { index?: unknown; id?: unknown; function?: unknown }
    const details = (typeof raw.function === 'object' && raw.function !== null ? raw.function : {}) as {
      name?: unknown
      arguments?: unknown
    }
    const index = typeof raw.index === 'number' && Number.isInteger(raw.index) && raw.index >= 0 ? raw.index : undefined
    const id = nonEmpty(raw.id)
    const name = nonEmpty(details.name)
    const call = this.#find(index, id, name) ?? this.#open(index)
    if (call.id === undefined && id !== undefined) {
      call.id = id
      this.#byId.set(id, call)
    }
    call.name ??= name
    const text = argumentsText(details.arguments)
    if (text === undefined) return { ok: false, problem: 'the arguments of a tool call are neither text nor an object' }
    call.arguments += text
    return { ok: true, text }
  }

  /**
   * The calls, in the engine's order; gaps in its numbering close up.
   *
   * @param firstNumber - number of the first id that is made up (`call_<n>`) where the engine gave none
   */
  finish(firstNumber: number): MergedToolCalls {
    const calls: ToolCall[] = []
    const taken = new Set<string>()
    let number = firstNumber
    for (const call of this.#calls.toSorted((a, b) => (a.index ?? Infinity) - (b.index ?? Infinity) || 0)) {
      if (call.name === undefined) return { ok: false, problem: 'a tool call has no name' }
      // An id that the engine used twice would leave two results with one address.
      let id = call.id !== undefined && taken.has(call.id) ? undefined : call.id
      while (id === undefined) {
        const candidate = `call_${number++}`
        if (!this.#byId.has(candidate)) id = candidate
      }
      taken.add(id)
      calls.push({ id, name: call.name, arguments: call.arguments })
    }
    return { ok: true, calls }
  }

  #find(index: number | undefined, id: string | undefined, name: string | undefined): GrowingCall | undefined {
    if (index !== undefined) {
      const call = this.#byIndex.get(index)
      const named = id === undefined ? undefined : this.#byId.get(id)
      if (named?.index === index) return named
      // Some engines number every call 0: a second id together with a name is a second call. An id alone is not,
      // because others make up a new id for each piece.
      const another = call?.id !== undefined && id !== undefined && id !== call.id && name !== undefined
      return another ? undefined : call
    }
    if (id !== undefined) return this.#byId.get(id)
    return name === undefined ? this.#calls.at(-1) : undefined
  }

  #open(index: number | undefined): GrowingCall {
    const call: GrowingCall = { index, id: undefined, name: undefined, arguments: '' }
    this.#calls.push(call)
    if (index !== undefined) this.#byIndex.set(index, call)
    return call
  }
}

function nonEmpty(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

function argumentsText(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  if (value === undefined || value === null) return ''
  // Depth first: JSON.parse accepts nesting that JSON.stringify dies of.
  if (typeof value !== 'object' || jsonDepthExceeds(value, limits.jsonDepthMax)) return undefined
  return JSON.stringify(value)
}
