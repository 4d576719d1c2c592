// Highest response ratio next.

import type { PickPolicy } from './policy.ts'
import type { RequestView } from './request-view.ts'

/** Service below this counts as this, ms: a ratio over nothing would be no order. */
const serviceMsMin = 1

/**
 * The turn whose wait is largest against what it takes: `(wait + serviceMs) / serviceMs`. Short turns go first, and every
 * ratio grows while it waits.
 *
 * Nothing starves: a turn of service `s` that has waited `w` is passed by one of service `t` only while the wait of that
 * one is more than `w * t / s`, so by nothing that arrived `w * (1 - t / s)` after it or later.
 *
 * Source: Brinch Hansen, "An analysis of response ratio scheduling" (1971).
 */
export function responseRatio(): PickPolicy {
  return {
    name: 'hrrn',
    forecast: true,
    pick(candidates, nowMs) {
      let best = 0
      let bestRatio = -Infinity
      for (const [i, candidate] of candidates.entries()) {
        const ratio = waitsPerService(candidate, nowMs)
        // Candidates are in order of arrival: a tie stays with the earlier one.
        if (ratio > bestRatio) [best, bestRatio] = [i, ratio]
      }
      return best
    },
  }
}

function waitsPerService({ arrivalMs, serviceMs }: RequestView, nowMs: number): number {
  return (nowMs - arrivalMs) / Math.max(serviceMsMin, serviceMs)
}
