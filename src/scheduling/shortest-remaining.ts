// Shortest remaining critical path of the run, with ageing.

import { checkAgeingRate } from './ageing.ts'
import type { KeyedPolicy } from './policy.ts'

/** Ms of waiting that a minute of remaining service is worth, unless said otherwise. */
const patienceMsDefault = 60_000
const minuteMs = 60_000

/**
 * Runs that are nearest to their end go first: what remains is the predicted service on the longest way through the rest
 * of the DAG, this turn included.
 *
 * Key: `arrivalMs + patienceMs * sqrt(remaining minutes)`. A request is passed by one that arrives later only if the run
 * of that one has less left, so never by one that arrives more than `patienceMs * sqrt(remaining minutes)` after it. The
 * root pushes long runs back less than in proportion: on the mix of `npm run -s bench -- scheduling` at 0.95 of capacity
 * the mean completion is that of a straight line, and the 99th percentile stays at that of first come, first served.
 *
 * Source: shortest remaining processing time (Schrage, 1968), over DAGs with the critical path as what remains; history
 * by stage class and the ageing are ours.
 *
 * @param options.patienceMs - ms of waiting worth a minute of remaining service, above 0, default 60,000; Infinity: no
 *   ageing
 * @throws {OptionsError} `ORLA_OPTIONS` if `patienceMs` is not above 0
 */
export function shortestRemaining(options: { patienceMs?: number } = {}): KeyedPolicy {
  const patienceMs = options.patienceMs ?? patienceMsDefault
  checkAgeingRate('critical-path', 'patienceMs', patienceMs)
  const base = { name: 'critical-path', forecast: true } as const
  if (patienceMs === Infinity) return { ...base, key: (request) => request.remainingMs }
  return {
    ...base,
    key: ({ arrivalMs, remainingMs }) => arrivalMs + patienceMs * Math.sqrt(remainingMs / minuteMs),
  }
}
