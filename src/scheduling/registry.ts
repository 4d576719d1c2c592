// The stock policies by name, for the command line and for configuration files.

import { fcfs } from './fcfs.ts'
import type { SchedulingPolicy } from './policy.ts'
import { priority } from './priority.ts'
import { shortestFirst } from './shortest-first.ts'

/** Names of the stock policies. */
export const schedulingPolicyNames = ['fcfs', 'priority', 'sjf'] as const

/** Name of a stock policy. */
export type SchedulingPolicyName = (typeof schedulingPolicyNames)[number]

/** The stock policy of that name with its defaults, for either level. A new object each time. */
export function schedulingPolicy(name: SchedulingPolicyName): SchedulingPolicy {
  switch (name) {
    case 'fcfs':
      return fcfs()
    case 'priority':
      return priority()
    case 'sjf':
      return shortestFirst()
  }
}
