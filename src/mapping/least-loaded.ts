// The backend with the most room.

import { blendedPrice, candidates, loadOf } from './candidates.ts'
import type { Mapper } from './mapper.ts'

/** How to choose by load. */
export interface LeastLoadedOptions {
  /** Backends to choose among, for example replicas of one model; all when absent. */
  among?: readonly string[]
}

/**
 * The backend with the fewest requests for each place in its window; of equal ones the cheapest, then the first. With
 * replicas of one model this is a pool: add `failover` for what waits at one that fails.
 */
export function leastLoaded({ among }: LeastLoadedOptions = {}): Mapper {
  return (request) => {
    const able = candidates(request, among)
    let best = able[0]!
    for (const each of able) {
      const more = loadOf(each) - loadOf(best)
      if (more < 0 || (more === 0 && blendedPrice(each) < blendedPrice(best))) best = each
    }
    const { name } = best
    const load = loadOf(best)
    const reason = `least load of ${able.length}: ${load.toFixed(2)} requests for each place`
    return { backend: name, by: 'least-loaded', reason, figures: { requestsPerPlace: load } }
  }
}
