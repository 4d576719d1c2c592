// Whether a runtime's books say what its transitions said
//
// Owns: what was seen of answers, errors, ends and costs.

import type { Runtime } from '../../runtime-api.ts'
import type { RunEvent } from '../../schema/transition.ts'

/** What the books are compared by. */
const zero = { answers: 0, errors: 0, count: 0, failures: 0, cancelled: 0, escalations: 0, costUsd: 0 }

/** Dollars that sums of fractions may be off by. */
const crumb = 1e-6

/** Adds up what transitions say. */
export class MoneyOracle {
  readonly #seen = { ...zero }
  /** Stages that have a backend, and have not ended. */
  readonly #mapped = new Set<string>()

  /** Something happened. */
  event(event: RunEvent): void {
    if (!('seq' in event) || !('stage' in event)) return
    const seen = this.#seen
    const stage = `${event.runId}/${event.stage}`
    switch (event.type) {
      case 'stage.mapped':
        this.#mapped.add(stage)
        seen.costUsd += event.mapping?.costUsd ?? 0
        return
      case 'stage.continued':
        if (event.escalatedFrom !== undefined) seen.escalations++
        return
      case 'stage.released':
        if (event.outcome === 'ok') seen.answers++
        if (event.outcome === 'failed') seen.errors++
        seen.costUsd += event.costUsd ?? 0
        return
      case 'stage.completed':
      case 'stage.failed':
      case 'stage.cancelled':
        // What was cancelled before it had a backend is in no account.
        if (!this.#mapped.delete(stage) && event.type !== 'stage.failed') return
        if (event.type === 'stage.cancelled') seen.cancelled++
        else seen.count++
        if (event.type !== 'stage.failed') return
        seen.failures++
        seen.costUsd += event.mappingCostUsd ?? 0
        return
      default:
    }
  }

  /** What is wrong with the books, all runs being over. */
  problems(runtime: Runtime): string[] {
    const booked = { ...zero }
    for (const account of runtime.accounts()) {
      if (account.variant === 'prewarm' || account.variant.startsWith('shadow:')) continue
      for (const name of Object.keys(zero) as (keyof typeof zero)[]) booked[name] += account[name]
    }
    const wrong = (Object.keys(zero) as (keyof typeof zero)[])
      .filter((name) => Math.abs(booked[name] - this.#seen[name]) > crumb)
      .map((name) => `accounts have ${name} ${booked[name]}, and transitions said ${this.#seen[name]}`)
    for (const { name, limitUsd, spentUsd, reservedUsd } of runtime.budgets()) {
      if (reservedUsd > crumb) wrong.push(`$${reservedUsd} are still set aside of the budget of ${name}`)
      if (spentUsd > limitUsd + crumb) wrong.push(`$${spentUsd} of $${limitUsd} of ${name} are spent`)
    }
    return wrong
  }
}
