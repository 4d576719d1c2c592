// Money and worth, for one runtime
//
// Owns: its accounts, its decisions and the feedback on them.
// Does not own: what a run may spend (workflow actor), prices (backends).

import { Accounts, type Account } from './accounting/accounts.ts'
import { Bookkeeping, keyOf } from './accounting/bookkeeping.ts'
import { Decisions, type DecisionRecord } from './accounting/decisions.ts'
import type { Clock } from './clock.ts'
import { FeedbackSchema, type Feedback } from './runtime-api.ts'
import { parseOptions } from './schema/options.ts'
import type { Transition } from './schema/transition.ts'
import type { RunRecorder } from './workflow/recorder.ts'

/** What accounting needs of the runtime around it. */
export interface AccountingInput {
  clock: Clock
  recorder: RunRecorder | undefined
}

/** The books of one runtime. */
export class RuntimeAccounting {
  readonly #clock: Clock
  readonly #accounts = new Accounts()
  readonly #decisions: Decisions
  readonly #bookkeeping: Bookkeeping

  constructor({ clock, recorder }: AccountingInput) {
    this.#clock = clock
    this.#decisions = new Decisions({
      told: (decision, entry) => {
        if (entry.rating !== undefined) this.#accounts.rated(keyOf(decision), entry.rating)
        recorder?.feedback?.(decision, entry)
      },
    })
    this.#bookkeeping = new Bookkeeping(this.#accounts, this.#decisions)
  }

  /** Takes a transition of any run. */
  heard(transition: Transition): void {
    this.#bookkeeping.heard(transition)
  }

  accounts(): Account[] {
    return this.#accounts.list()
  }

  ratedDecisions(): DecisionRecord[] {
    return this.#decisions.rated()
  }

  feedback(runId: string, feedback: Feedback): void {
    const { stage, labels, rating } = parseOptions(FeedbackSchema, feedback, `feedback on run "${runId}"`)
    const atMs = this.#clock.nowMs()
    this.#decisions.give(runId, stage, { labels, atMs, ...(rating !== undefined && { rating }) })
  }
}
