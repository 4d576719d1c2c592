// Three replicas of one model, one of which slows, drains or stops for a third of the runs: who goes where, and what it
// costs.

import { realClock, virtualClock, type Clock } from '../src/clock.ts'
import type { BackendDefinition } from '../src/engines/backend-definition.ts'
import { openAi } from '../src/engines/openai.ts'
import { leastLoaded } from '../src/mapping/least-loaded.ts'
import { utf8BytesEstimator } from '../src/prompts/estimator.ts'
import { createRuntime } from '../src/runtime.ts'
import type { Runtime } from '../src/runtime-api.ts'
import { enginePreset } from '../src/simulator/presets/engines.ts'
import { createSimulated } from '../src/simulator/simulated.ts'
import { workloadPreset } from '../src/simulator/workloads/presets.ts'
import type { WorkloadRun } from '../src/simulator/workloads/workload.ts'
import { playWorkload, type PlayOptions } from '../src/testbed/play.ts'
import type { Bench, Row } from './lib/bench.ts'
import { spread } from './recipes/draw.ts'

const model = 'qwen3-8b'
const profile = enginePreset({ gpu: 'h100', model, engine: 'vllm' })
const names = ['a', 'b', 'c'] as const
const windowRequests = 8
/** Runs a second of one engine at a window of 8, on this mix: what `bench scheduling` measures, mean of ten seeds. */
const capacityOfOne = 0.195
const load = 0.6
const slowFactor = 10
const seedsAll = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]

/** How stages are placed. */
const placements: Record<string, { reroute: boolean; backend: PlayOptions['backend'] }> = {
  random: {
    reroute: false,
    backend: ({ runId }, { random }) => {
      const name = names[Math.floor(random() * names.length)]!
      return { backend: name, reason: `drawn for ${runId}`, among: names }
    },
  },
  'least loaded': {
    reroute: false,
    backend: async (request, context) => ({ ...(await leastLoaded({ among: names })(request, context)), among: names }),
  },
  'pool, no rerouting': { reroute: false, backend: 'pool' },
  pool: { reroute: true, backend: 'pool' },
}

/** What happens to one replica while the middle third of the runs ends. */
const events = ['nothing', 'slows', 'drains'] as const
type Event = (typeof events)[number]

/** A clock whose time can be made to pass more slowly. */
class SlowableClock implements Clock {
  readonly virtual: boolean
  readonly seed: number
  readonly #clock: Clock
  #factor = 1
  #sinceMs = 0
  #passedMs = 0

  constructor(clock: Clock) {
    this.#clock = clock
    this.virtual = clock.virtual
    this.seed = clock.seed
  }

  slow(factor: number): void {
    this.#passedMs = this.nowMs()
    this.#sinceMs = this.#clock.nowMs()
    this.#factor = factor
  }

  nowMs(): number {
    return this.#passedMs + (this.#clock.nowMs() - this.#sinceMs) / this.#factor
  }

  epochMs(): number {
    return this.#clock.epochMs()
  }

  setTimer(delayMs: number, callback: () => void): ReturnType<Clock['setTimer']> {
    return this.#clock.setTimer(delayMs * this.#factor, callback)
  }

  clearTimer(timer: Parameters<Clock['clearTimer']>[0]): void {
    this.#clock.clearTimer(timer)
  }

  random(label: string): ReturnType<Clock['random']> {
    return this.#clock.random(label)
  }
}

interface Cell {
  meanMs: number
  p99Ms: number
  failed: number
  moved: number
}

