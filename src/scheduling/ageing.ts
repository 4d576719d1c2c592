// Ageing: what keeps an order other than first come, first served from starving anybody.
//
// A key `arrivalMs + cost` orders requests by cost and lets waiting make up for it, and still is fixed while a request
// waits: two requests age at the same speed, so only the difference of their arrivals counts.

import { OptionsError } from '../errors.ts'

/**
 * Checks an ageing rate: milliseconds of waiting that one unit of a policy's cost is worth.
 *
 * @param policy - name of the policy, for the message
 * @param option - name of its option
 * @param rateMs - above 0; Infinity switches ageing off
 * @throws {OptionsError} `ORLA_OPTIONS` for zero, negative numbers and NaN
 */
export function checkAgeingRate(policy: string, option: string, rateMs: number): void {
  if (rateMs > 0) return
  throw new OptionsError(`options of policy "${policy}"`, [
    {
      path: option,
      code: 'too_small',
      message: `expected milliseconds above 0, or Infinity for no ageing, got ${String(rateMs)}`,
    },
  ])
}
