// What stage classes and tenants may spend, over all runs
//
// Owns: a pot for each stage class and tenant that has a budget, and what is set aside in them for requests under way.
// Does not own: what one run may spend (workflow actor), what a request may cost (whoever asks).
// Invariants
//   P1. What was spent and what is set aside never exceed a pot's limit together when a request is let in; what was spent
//       in one window of time never does, but for answers that cost more than was set aside for them.
//   P2. A request is let in by all of its pots or by none, and what was set aside for it is settled once.
//   P3. When no request is under way nothing is set aside.

import { z } from 'zod'
import { OrlaError } from '../errors.ts'
import { limits } from '../limits.ts'
import { RunBudget } from '../mapping/budget.ts'

const periodsMs = { minute: 60_000, hour: 3_600_000, day: 86_400_000 } as const

const Limit = z.union([
  z.number().min(0),
  z.strictObject({ usd: z.number().min(0), per: z.enum(['minute', 'hour', 'day']).optional() }),
])

const Limits = z
  .record(
    z
      .string()
      .min(1)
      .max(2 * limits.nameLengthMax),
    Limit,
  )
  .refine((all) => Object.keys(all).length <= limits.budgetsMax, `give at most ${limits.budgetsMax}`)

/** Checks budgets. */
export const BudgetsSchema = z.strictObject({ stageClasses: Limits.optional(), tenants: Limits.optional() })

/** What may be spent: dollars for good, or dollars per minute, hour or day of the runtime's clock. */
export type BudgetLimit = number | { readonly usd: number; readonly per?: 'minute' | 'hour' | 'day' }

/** Budgets that runs share. */
export interface BudgetsOptions {
  /** By `workflow/stage`. */
  readonly stageClasses?: Readonly<Record<string, BudgetLimit>>
  /** By tenant. */
  readonly tenants?: Readonly<Record<string, BudgetLimit>>
}

/** A budget as people see it. Plain data. */
export interface BudgetStatus {
  kind: 'stageClass' | 'tenant'
  name: string
  limitUsd: number
  /** In this window of time; since the start where there is none. */
  spentUsd: number
  /** Set aside for requests that wait or run. */
  reservedUsd: number
  per?: 'minute' | 'hour' | 'day'
  /** When a new window begins, ms from now. */
  resetsInMs?: number
}

/** Whom a request belongs to. */
export interface Spender {
  tenant: string
  stageClass: string
}

interface Pot {
  readonly kind: 'stageClass' | 'tenant'
  readonly name: string
  readonly budget: RunBudget
  per: 'minute' | 'hour' | 'day' | undefined
  /** Number of the window of time that it is in. */
  window: number
}

/** The budgets of one runtime that its runs share. */
export class SharedBudgets {
  readonly #nowMs: () => number
  #pots: { stageClass: Map<string, Pot>; tenant: Map<string, Pot> }
  /** By request. */
  readonly #reserved = new Map<string, { usd: number; pots: readonly Pot[] }>()

