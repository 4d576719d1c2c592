// Prewarming, as the memory manager does it
//
// Owns: the prefills under way with the bound on their time, and what they came to at each backend.
// Does not own: what is worth it (src/memory/prewarmer.ts), what is known of prompts and how a prefill is sent (runtime).
// Invariants
//   W1. A prefill gives way to the next request at its backend, and ends with its run. The request that it is for may
//       run beside it where a slot is free for each: requests and prefills together never exceed the window.
//   W2. What a prefill computed is counted, whether or not anybody asks for it.

import type { Clock, Timer } from '../src/clock.ts'
import type { CacheAction } from '../src/memory/actions.ts'
import type { KvLedger } from '../src/memory/ledger.ts'
import { Prewarmer, type Foreseen, type Prewarm } from '../src/memory/prewarmer.ts'
import type { Transition } from '../src/schema/transition.ts'
import type { MemoryPrefilled } from './messages.ts'

/** What prewarming came to at one backend. */
export interface PrewarmTotals {
  /** Prefills that were sent. */
  prefills: number
  /** Of those, how many were refused, failed or gave way. */
  stopped: number
  /** Prompt tokens of those that were done, and how many of them the engine had to compute. */
  promptTokens: number
  computedTokens: number
}

/** What prewarming needs of the memory manager. */
export interface PrewarmInput {
  clock: Clock
  ledger: KvLedger
  /** A number for an action that no other had. */
  actionId(): number
  act(backend: string, action: CacheAction, actionId: number): void
  /** Stops a prefill. */
  stop(actionId: number, why: string): void
  /** Slots of a backend that no request has. */
  freeSlots(backend: string): number
  /** Tokens that a backend's KV window has room for; Infinity without one. */
  roomTokens(backend: string): number
  /** Tells of a prefill that was done. */
  done(prewarm: Prewarm, figures: Readonly<Record<string, number>>): void
}

/** A prefill that takes longer is given up, ms. */
const prefillMsMax = 30_000
/** After a backend had no slot for a prefill, it is asked again, ms. */
const busyPauseMs = 100

/** Prewarming over all backends. */
export class Prewarming {
  readonly #input: PrewarmInput
  readonly #prewarmer = new Prewarmer()
  readonly #totals = new Map<string, PrewarmTotals>()
  readonly #pending = new Map<number, { prewarm: Prewarm; timer: Timer }>()
  /** Backends that are asked again, by timer. */
  readonly #retries = new Map<string, Timer>()
  #stopped = false

  constructor(input: PrewarmInput) {
    this.#input = input
  }

  /** What it came to at a backend; undefined if nothing was prefilled there. */
  totals(backend: string): PrewarmTotals | undefined {
    return this.#totals.get(backend)
  }

  /** A stage is next, and the beginning of its prompt is known. */
  foresee(prompt: Foreseen): void {
    this.#prewarmer.foresee(prompt)
    this.#try(prompt.backend)
  }

  /** Takes in one transition of a run of `workflow`, where that is known. */
  apply(transition: Transition, nowMs: number, workflow: string | undefined): void {
    switch (transition.type) {
      case 'stage.queued': {
        const { runId, stage, backend } = transition
        const underWay = this.#prewarmer.asked(runId, stage, backend)
        if (underWay === undefined) return
        // The request that it is for gains by it, as long as there are slots for both.
        if (underWay.isOwn && this.#input.freeSlots(backend) >= 2) return
        return this.#stop(underWay, `"${stage}" of ${runId} asks`)
      }
      case 'stage.firstToken':
      case 'stage.rejected':
      case 'stage.released': {
        const { runId, stage, backend } = transition
        this.#prewarmer.computed(runId, stage, backend)
        if (transition.type === 'stage.released' && workflow !== undefined)
          this.#prewarmer.served(`${workflow}/${stage}`, backend, nowMs)
        return this.#try(backend)
      }
      default:
    }
  }

  /** A prefill is over. */
  prefilled({ actionId, usage, busy }: MemoryPrefilled): void {
    const pending = this.#pending.get(actionId)
    if (pending === undefined) return
    this.#pending.delete(actionId)
    this.#input.clock.clearTimer(pending.timer)
    const { prewarm } = pending
    this.#prewarmer.ended(prewarm.backend)
    const totals = this.#of(prewarm.backend)
    if (busy === true) {
      totals.prefills--
      this.#prewarmer.foresee(prewarm)
      return this.#tryLater(prewarm.backend)
    }
    if (usage === undefined) {
      totals.stopped++
    } else {
      const { promptTokens = prewarm.tokens, cachedTokens = 0 } = usage
      totals.promptTokens += promptTokens
      totals.computedTokens += promptTokens - cachedTokens
      this.#input.done(prewarm, { ...prewarm.figures, promptTokens, computedTokens: promptTokens - cachedTokens })
    }
    this.#try(prewarm.backend)
  }

  /** A backend's cache was emptied. */
  emptied(backend: string): void {
    this.#prewarmer.emptied(backend)
  }

  /** A run is over. */
  forget(runId: string): void {
    for (const foreseen of this.#prewarmer.forget(runId)) this.#stop(foreseen, `${runId} is over`)
  }

  /** Ends its timers, for good. What is under way ends with its driver. */
  stop(): void {
    this.#stopped = true
    const { clock } = this.#input
    for (const { timer } of this.#pending.values()) clock.clearTimer(timer)
    for (const timer of this.#retries.values()) clock.clearTimer(timer)
    this.#pending.clear()
    this.#retries.clear()
  }

  #tryLater(backend: string): void {
    if (this.#stopped || this.#retries.has(backend)) return
    const timer = this.#input.clock.setTimer(busyPauseMs, () => {
      this.#retries.delete(backend)
      this.#try(backend)
    })
    this.#retries.set(backend, timer)
  }

  #try(backend: string): void {
    if (this.#stopped) return
    const { clock, ledger } = this.#input
    const prewarm = this.#prewarmer.next(backend, ({ runId, model, stageClass }) => ({
      residentTokens: ledger.entry(runId, backend, model)?.residentTokens ?? 0,
      idleMs: this.#prewarmer.idleMs(stageClass, backend, clock.nowMs()),
      survival: (awayMs) => ledger.survival(backend, awayMs),
      reloadMs: (tokens) => ledger.reloadMs(backend, tokens),
      roomTokens: this.#input.roomTokens(backend),
    }))
    if (prewarm === undefined) return
    const actionId = this.#input.actionId()
    const timer = clock.setTimer(prefillMsMax, () => this.#input.stop(actionId, `not done within ${prefillMsMax} ms`))
    this.#pending.set(actionId, { prewarm, timer })
    this.#of(backend).prefills++
    const { runId, stage } = prewarm
    this.#input.act(backend, { kind: 'prefill', runId, stage }, actionId)
  }

  #stop(foreseen: Foreseen, why: string): void {
    for (const [actionId, { prewarm }] of this.#pending) {
      if (prewarm.runId === foreseen.runId && prewarm.stage === foreseen.stage) this.#input.stop(actionId, why)
    }
  }

  #of(backend: string): PrewarmTotals {
    let totals = this.#totals.get(backend)
    if (totals === undefined) {
      this.#totals.set(backend, (totals = { prefills: 0, stopped: 0, promptTokens: 0, computedTokens: 0 }))
    }
    return totals
  }
}
