// What stages cost, took and were worth, by where they ran and why
//
// Owns: one account for each stage class, backend and mapping variant, and one for all that there was no room for.
// Does not own: where its figures come from (transitions, ratings, shadow copies), or what anybody does about them.
// Invariants
//   A1. At most `accountsMax` accounts beside that of the rest. Those asked for longest ago are folded into the rest, so
//       that counts, costs and tokens over all accounts are those of everything that was heard.
//   A2. A book that was folded goes on in the rest's.
//   A3. What nobody knows is left out: a turn without a price adds no cost, one without usage no tokens.

import { limits } from '../limits.ts'
import { Spread } from '../prediction/spread.ts'
import type { Usage } from '../schema/chat.ts'

/** Whose account it is. */
export interface AccountKey {
  /** `workflow/stage` */
  stageClass: string
  backend: string
  /**
   * Who decided where it runs: `explicit`, or the name of a mapper, also where a cascade or a failure moved it on. Beside
   * that `prewarm` for prefills, and `shadow:<backend>` for copies.
   */
  variant: string
}

/** One account. Plain data. Stages that failed before they had a backend are in one of `(none)`. */
export interface Account extends AccountKey {
  /** Stages that ended there, well or not, but for cancelled ones. For shadow copies: copies. */
  count: number
  /** Of these, those that failed. */
  failures: number
  cancelled: number
  /** Inferences there that were answered, and those that were not. A stage that moves on leaves them behind. */
  answers: number
  errors: number
  /** Stages whose answer there was not good enough for their cascade: another backend made it again. */
  escalations: number
  /** Dollars, of the answers whose price is known, and of decisions. */
  costUsd: number
  /** Of these, what it cost to decide where stages run. */
  decisionCostUsd: number
  promptTokens: number
  cachedTokens: number
  completionTokens: number
  /**
   * From the start of a stage to its end, queue, tools and retries included, ms; absent until one has completed. Newer
   * ones count more (after 200 more one counts half); quantiles are right to 19 %.
   */
  latencyMs?: { mean: number; p50: number; p99: number }
  /** Of the ratings that stages got, 0 to 1; absent until there is one. */
  quality?: { mean: number; count: number }
}

/** How a stage ended. */
export type StageEnd = 'completed' | 'failed' | 'cancelled'

const sumNames = [
  'count',
  'failures',
  'cancelled',
  'answers',
  'errors',
  'escalations',
  'costUsd',
  'decisionCostUsd',
  'promptTokens',
  'cachedTokens',
  'completionTokens',
] as const
type Sums = Record<(typeof sumNames)[number], number>

/** Takes down what happens in one account. */
export class AccountBook {
  readonly stageClass: string
  readonly backend: string
  readonly variant: string
  /** Orders books by when they were asked for last. */
  askedFor = 0
  readonly #latency = new Spread()
  #sums: Sums = emptySums()
  #ratings = { count: 0, sum: 0 }

  constructor(stageClass: string, backend: string, variant: string) {
    this.stageClass = stageClass
    this.backend = backend
    this.variant = variant
  }

  /** To decide that a stage runs there cost so many dollars. */
  decided(costUsd: number): void {
    this.#sums.costUsd += costUsd
    this.#sums.decisionCostUsd += costUsd
  }

  /** An inference was answered. */
  answered({ promptTokens = 0, cachedTokens = 0, completionTokens = 0 }: Usage, costUsd: number | undefined): void {
    const sums = this.#sums
    sums.answers++
    if (costUsd !== undefined) sums.costUsd += costUsd
    sums.promptTokens += promptTokens
    sums.cachedTokens += cachedTokens
    sums.completionTokens += completionTokens
  }

  /** An inference was not answered: the engine failed. */
  erred(): void {
    this.#sums.errors++
  }

  /** An answer was not good enough: the stage goes on at another backend. */
  escalated(): void {
    this.#sums.escalations++
  }

  /** A stage ended. The time of one that did not complete says nothing. */
  ended(end: StageEnd, latencyMs: number): void {
    if (end === 'cancelled') {
      this.#sums.cancelled++
      return
    }
    this.#sums.count++
    if (end === 'failed') this.#sums.failures++
    else this.#latency.add(latencyMs)
  }

  /** Somebody said what a stage was worth, 0 to 1. */
  rated(rating: number): void {
    this.#ratings.count++
    this.#ratings.sum += rating
  }

  /** What is known by now. */
  read(): Account {
    const { stageClass, backend, variant } = this
    const { count, sum } = this.#ratings
    const latency = this.#latency
    return {
      stageClass,
      backend,
      variant,
      ...this.#sums,
      ...(latency.count > 0 && {
        latencyMs: { mean: latency.mean!, p50: latency.quantile(0.5)!, p99: latency.quantile(0.99)! },
      }),
      ...(count > 0 && { quality: { mean: sum / count, count } }),
    }
  }

  /** Adds what it has to another, and from now on everything that comes. Latencies cannot be added, and are left out. */
  foldInto(rest: AccountBook): void {
    for (const name of sumNames) rest.#sums[name] += this.#sums[name]
    rest.#ratings.count += this.#ratings.count
    rest.#ratings.sum += this.#ratings.sum
    this.#sums = rest.#sums
    this.#ratings = rest.#ratings
  }
}

function emptySums(): Sums {
  return Object.fromEntries(sumNames.map((name) => [name, 0])) as Sums
}

/** Names the account of everything that has none of its own any more. */
const restAccount = '(rest)'

/** Accounts of one runtime. */
export class Accounts {
  readonly #books = new Map<string, AccountBook>()
  readonly #accountsMax: number
  #rest: AccountBook | undefined
  #asked = 0

  /** @param accountsMax - default `limits.accountsMax` */
  constructor(accountsMax: number = limits.accountsMax) {
    this.#accountsMax = accountsMax
  }

  /** The book of an account. It may be kept while a stage lives. */
  book({ stageClass, backend, variant }: AccountKey): AccountBook {
    const name = `${stageClass}\n${backend}\n${variant}`
    let book = this.#books.get(name)
    if (book === undefined) {
      book = new AccountBook(stageClass, backend, variant)
      this.#books.set(name, book)
    }
    book.askedFor = ++this.#asked
    if (this.#books.size > this.#accountsMax) this.#fold()
    return book
  }

  /** All accounts: by stage class, backend and variant, the rest last. */
  list(): Account[] {
    const order = (key: AccountKey): string => `${key.stageClass}\n${key.backend}\n${key.variant}`
    const books = [...this.#books.values()].toSorted((a, b) => (order(a) < order(b) ? -1 : 1))
    return [...books, ...(this.#rest === undefined ? [] : [this.#rest])].map((book) => book.read())
  }

  /** Folds those that were asked for longest ago: a sixteenth of all, so that it is seldom done. */
  #fold(): void {
    const oldest = [...this.#books].toSorted(([, a], [, b]) => a.askedFor - b.askedFor)
    for (const [name, book] of oldest.slice(0, Math.ceil(this.#accountsMax / 16))) {
      this.#books.delete(name)
      book.foldInto((this.#rest ??= new AccountBook(restAccount, restAccount, restAccount)))
    }
  }
}
