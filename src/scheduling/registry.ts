// The stock policies by name, for the command line and for configuration files.

import { deficitRoundRobin } from './deficit-round-robin.ts'
import { earliestStart } from './earliest-start.ts'
import { fair } from './fair.ts'
import { fcfs } from './fcfs.ts'
import { leastAttained } from './least-attained.ts'
import type { SchedulingPolicy } from './policy.ts'
import { priority } from './priority.ts'
import { responseRatio } from './response-ratio.ts'
import { shortestFirst } from './shortest-first.ts'
import { shortestRemaining } from './shortest-remaining.ts'
import { weightedShortest } from './weighted-shortest.ts'

const policies = {
  fcfs,
  priority,
  sjf: shortestFirst,
  wsjf: weightedShortest,
  las: leastAttained,
  'critical-path': shortestRemaining,
  hrrn: responseRatio,
  edf: earliestStart,
  fair,
  drr: deficitRoundRobin,
} satisfies Record<string, () => SchedulingPolicy>

/** Name of a stock policy. */
export type SchedulingPolicyName = keyof typeof policies

/** Names of the stock policies. */
export const schedulingPolicyNames = Object.keys(policies) as [SchedulingPolicyName, ...SchedulingPolicyName[]]

/**
 * The stock policy of that name with its defaults, for either level. A new object each time.
 *
 * @param weights - shares of tenants, for the policies that know tenants
 */
export function schedulingPolicy(
  name: SchedulingPolicyName,
  weights: Readonly<Record<string, number>> = {},
): SchedulingPolicy {
  return name === 'fair' || name === 'drr' ? policies[name]({ weights }) : policies[name]()
}
