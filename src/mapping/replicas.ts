// Replicas: several backends that serve one model.

import { candidates } from './candidates.ts'
import type { Mapper } from './mapper.ts'
import { choosePlace, placesOf } from './place.ts'

/** How to choose among replicas. */
export interface ReplicasOptions {
  /** Backends to choose among; all when absent. */
  among?: readonly string[]
}

/**
 * The replica where the stage is done first, by what each was measured to take and what waits there.
 *
 * When its prompt is known, the stage goes to another of them if that has more of it in its cache and so is done sooner.
 * While it waits it may be moved: to another that is done in half the time, or away from one that drains. A pool of
 * `RuntimeOptions.pools` is this mapper under a name.
 */
export function replicas({ among }: ReplicasOptions = {}): Mapper {
  return (request, { clock }) => {
    const able = candidates(request, among)
    const { place } = choosePlace(placesOf(able, clock.nowMs()), () => 0)!
    const doneMs = Math.round(place.doneMs)
    const reason =
      doneMs === Infinity
        ? `none of ${able.length} replicas takes requests now`
        : `done first of ${able.length} replicas, in about ${doneMs} ms`
    return {
      backend: place.backend,
      reason,
      by: 'replicas',
      ...(doneMs < Infinity && { figures: { doneMs } }),
      // Those that take nothing now may do so again while it waits.
      among: among ?? able.map(({ name }) => name),
    }
  }
}
