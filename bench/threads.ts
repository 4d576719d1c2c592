// Runner threads: the same work on 0, 1 and 2 of them, in one process, in alternating order.
//
// Backends answer at once, in each thread: what is measured is the runtime alone. `large` counts prompts of 100 kB.

import { availableParallelism } from 'node:os'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { cpuUsage, threadCpuUsage } from 'node:process'
import { createRuntime } from '../src/index.ts'
import type { Runtime } from '../src/index.ts'
import type { Bench, BenchReport, Row } from './lib/bench.ts'
import { medianOf, round } from './lib/measure.ts'
import { backends, chain, large } from './threads/workflows.ts'

const workflows = new URL('./threads/workflows.ts', import.meta.url)
const stagesOf = { chain: 10, large: 1 }

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

async function sampleOf(runtime: Runtime, work: 'chain' | 'large', runs: number, atOnce: number): Promise<Sample> {
  globalThis.gc?.()
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
      const { state, error } = await (
        work === 'chain' ? runtime.start(chain, undefined) : runtime.start(large, undefined)
      ).outcome
      if (state !== 'completed') throw new Error(`a run of the bench failed: ${error?.message}`)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, one))
  const wallUs = (performance.now() - startedAtMs) * 1_000
  const { user, system } = cpuUsage(cpu)
  const own = threadCpuUsage(control)
  delay.disable()
  const stages = runs * stagesOf[work]
  const batches = counted('batchesSent') - before.batches
  return {
    cpuUs: (user + system) / stages,
    controlUs: (own.user + own.system) / stages,
    wallUs: wallUs / stages,
    messagesPerS: ((crossed() - before.crossed) / wallUs) * 1e6,
    perBatch: batches === 0 ? 0 : (counted('sent') - before.sent) / batches,
    delayP50Ms: delay.percentile(50) / 1e6,
    delayP99Ms: delay.percentile(99) / 1e6,
  }
}

/** The bench. */
export const bench: Bench = {
  async run({ quick }): Promise<BenchReport> {
    const counts = [0, 1, 2]
    const runtimes = await Promise.all(
      counts.map((threads) =>
        createRuntime({ probeTimeoutMs: 0, ...(threads === 0 ? { backends } : { threads, workflows }) }),
      ),
    )
    const rows: Row[] = []
    const notes: string[] = []
    try {
      for (const work of ['chain', 'large'] as const) {
        const [runs, atOnce] = work === 'chain' ? [quick ? 1_000 : 4_000, 256] : [quick ? 60 : 200, 8]
        const samples = counts.map((): Sample[] => [])
        const rounds = quick ? 3 : 7
        for (let i = -1; i < rounds; i++) {
          const order = i % 2 === 0 ? counts : counts.toReversed()
          for (const threads of order) {
            const sample = await sampleOf(runtimes[threads]!, work, runs, atOnce)
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
    }
    notes.push(
      'cpuRatio is the CPU of the whole process a stage, garbage collection and prompt threads included, over that of 0 ' +
        'threads in the same round. Loop delays are those of the control thread, with the 1 ms of the monitor.',
      'Without threads the chain runs in microtasks alone, so that the monitor of the loop, a timer, is not called: its delays there say nothing.',
      'Backends answer at once: with real engines the HTTP of the drivers runs on the runners too, which is what they are for.',
    )
    return { rows, notes }
  },
}
