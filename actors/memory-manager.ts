// Memory-manager actor
//
// Owns: the KV ledger, the KV window of each backend that has one, and the actions at engines that are under way.
// Does not own: the transitions it lives on (workflow actors make them), held requests and the bound on their wait
// (backend actors), the engines' caches, or how an action is carried out (`act`).
// In:  memory.foreseen, memory.prefilled, memory.transition, memory.admit, memory.left, memory.forced, memory.acted, memory.usage, memory.emptied,
//      memory.forget
// Out: backend.admitted, run.cache; actions through `act`
// Invariants
//   K1. It hears every transition of a run in order, before the run's next request is enqueued.
//   K2. Every decision goes to the run it concerns while that lives, and to the bounded list of decisions always.
//   K3. Nothing waits for an action: one that fails, hangs or lies costs what it was meant to bring, and nothing else.
//   K4. At most `actionsMax` actions are under way; beyond that, a release stays logical.
//   K5. The cache of a backend is emptied for a run only if no other live run has context there, unless the policy is
//       one that empties it whoever needs it.

import { roundMs, type Clock, type Timer } from '../src/clock.ts'
import type { Logger } from '../src/log.ts'
import { actionFor, type CacheAction, type CacheOutcome } from '../src/memory/actions.ts'
import type { CachePolicy, CacheVerdict, Pressure } from '../src/memory/cache-policy.ts'
import { FlushTrust } from '../src/memory/flush-trust.ts'
import { KvWindow, type WindowDecision } from '../src/memory/kv-window.ts'
import { KvLedger } from '../src/memory/ledger.ts'
import type { WindowPolicy } from '../src/memory/window-policy.ts'
import type { Capabilities } from '../src/schema/capabilities.ts'
import type { CacheTransition, StageReleased, Transition } from '../src/schema/transition.ts'
import { TurnoverMap } from '../src/turnover-map.ts'
import { guarded, type ActorState, type StateLogic } from './logic.ts'
import { Prewarming, type PrewarmTotals } from './memory-prewarm.ts'
import type { CacheBody, MemoryAdmit, MemoryMessage, Post } from './messages.ts'

/** The KV window of one backend, as the manager is told of it. */
export interface WindowSettings {
  capacityTokens: number
  holdMsMax: number
  policy: WindowPolicy
}

/** What the memory manager is made with. */
export interface MemoryManagerInput {
  log: Logger
  clock: Clock
  post: Post
  /** Decides at boundaries and under pressure; undefined leaves all to the engines. */
  policy: CachePolicy | undefined
  /** Tokens of the KV pool by backend, where they are known. */
  capacities: ReadonlyMap<string, number>
  /** KV windows by backend. */
  windows: ReadonlyMap<string, WindowSettings>
  /** What a backend's engine can do with its cache. */
  kvOf(backend: string): Capabilities['kv']
  /** Whether prompts that are foreseen are computed ahead. */
  prewarm: boolean
  /** Slots of a backend that no request has. */
  freeSlots(backend: string): number
  /** Stops a prefill that is under way. */
  stop(actionId: number, why: string): void
  /** A number for an action that no other had, also of a manager that broke: its outcomes may still come. */
  actionId(): number
  /** Carries out an action; the outcome comes back as `memory.acted`, `.usage` or `.prefilled` with the same number. */
  act(backend: string, action: CacheAction, actionId: number): void
}

/** One decision, for people. */
export interface CacheDecision extends Pick<
  CacheTransition,
  'type' | 'runId' | 'backend' | 'policy' | 'reason' | 'tokens' | 'figures'
> {
  /** Ms on the runtime's clock. */
  atMs: number
}

/** What is shown of a backend's KV window. */
export interface WindowStatus {
  policy: string
  capacityTokens: number
  usedTokens: number
  placed: number
  held: number
}

