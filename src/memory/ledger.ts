// The KV ledger
//
// Owns: what is believed about each backend's KV cache: which run has how much context there, how it stands and when it
// will be wanted again; and what was learned of each backend: cost of a reload, survival of untouched prefixes, hits.
// Does not own: the cache itself (the engine's), or decisions about it.
// Fed by the transition feed. It believes an engine keeps what it has just computed, until it is told otherwise: by a
// report of cached tokens, or by a release.
// Invariants
//   L1. An entry exists for a (run, backend, model) from its first request there until the run ends, its context is
//       dropped, or nothing has been heard of it for `idleMsMax`; a run that ended has none.
//   L2. residentTokens is the prompt and answer of the run's last turn there, corrected by the usage that came back.
//   L3. Never more than `entriesMax` entries; the one touched longest ago goes first.
//   L4. A backend's distinct tokens count a beginning that several runs share once.

import { limits } from '../limits.ts'
import { LedgerEntries, plainEntry, type Entry, type LedgerEntry } from './ledger-entries.ts'
import type { PrefixMark, StageQueued, StageReleased, Transition } from '../schema/transition.ts'
import { beyondHeads, SharedHeads } from './heads.ts'
import { ReloadCost } from './reload-cost.ts'
import { ResidencyHorizon } from './horizon.ts'
import { WaitTimes, type WaitForecast } from './wait-times.ts'

export type { LedgerEntry, Residency } from './ledger-entries.ts'

/** What is believed about one backend. */
export interface LedgerTotals {
  runs: number
  /** Tokens of all contexts, each for itself. */
  residentTokens: number
  /** The same with what runs share counted once. */
  distinctTokens: number
  /** Prompt tokens so far, and how many the engine had cached, over answers that said so. */
  promptTokens: number
  cachedTokens: number
  /** Longest time after which at least half of the untouched prefixes were still there, ms, once some were lost. */
  horizonMs?: number
}

/** Weight of one more answer in the recent hit ratio. */
const hitWeight = 0.05

class BackendBook {
  runs = 0
  residentTokens = 0
  restTokens = 0
  promptTokens = 0
  cachedTokens = 0
  recentPrompt = 0
  recentCached = 0
  /** When it last gave a first token, ms on the runtime's clock. */
  firstTokenAtMs = -Infinity
  readonly heads = new SharedHeads()
  readonly reload = new ReloadCost()
  /** The same fit of what senders wait for. */
  readonly response = new ReloadCost()
  readonly horizon = new ResidencyHorizon()
}

/** Context of live runs by backend, learned from transitions. */
export class KvLedger {
  readonly #entriesMax: number
  /** Time to live of a run that nothing is heard of, ms. */
  readonly idleMsMax: number
  readonly #entries = new LedgerEntries()
  readonly #byBackend = new Map<string, BackendBook>()
  readonly #waits = new WaitTimes()

  constructor(options: { entriesMax?: number; idleMsMax?: number } = {}) {
    this.#entriesMax = options.entriesMax ?? limits.ledgerEntriesMax
    this.idleMsMax = options.idleMsMax ?? limits.ledgerIdleMsMax
  }

  /** Entries over all backends. */
  get size(): number {
    return this.#entries.size
  }

  /** Totals of one backend. */
  totals(backend: string): Readonly<LedgerTotals> {
    const book = this.#byBackend.get(backend)
    if (book === undefined) {
      return { runs: 0, residentTokens: 0, distinctTokens: 0, promptTokens: 0, cachedTokens: 0 }
    }
    const { runs, residentTokens, promptTokens, cachedTokens } = book
    const { horizonMs } = book.horizon
    // Marks are estimates from before the engine counted: together they may say more than there is.
    const distinctTokens = Math.min(residentTokens, book.restTokens + book.heads.tokens)
    return {
      runs,
      residentTokens,
      distinctTokens,
      promptTokens,
      cachedTokens,
      ...(horizonMs !== undefined && { horizonMs }),
    }
  }

  /** Share of prompt tokens that a backend had cached lately, 0..1; undefined if it does not say. */
  hitRatio(backend: string): number | undefined {
    const book = this.#byBackend.get(backend)
    return book === undefined || book.recentPrompt === 0 ? undefined : book.recentCached / book.recentPrompt
  }

  /** Ms of a backend to compute so many tokens again. */
  reloadMs(backend: string, tokens: number): number {
    return this.#book(backend).reload.reloadMs(tokens)
  }

