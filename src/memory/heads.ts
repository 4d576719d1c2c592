// Shared beginnings of contexts, counted once
//
// Owns: for one backend, how many contexts have each beginning, and the tokens of all of them, each once.
// Does not own: what follows a beginning; that is a context's own.
// Invariant
//   H1. tokens is the size of the tree that the beginnings added and not removed make up.

import type { PrefixMark } from '../schema/transition.ts'

/** Beginnings of prompts by hash. */
export class SharedHeads {
  /** How many contexts have a beginning, and the tokens that it adds to the one before it. */
  readonly #heads = new Map<string, { count: number; adds: number }>()
  #tokens = 0

  /** Tokens of all beginnings, each once. */
  get tokens(): number {
    return this.#tokens
  }

  /** Adds a context's beginnings, shortest first. */
  add(prefix: readonly PrefixMark[]): void {
    let before = 0
    for (const { hash, tokens } of prefix) {
      const head = this.#heads.get(hash)
      if (head === undefined) {
        const adds = tokens - before
        this.#heads.set(hash, { count: 1, adds })
        this.#tokens += adds
      } else {
        head.count++
      }
      before = tokens
    }
  }

  /** Takes back what `add` added, of the same context. */
  remove(prefix: readonly PrefixMark[]): void {
    for (const { hash } of prefix) {
      const head = this.#heads.get(hash)
      if (head === undefined || --head.count > 0) continue
      this.#heads.delete(hash)
      this.#tokens -= head.adds
    }
  }

  /**
   * Tokens of the longest of these beginnings that at least `least` contexts have.
   *
   * @param least - 1: is there at all; 2: for a context that was added, is another's too
   */
  longest(prefix: readonly PrefixMark[], least: number): number {
    let longest = 0
    for (const { hash, tokens } of prefix) {
      if ((this.#heads.get(hash)?.count ?? 0) < least) return longest
      longest = tokens
    }
    return longest
  }
}

/** Tokens of a context beyond its marked beginnings. */
export function beyondHeads(tokens: number, prefix: readonly PrefixMark[]): number {
  return Math.max(0, tokens - (prefix.at(-1)?.tokens ?? 0))
}