interface RunBook {
  workflow: string
  stages: number
  settled: number
  /** Where its last request went. */
  last: { backend: string; model: string } | undefined
  /** Stages that say what becomes of their context. */
  hints: Map<string, { hint: 'preserve' | 'flush'; backend: string; model: string }> | undefined
  /** Backends where a stage asked to preserve. */
  preserved: Set<string> | undefined
}

interface Pending {
  backend: string
  runId: string
  policy: string
  tokens: number
  kind: CacheAction['kind']
  timer: Timer
}

/** Actions under way at once, over all backends. */
const actionsMax = 256
/** An engine that has not answered an action by then is taken to have failed, ms (the reference's figure). */
const actionTimeoutMs = 5_000
/** Decisions kept for people. */
const decisionsMax = 256
/** How often pressure is looked at while anything happens, ms (the reference's figure). */
const pressureTickMs = 2_000
/** Reviews of one window are at least this far apart, ms, and farther with many runs: a review looks at all of them. */
const reviewSpacingMs = 50
const reviewSpacingMsPerRun = 0.04
/** What an engine said of its use counts for so long, ms; after that the ledger speaks. */
const usageStaleMs = 6_000

/** State of the memory manager, changed in place. */
export class MemoryManagerState implements ActorState<MemoryMessage> {
  onCrash?: ((error: unknown) => void) | undefined
  readonly ledger = new KvLedger()
  readonly #input: MemoryManagerInput
  readonly #windows = new Map<string, WindowKeeper>()
  readonly #runs = new TurnoverMap<string, RunBook>()
  readonly #pending = new Map<number, Pending>()
  readonly #decisions: CacheDecision[] = []
  readonly #prewarming: Prewarming | undefined
  readonly #usage = new Map<string, { usedFraction: number; atMs: number }>()
  readonly #trust = new FlushTrust()
  #pressureTimer: Timer | undefined
  #stopped = false

