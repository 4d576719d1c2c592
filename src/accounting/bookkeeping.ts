// From transitions to accounts and decisions
//
// Owns: nothing. It tells accounts and decisions what transitions say, and hears those of all runs on the control thread,
// whichever thread they run on.
// Invariants
//   K1. A stage that got a backend ends in exactly one account: that of the backend where it ended. Its answers and
//       errors are in the accounts of the backends where they happened. One that failed before it had any is in an account
//       of its class without a backend.

import type {
  StageContinued,
  StageFailed,
  StageMapped,
  StageReleased,
  StageRetrying,
  Transition,
} from '../schema/transition.ts'
import type { Accounts, StageEnd } from './accounts.ts'
import { Decision, type Decisions } from './decisions.ts'

/** Stands for the backend of stages that failed without one. */
const noBackend = '(none)'

/** Keeps the books of one runtime. */
export class Bookkeeping {
  readonly #accounts: Accounts
  readonly #decisions: Decisions

  constructor(accounts: Accounts, decisions: Decisions) {
    this.#accounts = accounts
    this.#decisions = decisions
  }

  /** Takes a transition. */
  heard(transition: Transition): void {
    const { runId } = transition
    switch (transition.type) {
      case 'run.started':
        return this.#decisions.began(runId, transition.workflow, transition.tenant)
      case 'stage.mapped':
        return this.#mapped(transition)
      case 'stage.retrying':
        this.#moved(transition)
        return
      case 'stage.continued':
        return this.#escalated(transition)
      case 'stage.released':
        return this.#released(transition)
      case 'stage.completed':
        return this.#ended(this.#decisions.of(runId, transition.stage), 'completed', transition.atMs)
      case 'stage.failed':
        if (this.#decisions.of(runId, transition.stage) === undefined) return this.#unmapped(transition)
        return this.#ended(this.#decisions.of(runId, transition.stage), 'failed', transition.atMs)
      case 'stage.cancelled':
        return this.#ended(this.#decisions.of(runId, transition.stage), 'cancelled', transition.atMs)
      case 'run.completed':
      case 'run.failed': {
        // The thread of a run may end before it says what became of its stages.
        const end = transition.to === 'cancelled' ? 'cancelled' : 'failed'
        const run = this.#decisions.run(runId)
        if (run !== undefined && run.open > 0) for (const each of run.all()) this.#ended(each, end, transition.atMs)
        return this.#decisions.over(runId)
      }
      default:
    }
  }

  #mapped({ runId, stage, backend, model, reason, mapping, atMs }: StageMapped): void {
    const run = this.#decisions.run(runId)
    if (run === undefined) return
    const variant = mapping?.by ?? 'explicit'
    const book = this.#accounts.book({ stageClass: `${run.workflow}/${stage}`, backend, variant })
    const startedAtMs = atMs - (mapping?.decisionMs ?? 0)
    const learner = run.learners?.get(stage)
    run.learners?.delete(stage)
    run.add(new Decision(run, { stage, reason, startedAtMs, book, model }, learner))
    if (mapping?.costUsd !== undefined) book.decided(mapping.costUsd)
  }

  /** It goes on at another backend, if it does: after a failure, among replicas, or by a cascade. */
  #moved({ runId, stage, backend, model }: StageRetrying | StageReleased): Decision | undefined {
    const decision = this.#decisions.of(runId, stage)
    if (decision === undefined) return undefined
    decision.model = model
    const { stageClass, variant } = decision.book
    if (backend !== decision.book.backend) decision.book = this.#accounts.book({ stageClass, backend, variant })
    return decision
  }

  #escalated({ runId, stage, escalatedFrom, backend }: StageContinued): void {
    if (escalatedFrom === undefined || backend === undefined) return
    const decision = this.#decisions.of(runId, stage)
    if (decision === undefined) return
    decision.book.escalated()
    const { stageClass, variant } = decision.book
    decision.book = this.#accounts.book({ stageClass, backend, variant })
  }

  #released(transition: StageReleased): void {
    const decision = this.#moved(transition)
    const { outcome, usage, costUsd } = transition
    if (decision === undefined || outcome === 'cancelled') return
    if (outcome === 'failed') return decision.book.erred()
    decision.book.answered(usage, costUsd)
    if (costUsd !== undefined) decision.costUsd = (decision.costUsd ?? 0) + costUsd
  }

  /** It failed before it had a backend. */
  #unmapped({ runId, stage, mappingCostUsd }: StageFailed): void {
    const run = this.#decisions.run(runId)
    if (run === undefined) return
    const book = this.#accounts.book({ stageClass: `${run.workflow}/${stage}`, backend: noBackend, variant: noBackend })
    book.ended('failed', 0)
    if (mappingCostUsd !== undefined) book.decided(mappingCostUsd)
  }

  #ended(decision: Decision | undefined, state: StageEnd, atMs: number): void {
    if (decision === undefined || decision.state !== undefined) return
    const latencyMs = Math.max(0, atMs - decision.startedAtMs)
    decision.book.ended(state, latencyMs)
    this.#decisions.ended(decision, state, latencyMs)
  }
}
