// What stages cost, took and were worth, by where they ran and why
//
// Owns: one account for each stage class, backend and mapping variant, and one for all that there was no room for.
// Does not own: where its figures come from (transitions, ratings, shadow copies), or what anybody does about them.
// Invariants
//   A1. At most `accountsMax` accounts beside that of the rest. The one touched longest ago is folded into the rest, so
//       that counts, costs and tokens over all accounts are those of everything that was heard.
//   A2. What nobody knows is left out: a turn without a price adds no cost, one without usage no tokens.

import { limits } from '../limits.ts'
import { Spread } from '../prediction/spread.ts'
import type { Usage } from '../schema/chat.ts'

/** Whose account it is. */
export interface AccountKey {
  /** `workflow/stage` */
  stageClass: string
  backend: string
  /** Who decided that it runs there: `explicit`, the name of a mapper, `shadow:<backend>`. */
  variant: string
}

/** One account. Plain data. Stages that never got a backend are in none. */
export interface Account extends AccountKey {
  /** Stages that ended there, well or not, but for cancelled ones. For shadow copies: copies. */
  count: number
  /** Of these, those that failed. */
  failures: number
  cancelled: number
  /** Inferences there that were answered, and those that were not. A stage that moves on leaves them behind. */
  answers: number
  errors: number
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

interface Book {
  readonly key: AccountKey
  readonly sums: Record<Sum, number>
  readonly latency: Spread
  ratings: number
  ratingSum: number
}

const sumNames = [
  'count',
  'failures',
  'cancelled',
  'answers',
  'errors',
  'costUsd',
  'decisionCostUsd',
  'promptTokens',
  'cachedTokens',
  'completionTokens',
] as const
type Sum = (typeof sumNames)[number]

/** Names the account of everything that has none of its own any more. */
const restAccount = '(rest)'

/** Accounts of one runtime. */
export class Accounts {
  /** In order of last touch. */
  readonly #books = new Map<string, Book>()
  readonly #accountsMax: number
  #rest: Book | undefined

  /** @param accountsMax - default `limits.accountsMax` */
  constructor(accountsMax: number = limits.accountsMax) {
    this.#accountsMax = accountsMax
  }

  /** A stage was mapped, for so many dollars. */
  mapped(key: AccountKey, decisionCostUsd: number): void {
    const { sums } = this.#book(key)
    sums.costUsd += decisionCostUsd
    sums.decisionCostUsd += decisionCostUsd
  }

  /** An inference was answered. */
  answered(key: AccountKey, usage: Usage, costUsd: number | undefined): void {
    const { sums } = this.#book(key)
    sums.answers++
    sums.costUsd += costUsd ?? 0
    sums.promptTokens += usage.promptTokens ?? 0
    sums.cachedTokens += usage.cachedTokens ?? 0
    sums.completionTokens += usage.completionTokens ?? 0
  }

  /** An inference was not answered: the engine failed. */
  erred(key: AccountKey): void {
    this.#book(key).sums.errors++
  }

  /** A stage ended. The time of one that did not complete says nothing. */
  ended(key: AccountKey, end: StageEnd, latencyMs: number): void {
    const { sums, latency } = this.#book(key)
    if (end === 'cancelled') {
      sums.cancelled++
      return
    }
    sums.count++
    if (end === 'failed') sums.failures++
    else latency.add(latencyMs)
  }

  /** Somebody said what a stage was worth, 0 to 1. */
  rated(key: AccountKey, rating: number): void {
    const book = this.#book(key)
    book.ratings++
    book.ratingSum += rating
  }

  /** All accounts: by stage class, backend and variant, the rest last. */
  list(): Account[] {
    const order = (key: AccountKey): string => `${key.stageClass}\n${key.backend}\n${key.variant}`
    const accounts = [...this.#books.values()].toSorted((a, b) => (order(a.key) < order(b.key) ? -1 : 1))
    return [...accounts, ...(this.#rest === undefined ? [] : [this.#rest])].map((book) => accountOf(book))
  }

  #book(key: AccountKey): Book {
    const name = `${key.stageClass}\n${key.backend}\n${key.variant}`
    const known = this.#books.get(name)
    // Taken out and put in again, it is the one touched last.
    if (known !== undefined) this.#books.delete(name)
    const book = known ?? emptyBook(key)
    this.#books.set(name, book)
    if (this.#books.size > this.#accountsMax) this.#fold()
    return book
  }

  #fold(): void {
    const [name, old] = this.#books.entries().next().value!
    this.#books.delete(name)
    const rest = (this.#rest ??= emptyBook({ stageClass: restAccount, backend: restAccount, variant: restAccount }))
    for (const sum of sumNames) rest.sums[sum] += old.sums[sum]
    rest.ratings += old.ratings
    rest.ratingSum += old.ratingSum
  }
}

function emptyBook({ stageClass, backend, variant }: AccountKey): Book {
  const sums = Object.fromEntries(sumNames.map((name) => [name, 0])) as Record<Sum, number>
  return { key: { stageClass, backend, variant }, sums, latency: new Spread(), ratings: 0, ratingSum: 0 }
}

function accountOf({ key, sums, latency, ratings, ratingSum }: Book): Account {
  return {
    ...key,
    ...sums,
    ...(latency.count > 0 && {
      latencyMs: { mean: latency.mean!, p50: latency.quantile(0.5)!, p99: latency.quantile(0.99)! },
    }),
    ...(ratings > 0 && { quality: { mean: ratingSum / ratings, count: ratings } }),
  }
}
