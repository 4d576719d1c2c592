// The KV window of one backend: which runs may have their context resident there
//
// Owns: the runs known at one backend with their context sizes, who of them has a place, and who is held.
// Does not own: who gets a place (window policy), the requests themselves and the bound on their wait (backend actor),
// time (callers say what time it is).
// Invariants
//   K1. A run is placed, held (it has requests in hand), or neither; never two of them.
//   K2. usedTokens is the sum over placed runs of what is theirs alone, plus each shared beginning once.
//   K3. A place is taken from a run only at a boundary: its active requests finish, its next one asks again.
//   K4. A run that ended, or was forgotten, is in none of the maps.
//   K5. With nobody held and room for all, a request costs O(1) and no review.

import type { PrefixMark } from '../schema/transition.ts'
import { beyondHeads, SharedHeads } from './heads.ts'
import { LruModel } from './lru-model.ts'
import type { WaitForecast } from './wait-times.ts'
import type { WindowChoice, WindowPolicy, WindowRun, WindowView } from './window-policy.ts'

/** A request that asks to pass. */
export interface WindowRequest {
  requestId: string
  runId: string
  /** Tokens of the prompt, and of the answer as predicted. */
  promptTokens: number
  outputTokens: number
  /** Tokens of the prompt that the run did not have there before. */
  addedTokens: number
  /** Beginnings of the prompt that other runs may share, shortest first. */
  prefix: readonly PrefixMark[]
}

/** What the window asks of the ledger about its backend. */
export interface WindowKnowledge {
  readonly hitRatio: number | undefined
  forecast(waitFor: string | undefined, elapsedMs: number, withinMs: number): WaitForecast
  returnRate(waitFor: string | undefined, elapsedMs: number): number
  reloadMs(tokens: number): number
  responseMs(tokens: number): number
  survival(awayMs: number): number
}

/** A decision of a review, with the requests that it lets through. */
export interface WindowDecision extends WindowChoice {
  kind: 'admitted' | 'released'
  requestIds: string[]
  /** Tokens of the run's context. */
  tokens: number
  /** How long it was held, ms; 0 for a release. */
  heldMs: number
}

/** Answer to a request: `admitted` with the reason, or `held`. */
export type WindowAnswer = { admitted: true; reason: string } | { admitted: false; reason: string }

class Run implements WindowRun {
  readonly runId: string
  readonly firstSeenMs: number
  readonly #heads: SharedHeads
  tokens = 0
  active = 0
  waitFor: string | undefined
  sinceMs: number
  lastTouchMs: number | undefined
  turns = 0
  prefix: readonly PrefixMark[] = []
  placed = false
  prefilling = false
  /** The request under way found it with the place that it had at its last turn: the engine should have its context. */
  kept = false
  placedAtMs = 0
  /** Requests in hand while held, with their tokens. */
  readonly requests = new Map<string, WindowRequest>()
  heldSinceMs = 0

  constructor(runId: string, nowMs: number, heads: SharedHeads) {
    this.runId = runId
    this.firstSeenMs = nowMs
    this.sinceMs = nowMs
    this.#heads = heads
  }

