// What tokens cost at each backend, as one list says
//
// Owns: the last list that was read.
// Does not own: where it comes from (`src/services/price-source.ts`), prices that backends' settings name.
// Invariants
//   L1. A list is taken as a whole or not at all: after one that is wrong, the one before counts.

import { z } from 'zod'
import { OptionsError } from '../errors.ts'
import { limits } from '../limits.ts'
import { Prices } from '../schema/backend.ts'
import { issuesOf } from '../schema/options.ts'

/** A list of prices: by name of a backend, or of a model. */
const PriceListSchema = z
  .record(z.string().min(1).max(256), Prices)
  .refine((list) => Object.keys(list).length <= limits.pricesMax, `has more than ${limits.pricesMax} entries`)

/** Prices by name of a backend or model. */
export class PriceList {
  #prices: ReadonlyMap<string, Prices> = new Map()

  /**
   * Takes a list in the place of the one before. Returns whether any price is another now.
   *
   * @throws {OptionsError} `ORLA_OPTIONS` with every problem; then nothing has changed
   */
  take(list: unknown): boolean {
    const parsed = PriceListSchema.safeParse(list)
    if (!parsed.success) throw new OptionsError('list of prices', issuesOf(parsed.error))
    const before = this.#prices
    this.#prices = new Map(Object.entries(parsed.data))
    if (before.size !== this.#prices.size) return true
    return [...this.#prices].some(([name, prices]) => !isSame(prices, before.get(name)))
  }

  /** Prices of a backend: by its own name, else by that of its model. */
  of(backend: string, model: string): Prices | undefined {
    return this.#prices.get(backend) ?? this.#prices.get(model)
  }
}

function isSame(a: Prices, b: Prices | undefined): boolean {
  return (
    a.inputUsdPerMTok === b?.inputUsdPerMTok &&
    a.cachedInputUsdPerMTok === b.cachedInputUsdPerMTok &&
    a.outputUsdPerMTok === b.outputUsdPerMTok
  )
}
