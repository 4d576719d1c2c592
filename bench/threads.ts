// Runner threads: the same work on 0, 1 and 2 of them, in one process, in alternating order.
//
// `chain` has a backend that answers at once, in each thread: what is measured is the runtime alone. `http` is the same over
// loopback HTTP, streamed by an engine in another process, which is not counted. `large` counts prompts of 100 kB.

import { availableParallelism } from 'node:os'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { cpuUsage, threadCpuUsage } from 'node:process'
import { createRuntime, type Runtime, type Workflow } from '../src/index.ts'
import type { EngineOptions } from './engine/child.ts'
import type { Bench, BenchReport, Row } from './lib/bench.ts'
import { startChild } from './lib/child.ts'
import { medianOf, round } from './lib/measure.ts'
import type * as Workflows from './threads/workflows.ts'

/** Where runners find the engine: workflows are read in every thread. */
const engineUrlVariable = 'ORLA_BENCH_ENGINE_URL'
const workflows = new URL('./threads/workflows.ts', import.meta.url)
const engineEntry = new URL('./engine/child.ts', import.meta.url)

/** How much of each work a sample is. */
const works = {
  chain: { stages: 10, atOnce: 256, runs: 4_000, quickRuns: 1_000 },
  http: { stages: 10, atOnce: 64, runs: 600, quickRuns: 100 },
  large: { stages: 1, atOnce: 8, runs: 200, quickRuns: 60 },
}
type Work = keyof typeof works

interface Sample {
  cpuUs: number
  controlUs: number
  wallUs: number
  messagesPerS: number
  perBatch: number
  delayP50Ms: number
  delayP99Ms: number
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)

async function sampleOf(
  runtime: Runtime,
  workflow: Workflow,
  { runs, atOnce, stages }: { runs: number; atOnce: number; stages: number },
): Promise<Sample> {
  const crossed = (): number => sum(runtime.runners().map(({ heard, sent }) => heard + sent))
  const counted = (key: 'sent' | 'batchesSent'): number => sum(runtime.runners().map((runner) => runner[key]))
  const before = { crossed: crossed(), sent: counted('sent'), batches: counted('batchesSent') }
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  const cpu = cpuUsage()
  const control = threadCpuUsage()
  const startedAtMs = performance.now()
  let left = runs
  const one = async (): Promise<void> => {
    while (left-- > 0) {
      const { state, error } = await runtime.start(workflow, undefined).outcome
      if (state !== 'completed') throw new Error(`a run of the bench failed: ${error?.message}`)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, one))
  const wallUs = (performance.now() - startedAtMs) * 1_000
  const { user, system } = cpuUsage(cpu)
  const own = threadCpuUsage(control)
  delay.disable()
  const all = runs * stages
  const batches = counted('batchesSent') - before.batches
  return {
    cpuUs: (user + system) / all,
    controlUs: (own.user + own.system) / all,
    wallUs: wallUs / all,
    messagesPerS: ((crossed() - before.crossed) / wallUs) * 1e6,
    perBatch: batches === 0 ? 0 : (counted('sent') - before.sent) / batches,
    delayP50Ms: delay.percentile(50) / 1e6,
    delayP99Ms: delay.percentile(99) / 1e6,
  }
}

/** Rounds before the first that counts: thousands of stages go by until code is compiled for good. */
const warmUps = 4

/** The bench. */
export const bench: Bench = {
  async run({ quick }): Promise<BenchReport> {
    const counts = [0, 1, 2]
    const engine = startChild<EngineOptions, number>(engineEntry)
    const port = await engine.ask({ pieces: 50, paceMs: 0, delayMs: 0 })
    process.env[engineUrlVariable] = `http://127.0.0.1:${port}/v1`
    const { backends, ...made } = (await import(workflows.href)) as typeof Workflows
    const runtimes = await Promise.all(
      counts.map((threads) =>
        createRuntime({ probeTimeoutMs: 0, ...(threads === 0 ? { backends } : { threads, workflows }) }),
      ),
    )
    const rows: Row[] = []
    const notes: string[] = []
    try {
      for (const work of Object.keys(works) as Work[]) {
        const { runs, quickRuns, ...rest } = works[work]
        const size = { ...rest, runs: quick ? quickRuns : runs }
        const samples = counts.map((): Sample[] => [])
        const rounds = quick ? 3 : 7
        for (let i = -warmUps; i < rounds; i++) {
          const order = i % 2 === 0 ? counts : counts.toReversed()
          for (const threads of order) {
            const sample = await sampleOf(runtimes[threads]!, made[work], size)
            if (i >= 0) samples[threads]!.push(sample)
          }
        }
        const of = (threads: number, key: keyof Sample): number => medianOf(samples[threads]!.map((each) => each[key]))
        for (const threads of counts) {
          const ratios = samples[threads]!.map(({ cpuUs }, i) => cpuUs / samples[0]![i]!.cpuUs)
          rows.push({
            work,
            threads,
            cpuUsPerStage: round(of(threads, 'cpuUs')),
            cpuRatio: round(medianOf(ratios)),
            spread: `${round(Math.min(...ratios))}-${round(Math.max(...ratios))}`,
            controlUsPerStage: round(of(threads, 'controlUs')),
            wallUsPerStage: round(of(threads, 'wallUs')),
            messagesPerS: Math.round(of(threads, 'messagesPerS')),
            perBatch: round(of(threads, 'perBatch')),
            loopP50Ms: round(of(threads, 'delayP50Ms')),
            loopP99Ms: round(of(threads, 'delayP99Ms')),
          })
        }
        if (work === 'chain') {
          const us = of(2, 'controlUs')
          notes.push(
            `PROJECTION, not measured: the control thread spends ${round(us)} us a stage with two runners, so it is full at ` +
              `about ${Math.round(1e6 / us)} stages a second, however many runners there are. This computer has ` +
              `${availableParallelism()} cores.`,
          )
        }
      }
    } finally {
      await Promise.all(runtimes.map((runtime) => runtime.close()))
      await engine.close()
    }
    notes.push(
      'cpuRatio is the CPU of the whole process a stage, garbage collection and prompt threads included, over that of 0 ' +
        'threads in the same round. Loop delays are those of the control thread, with the 1 ms of the monitor.',
      'Without threads the chain runs in microtasks alone, so that the monitor of the loop, a timer, is not called: its delays there say nothing.',
    )
    return { rows, notes }
  },
}
