// Weighted shortest turn first, with ageing.

import { checkAgeingRate } from './ageing.ts'
import type { KeyedPolicy } from './policy.ts'

/** Ms of waiting that one ms of service is worth, unless said otherwise. */
const ageFactorDefault = 10

/**
 * Turns that take the engine least go first: predicted from the tokens that are not cached and the length of the answer.
 * Priorities are weights: one point more counts as half the service, one less as twice.
 *
 * Key: `arrivalMs + serviceMs / 2^priority * ageFactor`, priorities beyond -8 and 8 as these. A request is passed by one
 * that arrives later only if that one weighs less, and it arrives less than the difference times `ageFactor` after it.
 *
 * Source: weighted shortest job first (Smith, 1956); the prediction and the ageing are ours.
 *
 * @param options.ageFactor - ms of waiting worth one ms of service, above 0, default 10; Infinity: no ageing
 * @throws {OptionsError} `ORLA_OPTIONS` if `ageFactor` is not above 0
 */
export function weightedShortest(options: { ageFactor?: number } = {}): KeyedPolicy {
  const ageFactor = options.ageFactor ?? ageFactorDefault
  checkAgeingRate('wsjf', 'ageFactor', ageFactor)
  return {
    name: 'wsjf',
    forecast: true,
    key({ arrivalMs, serviceMs, stagePriority, requestPriority }, level) {
      const points = Math.min(8, Math.max(-8, level === 'stage' ? stagePriority : requestPriority))
      const weighed = serviceMs / 2 ** points
      return ageFactor === Infinity ? weighed : arrivalMs + weighed * ageFactor
    },
  }
}
