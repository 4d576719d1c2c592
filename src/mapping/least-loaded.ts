// The backend with the most room.

import { blendedPrice, candidates, leastBy, loadOf } from './candidates.ts'
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
    const load = Math.min(...able.map(loadOf))
    const { name } = leastBy(
      able.filter((backend) => loadOf(backend) === load),
      blendedPrice,
    )
    const reason = `least load of ${able.length}: ${load.toFixed(2)} requests for each place`
    return { backend: name, by: 'least-loaded', reason, figures: { requestsPerPlace: load } }
  }
}
