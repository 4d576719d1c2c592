// Priority with ageing.

import { checkAgeingRate } from './ageing.ts'
import type { KeyedPolicy } from './policy.ts'

/**
 * Milliseconds of waiting that one point of priority is worth, unless said otherwise.
 *
 * With priorities from 0 to 10 nothing is passed by what comes 50 s after it: about the patience of a person.
 */
const ageMsPerPointDefault = 5_000

/**
 * Higher priority first, and waiting makes up for priority, so nothing starves.
 *
 * Level 1 reads `stagePriority` of each class's head, level 2 reads `requestPriority`; both may be any finite number.
 * Key: `arrivalMs - priority * ageMsPerPoint`.
 *
 * Overtaking bound. Within one level a request of priority `q` that arrives later passes one of priority `p` only if
 * `q > p` and it arrives less than `(q - p) * ageMsPerPoint` ms after it. Over both levels: where priorities span at
 * most `S1` points at level 1 and `S2` at level 2, no request is served before one that arrived more than
 * `(S1 + S2) * ageMsPerPoint` ms ahead of it.
 *
 * Source: paper, section 2.2 (priority policies); the ageing is ours.
 *
 * @param options.ageMsPerPoint - ms of waiting worth one point, above 0, default 5,000. Infinity disables ageing:
 *   strict priority, which starves low priorities under load and is meant for comparisons
 * @throws {OptionsError} `ORLA_OPTIONS` if `ageMsPerPoint` is not above 0
 */
export function priority(options: { ageMsPerPoint?: number } = {}): KeyedPolicy {
  const ageMsPerPoint = options.ageMsPerPoint ?? ageMsPerPointDefault
  checkAgeingRate('priority', 'ageMsPerPoint', ageMsPerPoint)
  const strict = ageMsPerPoint === Infinity
  return {
    name: 'priority',
    key(request, level) {
      const points = level === 'stage' ? request.stagePriority : request.requestPriority
      return strict ? -points : request.arrivalMs - points * ageMsPerPoint
    },
  }
}
