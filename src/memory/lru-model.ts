// What an engine's LRU still holds: contexts in the order in which they were last used
//
// Owns: for one backend, who used the cache last, with how many tokens; runs that ended among them, because their blocks
// stay in the engine until somebody needs the room.
// Does not own: who has a place in the window. An engine evicts what was used longest ago, whoever has a place.
// Invariants
//   S1. A context's depth is the tokens of all contexts used since, and its own, shared beginnings once.
//   S2. Contexts deeper than twice the capacity are forgotten when depths are asked for; never more than `contextsMax`.
// Source: the stack model of LRU (Mattson et al., "Evaluation techniques for storage hierarchies", 1970).

import type { PrefixMark } from '../schema/transition.ts'
import { beyondHeads, SharedHeads } from './heads.ts'

/** Contexts that are followed at most; the one used longest ago goes first. */
const contextsMax = 20_000

interface Used {
  tokens: number
  prefix: readonly PrefixMark[]
}

/** The recency stack of one backend. */
export class LruModel {
  readonly #capacityTokens: number
  /** In order of last use, the last used at the end. */
  readonly #contexts = new Map<string, Used>()

  constructor(capacityTokens: number) {
    this.#capacityTokens = capacityTokens
  }

  /** Contexts that are followed. */
  get size(): number {
    return this.#contexts.size
  }

  /** The engine works on a context, or has done so. O(1). */
  used(key: string, tokens: number, prefix: readonly PrefixMark[]): void {
    this.#contexts.delete(key)
    this.#contexts.set(key, { tokens, prefix })
    if (this.#contexts.size > contextsMax) this.#contexts.delete(this.#contexts.keys().next().value!)
  }

  /**
   * Depths of all contexts, tokens: deeper than the capacity is evicted. One that is not there is gone for long.
   * O(contexts).
   *
   * @param inUse - contexts that the engine works on: it cannot evict them, so they count as used last
   */
  depths(inUse: (key: string) => boolean): Map<string, number> {
    const depths = new Map<string, number>()
    const heads = new SharedHeads()
    let rest = 0
    const take = (key: string, { tokens, prefix }: Used): void => {
      heads.add(prefix)
      rest += beyondHeads(tokens, prefix)
      depths.set(key, rest + heads.tokens)
    }
    const contexts = [...this.#contexts].toReversed()
    for (const [key, context] of contexts) if (inUse(key)) take(key, context)
    for (const [key, context] of contexts) {
      if (depths.has(key)) continue
      take(key, context)
      if (rest + heads.tokens > 2 * this.#capacityTokens) this.#contexts.delete(key)
    }
    return depths
  }
}
