// From transitions to accounts and decisions
//
// Owns: nothing but when the stages of live runs began.
// Does not own: accounts, decisions; it tells them what transitions say. It hears those of all runs on the control
// thread, whichever thread they run on.
// Invariants
//   K1. A stage that got a backend ends in exactly one account: that of the backend where it ended. Its answers and
//       errors are in the accounts of the backends where they happened.
//   K2. When a run is over nothing of it is left here.

import type { StageMapped, Transition } from '../schema/transition.ts'
import type { AccountKey, Accounts, StageEnd } from './accounts.ts'
import type { DecisionRecord, Decisions } from './decisions.ts'

interface LiveRun {
  workflow: string
  tenant: string
  /** When each stage began, ms since its run did. */
  readonly startedAtMs: Map<string, number>
}

/** Keeps the books of one runtime. */
export class Bookkeeping {
  readonly #accounts: Accounts
  readonly #decisions: Decisions
  readonly #runs = new Map<string, LiveRun>()

  constructor(accounts: Accounts, decisions: Decisions) {
    this.#accounts = accounts
    this.#decisions = decisions
  }

  /** Takes a transition. */
  heard(transition: Transition): void {
    const { runId } = transition
    switch (transition.type) {
      case 'run.started':
        // A run that begins again on another thread begins with all of its stages.
        this.#decisions.began(runId)
        this.#runs.set(runId, {
          workflow: transition.workflow,
          tenant: transition.tenant,
          startedAtMs: new Map(),
        })
        return
      case 'stage.started':
        this.#runs.get(runId)?.startedAtMs.set(transition.stage, transition.atMs)
        return
      case 'stage.mapped':
        return this.#mapped(transition)
      case 'stage.retrying': {
        const decision = this.#decisions.of(runId, transition.stage)
        if (decision === undefined) return
        // It may go on at another backend.
        decision.backend = transition.backend
        decision.model = transition.model
        return
      }
      case 'stage.released': {
        const decision = this.#decisions.of(runId, transition.stage)
        if (decision === undefined) return
        const { outcome, usage, costUsd } = transition
        if (outcome === 'failed') this.#accounts.erred(keyOf(decision))
        if (outcome !== 'ok') return
        this.#accounts.answered(keyOf(decision), usage, costUsd)
        if (costUsd !== undefined) decision.costUsd = (decision.costUsd ?? 0) + costUsd
        return
      }
      case 'stage.completed':
        return this.#ended(runId, transition.stage, 'completed', transition.atMs)
      case 'stage.failed':
        return this.#ended(runId, transition.stage, 'failed', transition.atMs)
      case 'stage.cancelled':
        return this.#ended(runId, transition.stage, 'cancelled', transition.atMs)
      case 'run.completed':
      case 'run.failed':
        // The thread of a run may end before it says what became of its stages.
        for (const { stage } of this.#decisions.open(runId)) {
          this.#ended(runId, stage, transition.to === 'cancelled' ? 'cancelled' : 'failed', transition.atMs)
        }
        this.#decisions.over(runId)
        this.#runs.delete(runId)
        return
      default:
    }
  }

  #mapped({ runId, stage, backend, model, reason, mapping }: StageMapped): void {
    const run = this.#runs.get(runId)
    if (run === undefined) return
    const { workflow, tenant } = run
    const stageClass = `${workflow}/${stage}`
    const by = mapping?.by ?? 'explicit'
    const rest = { reason, state: undefined, durationMs: 0, feedback: [] }
    const decision = { runId, workflow, tenant, stage, stageClass, backend, model, by, ...rest }
    this.#decisions.made(decision)
    if (mapping?.costUsd !== undefined) this.#accounts.mapped(keyOf(decision), mapping.costUsd)
  }

  #ended(runId: string, stage: string, state: StageEnd, atMs: number): void {
    const decision = this.#decisions.of(runId, stage)
    if (decision === undefined || decision.state !== undefined) return
    const latencyMs = atMs - (this.#runs.get(runId)?.startedAtMs.get(stage) ?? atMs)
    this.#accounts.ended(keyOf(decision), state, latencyMs)
    this.#decisions.ended(decision, state, latencyMs)
  }
}

/** The account that a decision belongs to. */
export function keyOf({ stageClass, backend, by }: DecisionRecord): AccountKey {
  return { stageClass, backend, variant: by }
}
