// Scheduling policies on a fixed mix of runs: what each does to completion times, tenants and targets, by load.

import { writeFile } from 'node:fs/promises'
import { realClock, virtualClock } from '../src/clock.ts'
import { openAi } from '../src/engines/openai.ts'
import { utf8BytesEstimator } from '../src/prompts/estimator.ts'
import { createRuntime } from '../src/runtime.ts'
import { schedulingPolicyNames, type SchedulingPolicyName } from '../src/scheduling/registry.ts'
import type { Arrivals } from '../src/simulator/workloads/arrivals.ts'
import { workloadPreset } from '../src/simulator/workloads/presets.ts'
import type { WorkloadRun } from '../src/simulator/workloads/workload.ts'
import { enginePreset } from '../src/simulator/presets/engines.ts'
import { createSimulated } from '../src/simulator/simulated.ts'
import { playWorkload } from '../src/testbed/play.ts'
import type { Bench, Row } from './lib/bench.ts'
import { spread } from './recipes/draw.ts'
import { page, type PolicyRow } from './scheduling/page.ts'

/** One run, ended. */
interface Ended {
  run: WorkloadRun
  durationMs: number
  maxWaitMs: number
}

/** Requests in the engine at once: the rest waits in the runtime, where a policy can order it. */
const windowRequests = 8
/** A run should be done within so many times what it takes alone. */
const targetFactor = 5
const model = 'qwen3-8b'
const profile = enginePreset({ gpu: 'h100', model, engine: 'vllm' })

const loadsAll = [0.5, 0.8, 0.95, 1.2]
const seedsAll = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]

/** Plays runs under one policy at both levels. */
async function play(
  runs: readonly WorkloadRun[],
  policy: SchedulingPolicyName,
  arrivals: Arrivals,
  seed: number,
): Promise<{ ended: Ended[]; serviceMs: number }> {
  const clock = virtualClock({ seed })
  const engine = createSimulated(openAi)({
    model,
    contextLength: profile.contextTokens,
    transport: 'in-process',
    engine: { profile },
    windowRequests,
    queueCapacity: 10_000_000,
  })
  await using runtime = await createRuntime({
    backends: { engine },
    scheduling: { engine: { stage: policy, request: policy } },
    clock,
    estimator: utf8BytesEstimator,
  })
  const ended: Ended[] = []
  let serviceMs = 0
  runtime.subscribe((event) => {
    if (event.type === 'stage.released') serviceMs += event.durationMs
  })
  await clock.run(
    playWorkload(
      runtime,
      { name: 'mix', source: '', runs },
      {
        backend: 'engine',
        arrivals,
        timeoutMs: 1e12,
        contextScale: 1,
        contextTokens: profile.contextTokens,
        turnsMax: Infinity,
        waitMsMax: Infinity,
        onRun(_done, _total, run, { durationMs, stages }) {
          const waits = Object.values(stages).flatMap(({ turns }) => turns.map(({ queueWaitMs }) => queueWaitMs))
          ended.push({ run, durationMs, maxWaitMs: Math.max(0, ...waits) })
        },
      },
    ),
  )
  return { ended, serviceMs }
}

/** Everything that one seed says of its runs, whatever the policy. */
interface Ground {
  runs: WorkloadRun[]
  /** What each takes when nobody else is there, ms. */
  aloneMs: Map<string, number>
  /** Runs a second that the engine serves when it never idles. */
  capacity: number
}

async function groundOf(seed: number, sessions: number): Promise<Ground> {
  const { runs } = workloadPreset('mix', { sessions, seed })
  const alone = await play(runs, 'fcfs', { kind: 'closed', concurrency: 1 }, seed)
  const aloneMs = new Map(alone.ended.map(({ run, durationMs }) => [run.id, durationMs]))
  const full = await play(runs, 'fcfs', { kind: 'closed', concurrency: 4 * windowRequests }, seed)
  return {
    runs: runs.map((run) => ({ ...run, targetMs: targetFactor * aloneMs.get(run.id)! })),
    aloneMs,
    // All places taken all the time, each turn as slow as it is then.
    capacity: windowRequests / (full.serviceMs / 1_000 / runs.length),
  }
}

interface Cell {
  meanMs: number
  p99Ms: number
  slowdown: number
  jain: number
  maxWaitMs: number
  deadlineMisses: number
}