  get needTokens(): number {
    return Math.max(0, this.tokens - this.#heads.longest(this.prefix, 1))
  }

  get ownTokens(): number {
    return Math.max(0, this.tokens - this.#heads.longest(this.prefix, 2))
  }
}

/** Places of one backend. */
export class KvWindow {
  readonly #knowledge: WindowKnowledge
  readonly #heads = new SharedHeads()
  readonly #runs = new Map<string, Run>()
  readonly #placed = new Map<string, Run>()
  readonly #held = new Map<string, Run>()
  readonly #policy: WindowPolicy
  readonly #holdMsMax: number
  readonly #capacityTokens: number
  /** Sum over placed runs of their tokens beyond the marked beginnings. */
  #restTokens = 0
  #activeRequests = 0
  readonly #lru: LruModel
  #lostTokens = 0

  constructor(options: {
    capacityTokens: number
    holdMsMax: number
    policy: WindowPolicy
    knowledge: WindowKnowledge
  }) {
    this.#capacityTokens = options.capacityTokens
    this.#holdMsMax = options.holdMsMax
    this.#policy = options.policy
    this.#knowledge = options.knowledge
    this.#lru = new LruModel(options.capacityTokens)
  }

  get policyName(): string {
    return this.#policy.name
  }

  get tickMs(): number {
    return this.#policy.tickMs
  }

  get capacityTokens(): number {
    return this.#capacityTokens
  }

  /** Tokens of the contexts with a place, shared beginnings once. */
  get usedTokens(): number {
    return this.#restTokens + this.#heads.tokens
  }

  /** Runs with a place. */
  get placed(): number {
    return this.#placed.size
  }

  /** Runs held. */
  get held(): number {
    return this.#held.size
  }

  /** Runs known, placed or not. */
  get size(): number {
    return this.#runs.size
  }

  /** True while a review could change something. */
  get pressed(): boolean {
    return this.#held.size > 0 || this.usedTokens > this.#capacityTokens
  }

  /** A request of a run asks to pass. */
  request(request: WindowRequest, nowMs: number): WindowAnswer {
    const run = this.#run(request.runId, nowMs)
    if (run.placed) {
      this.#pass(run, request, nowMs)
      return { admitted: true, reason: 'its run has a place' }
    }
    this.#grow(run, request)
    if (!this.#held.has(run.runId)) {
      const reason = this.#policy.enter(run, this.#view(nowMs))
      if (reason !== undefined) {
        this.#place(run)
        run.placedAtMs = nowMs
        this.#started(run, nowMs)
        return { admitted: true, reason }
      }
      this.#held.set(run.runId, run)
      run.heldSinceMs = nowMs
      run.sinceMs = nowMs
      run.waitFor = undefined
    }
    run.requests.set(request.requestId, request)
    const reason = `${run.needTokens} tokens do not fit beside ${this.usedTokens} of ${this.#capacityTokens}, or others wait`
    return { admitted: false, reason }
  }

  /** A request is not wanted any more: it was held, or had passed and was not served. */
  left(runId: string, requestId: string, nowMs: number): void {
    const run = this.#runs.get(runId)
    if (run === undefined) return
    if (!run.requests.delete(requestId)) return this.finished(runId, undefined, nowMs)
    if (run.requests.size === 0) this.#held.delete(runId)
  }

  /** The bound on a hold has passed and the backend let the request through: the run has a place, whoever agrees. */
  force(runId: string, nowMs: number): WindowDecision | undefined {
    const run = this.#held.get(runId)
    if (run === undefined) return undefined
    return this.#admit(run, `held for ${this.#holdMsMax} ms, the longest that is allowed`, nowMs)
  }

  /** A request that passed is over; `tokens` are those of its prompt and answer, undefined if it was not served. */
  finished(runId: string, tokens: number | undefined, nowMs: number, missedTokens = 0): void {
    const run = this.#runs.get(runId)
    if (run === undefined || run.active === 0) return
    if (run.kept) this.#lostTokens += missedTokens
    run.active--
    if (run.active === 0) run.prefilling = false
    this.#activeRequests--
    if (tokens !== undefined) {
      run.turns++
      run.lastTouchMs = nowMs
      if (run.active === 0) this.#resizeRun(run, tokens, run.prefix)
      this.#lru.used(runId, run.tokens, run.prefix)
    }
    if (run.active === 0) run.sinceMs = nowMs
  }

  /** The first token of a request that passed. */
  began(runId: string): void {
    const run = this.#runs.get(runId)
    if (run !== undefined) run.prefilling = false
  }

  /** A run waits for something outside of the engine. */
  waits(runId: string, waitFor: string, nowMs: number): void {
    const run = this.#runs.get(runId)
    if (run === undefined || run.active > 0 || this.#held.has(runId)) return
    if (run.waitFor !== waitFor) run.sinceMs = nowMs
    run.waitFor = waitFor
  }

  /** A run is over or gone. */
  end(runId: string): void {
    const run = this.#runs.get(runId)
    if (run === undefined) return
    this.#unplace(run)
    this.#held.delete(runId)
    this.#runs.delete(runId)
    this.#activeRequests -= run.active
  }

  /** Takes the place of a run whose context is not wanted there any more. */
  release(runId: string): void {
    const run = this.#placed.get(runId)
    if (run !== undefined && run.active === 0) this.#unplace(run)
  }

  /** Asks the policy, and carries out what it says. */
  review(nowMs: number): WindowDecision[] {
    if (!this.pressed) return []
    const { release, admit } = this.#policy.review(this.#view(nowMs))
    const decisions: WindowDecision[] = []
    for (const { runId, reason } of release) {
      const run = this.#placed.get(runId)
      if (run === undefined) continue
      this.#unplace(run)
      decisions.push({ kind: 'released', runId, reason, requestIds: [], tokens: run.tokens, heldMs: 0 })
    }
    for (const { runId, reason } of admit) {
      const run = this.#held.get(runId)
      if (run !== undefined) decisions.push(this.#admit(run, reason, nowMs))
    }
    return decisions
  }

  /** Runs as they stand: for people and tests. */
  runs(): IterableIterator<WindowRun & { readonly placed: boolean }> {
    return this.#runs.values()
  }

  #admit(run: Run, reason: string, nowMs: number): WindowDecision {
    const { runId, tokens } = run
    const heldMs = nowMs - run.heldSinceMs
    const requestIds = [...run.requests.keys()]
    run.requests.clear()
    this.#held.delete(runId)
    this.#place(run)
    run.placedAtMs = nowMs
    for (let i = 0; i < requestIds.length; i++) this.#started(run, nowMs)
    return { kind: 'admitted', runId, reason, requestIds, tokens, heldMs }
  }

  #run(runId: string, nowMs: number): Run {
    let run = this.#runs.get(runId)
    if (run === undefined) this.#runs.set(runId, (run = new Run(runId, nowMs, this.#heads)))
    return run
  }

  #pass(run: Run, request: WindowRequest, nowMs: number): void {
    this.#grow(run, request)
    this.#started(run, nowMs)
  }

  #started(run: Run, nowMs: number): void {
    if (run.active++ === 0) run.sinceMs = nowMs
    run.prefilling = true
    run.kept = run.placed && run.lastTouchMs !== undefined && run.placedAtMs <= run.lastTouchMs
    this.#lru.used(run.runId, run.tokens, run.prefix)
    run.waitFor = undefined
    this.#activeRequests++
  }

