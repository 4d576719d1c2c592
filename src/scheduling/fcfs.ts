// First come, first served.

import type { KeyedPolicy } from './policy.ts'

/**
 * First come, first served: by order of arrival at the backend. The default at both levels.
 *
 * At level 1 it takes the class whose head arrived first. Nothing is ever overtaken within its level.
 * Source: paper, section 2.2, default of both levels.
 */
export function fcfs(): KeyedPolicy {
  return { name: 'fcfs', key: (request) => request.arrivalOrder }
}
