// Continuum's time to live (2511.02230), for comparison: a context is pinned through a tool call for as long as that pays
//
// On a tool call with n tokens of context, tau of {0} and the observed durations maximises
//   P(D <= tau) * (T + R(n)) - tau
// with T the mean delay of those that wait and R(n) the reload, taken as long as it lasts under the load there is: the
// bare prefill of the publication gives a tenth less output on `claude-code` at twice the pool. Programs are served first
// come, first served, those with a pin first; under pressure the newest program's pin goes first. Above an engine a pin is
// a place in the window, and the context of one whose pin ran out is left to the engine's own eviction.

import { fits, type WindowChoice, type WindowPolicy, type WindowRun, type WindowView } from '../window-policy.ts'
import { admitAlone, admitInOrder } from './admit.ts'

const tickMs = 500
/** Times to live that are weighed, ms. */
const candidates = [0, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000]
/** Weight of one more delay in their mean (100 samples). */
const delayWeight = 0.01

/** Makes the policy of one backend. */
export function continuum(): WindowPolicy {
  let delayMs = 0
  /** Time to live by run, for the wait that began then. */
  const pins = new Map<string, { sinceMs: number; ttlMs: number }>()

  const ttlOf = (run: WindowRun, view: WindowView): number => {
    const known = pins.get(run.runId)
    if (known?.sinceMs === run.sinceMs) return known.ttlMs
    const reloadMs = view.responseMs(run.tokens)
    let best = 0
    let bestGain = 0
    for (const ttlMs of candidates) {
      const elapsedMs = view.nowMs - run.sinceMs
      const gain = view.forecast(run, ttlMs - elapsedMs).endsWithin * (delayMs + reloadMs) - ttlMs
      if (gain > bestGain) {
        best = ttlMs
        bestGain = gain
      }
    }
    pins.set(run.runId, { sinceMs: run.sinceMs, ttlMs: best })
    return best
  }

  return {
    name: 'continuum',
    tickMs,
    enter: fits,
    review(view) {
      const { nowMs, placed, held } = view
      for (const runId of pins.keys()) if (!placed.has(runId)) pins.delete(runId)
      const room = { tokens: view.capacityTokens - view.usedTokens }
      const release: WindowChoice[] = []
      const waiting = [...placed.values()].filter((run) => run.active === 0)
      for (const run of waiting) {
        const ttlMs = ttlOf(run, view)
        if (nowMs - run.sinceMs < ttlMs) continue
        room.tokens += run.ownTokens
        release.push({ runId: run.runId, reason: `its time to live of ${ttlMs} ms is over` })
      }
      if (room.tokens < 0) {
        const newest = waiting.toSorted((a, b) => b.firstSeenMs - a.firstSeenMs)
        for (const run of newest) {
          if (room.tokens >= 0) break
          if (release.some(({ runId }) => runId === run.runId)) continue
          room.tokens += run.ownTokens
          release.push({ runId: run.runId, reason: 'no room: the newest pin goes first' })
        }
      }
      const order = [...held.values()].toSorted((a, b) => a.firstSeenMs - b.firstSeenMs)
      const admit = [...admitInOrder(order, room, nowMs, 'stop'), ...admitAlone(view)]
      for (const { runId } of admit) {
        const run = held.get(runId)
        if (run !== undefined) delayMs += (nowMs - run.sinceMs - delayMs) * delayWeight
      }
      return { release, admit }
    },
  }
}