  /** What the run's context will be with this request. Requests side by side add what each has for itself. */
  #grow(run: Run, { promptTokens, outputTokens, addedTokens, prefix }: WindowRequest): void {
    const alone = run.active === 0 && run.requests.size === 0
    const tokens = alone ? promptTokens + outputTokens : run.tokens + addedTokens + outputTokens
    this.#resizeRun(run, Math.max(tokens, prefix.at(-1)?.tokens ?? 0), alone ? prefix : run.prefix)
  }

  #resizeRun(run: Run, tokens: number, prefix: readonly PrefixMark[]): void {
    const { placed } = run
    if (placed) this.#unplace(run)
    run.tokens = Math.max(tokens, prefix.at(-1)?.tokens ?? 0)
    run.prefix = prefix
    if (placed) this.#place(run)
  }

  #place(run: Run): void {
    run.placed = true
    this.#placed.set(run.runId, run)
    this.#heads.add(run.prefix)
    this.#restTokens += beyondHeads(run.tokens, run.prefix)
  }

  #unplace(run: Run): void {
    if (!run.placed) return
    run.placed = false
    this.#placed.delete(run.runId)
    this.#heads.remove(run.prefix)
    this.#restTokens -= beyondHeads(run.tokens, run.prefix)
  }

  #view(nowMs: number): WindowView {
    const knowledge = this.#knowledge
    let depths: Map<string, number> | undefined
    return {
      lruDepthTokens: ({ runId }) => {
        depths ??= this.#lru.depths((key) => (this.#runs.get(key)?.active ?? 0) > 0)
        return depths.get(runId) ?? Infinity
      },
      nowMs,
      capacityTokens: this.#capacityTokens,
      usedTokens: this.usedTokens,
      lostTokens: this.#lostTokens,
      placed: this.#placed,
      held: this.#held,
      activeRequests: this.#activeRequests,
      hitRatio: knowledge.hitRatio,
      holdMsMax: this.#holdMsMax,
      forecast: (run, withinMs) => knowledge.forecast(run.waitFor, nowMs - run.sinceMs, withinMs),
      returnRate: (run) => knowledge.returnRate(run.waitFor, nowMs - run.sinceMs),
      reloadMs: (tokens) => knowledge.reloadMs(tokens),
      responseMs: (tokens) => knowledge.responseMs(tokens),
      survival: (awayMs) => knowledge.survival(awayMs),
    }
  }
}
