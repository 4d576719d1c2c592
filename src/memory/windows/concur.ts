// CONCUR's window of agents (2601.22705), for comparison: additive increase, multiplicative decrease on cache signals
//
// The window W of agents with a place grows by alpha while KV use is low, and is cut by beta when use is high and the
// hit ratio low. The constants are those of the published description as recalled by a survey; unverified.

import type { WindowChoice, WindowPolicy } from '../window-policy.ts'

const useLow = 0.2
const useHigh = 0.5
const hitMin = 0.2
const alpha = 2
const beta = 0.5
const tickMs = 1_000
/** Agents at the start: assumed, nothing is published. */
const windowStart = 16

/** Makes the window of one backend. */
export function concur(): WindowPolicy {
  let size = windowStart
  let lastTickMs = -Infinity
  return {
    name: 'concur',
    tickMs,
    enter(_run, { placed, held }) {
      return held.size === 0 && placed.size < size ? `${placed.size} of ${size} agents have a place` : undefined
    },
    review(view) {
      const { nowMs, placed, held, usedTokens, capacityTokens, hitRatio } = view
      if (nowMs - lastTickMs >= tickMs) {
        lastTickMs = nowMs
        const use = usedTokens / capacityTokens
        if (use < useLow) size += alpha
        else if (use > useHigh && hitRatio !== undefined && hitRatio < hitMin) size = Math.max(1, size * beta)
      }
      const release: WindowChoice[] = []
      let over = placed.size - Math.floor(size)
      for (const run of placed.values()) {
        if (over <= 0) break
        if (run.active > 0) continue
        over--
        release.push({ runId: run.runId, reason: `the window was cut to ${Math.floor(size)} agents` })
      }
      const admit: WindowChoice[] = []
      let free = Math.floor(size) - placed.size
      for (const { runId } of held.values()) {
        if (free-- <= 0) break
        admit.push({ runId, reason: `the window has ${Math.floor(size)} agents` })
      }
      return { release, admit }
    },
  }
}
