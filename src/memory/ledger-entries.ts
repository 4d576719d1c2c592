// Entries of the ledger: found by run, kept in the order of last touch
//
// Owns: which entries there are, and their order.
// Does not own: what they say (ledger).
// Invariants
//   E1. A run has at most one entry for each backend and model.
//   E2. Following `later` from the oldest visits every entry once, in the order of last touch.
// A map by (run, backend, model) in that order would say as much, but keys to join, to hash, to take out and to put in made
// the ledger 9 % of what a stage costs; it is 3 % so. Runs have one entry or two: looking through them costs less.

import type { PrefixMark } from '../schema/transition.ts'
import { TurnoverMap } from '../turnover-map.ts'

/** How a run stands towards the context it has on a backend. */
export type Residency =
  /** A request is in flight there. */
  | 'running'
  /** A request waits there: it will be wanted next. */
  | 'queued'
  /** A tool runs; the next turn follows. */
  | 'tool'
  /** Nothing of the run asks for it now; other stages of the run may. */
  | 'idle'

/** One run's context on one backend. */
export interface LedgerEntry {
  runId: string
  backend: string
  model: string
  /** Tokens believed to be in the KV cache. */
  residentTokens: number
  /** Of the last prompt, tokens that the engine had cached, when it says. */
  cachedTokens: number | undefined
  /** Hash of the context chain of the last prompt. */
  contextHash: string
  /** The first links of that chain, shortest first: what other runs may share. */
  prefix: readonly PrefixMark[]
  residency: Residency
  /** What a tool wait is for. */
  waitFor?: string
  /** Ms on the runtime's clock. */
  lastTouchMs: number
}

/** An entry as the ledger keeps it. */
export interface Entry extends LedgerEntry {
  /** Neighbours in the order of last touch. */
  earlier: Entry | undefined
  later: Entry | undefined
  /** Tokens of the request under way that the run had there before: what a warm cache would serve. */
  expectedTokens: number
  grantedAtMs: number
  /** That the engine took for its prompt, ms. */
  prefillMs: number | undefined
  /** From the grant, ms. */
  firstTokenMs: number
  /** When the engine last worked on it, ms on the runtime's clock. */
  computedAtMs: number | undefined
  /** Between that and the grant of the request under way, ms. */
  awayMs: number | undefined
}

/** The entries of one ledger. Iterating gives the one touched longest ago first. */
export class LedgerEntries implements Iterable<Entry> {
  readonly #byRun = new TurnoverMap<string, Entry[]>()
  #oldest: Entry | undefined
  #newest: Entry | undefined
  #size = 0

  get size(): number {
    return this.#size
  }

  /** The one touched longest ago. */
  get oldest(): Entry | undefined {
    return this.#oldest
  }

  /** Entries of one run; not to be kept. */
  ofRun(runId: string): readonly Entry[] {
    return this.#byRun.get(runId) ?? none
  }

  find(runId: string, backend: string, model: string): Entry | undefined {
    for (const entry of this.ofRun(runId)) if (entry.backend === backend && entry.model === model) return entry
    return undefined
  }

  /** Makes one, as the one touched last. There is none yet. */
  add(runId: string, backend: string, model: string): Entry {
    const entry = newEntry(runId, backend, model)
    const entries = this.#byRun.get(runId)
    if (entries === undefined) this.#byRun.set(runId, [entry])
    else entries.push(entry)
    this.#size++
    this.#append(entry)
    return entry
  }

  /** Notes that an entry is the one touched last. */
  touch(entry: Entry): void {
    if (entry === this.#newest) return
    this.#unlink(entry)
    this.#append(entry)
  }

  remove(entry: Entry): void {
    const entries = this.#byRun.get(entry.runId)!
    if (entries.length === 1) this.#byRun.delete(entry.runId)
    else entries.splice(entries.indexOf(entry), 1)
    this.#unlink(entry)
    this.#size--
  }

  /** Whoever iterates may remove what it is given. */
  *[Symbol.iterator](): Generator<Entry, undefined> {
    for (let entry = this.#oldest; entry !== undefined;) {
      const { later }: Entry = entry
      yield entry
      entry = later
    }
  }

  #append(entry: Entry): void {
    entry.earlier = this.#newest
    if (this.#newest === undefined) this.#oldest = entry
    else this.#newest.later = entry
    this.#newest = entry
  }

  #unlink(entry: Entry): void {
    if (entry.earlier === undefined) this.#oldest = entry.later
    else entry.earlier.later = entry.later
    if (entry.later === undefined) this.#newest = entry.earlier
    else entry.later.earlier = entry.earlier
    entry.earlier = entry.later = undefined
  }
}

const none: readonly Entry[] = []

/** What an entry tells others. */
export function plainEntry(entry: LedgerEntry): LedgerEntry {
  const { runId, backend, model, residentTokens, cachedTokens, contextHash, prefix, residency, lastTouchMs } = entry
  const { waitFor } = entry
  const plain = { runId, backend, model, residentTokens, cachedTokens, contextHash, prefix, residency, lastTouchMs }
  return waitFor === undefined ? plain : { ...plain, waitFor }
}

function newEntry(runId: string, backend: string, model: string): Entry {
  return {
    runId,
    backend,
    model,
    residentTokens: 0,
    cachedTokens: undefined,
    contextHash: '',
    residency: 'idle',
    lastTouchMs: 0,
    prefix: [],
    expectedTokens: 0,
    grantedAtMs: 0,
    prefillMs: undefined,
    firstTokenMs: 0,
    computedAtMs: undefined,
    awayMs: undefined,
    earlier: undefined,
    later: undefined,
  }
}
