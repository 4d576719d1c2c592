// Earliest deadline first, by slack.

import { checkAgeingRate } from './ageing.ts'
import type { KeyedPolicy } from './policy.ts'

/** Ms after its arrival by which a request without deadline is to be served, unless said otherwise. */
const patienceMsDefault = 60_000

/**
 * What has to begin first goes first: a turn must begin by its run's deadline (or target) less what the run still needs.
 * Without a deadline it is to begin `patienceMs` after it arrived.
 *
 * Key: `deadlineMs - remainingMs`, or `arrivalMs + patienceMs`. Nothing without a deadline is passed by what arrives more
 * than `patienceMs` plus the predicted need of that one after it.
 *
 * Source: least slack first among deadlines (Mok, 1983), at the time of arrival, so that keys stay fixed.
 *
 * @param options.patienceMs - above 0, default 60,000
 * @throws {OptionsError} `ORLA_OPTIONS` if `patienceMs` is not above 0
 */
export function earliestStart(options: { patienceMs?: number } = {}): KeyedPolicy {
  const patienceMs = options.patienceMs ?? patienceMsDefault
  checkAgeingRate('edf', 'patienceMs', patienceMs)
  return {
    name: 'edf',
    forecast: true,
    key({ arrivalMs, deadlineMs, remainingMs }) {
      // A large finite number keeps requests without end of patience in order of arrival.
      if (deadlineMs === Infinity) return patienceMs === Infinity ? 1e15 + arrivalMs : arrivalMs + patienceMs
      return deadlineMs - remainingMs
    },
  }
}
