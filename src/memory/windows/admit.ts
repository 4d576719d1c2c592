// Letting held runs in, in an order, as long as they fit: what most window policies end with

import type { WindowChoice, WindowRun, WindowView } from '../window-policy.ts'

/** Tokens of room that a review has left to give. */
export interface Room {
  tokens: number
}

/**
 * Lets runs in while they fit, in the order given. One that does not fit is passed over or ends it.
 *
 * @param room - counts down; needs of runs that share a beginning which is not there yet count it for each
 */
export function admitInOrder(
  runs: Iterable<WindowRun>,
  room: Room,
  nowMs: number,
  whenFull: 'stop' | 'skip',
): WindowChoice[] {
  const admitted: WindowChoice[] = []
  for (const run of runs) {
    const { runId, needTokens, sinceMs } = run
    if (needTokens > room.tokens) {
      if (whenFull === 'stop') break
      continue
    }
    room.tokens -= needTokens
    const heldMs = Math.round(nowMs - sinceMs)
    admitted.push({ runId, reason: `${needTokens} tokens fit now; it was held for ${heldMs} ms` })
  }
  return admitted
}

/** A held run that needs more than the whole window would wait for ever: it goes in when it is alone. */
export function admitAlone(view: WindowView): WindowChoice[] {
  if (view.placed.size > 0) return []
  const [first] = view.held.values()
  return first === undefined ? [] : [{ runId: first.runId, reason: 'nobody else has a place' }]
}
