// Beginnings of prompts that backends have computed, over all runs
//
// Owns: which backend computed which beginning, and when.
// Does not own: contexts of runs (KV ledger).
// Invariants
//   H1. At most `headsMax` beginnings; the one computed longest ago goes first.
//   H2. Tenants are apart: engines are told not to share between them.

import type { PrefixMark } from '../schema/transition.ts'

const headsMax = 4_096
/** A beginning that was not computed for so long is taken to be gone, ms: untouched prefixes survive some 10 s under load. */
const keptMsDefault = 60_000

/** Beginnings that backends are believed to have: tools, system prompt, first message. */
export class WarmHeads {
  readonly #computedAtMs = new Map<string, number>()
  readonly #keptMs: number

  constructor(keptMs: number = keptMsDefault) {
    this.#keptMs = keptMs
  }

  /** A backend computes a prompt. @param marks - its beginnings, shortest first */
  computed(backend: string, tenant: string, marks: readonly PrefixMark[], nowMs: number): void {
    for (const { hash } of marks) {
      const key = keyOf(backend, tenant, hash)
      this.#computedAtMs.delete(key)
      this.#computedAtMs.set(key, nowMs)
    }
    for (const key of this.#computedAtMs.keys()) {
      if (this.#computedAtMs.size <= headsMax) return
      this.#computedAtMs.delete(key)
    }
  }

  /** Estimated tokens of a prompt's beginning that a backend has. */
  tokens(backend: string, tenant: string, marks: readonly PrefixMark[], nowMs: number): number {
    const warm = marks.findLast(({ hash }) => {
      const atMs = this.#computedAtMs.get(keyOf(backend, tenant, hash))
      return atMs !== undefined && nowMs - atMs <= this.#keptMs
    })
    return warm?.tokens ?? 0
  }
}

function keyOf(backend: string, tenant: string, hash: string): string {
  return `${backend}\n${tenant}\n${hash}`
}
