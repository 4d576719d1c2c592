// Context chains: what a prompt begins with, message by message.
//
// Engines keep the KV cache of prefixes. Two prompts share a prefix exactly as far as their chains agree, so a chain
// tells what of a prompt may be cached without looking at text again.

import { Digest } from './digest.ts'

/**
 * The prefixes of one prompt. Plain data.
 *
 * Entry 0 is the root: the tools offered, which engines put before everything else. Entry i covers the root and the
 * first i messages. So both lists are one longer than the list of messages.
 */
export interface ContextChain {
  /** Hash of each prefix, 16 hexadecimal digits. Equal hashes mean equal prefixes (collision odds: digest.ts). */
  readonly hashes: readonly string[]
  /** Estimated tokens of each prefix, never falling. */
  readonly tokens: readonly number[]
}

/** What two prompts have in common from their beginning. */
export interface CommonPrefix {
  /** Whole messages. */
  messages: number
  /** Estimated tokens of those messages and of the tools before them; 0 when the tools differ. */
  tokens: number
}

/** Hash of the whole prompt: the last of its chain. */
export function contextHash(chain: ContextChain): string {
  return chain.hashes[chain.hashes.length - 1]!
}

/** Links of a chain that are told to those who look for what runs share: tools, system prompt, first message. */
const prefixMarksMax = 3

/** The beginnings of a prompt that other runs may share, shortest first; those without tokens are left out. */
export function prefixMarks(chain: ContextChain): { hash: string; tokens: number }[] {
  const marks: { hash: string; tokens: number }[] = []
  for (let i = 0; i < Math.min(prefixMarksMax, chain.hashes.length); i++) {
    const tokens = chain.tokens[i]!
    if (tokens > (marks.at(-1)?.tokens ?? 0)) marks.push({ hash: chain.hashes[i]!, tokens })
  }
  return marks
}

/** Hash of a prefix that goes one message further than the prefix hashed to `previous`. */
export function linkHash(previous: string, messageHash: string): string {
  return new Digest().text(previous).text(messageHash).hex()
}

/**
 * The longest common prefix of two prompts, in whole messages. Symmetric; O(log messages).
 *
 * Shared text within the first message that differs is not seen, so this is a lower bound of what an engine can reuse.
 */
export function commonPrefix(a: ContextChain, b: ContextChain): CommonPrefix {
  if (a.hashes[0] !== b.hashes[0]) return { messages: 0, tokens: 0 }
  // Every hash covers all that comes before it, so agreement is monotonic and can be searched by halves.
  let equal = 0
  let beyond = Math.min(a.hashes.length, b.hashes.length)
  while (beyond - equal > 1) {
    const middle = (equal + beyond) >>> 1
    if (a.hashes[middle] === b.hashes[middle]) equal = middle
    else beyond = middle
  }
  return { messages: equal, tokens: a.tokens[equal]! }
}
