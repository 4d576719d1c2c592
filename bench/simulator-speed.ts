// How fast the engine model is: virtual seconds and turns a second of real time, the model alone.

import { virtualClock } from '../src/clock.ts'
import { enginePreset } from '../src/simulator/presets/engines.ts'
import { stepEngineModel } from '../src/simulator/step-model/gpu.ts'
import { replay, workloadPreset } from '../src/testing.ts'
import type { Bench, Row } from './lib/bench.ts'
import { round } from './lib/measure.ts'
import { runSessions } from './simulator/sessions.ts'

const sessions = 64

/** Closed-loop sessions with contexts of 40,000 to 150,000 tokens, on pools from ample to far too small. */
export const bench: Bench = {
  async run({ quick }) {
    const rows: Row[] = []
    const turns = quick ? 2_000 : 20_000
    const run = async (name: string, kvTokens: number, stepwise: boolean, count: number): Promise<void> => {
      const clock = virtualClock()
      const preset = enginePreset({ gpu: 'h200', model: 'qwen3-coder-30b-a3b', engine: 'vllm', kvTokens })
      const model = stepEngineModel({ clock, profile: preset, stepwise })
      const startedAtMs = performance.now()
      await clock.run(runSessions({ clock, model, sessions, turns: count }))
      const wallSeconds = (performance.now() - startedAtMs) / 1_000
      const stats = model.stats()
      rows.push({
        what: name,
        busySecondsPerSecond: round(stats.busyMs / 1_000 / wallSeconds),
        turnsPerSecond: round(count / wallSeconds),
        turns: count,
        hitRatio: round(stats.cachedTokens / stats.promptTokens),
        preemptions: stats.preemptions,
        promptTokensPerTurn: Math.round(stats.promptTokens / count),
      })
    }
    await run('warm-up', 2_000_000, false, 1_000)
    rows.length = 0
    await run('8,000,000 tokens: everything stays', 8_000_000, false, turns)
    await run('2,000,000 tokens', 2_000_000, false, turns)
    await run('700,000 tokens: little stays', 700_000, false, turns)
    await run('2,000,000 tokens, every step by itself', 2_000_000, true, turns / 10)
    const through = async (name: string, kvScale: number): Promise<void> => {
      const workload = workloadPreset('claude-code', { sessions: quick ? 64 : 256 })
      const played = await replay(workload, { concurrency: sessions, waitMsMax: 10_000, kvScale })
      rows.push({
        what: `whole runtime: ${name}`,
        busySecondsPerSecond: round(played.busySeconds / played.wallSeconds),
        turnsPerSecond: round(played.turnsPerWallSecond),
        turns: played.turns,
        hitRatio: round(played.prefixHitRatio),
        preemptions: '-',
        promptTokensPerTurn: '-',
      })
    }
    await through('warm-up', 1)
    rows.pop()
    await through('preset claude-code, its own pool', 1)
    await through('preset claude-code, ten times the pool', 10)
    return {
      rows,
      notes: [
        `${sessions} sessions in a closed loop, Qwen3-Coder-30B-A3B on H200 with vLLM's habits; lengths and pauses after Claude Code traces.`,
        'Busy seconds count only time in which the GPU works. In the first rows the clock and the model are all that runs; in the last ones every turn goes through queue, window, ledger and driver.',
      ],
    }
  },
}