  /** @param options - as {@link BudgetsSchema} checked them */
  constructor(options: BudgetsOptions, nowMs: () => number) {
    this.#nowMs = nowMs
    this.#pots = {
      stageClass: potsOf('stageClass', options.stageClasses),
      tenant: potsOf('tenant', options.tenants),
    }
  }

  /** Puts other budgets in the place of these. One that stays keeps what was spent, and what is set aside. */
  replace(options: BudgetsOptions): void {
    const next = {
      stageClass: potsOf('stageClass', options.stageClasses),
      tenant: potsOf('tenant', options.tenants),
    }
    for (const kind of ['stageClass', 'tenant'] as const) {
      for (const [name, made] of next[kind]) {
        const pot = this.#pots[kind].get(name)
        if (pot === undefined) continue
        this.#roll(pot)
        pot.budget.limitUsd = made.budget.limitUsd
        // With another span of time, what was spent counts in the one that runs now.
        if (pot.per !== made.per) {
          pot.per = made.per
          pot.window = this.#windowNow(pot)
        }
        next[kind].set(name, pot)
      }
    }
    this.#pots = next
  }

  /** Whether a budget is there for it: if not, nobody has to work out what it may cost. */
  concerns({ tenant, stageClass }: Spender): boolean {
    return this.#pots.tenant.has(tenant) || this.#pots.stageClass.has(stageClass)
  }

  /**
   * Sets money aside for a request. Returns why there is not enough (`ORLA_BUDGET`); then nothing was set aside.
   *
   * @param usd - what it may cost at most
   */
  reserve(requestId: string, { tenant, stageClass }: Spender, usd: number): OrlaError | undefined {
    const pots = [this.#pots.tenant.get(tenant), this.#pots.stageClass.get(stageClass)].filter(
      (pot) => pot !== undefined,
    )
    for (const [i, pot] of pots.entries()) {
      this.#roll(pot)
      if (pot.budget.reserve(usd)) continue
      for (const taken of pots.slice(0, i)) taken.budget.settle(usd, 0)
      return this.#refusal(pot, usd)
    }
    if (pots.length > 0) this.#reserved.set(requestId, { usd, pots })
    return undefined
  }

  /**
   * A request is over: gives back what was set aside, less what was spent. Does nothing for one that has no money here.
   *
   * @param spentUsd - undefined: nobody knows, and all that was set aside counts as spent
   */
  settle(requestId: string, spentUsd: number | undefined): void {
    const reserved = this.#reserved.get(requestId)
    if (reserved === undefined) return
    this.#reserved.delete(requestId)
    for (const pot of reserved.pots) {
      this.#roll(pot)
      pot.budget.settle(reserved.usd, spentUsd ?? reserved.usd)
    }
  }

  /** All budgets: of stage classes, then of tenants, in the order they were given. */
  list(): BudgetStatus[] {
    return [...this.#pots.stageClass.values(), ...this.#pots.tenant.values()].map((pot) => {
      this.#roll(pot)
      const { kind, name, per, budget } = pot
      const { limitUsd, spentUsd, reservedUsd } = budget
      return { kind, name, limitUsd, spentUsd, reservedUsd, ...this.#windowOf(pot), ...(per !== undefined && { per }) }
    })
  }

  #windowOf({ per, window }: Pot): { resetsInMs?: number } {
    return per === undefined ? {} : { resetsInMs: (window + 1) * periodsMs[per] - this.#nowMs() }
  }

  /** Begins a new window of time if the last one is over. What is set aside stays set aside (P1). */
  #roll(pot: Pot): void {
    const window = this.#windowNow(pot)
    if (window === pot.window) return
    pot.window = window
    pot.budget.renew()
  }

  #windowNow({ per }: Pot): number {
    return per === undefined ? 0 : Math.floor(this.#nowMs() / periodsMs[per])
  }

  #refusal(pot: Pot, mostUsd: number): OrlaError {
    const { kind, name, per, budget } = pot
    const { limitUsd, spentUsd, reservedUsd } = budget
    const whose = kind === 'tenant' ? `tenant "${name}"` : `stage class "${name}"`
    const window = this.#windowOf(pot)
    const next =
      window.resetsInMs !== undefined && mostUsd <= limitUsd
        ? `start it again in ${Math.ceil(window.resetsInMs / 1_000)} s, raise the budget, or lower maxTokens`
        : 'raise the budget, lower maxTokens, or map it to a cheaper backend'
    const message = `a turn may cost up to ${dollars(mostUsd)}; of ${dollars(limitUsd)}${per === undefined ? '' : ` per ${per}`} ${whose} has spent ${dollars(spentUsd)} and set aside ${dollars(reservedUsd)}: ${next}`
    const details = { budget: { kind, name }, mostUsd, limitUsd, spentUsd, reservedUsd, ...window }
    return new OrlaError('ORLA_BUDGET', message, { details })
  }
}

function potsOf(kind: Pot['kind'], given: Readonly<Record<string, BudgetLimit>> = {}): Map<string, Pot> {
  return new Map(
    Object.entries(given).map(([name, limit]) => {
      const { usd, per } = typeof limit === 'number' ? { usd: limit, per: undefined } : limit
      return [name, { kind, name, budget: new RunBudget(usd), per, window: 0 }]
    }),
  )
}

function dollars(usd: number): string {
  return `$${usd.toPrecision(3)}`
}
