// Money and worth, for one runtime
//
// Owns: its accounts, its decisions and the feedback on them, and the budgets that runs share.
// Does not own: what a run may spend (workflow actor), prices (backends).
// Invariants
//   A1. Money is set aside for a request before its backend hears of it, on the control thread, whichever thread its run
//       is on; it is settled when the stage says that the request is over, or the request is withdrawn.

import { Accounts, type Account } from './accounting/accounts.ts'
import { Bookkeeping } from './accounting/bookkeeping.ts'
import { Decisions, type Decision, type DecisionRecord, type Learner } from './accounting/decisions.ts'
import { BudgetsSchema, SharedBudgets, type BudgetsOptions, type BudgetStatus } from './accounting/shared-budgets.ts'
import type { BackendMessage, BackendRequest, StageAddress } from '../actors/messages.ts'
import type { Clock } from './clock.ts'
import type { OrlaError } from './errors.ts'
import type { Logger } from './log.ts'
import { costUsd } from './mapping/cost.ts'
import { FeedbackSchema, type Feedback } from './runtime-api.ts'
import { parseOptions } from './schema/options.ts'
import type { Usage } from './schema/chat.ts'
import type { Prices } from './schema/backend.ts'
import type { Transition } from './schema/transition.ts'
import type { RunRecorder } from './workflow/recorder.ts'

/** What accounting needs of the runtime around it. */
export interface AccountingInput {
  clock: Clock
  log: Logger
  recorder: RunRecorder | undefined
  budgets: BudgetsOptions | undefined
  pricesOf(backend: string): Prices | undefined
}

/** The books of one runtime. */
export class RuntimeAccounting {
  readonly #input: AccountingInput
  /** What stages and copies cost, took and were worth. */
  readonly books = new Accounts()
  readonly #decisions: Decisions
  readonly #bookkeeping: Bookkeeping

  #budgets: SharedBudgets | undefined

  constructor(input: AccountingInput) {
    const { clock, recorder, budgets } = input
    this.#input = input
    this.#budgets = budgets === undefined ? undefined : new SharedBudgets(budgets, () => clock.nowMs())
    this.#decisions = new Decisions({
      ended: (decision) => this.#observe(decision),
      told: (decision, entry) => {
        if (entry.rating !== undefined) {
          decision.book.rated(entry.rating)
          this.#observe(decision, entry.rating)
        }
        recorder?.feedback?.(decision.record(), entry)
      },
    })
    this.#bookkeeping = new Bookkeeping(this.books, this.#decisions)
  }

  /** Takes a transition of any run. */
  heard(transition: Transition): void {
    this.#bookkeeping.heard(transition)
    if (this.#budgets === undefined) return
    if (transition.type === 'stage.rejected') this.#budgets.settle(transition.requestId, 0)
    if (transition.type !== 'stage.released') return
    const { requestId, outcome } = transition
    this.#budgets.settle(requestId, outcome === 'ok' ? transition.costUsd : 0)
  }

  /** Takes a message to a backend before the backend does. Returns why the backend must not have it. */
  passes(backend: string, message: BackendMessage): OrlaError | undefined {
    if (this.#budgets === undefined) return undefined
    if (message.type === 'backend.request') return this.#admits(this.#budgets, backend, message)
    if (message.type === 'backend.withdraw') this.#budgets.settle(message.requestId, 0)
    // A turn that was answered was settled by its transition before; a side call says what it cost here.
    if (message.type === 'backend.release') {
      this.#budgets.settle(message.requestId, message.verdict === 'ok' ? message.costUsd : 0)
    }
    return undefined
  }

  /** A backend did not take a side call, of which no transition tells. */
  refused(requestId: string): void {
    this.#budgets?.settle(requestId, 0)
  }

  /** A mapper that wants to hear of it decided where a stage runs, and the stage has not heard of it yet. */
  decided({ runId, stage }: StageAddress, learner: Learner): void {
    const run = this.#decisions.run(runId)
    if (run !== undefined) (run.learners ??= new Map()).set(stage, learner)
  }

  /** The beginning of a stage's prompt was computed ahead. */
  prefilled(backend: string, { runId, stage }: { runId: string; stage: string }, usage: Usage): void {
    const run = this.#decisions.run(runId)
    if (run === undefined) return
    const book = this.books.book({ stageClass: `${run.workflow}/${stage}`, backend, variant: 'prewarm' })
    book.answered(usage, costUsd(usage, this.#input.pricesOf(backend)))
  }

  budgets(): BudgetStatus[] {
    return this.#budgets?.list() ?? []
  }

  /** Tells the mapper of a decision what came of it. */
  #observe({ run, stage, book, state, durationMs, costUsd, learner }: Decision, rating?: number): void {
    if (learner === undefined) return
    const { runId, workflow } = run
    try {
      learner.observe({
        runId,
        workflow,
        stage,
        stageClass: book.stageClass,
        decision: learner.decision,
        durationMs,
        // Only stages that have ended are told of.
        state: state!,
        ...(costUsd !== undefined && { costUsd }),
        ...(rating !== undefined && { rating }),
      })
    } catch (error) {
      this.#input.log.error(
        { stageClass: book.stageClass, error },
        'a mapper threw when it heard what came of a decision',
      )
    }
  }

  setBudgets(budgets: BudgetsOptions): void {
    const checked = parseOptions(BudgetsSchema, budgets, 'budgets') as BudgetsOptions
    if (this.#budgets === undefined) this.#budgets = new SharedBudgets(checked, () => this.#input.clock.nowMs())
    else this.#budgets.replace(checked)
  }

  #admits(
    budgets: SharedBudgets,
    backend: string,
    { request, outputTokensMax = request.outputTokens }: BackendRequest,
  ): OrlaError | undefined {
    const { requestId, promptTokens, tenant } = request
    // What it costs to decide where a stage runs is the stage's.
    const spender = { tenant, stageClass: request.stageClass.replace(/~mapping$/, '') }
    if (!budgets.concerns(spender)) return undefined
    const mostUsd = costUsd({ promptTokens, completionTokens: outputTokensMax }, this.#input.pricesOf(backend))
    return mostUsd === undefined ? undefined : budgets.reserve(requestId, spender, mostUsd)
  }

  accounts(): Account[] {
    return this.books.list()
  }

  ratedDecisions(): DecisionRecord[] {
    return this.#decisions.rated()
  }

  feedback(runId: string, feedback: Feedback): void {
    const { stage, labels, rating } = parseOptions(FeedbackSchema, feedback, `feedback on run "${runId}"`)
    const atMs = this.#input.clock.nowMs()
    this.#decisions.give(runId, stage, { labels, atMs, ...(rating !== undefined && { rating }) })
  }
}
