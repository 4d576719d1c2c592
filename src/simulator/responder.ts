// Responders: who decides what a simulated model says. The engine model decides how long it takes.

import { OptionsError, messageOf } from '../errors.ts'
import type { Random } from '../clock.ts'
import type { ChatRequest, FinishReason } from '../schema/chat.ts'
import type { ToolCall } from '../schema/message.ts'

/** A tool call as a responder writes it. The id is made up where absent. */
export interface ReplyCall {
  id?: string
  name: string
  /** Object, or JSON text as a model would write it, possibly wrong. */
  arguments: unknown
}

/** What a simulated model says. An empty reply is an empty answer of one token. */
export interface Reply {
  content?: string
  /** Thinking, streamed before the content. */
  reasoning?: string
  toolCalls?: readonly ReplyCall[]
  /** `tool_calls` with calls and `stop` without, unless said otherwise. A cut by maxTokens always says `length`. */
  finishReason?: Exclude<FinishReason, 'other'>
  /** The model refuses, in these words. */
  refusal?: string
  /** The engine answers with this error instead, at once. `status` is an HTTP status, 400..599. */
  error?: { status: number; message: string }
}

/** What a responder is told besides the request. */
export interface ResponderContext {
  /** Drawn from the seed and the request: equal requests get equal numbers, whatever ran before. */
  random: Random
  /** Model that answers. */
  model: string
}

/** Decides what a simulated model says. Deterministic as long as it draws chance from its context only. */
export type Responder = (request: ChatRequest, context: ResponderContext) => Reply

/** Tool calls that earlier turns of this conversation made, in order. */
export function earlierToolCalls(request: ChatRequest): ToolCall[] {
  return request.messages.flatMap((message) => (message.role === 'assistant' ? (message.toolCalls ?? []) : []))
}

/** The text of the last message of the user; empty when there is none. */
export function lastUserText(request: ChatRequest): string {
  return request.messages.findLast((message) => message.role === 'user')?.content ?? ''
}

/**
 * Loads the responder that a module exports by the name `responder`.
 *
 * @param url - `file:` URL of the module
 * @throws {OptionsError} `ORLA_OPTIONS` if the module cannot be loaded or exports no such function
 */
export async function importResponder(url: string): Promise<Responder> {
  return (await importExport(url, 'responder')) as Responder
}

/**
 * Loads the function that a module exports by `name`.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` if the module cannot be loaded or exports no such function
 */
export async function importExport(url: string, name: string): Promise<(...given: never[]) => unknown> {
  const fail = (message: string): never => {
    throw new OptionsError('a module of a simulated engine', [{ path: name, code: 'module', message }])
  }
  let loaded: Record<string, unknown>
  try {
    loaded = (await import(url)) as Record<string, unknown>
  } catch (error) {
    return fail(`cannot load ${url}: ${messageOf(error)}`)
  }
  const value = loaded[name]
  if (typeof value !== 'function') return fail(`${url} exports no function named "${name}"`)
  return value as (...given: never[]) => unknown
}
