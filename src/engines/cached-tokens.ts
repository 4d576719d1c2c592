// Whether "no cached tokens" in an answer means none, or nothing said.
//
// Owns: whether this engine has been seen to report them.
// Invariants
//   C1. A count that the engine gave is never changed.
//   C2. An absent count becomes zero only once the engine is known to report; until then it stays unknown.

import type { Usage } from '../schema/chat.ts'

/** What is known of one engine's reports. */
export interface CachedTokensMemory {
  /** The engine reports cached tokens, as its options or its description say. */
  confirm(): void
  /** Completes one answer's usage. */
  complete: (usage: Usage) => void
}

/** Engines behind a flag leave the field out when nothing was cached, with the flag on as well as off. */
export function cachedTokensMemory(reports: boolean): CachedTokensMemory {
  let known = reports
  return {
    confirm() {
      known = true
    },
    complete(usage) {
      if (usage.cachedTokens !== undefined) known = true
      else if (known && usage.promptTokens !== undefined) usage.cachedTokens = 0
    },
  }
}