function cellOf(ended: readonly Ended[], { aloneMs }: Ground): Cell {
  const sorted = ended.map(({ durationMs }) => durationMs).toSorted((a, b) => a - b)
  const slowdowns = ended.map(({ run, durationMs }) => durationMs / aloneMs.get(run.id)!)
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length
  // Of the tenants' mean slowdowns: 1 if both are slowed alike.
  const byTenant = Map.groupBy(ended.keys(), (i) => ended[i]!.run.tenant)
  const shares = Array.from(byTenant.values(), (members) => mean(members.map((i) => slowdowns[i]!)))
  return {
    meanMs: mean(sorted),
    p99Ms: sorted[Math.floor(0.99 * sorted.length)]!,
    slowdown: mean(slowdowns),
    jain:
      shares.reduce((sum, share) => sum + share, 0) ** 2 /
      (shares.length * mean(shares.map((s) => s * s)) * shares.length),
    maxWaitMs: Math.max(...ended.map(({ maxWaitMs }) => maxWaitMs)),
    deadlineMisses: ended.filter(({ run, durationMs }) => durationMs > run.targetMs!).length,
  }
}

/** Every policy at every load; `quick` has five policies, one load, and three seeds. */
export const bench: Bench = {
  async run({ quick, html }) {
    const wall = realClock({ seed: 1 })
    const seeds = quick ? seedsAll.slice(0, 3) : seedsAll
    const loads = quick ? [0.95] : loadsAll
    const policies: readonly SchedulingPolicyName[] = quick
      ? ['fcfs', 'las', 'critical-path', 'fair', 'drr']
      : schedulingPolicyNames
    const sessions = 2_000
    const grounds: Ground[] = []
    for (const seed of seeds) grounds.push(await groundOf(seed, sessions))
    const rows: Row[] = []
    const jsonRows: PolicyRow[] = []
    for (const load of loads) {
      for (const policy of policies) {
        const cells: Cell[] = []
        for (const [i, ground] of grounds.entries()) {
          const arrivals = { kind: 'open', ratePerSecond: load * ground.capacity, burstiness: 1 } as const
          cells.push(cellOf((await play(ground.runs, policy, arrivals, seeds[i]!)).ended, ground))
        }
        const of = (name: keyof Cell) => spread(cells.map((cell) => cell[name]))
        const mean = (name: keyof Cell): number => Number(of(name).mean.toPrecision(4))
        rows.push({
          policy,
          load,
          meanS: (mean('meanMs') / 1_000).toFixed(1),
          '+-': (of('meanMs').deviation / 1_000).toFixed(1),
          p99S: (mean('p99Ms') / 1_000).toFixed(0),
          slowdown: mean('slowdown').toFixed(2),
          jain: mean('jain').toFixed(3),
          maxWaitS: (mean('maxWaitMs') / 1_000).toFixed(0),
          misses: mean('deadlineMisses').toFixed(1),
        })
        jsonRows.push({
          policy,
          load,
          meanMs: mean('meanMs'),
          p99Ms: mean('p99Ms'),
          slowdown: mean('slowdown'),
          jain: mean('jain'),
          maxWaitMs: mean('maxWaitMs'),
          deadlineMisses: mean('deadlineMisses'),
          seeds: cells.length,
          spread: {
            meanMs: Number(of('meanMs').deviation.toPrecision(4)),
            p99Ms: Number(of('p99Ms').deviation.toPrecision(4)),
          },
        })
      }
    }
    const wallSeconds = Math.round(wall.nowMs() / 1_000)
    const capacity = spread(grounds.map((ground) => ground.capacity)).mean
    const notes = [
      `Wall time ${wallSeconds} s. ${sessions} runs of the preset "mix" in an open loop; load 1 is ${capacity.toFixed(3)} runs a second, what fills all its places with turns as long as they take when it is full. ${model} on H100 with vLLM's habits, ${windowRequests} requests in the engine, the others wait in the runtime. The same policy at both levels, with its defaults.`,
      `slowdown: duration over what the run takes alone; jain: index over the mean slowdowns of the two tenants; misses: runs that took more than ${targetFactor} times what they take alone, of ${sessions}; maxWait: longest wait of one turn.`,
      'What it does not show: a real engine, more than one backend, and policies tuned to a load.',
    ]
    if (html !== undefined) await writeFile(html, page(jsonRows, notes))
    return { rows, jsonRows, notes }
  },
}
