// An answer as tokens: what a responder said, cut and padded to what the request allows.
//
// Pure. The chat engine hands these tokens out as the engine model says they exist.

import { randomStream, type Random } from '../clock.ts'
import type { ChatRequest, FinishReason } from '../schema/chat.ts'
import type { ToolCall } from '../schema/message.ts'
import { fillerText } from './filler.ts'
import { toolCallTokens } from './prompt-spans.ts'
import type { Reply } from './responder.ts'
import type { TokenText } from './token-text.ts'

/** A piece of an answer on its way out. */
export type AnswerPart =
  | { channel: 'content' | 'reasoning' | 'refusal'; text: string }
  /** A tool call opens; its arguments follow in `tool` parts. */
  | { channel: 'call'; index: number; id: string; name: string }
  | { channel: 'tool'; index: number; text: string }

/** A whole answer. */
export interface Answer {
  content: string
  reasoning: string
  refusal: string | undefined
  toolCalls: ToolCall[]
  finishReason: FinishReason
  /** At least 1. */
  tokens: number
  reasoningTokens: number
  /** What tokens `from` to `to` say. Parts of one channel are together; empty ones are left out. */
  parts(from: number, to: number): AnswerPart[]
}

/** A run of tokens of one channel. */
interface Segment {
  tokens: number
  part(from: number, to: number): AnswerPart | undefined
}

/**
 * Turns a reply into tokens: obeys `stop`, `maxTokens` and `ignoreEos`.
 *
 * @param tokensMax - tokens that fit behind the prompt, at least 1; `maxTokens` lowers it
 * @param random - for ids of tool calls that have none
 */
export function answerOf(
  request: ChatRequest,
  reply: Reply,
  tokensMax: number,
  text: TokenText,
  random: Random,
): Answer {
  const { maxTokens, stop, ignoreEos } = request.params
  const limit = Math.min(tokensMax, maxTokens ?? tokensMax)
  const pieces = {
    reasoning: textPieces(text, reply.reasoning ?? ''),
    refusal: textPieces(text, reply.refusal ?? ''),
    content: textPieces(text, cutAtStop(reply.content ?? '', stop ?? [])),
  }
  const calls = (reply.toolCalls ?? []).map((call) => ({
    id: call.id ?? `call_${Math.floor(random() * 2 ** 48).toString(36)}`,
    name: call.name,
    pieces: textPieces(
      text,
      typeof call.arguments === 'string' ? call.arguments : JSON.stringify(call.arguments ?? {}),
    ),
  }))

  const written =
    pieces.reasoning.length +
    pieces.refusal.length +
    pieces.content.length +
    calls.reduce((sum, call) => sum + toolCallTokens + call.pieces.length, 0)
  // An engine that ignores the end of the answer goes on to the limit.
  const padding = ignoreEos === true && maxTokens !== undefined ? Math.max(0, limit - written) : 0

  const segments: Segment[] = [
    textSegment('reasoning', pieces.reasoning),
    textSegment('refusal', pieces.refusal),
    textSegment('content', pieces.content),
    { tokens: padding, part: (from, to) => ({ channel: 'content', text: fillerText(from, to) }) },
  ]
  for (const [index, { id, name, pieces: fragments }] of calls.entries()) {
    segments.push({ tokens: toolCallTokens, part: () => ({ channel: 'call', index, id, name }) })
    segments.push({
      tokens: fragments.length,
      part: (from, to) => ({ channel: 'tool', index, text: fragments.slice(from, to).join('') }),
    })
  }

  const total = written + padding
  const tokens = Math.max(1, Math.min(total, limit))
  const parts = (from: number, to: number): AnswerPart[] => partsOf(segments, from, to)
  return {
    ...collect(parts(0, tokens)),
    finishReason: finishReasonOf(reply, total > tokens || padding > 0),
    tokens,
    reasoningTokens: Math.min(pieces.reasoning.length, tokens),
    parts,
  }
}

/**
 * The answer to a prompt without text that is to have an exact length: tokens without text. Undefined for all others.
 *
 * Its parts are one word each time that tokens exist, however many: they say that it goes on, and mean nothing.
 */
export function spanAnswer({ messages, params }: ChatRequest): Answer | undefined {
  const { ignoreEos, maxTokens } = params
  if (ignoreEos !== true || maxTokens === undefined || messages.at(-1)?.span === undefined) return undefined
  return {
    content: '',
    reasoning: '',
    refusal: undefined,
    toolCalls: [],
    finishReason: 'length',
    tokens: maxTokens,
    reasoningTokens: 0,
    parts: (from) => [{ channel: 'content', text: fillerText(from, from + 1) }],
  }
}

/**
 * A random stream that equal requests share, whatever ran before them. Requests are equal if they ask the same, however
 * they came: the order of keys and defaults that are spelled out make no difference.
 */
export function requestRandom(seed: number, request: ChatRequest): Random {
  const { model, messages, tools = [], toolChoice = 'auto', responseSchema, params } = request
  const said = messages.map((message) => [
    message.role,
    message.content,
    message.role === 'tool' ? message.toolCallId : '',
    message.role === 'assistant' ? message.toolCalls?.map((call) => [call.id, call.name, call.arguments]) : [],
    message.span?.to,
  ])
  const offered = tools.map(({ name, parameters }) => [name, parameters, toolChoice])
  return randomStream(seed, JSON.stringify([model, said, offered, responseSchema?.schema, params.seed]))
}

function textPieces(text: TokenText, value: string): string[] {
  return value === '' ? [] : text.pieces(value)
}

function textSegment(channel: 'content' | 'reasoning' | 'refusal', pieces: readonly string[]): Segment {
  return { tokens: pieces.length, part: (from, to) => ({ channel, text: pieces.slice(from, to).join('') }) }
}

function cutAtStop(content: string, stop: readonly string[]): string {
  const ends = stop.map((text) => content.indexOf(text)).filter((at) => at >= 0)
  return ends.length === 0 ? content : content.slice(0, Math.min(...ends))
}

function partsOf(segments: readonly Segment[], from: number, to: number): AnswerPart[] {
  const parts: AnswerPart[] = []
  let start = 0
  for (const segment of segments) {
    const end = start + segment.tokens
    if (from < end && to > start) {
      const part = segment.part(Math.max(from - start, 0), Math.min(to - start, segment.tokens))
      const before = parts.at(-1)
      if (part === undefined || ('text' in part && part.text === '')) {
        // Part of a character: the token that completes it carries the text.
      } else if (before?.channel === 'content' && part.channel === 'content') {
        before.text += part.text
      } else {
        parts.push(part)
      }
    }
    start = end
  }
  return parts
}

function collect(parts: readonly AnswerPart[]): Pick<Answer, 'content' | 'reasoning' | 'refusal' | 'toolCalls'> {
  const texts = { content: '', reasoning: '', refusal: '' }
  const toolCalls: ToolCall[] = []
  for (const part of parts) {
    if (part.channel === 'call') toolCalls[part.index] = { id: part.id, name: part.name, arguments: '' }
    else if (part.channel === 'tool') toolCalls[part.index]!.arguments += part.text
    else texts[part.channel] += part.text
  }
  return { ...texts, refusal: texts.refusal === '' ? undefined : texts.refusal, toolCalls }
}

function finishReasonOf(reply: Reply, cut: boolean): FinishReason {
  if (cut) return 'length'
  return reply.finishReason ?? ((reply.toolCalls?.length ?? 0) > 0 ? 'tool_calls' : 'stop')
}
