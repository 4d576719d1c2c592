// What options say about memory, and the policies by name

import type { Issue } from '../errors.ts'
import { limits } from '../limits.ts'
import type { CachePolicy } from './cache-policy.ts'
import { flushPerRequest, flushPerWorkflow, paperPolicies } from './paper-policies.ts'
import { concur } from './windows/concur.ts'
import { continuum } from './windows/continuum.ts'
import { price } from './windows/price.ts'
import { thunderAgent } from './windows/thunder-agent.ts'
import type { WindowPolicy } from './window-policy.ts'

/** How KV caches are managed: at boundaries, by windows, by both or by neither. */
export interface MemoryPolicy {
  readonly name: string
  /** What becomes of contexts at boundaries and under pressure. */
  readonly cache?: CachePolicy
  /** Makes the policy of one backend's KV window. Backends without `kvTokens` have none. */
  readonly window?: () => WindowPolicy
}

const policies = {
  lru: () => ({ name: 'lru' }),
  paper: () => ({ name: 'paper', cache: paperPolicies() }),
  'flush-per-request': () => ({ name: 'flush-per-request', cache: flushPerRequest() }),
  'flush-per-workflow': () => ({ name: 'flush-per-workflow', cache: flushPerWorkflow() }),
  thunderagent: () => ({ name: 'thunderagent', window: () => thunderAgent() }),
  'thunderagent-origin': () => ({ name: 'thunderagent-origin', window: () => thunderAgent({ waitCapMs: 8_000 }) }),
  continuum: () => ({ name: 'continuum', window: continuum }),
  concur: () => ({ name: 'concur', window: concur }),
  price: () => ({ name: 'price', window: price }),
} satisfies Record<string, () => MemoryPolicy>

/**
 * Name of a stock policy. `lru` leaves all to the engines; `paper` is what the paper describes; `flush-per-...` are the
 * arms of its experiment; `price` is our own; the others are published ones, for comparison.
 */
export type MemoryPolicyName = keyof typeof policies

/** Names of the stock policies. */
export const memoryPolicyNames = Object.keys(policies) as MemoryPolicyName[]

/** The stock policy of that name. A new object each time. */
export function memoryPolicy(name: MemoryPolicyName): MemoryPolicy {
  return policies[name]()
}

/** How a runtime manages KV caches. */
export interface MemoryOptions {
  /** A stock policy by name, or one of your own. Default `lru`: the engines by themselves. */
  policy?: MemoryPolicyName | MemoryPolicy
  /**
   * Tokens of the KV pool by backend. A backend that is not named has no KV window, and its pressure is known only where
   * its engine says how full it is.
   */
  kvTokens?: Readonly<Record<string, number>>
  /** Longest that a request may be held for a KV window, ms; default 30 minutes. */
  holdMsMax?: number
  /**
   * Computes the known beginning of the next stage's prompt at its backend while the stage before it runs, where that
   * backend has nothing else to compute. Costs prompt tokens, for nothing where the stage is not taken. Default false.
   */
  prewarm?: boolean
}

/** What the runtime makes of memory options. */
export interface MemoryPlan {
  policy: CachePolicy | undefined
  /** Tokens of the KV pool by backend, where the options say. */
  capacities: ReadonlyMap<string, number>
  windows: Map<string, { capacityTokens: number; holdMsMax: number; policy: WindowPolicy }>
  prewarm: boolean
}

/** Makes the plan of checked options. Each backend gets a window policy object of its own. */
export function memoryPlan(options: MemoryOptions = {}): MemoryPlan {
  const { policy = 'lru', kvTokens = {}, holdMsMax = limits.holdMsDefault, prewarm = false } = options
  const chosen: MemoryPolicy = typeof policy === 'string' ? memoryPolicy(policy) : policy
  const windows: MemoryPlan['windows'] = new Map()
  if (chosen.window !== undefined) {
    for (const [backend, capacityTokens] of Object.entries(kvTokens)) {
      windows.set(backend, { capacityTokens, holdMsMax, policy: chosen.window() })
    }
  }
  return { policy: chosen.cache, capacities: new Map(Object.entries(kvTokens)), windows, prewarm }
}

/** Every problem of memory options. */
export function memoryIssues(options: MemoryOptions | undefined, backends: readonly string[]): Issue[] {
  const issues: Issue[] = []
  if (options === undefined) return issues
  const { policy, kvTokens = {}, holdMsMax } = options
  if (typeof policy === 'string' && !Object.hasOwn(policies, policy)) {
    const message = `there is no policy "${String(policy)}"; there are: ${memoryPolicyNames.join(', ')}`
    issues.push({ path: 'memory.policy', code: 'unknown_policy', message })
  }
  for (const [backend, tokens] of Object.entries(kvTokens)) {
    const path = `memory.kvTokens.${backend}`
    if (!backends.includes(backend)) {
      const message = `there is no backend "${backend}"; there are: ${backends.join(', ')}`
      issues.push({ path, code: 'unknown_backend', message })
    }
    if (!Number.isSafeInteger(tokens) || tokens < 1) {
      issues.push({ path, code: 'range', message: 'a whole number of tokens from 1' })
    }
  }
  if (holdMsMax !== undefined && !(holdMsMax > 0 && holdMsMax <= limits.holdMsMax)) {
    issues.push({ path: 'memory.holdMsMax', code: 'range', message: `above 0 and at most ${limits.holdMsMax} ms` })
  }
  return issues
}
