// The KV ledger
//
// Owns: what is believed about each backend's KV cache: which run has how much context there, and how it stands.
// Does not own: the cache itself (the engine's), or decisions about it.
// Fed by the transition feed alone. It believes an engine keeps what it has just computed, until it is told otherwise.
// Invariants
//   L1. An entry exists for a (run, backend, model) from its first grant there until the run ends; a run that ended has
//       none.
//   L2. residentTokens is the prompt and answer of the run's last turn there, corrected by the usage that came back.
//   L3. Never more than `entriesMax` entries; the one touched longest ago goes first.

import { limits } from '../limits.ts'
import type { Transition } from '../schema/transition.ts'

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
  residency: Residency
  /** Ms on the runtime's clock. */
  lastTouchMs: number
}

/** What is believed about one backend. */
export interface LedgerTotals {
  runs: number
  residentTokens: number
  /** Prompt tokens so far, and how many the engine had cached, over answers that said so. */
  promptTokens: number
  cachedTokens: number
}

/** Context of live runs by backend, learned from transitions. */
export class KvLedger {
  readonly #entriesMax: number
  /** In order of last touch: an entry that is touched moves to the end. */
  readonly #entries = new Map<string, LedgerEntry>()
  readonly #byRun = new Map<string, Set<string>>()
  readonly #totals = new Map<string, LedgerTotals>()

  constructor(options: { entriesMax?: number } = {}) {
    this.#entriesMax = options.entriesMax ?? limits.ledgerEntriesMax
  }

  /** Entries over all backends. */
  get size(): number {
    return this.#entries.size
  }

  /** Totals of one backend. */
  totals(backend: string): Readonly<LedgerTotals> {
    return this.#totals.get(backend) ?? { runs: 0, residentTokens: 0, promptTokens: 0, cachedTokens: 0 }
  }

  /** Entries of one backend, the one touched longest ago first. */
  entries(backend: string): LedgerEntry[] {
    return [...this.#entries.values()].filter((entry) => entry.backend === backend)
  }

  /** Takes in one transition. O(1), but for the end of a run: O(its entries). */
  apply(transition: Transition, nowMs: number): void {
    switch (transition.type) {
      case 'stage.queued': {
        const entry = this.#touch(transition.runId, transition.backend, transition.model, nowMs)
        entry.contextHash = transition.contextHash
        if (entry.residency !== 'running') entry.residency = 'queued'
        return
      }
      case 'stage.granted':
        this.#touch(transition.runId, transition.backend, transition.model, nowMs).residency = 'running'
        return
      case 'stage.rejected':
        this.#touch(transition.runId, transition.backend, transition.model, nowMs).residency = 'idle'
        return
      case 'stage.released': {
        const entry = this.#touch(transition.runId, transition.backend, transition.model, nowMs)
        entry.residency = 'idle'
        const { promptTokens, cachedTokens, completionTokens } = transition.usage
        if (promptTokens === undefined) return
        const totals = this.#totals.get(transition.backend)!
        const residentTokens = promptTokens + (completionTokens ?? 0)
        totals.residentTokens += residentTokens - entry.residentTokens
        entry.residentTokens = residentTokens
        entry.cachedTokens = cachedTokens
        if (cachedTokens === undefined) return
        totals.promptTokens += promptTokens
        totals.cachedTokens += cachedTokens
        return
      }
      case 'tool.started':
        this.#touch(transition.runId, transition.backend, transition.model, nowMs).residency = 'tool'
        return
      case 'run.completed':
      case 'run.failed':
        return this.#forget(transition.runId)
      default:
    }
  }

  #touch(runId: string, backend: string, model: string, nowMs: number): LedgerEntry {
    const key = `${runId}\n${backend}\n${model}`
    let entry = this.#entries.get(key)
    if (entry === undefined) {
      entry = {
        runId,
        backend,
        model,
        residentTokens: 0,
        cachedTokens: undefined,
        contextHash: '',
        residency: 'idle',
        lastTouchMs: nowMs,
      }
      let keys = this.#byRun.get(runId)
      if (keys === undefined) this.#byRun.set(runId, (keys = new Set()))
      keys.add(key)
      let totals = this.#totals.get(backend)
      if (totals === undefined) {
        this.#totals.set(backend, (totals = { runs: 0, residentTokens: 0, promptTokens: 0, cachedTokens: 0 }))
      }
      totals.runs++
    } else {
      this.#entries.delete(key)
      entry.lastTouchMs = nowMs
    }
    this.#entries.set(key, entry)
    if (this.#entries.size > this.#entriesMax) this.#drop(this.#entries.keys().next().value!)
    return entry
  }

  #forget(runId: string): void {
    for (const key of this.#byRun.get(runId) ?? []) this.#drop(key)
    this.#byRun.delete(runId)
  }

  #drop(key: string): void {
    const entry = this.#entries.get(key)
    if (entry === undefined) return
    this.#entries.delete(key)
    const keys = this.#byRun.get(entry.runId)
    keys?.delete(key)
    if (keys?.size === 0) this.#byRun.delete(entry.runId)
    const totals = this.#totals.get(entry.backend)!
    totals.runs--
    totals.residentTokens -= entry.residentTokens
  }
}
