// Measuring of conversations
//
// Owns: tokens and hash of every message and tool that was seen, by object identity; tokens of texts that repeat.
// Does not own: the messages (they are never changed after they were made), and corrections by model (correction.ts).
// Invariants
//   M1. A message object is counted and hashed once, however many conversations hold it: a conversation that grows by
//       one message costs one message.
//   M2. measure(a).tokens + measure(b).tokens = measure([...a, ...b]).tokens.
//   M3. The chain of a prefix of a conversation is a prefix of its chain.
//   M4. Nothing keeps a message alive: what was learned about it goes with it.

import { OptionsError } from '../errors.ts'
import type { ToolSpec } from '../schema/chat.ts'
import type { Message } from '../schema/message.ts'
import { linkHash, type ContextChain } from './chain.ts'
import { Digest } from './digest.ts'
import type { TokenEstimator } from './estimator.ts'
import { createTextMemo } from './text-memo.ts'

/**
 * Tokens that a chat template puts around each message, tool call and tool.
 *
 * ChatML writes a start mark, the role, a line break and an end mark: 4. Other templates differ by one or two, which
 * the correction of the model absorbs.
 */
export const frameTokens = 4

/** Characters of repeating texts that are remembered, in each of two generations (text-memo.ts): 16 MB at most. */
const memoCharsMax = 4 * 1024 * 1024

/** Root of the chains of prompts without tools. */
const noTools = new Digest().text('tools').hex()

/** What is known of one message, whatever stands before it. Plain data. */
export interface MessageFacts {
  /** Estimated tokens, template included. */
  tokens: number
  /** Hash of role, content, tool calls and tool id, or of the span: 16 hexadecimal digits. */
  hash: string
}

/** What is known of one prompt. Plain data. */
export interface PromptMeasure {
  /** Estimated tokens of tools and messages together, before correction. */
  tokens: number
  chain: ContextChain
}

/** Measures prompts and remembers what it measured. */
export interface PromptMeter {
  readonly estimator: TokenEstimator
  /**
   * Tokens and context chain of a prompt. Only messages and tools that were never measured are looked at.
   *
   * @param tools - the tools offered: they are the root of the chain, in the order given
   */
  measure(messages: readonly Message[], tools?: readonly ToolSpec[]): PromptMeasure
  /** Tokens of one text. Texts that come again are remembered. */
  count(text: string): number
  /** The messages that `measure` would have to count, once each; none of those whose text is known from elsewhere. */
  unseen(messages: readonly Message[]): Message[]
  /** True if the tokens of `text` are remembered. */
  knows(text: string): boolean
  /** Takes over what was measured elsewhere about a message. What is known already stays. */
  adopt(message: Message, facts: MessageFacts): void
  /** Takes over the tokens of a text that was counted elsewhere. */
  adoptText(text: string, tokens: number): void
}

/** Facts of a message, and the last link of a chain it was part of: growing conversations ask for the same one again. */
interface Entry extends MessageFacts {
  previous: string
  linked: string
}

/**
 * Makes a meter with nothing in its memory.
 *
 * @param estimator - counts each text; a fraction is rounded up
 * @throws {OptionsError} `ORLA_OPTIONS`, while measuring, if the estimator returns something that is not a count
 */