async function play(runs: readonly WorkloadRun[], placement: string, event: Event, seed: number): Promise<Cell> {
  const clock = virtualClock({ seed })
  let slowable: SlowableClock | undefined
  const replica = (name: string): BackendDefinition => {
    const definition = createSimulated(openAi)({
      model,
      contextLength: profile.contextTokens,
      transport: 'in-process',
      engine: { profile },
      windowRequests,
      queueCapacity: 10_000_000,
    })
    if (name !== 'a') return definition
    return {
      ...definition,
      connect: (environment) =>
        definition.connect({ ...environment, clock: (slowable = new SlowableClock(environment.clock)) }),
    }
  }
  const { reroute, backend } = placements[placement]!
  await using runtime: Runtime = await createRuntime({
    backends: Object.fromEntries(names.map((name) => [name, replica(name)])),
    pools: { pool: names },
    reroute,
    clock,
    estimator: utf8BytesEstimator,
  })
  const durations: number[] = []
  let moved = 0
  runtime.subscribe((heard) => {
    if (heard.type === 'stage.rejected' && heard.error.code === 'ORLA_REROUTED') moved++
  })
  const happens = (begins: boolean): void => {
    if (event === 'slows') slowable!.slow(begins ? slowFactor : 1)
    if (event === 'drains') runtime[begins ? 'drain' : 'resume']('a')
  }
  const played = await clock.run(
    playWorkload(
      runtime,
      { name: 'mix', source: '', runs },
      {
        backend,
        arrivals: { kind: 'open', ratePerSecond: load * capacityOfOne * names.length, burstiness: 1 },
        timeoutMs: 1e12,
        contextScale: 1,
        contextTokens: profile.contextTokens,
        turnsMax: Infinity,
        waitMsMax: Infinity,
        onRun(done, total, _run, { durationMs }) {
          durations.push(durationMs)
          if (done === Math.floor(total / 3)) happens(true)
          if (done === Math.floor((2 * total) / 3)) happens(false)
        },
      },
    ),
  )
  const sorted = durations.toSorted((a, b) => a - b)
  return {
    meanMs: sorted.reduce((sum, each) => sum + each, 0) / sorted.length,
    p99Ms: sorted[Math.floor(0.99 * sorted.length)]!,
    failed: played.failed,
    moved,
  }
}

/** Every placement and event; `quick` has two seeds and half the runs. */
export const bench: Bench = {
  async run({ quick }) {
    const wall = realClock({ seed: 1 })
    const seeds = quick ? seedsAll.slice(0, 2) : seedsAll
    const sessions = quick ? 600 : 1_200
    const rows: Row[] = []
    const jsonRows: object[] = []
    for (const event of events) {
      for (const placement of Object.keys(placements)) {
        const cells: Cell[] = []
        for (const seed of seeds) {
          cells.push(await play(workloadPreset('mix', { sessions, seed }).runs, placement, event, seed))
        }
        const of = (name: keyof Cell) => spread(cells.map((cell) => cell[name]))
        const mean = (name: keyof Cell): number => Number(of(name).mean.toPrecision(4))
        rows.push({
          event,
          placement,
          meanS: (mean('meanMs') / 1_000).toFixed(1),
          '+-': (of('meanMs').deviation / 1_000).toFixed(1),
          p99S: (mean('p99Ms') / 1_000).toFixed(0),
          failed: mean('failed'),
          moved: mean('moved').toFixed(0),
        })
        jsonRows.push({
          event,
          placement,
          load,
          meanMs: mean('meanMs'),
          p99Ms: mean('p99Ms'),
          failed: mean('failed'),
          moved: mean('moved'),
          seeds: cells.length,
          spread: { meanMs: Number(of('meanMs').deviation.toPrecision(4)) },
        })
      }
    }
    return {
      rows,
      jsonRows,
      notes: [
        `Wall time ${Math.round(wall.nowMs() / 1_000)} s. ${sessions} runs of the preset "mix" in an open loop at ${load} of what three replicas serve; ${model} on H100 with vLLM's habits, ${windowRequests} requests in each engine. While the middle third of the runs ends, replica "a" is ${slowFactor} times slower, or drains. All placements may fail over to the other replicas.`,
        'moved: turns that were sent from one queue to another while they waited.',
        'What it does not show: a real engine, replicas of different speed, more than three.',
      ],
    }
  },
}
