// Whether the fronts of a simulated engine agree: the same requests in process on a virtual clock, and over HTTP in real
// time, through the whole runtime.

import { realClock, virtualClock, type Clock } from '../src/clock.ts'
import { simulated } from '../src/index.ts'
import { utf8BytesEstimator } from '../src/prompts/estimator.ts'
import { createRuntime } from '../src/runtime.ts'
import { enginePreset } from '../src/simulator/presets/engines.ts'
import { sessionRun, type Workload } from '../src/simulator/workloads/workload.ts'
import { playWorkload, type Played } from '../src/testbed/play.ts'
import type { Bench, Row } from './lib/bench.ts'
import { round } from './lib/measure.ts'

const preset = { gpu: 'h100', model: 'qwen3-8b', engine: 'vllm' } as const

/** Sessions that share their beginning and then go their own ways. */
function workload(sessions: number, turns: number): Workload {
  const random = virtualClock({ seed: 5 }).random('fronts')
  const upTo = (max: number): number => 1 + Math.floor(random() * max)
  const runs = Array.from({ length: sessions }, (_, i) => {
    let context = 0
    return sessionRun(
      `s${i}`,
      Array.from({ length: turns }, (__, k) => {
        const own = { stream: `s${i}#${k}`, from: 0, to: upTo(600) }
        const fresh = k === 0 ? [{ stream: 'system', from: 0, to: 1_000 }, own] : [own]
        const outputTokens = upTo(60)
        const shared = context
        context += (k === 0 ? 1_000 : 0) + own.to + outputTokens
        return { shared, fresh, outputTokens, waitMs: 0, waitFor: 'user' }
      }),
    )
  })
  return { name: 'fronts', source: 'made for this bench', runs }
}

interface Measured extends Played {
  cached: number[]
}

async function play(clock: Clock, transport: 'http' | 'in-process', what: Workload): Promise<Measured> {
  const cached = new Map<string, number>()
  await using runtime = await createRuntime({
    backends: { engine: simulated({ model: preset.model, engine: { preset }, transport }) },
    clock,
    estimator: utf8BytesEstimator,
    recorder: {
      turn: ({ runId, messages, result }) => {
        // Ids of runs differ between runtimes in their suffix only.
        const key = `${runId.split('-')[1]}/${messages.length}/${messages.at(-1)!.span!.stream}`
        cached.set(key, result.usage.cachedTokens ?? -1)
      },
      ended: () => {},
    },
  })
  const playing = playWorkload(runtime, what, {
    backend: 'engine',
    // One at a time: what is cached then does not depend on milliseconds.
    arrivals: { kind: 'closed', concurrency: 1 },
    timeoutMs: 600_000,
    contextScale: 1,
    contextTokens: enginePreset(preset).contextTokens,
    turnsMax: Infinity,
    waitMsMax: Infinity,
  })
  const played = 'run' in clock ? await (clock as ReturnType<typeof virtualClock>).run(playing) : await playing
  return { ...played, cached: [...cached.keys()].toSorted((a, b) => a.localeCompare(b)).map((key) => cached.get(key)!) }
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)

/** The same requests through both fronts, at speed 1. */
export const bench: Bench = {
  async run({ quick }) {
    const what = workload(quick ? 4 : 20, 10)
    const inProcess = await play(virtualClock(), 'in-process', what)
    const http = await play(realClock(), 'http', what)
    const row = (front: string, played: Measured): Row => ({
      front,
      requests: played.turns,
      cachedTokens: played.cachedTokens,
      requestsThatDiffer: played.cached.filter((tokens, i) => tokens !== inProcess.cached[i]).length,
      ttftMeanMs: round(sum(played.ttftsMs) / played.ttftsMs.length),
      totalMs: round(sum(played.runsMs)),
      timeToInProcess: round(sum(played.runsMs) / sum(inProcess.runsMs)),
    })
    return {
      rows: [row('in process, virtual time', inProcess), row('HTTP, real time', http)],
      notes: [
        "Sessions of 10 turns with a common beginning, one after the other, Qwen3-8B on H100 with vLLM's habits, speed 1.",
        'Over HTTP the sockets, both event loops and late timers come on top of the times of the engine.',
      ],
    }
  },
}
