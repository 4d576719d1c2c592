// How fast the engine model is: virtual seconds and turns a second of real time, the model alone.

import { virtualClock } from '../src/clock.ts'
import { enginePreset } from '../src/simulator/presets/engines.ts'
import { stepEngineModel } from '../src/simulator/step-model/gpu.ts'
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
        pool: name,
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
    return {
      rows,
      notes: [
        `${sessions} sessions in a closed loop, Qwen3-Coder-30B-A3B on H200 with vLLM's habits; lengths and pauses after Claude Code traces.`,
        'Busy seconds count only time in which the GPU works. The clock and the model are all that runs: no runtime, no driver.',
      ],
    }
  },
}