  constructor(input: MemoryManagerInput) {
    this.#input = input
    if (input.prewarm) {
      this.#prewarming = new Prewarming({
        clock: input.clock,
        ledger: this.ledger,
        actionId: () => input.actionId(),
        act: (backend, action, actionId) => input.act(backend, action, actionId),
        stop: (actionId, why) => input.stop(actionId, why),
        freeSlots: (backend) => input.freeSlots(backend),
        roomTokens: (backend) => {
          const window = this.#windows.get(backend)?.window
          return window === undefined ? Infinity : window.capacityTokens - window.usedTokens
        },
        done: ({ runId, backend, tokens, reason }, figures) =>
          this.#decide('cache.prewarmed', { runId, backend, policy: 'prewarm', reason, tokens, figures }),
      })
    }
    for (const [backend, settings] of input.windows) {
      const { ledger } = this
      const window = new KvWindow({
        ...settings,
        knowledge: {
          get hitRatio() {
            return ledger.hitRatio(backend)
          },
          forecast: (waitFor, elapsedMs, withinMs) => ledger.forecast(waitFor ?? '', elapsedMs, withinMs),
          returnRate: (waitFor, elapsedMs) => ledger.returnRate(waitFor ?? '', elapsedMs),
          reloadMs: (tokens) => ledger.reloadMs(backend, tokens),
          responseMs: (tokens) => ledger.responseMs(backend, tokens),
          survival: (awayMs) => ledger.survival(backend, awayMs),
        },
      })
      const guard = (run: () => void): (() => void) => this.#guarded(`review of ${backend}`, run)
      this.#windows.set(backend, new WindowKeeper(window, input.clock, () => this.#review(backend), guard))
    }
  }

  handle(message: MemoryMessage): void {
    switch (message.type) {
      case 'memory.transition':
        return this.#onTransition(message.transition, message.nowMs)
      case 'memory.admit':
        return this.#onAdmit(message)
      case 'memory.left': {
        const keeper = this.#windows.get(message.backend)
        keeper?.window.left(message.runId, message.requestId, this.#input.clock.nowMs())
        return keeper?.changed()
      }
      case 'memory.forced': {
        const decision = this.#windows.get(message.backend)?.window.force(message.runId, this.#input.clock.nowMs())
        if (decision !== undefined) this.#carryOutWindow(message.backend, [decision])
        return
      }
      case 'memory.acted':
        return this.#onActed(message.actionId, message.outcome)
      case 'memory.usage': {
        const { backend, usedFraction } = message
        this.#settle(message.actionId)
        if (usedFraction !== undefined) this.#usage.set(backend, { usedFraction, atMs: this.#input.clock.nowMs() })
        return
      }
      case 'memory.foreseen':
        return this.#prewarming?.foresee(message.prompt)
      case 'memory.prefilled':
        return this.#prewarming?.prefilled(message)
      case 'memory.emptied':
        this.#usage.delete(message.backend)
        this.#trust.forget(message.backend)
        return this.#emptied(message.backend)
      case 'memory.forget':
        return this.#forget(message.runId)
    }
  }

  /** The last decisions, oldest first. */
  get decisions(): readonly CacheDecision[] {
    return this.#decisions
  }

  /** A backend's KV window; undefined without one. */
  window(backend: string): WindowStatus | undefined {
    const window = this.#windows.get(backend)?.window
    if (window === undefined) return undefined
    const { policyName: policy, capacityTokens, usedTokens, placed, held } = window
    return { policy, capacityTokens, usedTokens, placed, held }
  }

  /** How full a backend is, and who says so; undefined where neither engine nor options say how much it holds. */
  pressure(backend: string): Pick<Pressure, 'utilisation' | 'source'> | undefined {
    const said = this.#usage.get(backend)
    const capacityTokens = this.#input.capacities.get(backend)
    const fresh = said !== undefined && this.#input.clock.nowMs() - said.atMs <= usageStaleMs
    const ledger = capacityTokens === undefined ? 0 : this.ledger.totals(backend).distinctTokens / capacityTokens
    // Engines mostly count live requests only: the ledger may know of more.
    if (fresh && said.usedFraction >= ledger) return { utilisation: said.usedFraction, source: 'engine' }
    return capacityTokens === undefined ? undefined : { utilisation: ledger, source: 'ledger' }
  }

  /** What prewarming came to at a backend; undefined where nothing was prefilled. */
  prewarmed(backend: string): PrewarmTotals | undefined {
    return this.#prewarming?.totals(backend)
  }

  /** A message could not be taken in: a bug, said loudly; the ledger goes on. */
  report(error: unknown, message: MemoryMessage): void {
    const what = message.type === 'memory.transition' ? message.transition.type : message.type
    this.#input.log.error({ message: what, error }, 'memory manager failed')
  }

  /** Ends its timers, for good: what broke it may have been called from the middle of something that goes on. */
  stop(): void {
    const { clock } = this.#input
    this.#stopped = true
    this.#prewarming?.stop()
    for (const keeper of this.#windows.values()) keeper.end()
    for (const { timer } of this.#pending.values()) clock.clearTimer(timer)
    clock.clearTimer(this.#pressureTimer)
    this.#pending.clear()
  }

  // --- the feed

  #onTransition(transition: Transition, nowMs: number): void {
    const book = this.#runs.get(transition.runId)
    // Runs that a manager before this one knew have no book; what they ask for counts all the same.
    this.#prewarming?.apply(transition, nowMs, book?.workflow)
    switch (transition.type) {
      case 'run.started':
        this.#runs.set(transition.runId, {
          workflow: transition.workflow,
          stages: transition.stages,
          settled: 0,
          last: undefined,
          hints: undefined,
          preserved: undefined,
        })
        break
      case 'stage.queued': {
        const { runId, stage, backend, model, addedTokens, cacheHint } = transition
        if (book === undefined) break
        const previous = book.last
        book.last = { backend, model }
        if (cacheHint !== undefined) (book.hints ??= new Map()).set(stage, { hint: cacheHint, backend, model })
        if (this.#input.policy?.atBoundary === undefined || previous === undefined) break
        const moved = previous.backend !== backend || previous.model !== model
        const here = this.#residentTokens(runId, backend, model)
        const away = moved
          ? { ...previous, residentTokens: this.#residentTokens(runId, previous.backend, previous.model) }
          : undefined
        // Before the ledger hears of it: the context that was there is the one in question.
        this.#ask({
          boundary: 'request',
          runId,
          stage,
          backend,
          model,
          residentTokens: here,
          addedTokens,
          previous: away,
        })
        break
      }
      case 'stage.granted':
        this.#trust.granted(transition.backend, transition.requestId)
        break
      case 'stage.released': {
        this.#checkFlush(transition)
        this.ledger.apply(transition, nowMs)
        const { runId, stage, backend, model, usage } = transition
        const keeper = this.#windows.get(backend)
        if (keeper !== undefined) {
          const { promptTokens, completionTokens, cachedTokens } = usage
          const tokens = promptTokens === undefined ? undefined : promptTokens + (completionTokens ?? 0)
          const expected = this.ledger.expectedTokens(runId, backend, model)
          const missed = cachedTokens === undefined ? 0 : Math.max(0, expected - cachedTokens)
          keeper.window.finished(runId, tokens, nowMs, missed)
          keeper.changed()
        }
        if (this.#input.policy?.atBoundary !== undefined) {
          const residentTokens = this.#residentTokens(runId, backend, model)
          this.#ask({
            boundary: 'answer',
            runId,
            stage,
            backend,
            model,
            residentTokens,
            addedTokens: 0,
            previous: undefined,
          })
        }
        this.#armPressure()
        return void this.ledger.expire(nowMs)
      }
      case 'stage.firstToken': {
        const keeper = this.#windows.get(transition.backend)
        keeper?.window.began(transition.runId)
        keeper?.changed()
        break
      }
      case 'tool.started':
        this.#windows.get(transition.backend)?.window.waits(transition.runId, transition.tool, nowMs)
        break
      case 'stage.completed':
      case 'stage.failed':
      case 'stage.skipped':
      case 'stage.cancelled':
        if (book !== undefined) this.#onSettled(book, transition.runId, transition.stage)
        break
      case 'run.completed':
      case 'run.failed':
        return this.#forget(transition.runId)
      default:
    }
    this.ledger.apply(transition, nowMs)
  }

  /** Cached tokens right after a flush: the engine said that it was done, and it was not. */
  #checkFlush({ backend, requestId, runId, usage }: StageReleased): void {
    const cachedTokens = this.#trust.answered(backend, requestId, usage.cachedTokens)
    if (cachedTokens === undefined) return
    const next = this.#trust.believes(backend) ? '' : '; it is not asked to flush any more'
    const reason = `flushAll: the engine said that it was done, and the next prompt had ${cachedTokens} tokens cached${next}`
    const policy = this.#input.policy?.name ?? 'engine'
    this.#decide('cache.flushFailed', {
      runId,
      backend,
      policy,
      reason,
      tokens: cachedTokens,
      figures: { cachedTokens },
    })
  }

  #kvOf(backend: string): Capabilities['kv'] {
    const kv = this.#input.kvOf(backend)
    return this.#trust.believes(backend) ? kv : { ...kv, flushAll: 'none' }
  }

  #onSettled(book: RunBook, runId: string, stage: string): void {
    const hinted = book.hints?.get(stage)
    if (hinted !== undefined) {
      const { hint, backend, model } = hinted
      book.hints!.delete(stage)
      if (hint === 'preserve') (book.preserved ??= new Set()).add(backend)
      const want = hint === 'preserve' ? 'keep' : 'flush'
      const figures = { residentTokens: this.#residentTokens(runId, backend, model) }
      this.#carryOut(runId, { want, backend, reason: `the stage says so: cache "${hint}"`, figures }, 'stage hint')
    }
    // Asked with the last stage rather than with the run's end: nothing follows a run's last transition.
    if (++book.settled < book.stages || this.#input.policy?.atBoundary === undefined) return
    for (const { backend, model, residentTokens } of this.ledger.ofRun(runId)) {
      if (book.preserved?.has(backend) === true) continue
      const view = { runId, stage: undefined, backend, model, residentTokens, addedTokens: 0, previous: undefined }
      this.#ask({ ...view, boundary: 'end' })
    }
  }

  #ask(view: Parameters<NonNullable<CachePolicy['atBoundary']>>[0]): void {
    const { policy, log } = this.#input
    if (policy?.atBoundary === undefined) return
    let verdict: CacheVerdict | undefined
    try {
      verdict = policy.atBoundary(view)
    } catch (error) {
      log.error({ policy: policy.name, error }, 'a cache policy failed; the engine decides')
    }
    if (verdict !== undefined) this.#carryOut(view.runId, verdict, policy.name)
  }

  #emptied(backend: string): void {
    this.ledger.emptied(backend)
    this.#prewarming?.emptied(backend)
  }

  #forget(runId: string): void {
    this.ledger.forget(runId)
    this.#prewarming?.forget(runId)
    this.#runs.delete(runId)
    for (const keeper of this.#windows.values()) {
      keeper.window.end(runId)
      keeper.changed()
    }
    if (this.ledger.size > 0) return
    this.#input.clock.clearTimer(this.#pressureTimer)
    this.#pressureTimer = undefined
  }

  #residentTokens(runId: string, backend: string, model: string): number {
    return this.ledger.entry(runId, backend, model)?.residentTokens ?? 0
  }

  // --- decisions and actions

  #carryOut(runId: string, verdict: CacheVerdict, policy: string): void {
    const { backend, want, reason, figures } = verdict
    const entries = this.ledger.ofRun(runId).filter((entry) => entry.backend === backend)
    const tokens = entries.reduce((sum, entry) => sum + entry.residentTokens, 0)
    if (want === 'keep') return this.#decide('cache.kept', { runId, backend, policy, reason, tokens, figures })
    // A sibling stage is at work on it: the boundary is that stage's.
    const inUse = entries.some(({ residency }) => residency === 'running' || residency === 'queued')
    if (inUse && want !== 'flushAll') return
    const othersLive = this.ledger.othersAt(backend, runId)
    const action = this.#pending.size < actionsMax ? actionFor(want, this.#kvOf(backend), runId, othersLive) : undefined
    const how =
      action === undefined
        ? `logical: ${othersLive ? 'others need the cache' : 'the engine cannot do more'}`
        : action.kind === 'endSession'
          ? 'the session is ended'
          : 'the cache is emptied'
    this.#decide('cache.released', {
      runId,
      backend,
      policy,
      reason: `${reason}; ${how}`,
      tokens,
      figures: { ...figures, othersLive: Number(othersLive) },
    })
    if (want !== 'flushAll') {
      this.ledger.drop(runId, backend)
      const keeper = this.#windows.get(backend)
      keeper?.window.release(runId)
      keeper?.changed()
    }
    if (action !== undefined) this.#act(action, { backend, runId, policy, tokens })
  }

  #act(action: CacheAction, about: Omit<Pending, 'timer' | 'kind'>): void {
    if (this.#stopped) return
    const { clock } = this.#input
    const actionId = this.#input.actionId()
    const message = `no answer within ${actionTimeoutMs} ms`
    const late = this.#guarded('timeout', () => this.#onActed(actionId, { outcome: 'timeout', message }))
    const timer = clock.setTimer(actionTimeoutMs, late)
    this.#pending.set(actionId, { ...about, kind: action.kind, timer })
    try {
      this.#input.act(about.backend, action, actionId)
    } catch (error) {
      this.#onActed(actionId, { outcome: 'failed', message: String(error) })
    }
  }

  #settle(actionId: number): Pending | undefined {
    const pending = this.#pending.get(actionId)
    if (pending === undefined) return undefined
    this.#pending.delete(actionId)
    this.#input.clock.clearTimer(pending.timer)
    return pending
  }

  #onActed(actionId: number, { outcome, message }: CacheOutcome): void {
    // An answer that comes after its time is void.
    const pending = this.#settle(actionId)
    if (pending === undefined || pending.kind === 'usage') return
    const { runId, backend, policy, tokens, kind } = pending
    const done = outcome === 'flushed' || outcome === 'hinted'
    if (outcome === 'flushed' && kind === 'flushAll') {
      this.#trust.flushed(backend, !this.ledger.isBusy(backend))
      this.#emptied(backend)
    }
    const reason = `${kind}: ${outcome}${message === '' ? '' : `, ${message}`}`
    const type = done ? 'cache.flushed' : 'cache.flushFailed'
    this.#decide(type, { runId, backend, policy, reason, tokens, figures: {} })
  }

  #decide(type: CacheTransition['type'], what: Omit<CacheBody, 'type'> & { runId: string }): void {
    const { runId, ...body } = what
    this.#decisions.push({ type, atMs: this.#input.clock.nowMs(), ...what })
    if (this.#decisions.length > decisionsMax) this.#decisions.shift()
    const book = this.#runs.get(runId)
    if (book !== undefined) {
      this.#input.post({ actor: 'run', runId }, { type: 'run.cache', transition: { type, ...body } })
    }
  }

  // --- windows

  #onAdmit({ backend, request }: MemoryAdmit): void {
    const keeper = this.#windows.get(backend)!
    const { runId, requestId } = request
    const nowMs = this.#input.clock.nowMs()
    const entry = this.ledger.ofRun(runId).find((each) => each.backend === backend)
    const answer = keeper.window.request({ ...request, prefix: entry?.prefix ?? [] }, nowMs)
    if (answer.admitted) {
      this.#input.post({ actor: 'backend', name: backend }, { type: 'backend.admitted', requestIds: [requestId] })
      if (keeper.window.pressed) keeper.changed()
      return
    }
    const { usedTokens, capacityTokens, policyName: policy } = keeper.window
    const figures = { usedTokens, capacityTokens, promptTokens: request.promptTokens }
    const tokens = request.promptTokens
    this.#decide('cache.held', { runId, backend, policy, reason: answer.reason, tokens, figures })
    keeper.changed()
  }

  #review(backend: string): void {
    const keeper = this.#windows.get(backend)!
    try {
      this.#carryOutWindow(backend, keeper.window.review(this.#input.clock.nowMs()))
    } catch (error) {
      // The backend lets held requests through when their time is up, whatever happens here.
      this.#input.log.error({ backend, policy: keeper.window.policyName, error }, 'a window policy failed')
    }
  }

  #carryOutWindow(backend: string, decisions: readonly WindowDecision[]): void {
    const { window } = this.#windows.get(backend)!
    const { usedTokens, capacityTokens, policyName: policy } = window
    for (const { kind, runId, reason, requestIds, tokens, heldMs } of decisions) {
      if (kind === 'released') {
        const figures = { usedTokens, capacityTokens }
        this.#decide('cache.released', { runId, backend, policy, reason, tokens, figures })
        continue
      }
      const figures = { heldMs: roundMs(heldMs), usedTokens, capacityTokens }
      this.#decide('cache.admitted', { runId, backend, policy, reason, tokens, figures })
      this.#input.post({ actor: 'backend', name: backend }, { type: 'backend.admitted', requestIds })
    }
  }

  // --- pressure and time to live

  #armPressure(): void {
    const { policy, clock } = this.#input
    if (policy?.underPressure === undefined || this.#pressureTimer !== undefined || this.#stopped) return
    const relieve = this.#guarded('pressure', () => {
      this.#pressureTimer = undefined
      this.#relieve()
    })
    this.#pressureTimer = clock.setTimer(pressureTickMs, relieve)
  }

  #guarded(message: string, run: () => void): () => void {
    return guarded(this, (error) => this.#input.log.error({ message, error }, 'memory manager failed'), run)
  }

  #relieve(): void {
    const { policy, log, clock } = this.#input
    const backends = new Set<string>(this.#windows.keys())
    for (const { last } of this.#runs.values()) if (last !== undefined) backends.add(last.backend)
    for (const backend of backends) {
      if (this.#pending.size < actionsMax) {
        this.#act({ kind: 'usage' }, { backend, runId: '', policy: policy!.name, tokens: 0 })
      }
      const found = this.pressure(backend)
      if (found === undefined) continue
      const nowMs = clock.nowMs()
      const runs = this.ledger.entries(backend).map(({ runId, residentTokens, residency, lastTouchMs }) => ({
        runId,
        tokens: residentTokens,
        residency,
        idleMs: nowMs - lastTouchMs,
      }))
      const capacityTokens = this.#input.capacities.get(backend) ?? this.#tokensAt(backend, found)
      try {
        for (const { runId, reason } of policy!.underPressure!({ ...found, backend, capacityTokens, runs })) {
          const figures = { utilisation: found.utilisation, capacityTokens }
          this.#carryOut(runId, { want: 'release', backend, reason, figures }, policy!.name)
        }
      } catch (error) {
        log.error({ policy: policy!.name, error }, 'a cache policy failed; the engine decides')
      }
    }
  }

  /** Size of a pool that nobody told, from how full the engine says it is. */
  #tokensAt(backend: string, { utilisation }: { utilisation: number }): number {
    return this.ledger.totals(backend).distinctTokens / Math.max(utilisation, 0.01)
  }
}