  /** Ms from grant to first token of so many tokens that are not cached, under the load there is. */
  responseMs(backend: string, tokens: number): number {
    return this.#book(backend).response.reloadMs(tokens)
  }

  /** Chance that a prefix untouched for so long is still in a backend's cache, 0..1. */
  survival(backend: string, awayMs: number): number {
    return this.#book(backend).horizon.survival(awayMs)
  }

  /** What to expect of a wait that has lasted `elapsedMs`. */
  forecast(waitFor: string, elapsedMs: number, withinMs: number): WaitForecast {
    return this.#waits.forecast(waitFor, elapsedMs, withinMs)
  }

  /** Returns that keeping a context brings, at most, for each ms that it is kept, after a wait of `elapsedMs`. */
  returnRate(waitFor: string, elapsedMs: number): number {
    return this.#waits.returnRate(waitFor, elapsedMs)
  }

  /** Entries of one backend, the one touched longest ago first. O(all entries). */
  entries(backend: string): LedgerEntry[] {
    const entries: LedgerEntry[] = []
    for (const entry of this.#entries) if (entry.backend === backend) entries.push(plainEntry(entry))
    return entries
  }

  /** One run's context at one backend and model. O(1). */
  entry(runId: string, backend: string, model: string): LedgerEntry | undefined {
    return this.#entries.find(runId, backend, model)
  }

  /** Tokens of a run's last prompt at a backend that it had there before. O(1). */
  expectedTokens(runId: string, backend: string, model: string): number {
    return this.#entries.find(runId, backend, model)?.expectedTokens ?? 0
  }

  /** Tokens of the longest of these beginnings that some context on a backend has. */
  sharedTokens(backend: string, prefix: readonly PrefixMark[]): number {
    return this.#byBackend.get(backend)?.heads.longest(prefix, 1) ?? 0
  }

  /** Entries of one run, over all backends. */
  ofRun(runId: string): LedgerEntry[] {
    return this.#entries.ofRun(runId).slice()
  }

  /** True if a run other than `runId` has context on a backend. O(1). */
  othersAt(backend: string, runId: string): boolean {
    const own = this.ofRun(runId).filter((entry) => entry.backend === backend).length
    return (this.#byBackend.get(backend)?.runs ?? 0) > own
  }

  /** True if a request of ours runs on a backend. O(all entries). */
  isBusy(backend: string): boolean {
    for (const entry of this.#entries) if (entry.backend === backend && entry.residency === 'running') return true
    return false
  }

  /** Takes in one transition. O(1), but for the end of a run: O(its entries). */
  apply(transition: Transition, nowMs: number): void {
    switch (transition.type) {
      case 'stage.queued':
        return this.#onQueued(transition, nowMs)
      case 'stage.granted': {
        const entry = this.#touch(transition, nowMs)
        entry.awayMs = entry.computedAtMs === undefined ? undefined : nowMs - entry.computedAtMs
        entry.residency = 'running'
        entry.grantedAtMs = nowMs
        entry.prefillMs = undefined
        return
      }
      case 'stage.firstToken': {
        const entry = this.#entries.find(transition.runId, transition.backend, transition.model)
        if (entry === undefined) return
        // Engines compute prompts one after the other: what came before the last first token was others' time.
        const book = this.#book(entry.backend)
        entry.prefillMs = nowMs - Math.max(entry.grantedAtMs, book.firstTokenAtMs)
        entry.firstTokenMs = nowMs - entry.grantedAtMs
        book.firstTokenAtMs = nowMs
        return
      }
      case 'stage.rejected':
        this.#touch(transition, nowMs).residency = 'idle'
        return
      case 'stage.released':
        return this.#onReleased(transition, nowMs)
      case 'tool.started': {
        const entry = this.#touch(transition, nowMs)
        entry.residency = 'tool'
        entry.waitFor = transition.tool
        return
      }
      case 'tool.ended':
        return this.#waits.observe(transition.tool, transition.durationMs)
      case 'run.completed':
      case 'run.failed':
        return this.forget(transition.runId)
      default:
    }
  }

  /** A run is over or gone: forgets all of it. */
  forget(runId: string): void {
    for (const entry of this.#entries.ofRun(runId).slice()) this.#drop(entry)
  }

  /** A run's context on a backend is not kept any more. */
  drop(runId: string, backend: string): void {
    for (const entry of this.#entries.ofRun(runId).slice()) if (entry.backend === backend) this.#drop(entry)
  }

  /** A backend's cache was emptied: nothing is resident there until it is computed again. O(all entries). */
  emptied(backend: string): void {
    for (const entry of this.#entries) if (entry.backend === backend) this.#resize(entry, 0, [])
  }

  /** Forgets runs that nothing was heard of for the time to live. Returns how many entries went. */
  expire(nowMs: number): number {
    const { oldest } = this.#entries
    // Asked with every answer.
    if (oldest === undefined || nowMs - oldest.lastTouchMs <= this.idleMsMax) return 0
    let gone = 0
    for (const entry of this.#entries) {
      if (nowMs - entry.lastTouchMs <= this.idleMsMax) break
      if (entry.residency === 'running' || entry.residency === 'queued') continue
      this.#drop(entry)
      gone++
    }
    return gone
  }

  #onQueued(transition: StageQueued, nowMs: number): void {
    const { promptTokens, addedTokens } = transition
    const entry = this.#touch(transition, nowMs)
    entry.contextHash = transition.contextHash
    entry.expectedTokens = Math.max(0, promptTokens - addedTokens)
    if (entry.residency !== 'running') entry.residency = 'queued'
    // Only where there is one: an object that loses a property is slow from then on.
    if (entry.waitFor !== undefined) delete entry.waitFor
    if (transition.prefix !== undefined) {
      const tokens = Math.max(entry.residentTokens, transition.prefix.at(-1)?.tokens ?? 0)
      if (entry.residentTokens > 0) this.#resize(entry, tokens, transition.prefix)
      else entry.prefix = transition.prefix
    }
  }

  #onReleased(transition: StageReleased, nowMs: number): void {
    const entry = this.#touch(transition, nowMs)
    entry.residency = 'idle'
    entry.computedAtMs = nowMs
    const { promptTokens, cachedTokens, completionTokens } = transition.usage
    if (promptTokens === undefined) return
    this.#resize(entry, promptTokens + (completionTokens ?? 0), entry.prefix)
    entry.cachedTokens = cachedTokens
    if (cachedTokens === undefined) return
    const book = this.#book(entry.backend)
    book.promptTokens += promptTokens
    book.cachedTokens += cachedTokens
    book.recentPrompt += (promptTokens - book.recentPrompt) * hitWeight
    book.recentCached += (cachedTokens - book.recentCached) * hitWeight
    if (entry.awayMs !== undefined) book.horizon.observe(entry.awayMs, entry.expectedTokens, cachedTokens)
    if (entry.prefillMs === undefined) return
    book.reload.observe(promptTokens - cachedTokens, cachedTokens, entry.prefillMs)
    book.response.observe(promptTokens - cachedTokens, cachedTokens, entry.firstTokenMs)
  }

  #book(backend: string): BackendBook {
    let book = this.#byBackend.get(backend)
    if (book === undefined) this.#byBackend.set(backend, (book = new BackendBook()))
    return book
  }

  /** The entry, made if there is none, as the one touched last. */
  #touch({ runId, backend, model }: Pick<LedgerEntry, 'runId' | 'backend' | 'model'>, nowMs: number): Entry {
    let entry = this.#entries.find(runId, backend, model)
    if (entry === undefined) {
      entry = this.#entries.add(runId, backend, model)
      this.#book(backend).runs++
    } else {
      this.#entries.touch(entry)
    }
    entry.lastTouchMs = nowMs
    if (this.#entries.size > this.#entriesMax) this.#drop(this.#entries.oldest!)
    return entry
  }

  #resize(entry: Entry, tokens: number, prefix: readonly PrefixMark[]): void {
    const book = this.#book(entry.backend)
    this.#uncount(book, entry)
    entry.residentTokens = tokens
    entry.prefix = prefix
    if (tokens === 0) return
    book.residentTokens += tokens
    book.restTokens += beyondHeads(tokens, prefix)
    book.heads.add(prefix)
  }

  #uncount(book: BackendBook, { residentTokens, prefix }: Entry): void {
    if (residentTokens === 0) return
    book.residentTokens -= residentTokens
    book.restTokens -= beyondHeads(residentTokens, prefix)
    book.heads.remove(prefix)
  }

  #drop(entry: Entry): void {
    this.#entries.remove(entry)
    const book = this.#book(entry.backend)
    this.#uncount(book, entry)
    book.runs--
  }
}
