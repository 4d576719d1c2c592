// Prompts as spans of tokens: what an engine model sees of a conversation.
//
// A text message is a stream of its own, named by a hash of all that reaches the prompt. So two conversations share
// a prefix exactly as far as their messages are equal, and the answer of one turn is found again in the next prompt.
// Owns: counts by hash (bounded) and spans by message identity (weak).

import { hash } from 'node:crypto'
import type { ToolSpec } from '../schema/chat.ts'
import type { Message, TokenSpan, ToolCall } from '../schema/message.ts'
import { BoundedMap } from './bounded-map.ts'
import type { TokenText } from './token-text.ts'

/** Tokens that a chat template puts around each message (ChatML: start, role, newline, end). */
const templateTokensPerMessage = 4

/** Token that marks a tool call and carries its name. */
export const toolCallTokens = 1

/** Counts that are kept. At 100 bytes each this is 5 MB. */
const countsMax = 50_000

/** Turns conversations into spans. Keeps counts, so that a conversation that grows by a message costs that message. */
export interface PromptSpans {
  /** The prompt of these messages, with the tools that are offered. Equal messages give equal spans. */
  prompt(messages: readonly Message[], tools?: readonly ToolSpec[]): TokenSpan[]
  /** Where the answer to `messages` lies: the stream that the next prompt will name if it contains `answer`. */
  answer(messages: readonly Message[], answer: AnswerIdentity): TokenSpan
}

/** What identifies an answer. */
export interface AnswerIdentity {
  content: string
  toolCalls: readonly ToolCall[]
  /** All tokens, thinking included. At least 1. */
  tokens: number
  /** It contains thinking. Templates drop that from the next prompt, so nothing behind it can be found again. */
  reasoned: boolean
  /** Id of the request, unique: names streams that must never be found again. */
  requestId: string
}

/** Makes a {@link PromptSpans} that counts with `text`. */
export function promptSpans(text: TokenText): PromptSpans {
  const counts = new BoundedMap<string, number>(countsMax)
  const spans = new WeakMap<object, TokenSpan>()

  const counted = (name: string, count: () => number): TokenSpan => {
    let tokens = counts.get(name)
    if (tokens === undefined) counts.set(name, (tokens = count()))
    return { stream: name, from: 0, to: tokens }
  }

  const spanOf = (message: Message): TokenSpan => {
    if (message.span !== undefined) return message.span
    let span = spans.get(message)
    if (span === undefined) spans.set(message, (span = counted(streamOf(message), () => tokensOf(message, text))))
    return span
  }

  const toolsSpan = (tools: readonly ToolSpec[]): TokenSpan => {
    let span = spans.get(tools)
    if (span === undefined) {
      const json = JSON.stringify(tools.map(({ name, description, parameters }) => [name, description, parameters]))
      spans.set(tools, (span = counted(`tools:${digest(json)}`, () => text.count(json))))
    }
    return span
  }

  return {
    prompt(messages, tools) {
      const prompt = messages.map(spanOf).filter((span) => span.to > span.from)
      if (tools !== undefined && tools.length > 0) prompt.unshift(toolsSpan(tools))
      return prompt
    },
    answer(messages, { content, toolCalls, tokens, reasoned, requestId }) {
      const last = messages.at(-1)?.span
      if (last !== undefined) return { stream: last.stream, from: last.to, to: last.to + tokens }
      const stream = reasoned
        ? `thought:${requestId}`
        : streamOf({ role: 'assistant', content, toolCalls: [...toolCalls] })
      return { stream, from: 0, to: tokens }
    },
  }
}

/** The name of a text message's stream. */
function streamOf(message: Message): string {
  const calls = message.role === 'assistant' ? (message.toolCalls ?? []) : []
  const identity: unknown[] = [message.role, message.content]
  for (const call of calls) identity.push(call.id, call.name, call.arguments)
  if (message.role === 'tool') identity.push(message.toolCallId)
  return `text:${digest(JSON.stringify(identity))}`
}

function tokensOf(message: Message, text: TokenText): number {
  let tokens = templateTokensPerMessage + text.count(message.content)
  if (message.role === 'assistant') {
    for (const call of message.toolCalls ?? []) tokens += toolCallTokens + text.count(call.arguments)
  }
  return tokens
}

/** About 128 bits: two texts out of 10^15 share a digest with a chance of 10^-9. */
function digest(text: string): string {
  return hash('sha256', text, 'base64url').slice(0, 22)
}