/** One window, and when it is reviewed. */
class WindowKeeper {
  readonly window: KvWindow
  readonly #clock: Clock
  readonly #review: () => void
  readonly #onTimer: () => void
  #timer: Timer | undefined
  #dueMs = Infinity
  #lastMs = -Infinity
  #ended = false

  constructor(window: KvWindow, clock: Clock, review: () => void, guard: (run: () => void) => () => void) {
    this.window = window
    this.#clock = clock
    this.#review = review
    this.#onTimer = guard(() => {
      this.#timer = undefined
      this.#dueMs = Infinity
      this.#lastMs = this.#clock.nowMs()
      this.#review()
      if (this.window.pressed) this.#arm(this.#lastMs + this.window.tickMs)
    })
  }

  /** Something changed: reviews if that can matter, soon but not often. */
  changed(): void {
    if (!this.window.pressed) return this.stop()
    const spacingMs = Math.max(reviewSpacingMs, reviewSpacingMsPerRun * this.window.size)
    this.#arm(Math.max(this.#clock.nowMs(), this.#lastMs + spacingMs))
  }

  stop(): void {
    this.#clock.clearTimer(this.#timer)
    this.#timer = undefined
    this.#dueMs = Infinity
  }

  /** Stops, and does not begin again. */
  end(): void {
    this.stop()
    this.#ended = true
  }

  #arm(atMs: number): void {
    if (this.#ended || this.#dueMs <= atMs) return
    this.#clock.clearTimer(this.#timer)
    this.#dueMs = atMs
    this.#timer = this.#clock.setTimer(atMs - this.#clock.nowMs(), this.#onTimer)
  }
}

/** Logic of the memory manager. */
export const memoryManagerLogic: StateLogic<MemoryManagerState, MemoryMessage, MemoryManagerInput> = {
  create: (input) => new MemoryManagerState(input),
  onError: (state, error, message) => state.report(error, message),
}