export function createPromptMeter(estimator: TokenEstimator): PromptMeter {
  const entries = new WeakMap<Message, Entry>()
  const toolEntries = new WeakMap<ToolSpec, MessageFacts>()
  const memo = createTextMemo(memoCharsMax)

  const count = (text: string): number => {
    const known = memo.get(text)
    if (known !== undefined) return known
    const tokens = countWith(estimator, text)
    memo.set(text, tokens)
    return tokens
  }

  const adopt = (message: Message, { tokens, hash }: MessageFacts): Entry => {
    const known = entries.get(message)
    if (known !== undefined) return known
    const entry: Entry = { tokens, hash, previous: '', linked: '' }
    entries.set(message, entry)
    return entry
  }

  const toolFacts = (tool: ToolSpec): MessageFacts => {
    const known = toolEntries.get(tool)
    if (known !== undefined) return known
    const text = JSON.stringify({ name: tool.name, description: tool.description, parameters: tool.parameters })
    const facts = { tokens: frameTokens + count(text), hash: new Digest().text(text).hex() }
    toolEntries.set(tool, facts)
    return facts
  }

  return {
    estimator,
    count,
    measure(messages, tools = []) {
      let tokens = 0
      let hash = noTools
      if (tools.length > 0) {
        const root = new Digest().text('tools')
        for (const tool of tools) {
          const facts = toolFacts(tool)
          tokens += facts.tokens
          root.text(facts.hash)
        }
        hash = root.hex()
      }
      // As long as they have to be: chains of live runs are kept, and lists that grow have room for 17.
      const hashes = Array<string>(messages.length + 1)
      const counts = Array<number>(messages.length + 1)
      hashes[0] = hash
      counts[0] = tokens
      for (let i = 0; i < messages.length; i++) {
        const message = messages[i]!
        const entry = entries.get(message) ?? adopt(message, measureMessage(message, count))
        if (entry.previous !== hash) {
          entry.previous = hash
          entry.linked = linkHash(hash, entry.hash)
        }
        hash = entry.linked
        tokens += entry.tokens
        hashes[i + 1] = hash
        counts[i + 1] = tokens
      }
      return { tokens, chain: { hashes, tokens: counts } }
    },
    unseen(messages) {
      let found: Set<Message> | undefined
      for (const message of messages) {
        if (entries.has(message) || message.span !== undefined) continue
        if (callsOf(message).length === 0 && memo.get(message.content) !== undefined) continue
        ;(found ??= new Set()).add(message)
      }
      return found === undefined ? [] : [...found]
    },
    knows: (text) => memo.get(text) !== undefined,
    adopt(message, facts) {
      adopt(message, facts)
      if (message.span === undefined && callsOf(message).length === 0) {
        memo.set(message.content, facts.tokens - frameTokens)
      }
    },
    adoptText: (text, tokens) => memo.set(text, tokens),
  }
}

/**
 * Measures one message without any memory.
 *
 * A message with a `span` is exactly that many tokens, and the same as every message with an equal span: its text, role
 * and tool calls do not count, as they do not for the simulated engine.
 *
 * @param count - tokens of a text
 */
export function measureMessage(message: Message, count: (text: string) => number): MessageFacts {
  const digest = new Digest()
  const { span } = message
  if (span !== undefined) {
    digest.text('span').text(span.stream).integer(span.from).integer(span.to)
    return { tokens: Math.max(0, span.to - span.from), hash: digest.hex() }
  }
  let tokens = frameTokens + count(message.content)
  digest.text(message.role).text(message.content)
  if (message.role === 'tool') digest.text(message.toolCallId)
  for (const call of callsOf(message)) {
    tokens += frameTokens + count(call.name) + count(call.arguments)
    digest.text(call.id).text(call.name).text(call.arguments)
  }
  return { tokens, hash: digest.hex() }
}

/** Characters that counting a message has to look at. */
export function messageChars(message: Message): number {
  let chars = message.content.length
  for (const call of callsOf(message)) chars += call.name.length + call.arguments.length
  return chars
}

/**
 * Tokens of `text` by `estimator`, as a whole number.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` if the estimator returns something that is not a count
 */
export function countWith(estimator: TokenEstimator, text: string): number {
  const tokens = estimator.count(text)
  if (Number.isFinite(tokens) && tokens >= 0) return Math.ceil(tokens)
  throw new OptionsError(`token estimator "${estimator.name}"`, [
    { path: 'count', code: 'not_a_count', message: `must return a finite number of at least 0, returned ${tokens}` },
  ])
}

const noCalls: readonly { id: string; name: string; arguments: string }[] = []

function callsOf(message: Message): readonly { id: string; name: string; arguments: string }[] {
  return message.role === 'assistant' ? (message.toolCalls ?? noCalls) : noCalls
}
