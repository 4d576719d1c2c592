// ThunderAgent's gate, as published (2602.13692; constants of its repository), for comparison
//
// Every 5 s: resume, then pause. While what the programs with a place use exceeds the capacity, those in a tool wait lose
// theirs, smallest context first; if that is not enough, the smallest that reason are marked and lose it at their next
// boundary. Resumption takes those with a request in hand first, new ones after those that ran before, by ascending
// tokens, and counts contexts in tool waits discounted by 2^-t (t in seconds). Forced after 1,800 s: the backend's bound.
// With a wait cap, the variant of a later study: a program waits for the backend that holds its prefix at most so long.
// With one backend there is nowhere else to go, so the cap lets it in where it is.

import { fits, type WindowChoice, type WindowPolicy, type WindowRun } from '../window-policy.ts'
import { admitAlone, admitInOrder } from './admit.ts'

const tickMs = 5_000
/** Tokens that the published gate counts for each program besides its context. */
const programTokens = 100

/** Makes the gate. @param options.waitCapMs - longest hold, ms; default as published: none of its own */
export function thunderAgent(options: { waitCapMs?: number } = {}): WindowPolicy {
  const { waitCapMs } = options
  let lastTickMs = -Infinity
  return {
    name: waitCapMs === undefined ? 'thunderagent' : 'thunderagent-origin',
    tickMs: waitCapMs === undefined ? tickMs : 1_000,
    enter: fits,
    review(view) {
      const { nowMs, placed, held, capacityTokens } = view
      const capped: WindowChoice[] = []
      if (waitCapMs !== undefined) {
        for (const { runId, sinceMs, turns } of held.values()) {
          if (turns === 0 || nowMs - sinceMs < waitCapMs) continue
          capped.push({ runId, reason: `waited ${waitCapMs} ms for the place of its prefix` })
        }
      }
      if (nowMs - lastTickMs < tickMs) return { release: [], admit: [...capped, ...admitAlone(view)] }
      lastTickMs = nowMs
      const all = [...placed.values()]
      const acting = all.filter((run) => run.active === 0)
      // Resume-side room: what acts is counted less the longer it acts.
      let used = view.usedTokens + programTokens * all.length
      const room = { tokens: capacityTokens - used }
      for (const run of acting) room.tokens += run.ownTokens * (1 - 2 ** -((nowMs - run.sinceMs) / 1_000))
      const order = [...held.values()].toSorted(
        (a, b) => Number(a.turns === 0) - Number(b.turns === 0) || a.tokens - b.tokens,
      )
      const admit = [...capped, ...admitInOrder(order, room, nowMs, 'stop'), ...admitAlone(view)]
      for (const { runId } of admit) used += (held.get(runId)?.needTokens ?? 0) + programTokens
      const release: WindowChoice[] = []
      const bySize = (a: WindowRun, b: WindowRun): number => a.tokens - b.tokens
      const victims = [...acting.toSorted(bySize), ...all.filter((run) => run.active > 0).toSorted(bySize)]
      for (const { runId, ownTokens, active } of victims) {
        if (used <= capacityTokens) break
        used -= ownTokens + programTokens
        const how = active > 0 ? 'smallest at work, from its next boundary' : 'smallest in a wait'
        release.push({ runId, reason: `${Math.round(used)} of ${capacityTokens} tokens in use: ${how}` })
      }
      return { release, admit }
    },
  }
}
