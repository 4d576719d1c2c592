// The gate of tenants
//
// Owns: what each tenant that is limited has in flight, at each backend and at all, and its bucket of tokens.
// Does not own: who waits (parking of each backend), order among tenants (policies), runs.
// Invariants
//   G1. A tenant never has more in flight than its limits say, at a backend or at all, at the instant of a grant.
//   G2. In any time t a tenant is granted at most `burstTokens` and t times its rate of tokens, and the last request,
//       which may overdraw: what it owes is paid back first. What a request took is corrected when it ends.
//   G3. Bounded: tenants without a limit leave nothing here, those with one a few numbers while something is in flight.

import type { TenantLimits } from '../schema/tenants.ts'

/** What a request is to its tenant's limits. */
export interface TenantRequest {
  tenant: string
  /** Tokens of prompt and answer, estimated. */
  tokens: number
}

interface Book {
  readonly limits: TenantLimits
  inFlight: number
  readonly byBackend: Map<string, number>
  /** Backends where something of it is parked. */
  readonly parkedAt: Set<string>
  /** In the bucket; below zero it owes. */
  tokens: number
  filledAtMs: number
}

const anyone = '*'

/** Holds tenants to what they may have. */
export class TenantGate {
  readonly #limits: ReadonlyMap<string, TenantLimits>
  readonly #books = new Map<string, Book>()
  /** Tenants from which on those that owe nothing are looked for. */
  #pruneAt = booksMax

  constructor(limits: Readonly<Record<string, TenantLimits>>) {
    this.#limits = new Map(Object.entries(limits))
  }

  /** The limits of a tenant; undefined if it has none. */
  limitsOf(tenant: string): TenantLimits | undefined {
    return this.#limits.get(tenant) ?? this.#limits.get(anyone)
  }

  /** Milliseconds until a tenant has tokens again; 0 if it has now. */
  tokensInMs(tenant: string, nowMs: number): number {
    const book = this.#books.get(tenant)
    if (book === undefined) return 0
    this.#fill(book, nowMs)
    return waitOf(book)
  }

  /**
   * Takes a request in, if its tenant may have it.
   *
   * @returns 0 if it is in; else ms until it is worth asking again, Infinity where only a request that ends helps
   */
  enter({ tenant, tokens }: TenantRequest, backend: string, nowMs: number): number {
    const limits = this.limitsOf(tenant)
    if (limits === undefined) return 0
    const book = this.#bookOf(tenant, limits, nowMs)
    const { inFlightMax = Infinity, inFlightPerBackendMax = Infinity, tokensPerMinute } = limits
    const here = book.byBackend.get(backend) ?? 0
    if (book.inFlight >= inFlightMax || here >= inFlightPerBackendMax) return Infinity
    if (tokensPerMinute !== undefined) {
      this.#fill(book, nowMs)
      const waitMs = waitOf(book)
      if (waitMs > 0) return waitMs
      book.tokens -= tokens
    }
    book.inFlight++
    book.byBackend.set(backend, here + 1)
    return 0
  }

  /**
   * A request that entered has ended.
   *
   * @param taken - tokens that it really took; undefined if nobody knows
   * @returns backends where something of the tenant is parked
   */
  leave({ tenant, tokens }: TenantRequest, backend: string, taken: number | undefined, nowMs: number): string[] {
    const book = this.#books.get(tenant)
    const here = book?.byBackend.get(backend) ?? 0
    if (book === undefined || here === 0) return []
    book.inFlight--
    if (here === 1) book.byBackend.delete(backend)
    else book.byBackend.set(backend, here - 1)
    if (book.limits.tokensPerMinute !== undefined && taken !== undefined) {
      this.#fill(book, nowMs)
      book.tokens = Math.min(burstOf(book.limits), book.tokens + tokens - taken)
    }
    const parkedAt = [...book.parkedAt]
    this.#forget(tenant, book)
    return parkedAt
  }

  /** Something of a tenant is parked at a backend, or nothing any more. */
  parked(tenant: string, backend: string, some: boolean, nowMs: number): void {
    const limits = this.limitsOf(tenant)
    if (limits === undefined) return
    const book = this.#bookOf(tenant, limits, nowMs)
    if (some) book.parkedAt.add(backend)
    else book.parkedAt.delete(backend)
    this.#forget(tenant, book)
  }

  #bookOf(tenant: string, limits: TenantLimits, nowMs: number): Book {
    let book = this.#books.get(tenant)
    if (book === undefined) {
      book = {
        limits,
        inFlight: 0,
        byBackend: new Map(),
        parkedAt: new Set(),
        tokens: burstOf(limits),
        filledAtMs: nowMs,
      }
      this.#books.set(tenant, book)
    }
    return book
  }

  #fill(book: Book, nowMs: number): void {
    const { tokensPerMinute = 0 } = book.limits
    book.tokens = Math.min(burstOf(book.limits), book.tokens + ((nowMs - book.filledAtMs) / 60_000) * tokensPerMinute)
    book.filledAtMs = nowMs
  }

  /** Forgets a tenant of whom there is nothing to know. */
  #forget(tenant: string, book: Book): void {
    if (book.inFlight > 0 || book.parkedAt.size > 0) return
    if (book.limits.tokensPerMinute === undefined || book.tokens >= burstOf(book.limits)) this.#books.delete(tenant)
    else if (this.#books.size > this.#pruneAt) this.#forgetFull(book.filledAtMs)
  }

  /** Forgets those whose buckets are full by now. */
  #forgetFull(nowMs: number): void {
    for (const [tenant, book] of this.#books) {
      this.#fill(book, nowMs)
      if (book.inFlight === 0 && book.parkedAt.size === 0 && book.tokens >= burstOf(book.limits)) {
        this.#books.delete(tenant)
      }
    }
    this.#pruneAt = Math.max(booksMax, 2 * this.#books.size)
  }
}

/** Tenants that are kept without looking for those that owe nothing. */
const booksMax = 10_000
/** What a bucket may lack and count as having some, tokens: sums of fractions leave crumbs. */
const crumb = 1e-6

function burstOf({ burstTokens, tokensPerMinute = Infinity }: TenantLimits): number {
  return burstTokens ?? tokensPerMinute
}

function waitOf({ tokens, limits: { tokensPerMinute } }: Book): number {
  if (tokensPerMinute === undefined || tokens >= 0) return 0
  return ((crumb - tokens) / tokensPerMinute) * 60_000
}
