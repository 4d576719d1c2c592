// Prices from a URL
//
// Owns: when the list is fetched again, and whether it could be.
// Does not own: the list (PriceList), what is done with prices.
// Invariants
//   P1. At most one fetch is under way, and at most one timer is armed; none of either once it is closed.
//   P2. A fetch that fails changes no price: the last list counts until another is there, however old it is.

import { z } from 'zod'
import { PriceList } from '../accounting/price-list.ts'
import { roundMs, type Clock, type Timer } from '../clock.ts'
import { messageOf, OptionsError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { Logger } from '../log.ts'
import type { Prices } from '../schema/backend.ts'
import { parseOptions } from '../schema/options.ts'
import { askService, checkServiceUrl } from './json-service.ts'

/** Where prices come from. */
export interface PriceOptions {
  /**
   * Answers GET with JSON: prices by name of a backend or of a model. `https:`, or `http:` on this machine: whoever can
   * change prices on the way can lift every budget.
   */
  url: string | URL
  /** Sent with every fetch: a token, for example. */
  headers?: Readonly<Record<string, string>>
  /** How long a list counts as fresh, and then it is fetched again; ms, at least 1,000, default one hour. */
  ttlMs?: number
  /** From the request to the whole answer, ms, default 5,000. */
  timeoutMs?: number
  /** Makes our form of list out of another: prices by name of a backend or of a model. What it throws is a failed fetch. */
  read?(document: unknown): Readonly<Record<string, Prices>>
}

/** How a source of prices is. Plain data. */
export interface PriceStatus {
  /** Without its query, which may hold a key. */
  url: string
  /** `stale`: the last fetch failed, and the list before counts. `none`: there has been no list yet. */
  state: 'fresh' | 'stale' | 'none'
  /** Since the list that counts was fetched, ms; absent without one. */
  ageMs?: number
  /** Why the last fetch failed. */
  error?: string
}

const Options = z.strictObject({
  url: z.union([z.string(), z.instanceof(URL)]),
  headers: z.record(z.string(), z.string()).optional(),
  ttlMs: z.number().min(1_000).default(3_600_000),
  timeoutMs: z.number().positive().default(5_000),
  read: z.custom<NonNullable<PriceOptions['read']>>((value) => typeof value === 'function').optional(),
})

/** Keeps a list of prices that is somewhere else. */
export class PriceSource {
  readonly #options: z.output<typeof Options>
  readonly #url: URL
  readonly #clock: Clock
  readonly #log: Logger
  readonly #list = new PriceList()
  readonly #closing = new AbortController()
  /** Hears that prices are others now. */
  changed: (() => void) | undefined
  #fetchedAtMs: number | undefined
  #error: string | undefined
  #timer: Timer | undefined

  /** @throws {OptionsError} `ORLA_OPTIONS` with every problem of the options */
  constructor(options: PriceOptions, { clock, log }: { clock: Clock; log: Logger }) {
    this.#options = parseOptions(Options, options, 'prices')
    this.#url = checkServiceUrl(this.#options.url, 'prices')
    if (this.#url.protocol === 'http:' && !isLoopback(this.#url.hostname)) {
      const message = 'prices that anybody on the way may change are no bound of anything: use https://'
      throw new OptionsError('prices', [{ path: 'prices.url', code: 'insecure_url', message }])
    }
    this.#clock = clock
    this.#log = log
  }

  /** Fetches the list for the first time. Never rejects: `status` says how it went. */
  async start(): Promise<void> {
    await this.#fetch()
  }

  /** Prices of a backend; undefined where the list has none. */
  of(backend: string, model: string): Prices | undefined {
    return this.#list.of(backend, model)
  }

  status(): PriceStatus {
    const fetchedAtMs = this.#fetchedAtMs
    return {
      url: `${this.#url.origin}${this.#url.pathname}`,
      state: fetchedAtMs === undefined ? 'none' : this.#error === undefined ? 'fresh' : 'stale',
      ...(fetchedAtMs !== undefined && { ageMs: roundMs(this.#clock.nowMs() - fetchedAtMs) }),
      ...(this.#error !== undefined && { error: this.#error }),
    }
  }

  /** Nothing is fetched any more. */
  close(): void {
    this.#closing.abort()
    this.#clock.clearTimer(this.#timer)
  }

  async #fetch(): Promise<void> {
    const { timeoutMs, headers, ttlMs, read } = this.#options
    const { signal } = this.#closing
    const service = { url: this.#url, timeoutMs, ...(headers !== undefined && { headers }) }
    try {
      const document = await askService(this.#clock, service, { signal })
      if (signal.aborted) return
      const isOther = this.#list.take(read === undefined ? document : read(document))
      this.#fetchedAtMs = this.#clock.nowMs()
      this.#error = undefined
      if (isOther) this.changed?.()
    } catch (error) {
      if (signal.aborted) return
      this.#error = messageOf(error)
      const { state, ageMs, url } = this.status()
      const what = state === 'none' ? 'those of the settings count' : 'the last known count'
      this.#log.warn({ url, ageMs, error }, `prices cannot be had; ${what}`)
    }
    const delayMs = this.#error === undefined ? ttlMs : Math.min(ttlMs, limits.priceRetryMs)
    this.#timer = this.#clock.setTimer(delayMs, () => void this.#fetch())
  }
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname)
}
