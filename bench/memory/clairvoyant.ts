// A bound for the price policy: the same policy, told by the workload how long every wait will be
//
// No policy can know this. What it gains says what better predictions could bring, and what it does not gain is due to
// the pool and the engine. It asks a lower price for room, because certain returns are worth more than likely ones; that
// was swept from 0.1 to 4.

import type { MemoryPolicy } from '../../src/memory/plan.ts'
import type { WindowRun, WindowView } from '../../src/memory/window-policy.ts'
import { price } from '../../src/memory/windows/price.ts'
import type { Workload } from '../../src/simulator/workloads/workload.ts'

const placePrice = 0.3
/** Waits that are over are not over at once: the next turn is about to ask. */
const restMsMin = 50

/** Makes it for one workload of runs with one step each. Runs are played in the workload's order. */
export function clairvoyant({ runs }: Workload): MemoryPolicy {
  const restMs = (run: WindowRun, nowMs: number): number => {
    const turn = runs[Number(run.runId.split('-')[1]) - 1]?.steps[0]?.turns[run.turns]
    return turn === undefined ? Infinity : Math.max(restMsMin, run.sinceMs + turn.waitMs - nowMs)
  }
  const told = (view: WindowView): WindowView => ({
    ...view,
    returnRate: (run) => 1 / restMs(run, view.nowMs),
    forecast: (run, withinMs) => {
      const remainingMs = restMs(run, view.nowMs)
      return { remainingMs, endsWithin: Number(remainingMs <= withinMs) }
    },
  })
  return {
    name: 'price, told all waits',
    window() {
      const policy = price({ placePrice })
      return {
        name: 'price, told all waits',
        tickMs: policy.tickMs,
        enter: (run, view) => policy.enter(run, told(view)),
        review: (view) => policy.review(told(view)),
      }
    },
  }
}
