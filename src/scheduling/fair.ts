// Fair shares among tenants
//
// Owns: what each tenant was served, in virtual time.
// Invariants
//   F1. Among tenants that wait all the time, service by weight differs by at most the largest turn of each.
//   F2. A tenant that was away gets no credit for it: it begins where those at work are.
//   F3. At most `tenantsMax` accounts: those that carry no debt are forgotten.
// Source: start-time fair queueing (Goyal, Vin, Cheng, 1996), with the cost of a turn in tokens as in the virtual token
// counter (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024: an answer's token costs two of a prompt).

import type { PickPolicy } from './policy.ts'
import { checkedWeights, costOf } from './turn-cost.ts'

/** Accounts that are kept before those without debt are looked for. */
const tenantsMax = 10_000

/**
 * Tenants are served in turn, by weight; within one, first come, first served. Give each backend a policy of its own.
 *
 * @param options.weights - share by tenant, above 0; 1 where absent
 * @throws {OptionsError} `ORLA_OPTIONS` for weights that are not above 0
 */
export function fair(options: { weights?: Readonly<Record<string, number>> } = {}): PickPolicy {
  const weights = checkedWeights('fair', options.weights)
  /** Virtual time at which each tenant's last turn ends. */
  const ends = new Map<string, number>()
  /** Virtual time: when the turn that was served last began. */
  let now = 0
  let servedLast = ''
  const beginOf = (tenant: string): number => Math.max(now, ends.get(tenant) ?? 0)

  return {
    name: 'fair',
    pick(candidates) {
      let best = 0
      let bestBegin = Infinity
      for (const [i, { tenant }] of candidates.entries()) {
        const begin = beginOf(tenant)
        if (begin < bestBegin) [best, bestBegin] = [i, begin]
      }
      return best
    },
    served(request) {
      // An object that is used at both levels hears of each turn twice.
      if (request.requestId === servedLast) return
      servedLast = request.requestId
      const { tenant } = request
      now = beginOf(tenant)
      ends.set(tenant, now + costOf(request) / (weights.get(tenant) ?? 1))
      if (ends.size <= tenantsMax) return
      for (const [each, end] of ends) if (end <= now) ends.delete(each)
    },
  }
}
