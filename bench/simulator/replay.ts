// Replays a serving benchmark on an engine model: so many requests, so many at once, and what clients would measure.

import { virtualClock } from '../../src/clock.ts'
import type { EngineProfile } from '../../src/simulator/step-model/profile.ts'
import { stepEngineModel } from '../../src/simulator/step-model/gpu.ts'

/** Tokens of one request. */
export interface Lengths {
  prompt: number
  output: number
}

/** What clients measure. */
export interface Replayed {
  durationMs: number
  /** Median time to first token. */
  ttftMs: number
  /** Mean over requests of the time per token after the first. */
  tpotMs: number
  preemptions: number
}

/**
 * Sends requests, each with a prompt of its own, and keeps `concurrency` of them in flight.
 */
export async function replay(
  profile: EngineProfile,
  requests: readonly Lengths[],
  concurrency: number,
): Promise<Replayed> {
  const clock = virtualClock()
  const model = stepEngineModel({ clock, profile })
  const ttfts: number[] = []
  const tpots: number[] = []
  const done = Promise.withResolvers<void>()
  let sent = 0
  let finished = 0
  const send = (): void => {
    const lengths = requests[sent]
    if (lengths === undefined) return
    const id = `r${sent++}`
    const sentAtMs = clock.nowMs()
    let firstAtMs = 0
    model.submit(
      {
        id,
        prompt: [{ stream: id, from: 0, to: lengths.prompt }],
        output: { stream: `${id}/answer`, from: 0, to: lengths.output },
        watched: false,
      },
      {
        started: () => {},
        tokens: () => {
          if (firstAtMs === 0) firstAtMs = clock.nowMs()
        },
        finished: (outcome) => {
          if (outcome.outcome === 'refused') {
            done.reject(new Error(outcome.message))
            return
          }
          ttfts.push(firstAtMs - sentAtMs)
          if (lengths.output > 1) tpots.push((clock.nowMs() - firstAtMs) / (lengths.output - 1))
          finished++
          if (finished === requests.length) done.resolve()
          else send()
        },
      },
    )
  }
  for (let i = 0; i < Math.min(concurrency, requests.length); i++) send()
  await clock.run(done.promise)
  ttfts.sort((a, b) => a - b)
  return {
    durationMs: clock.nowMs(),
    ttftMs: ttfts[ttfts.length >> 1] ?? 0,
    tpotMs: tpots.reduce((sum, ms) => sum + ms, 0) / Math.max(1, tpots.length),
    preemptions: model.stats().preemptions,
  }
}
