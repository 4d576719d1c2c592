// Measuring prompts: what a growing conversation costs, from which size on another thread pays, and what is remembered.

import { availableParallelism } from 'node:os'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { threadCpuUsage } from 'node:process'
import { createPromptMeter, measureMessage } from '../src/prompts/conversation.ts'
import { loadEstimator, type TokenEstimator } from '../src/prompts/estimator.ts'
import { user, type Message } from '../src/schema/message.ts'
import { createPromptPool, type PromptPool } from '../src/workers/prompt-pool.ts'
import type { Bench, BenchReport, Row } from './lib/bench.ts'
import { costOf, inLanes } from './lib/cost.ts'
import { medianOf, round, spreadOf, summarize } from './lib/measure.ts'
import { alternate } from './lib/rounds.ts'
import { slice } from './tokens/corpus.ts'

const kB = 1_024

/** CPU of this thread for one of `operations`, us. */
async function threadUs(operations: number, work: () => unknown): Promise<number> {
  globalThis.gc?.()
  const before = threadCpuUsage()
  await work()
  const { user: own, system } = threadCpuUsage(before)
  return (own + system) / operations
}

// --- growth

/** What a conversation of `sizeKb` messages of 1 kB costs that grows by one, counted anew, by a meter, and that one alone. */
async function growth(estimator: TokenEstimator, sizeKb: number, steps: number, rounds: number): Promise<Row[]> {
  const grown = (): Message[] => Array.from({ length: sizeKb }, () => user(slice(kB)))
  const ways: Record<string, () => Promise<number>> = {
    'all of it again': () => {
      const conversation = grown()
      const few = Math.max(1, Math.round(steps / sizeKb))
      return threadUs(few, () => {
        for (let i = 0; i < few; i++) {
          conversation.push(user(slice(kB)))
          for (const message of conversation) measureMessage(message, (text) => estimator.count(text))
        }
      })
    },
    'the meter': () => {
      const meter = createPromptMeter(estimator)
      let conversation = grown()
      meter.measure(conversation)
      return threadUs(steps, () => {
        for (let i = 0; i < steps; i++) {
          conversation = [...conversation, user(slice(kB))]
          meter.measure(conversation)
        }
      })
    },
    'the new 1 kB alone': () =>
      threadUs(steps, () => {
        for (let i = 0; i < steps; i++) measureMessage(user(slice(kB)), (text) => estimator.count(text))
      }),
  }
  const names = Object.keys(ways)
  const samples = await alternate(names, rounds + 1, (name) => ways[name]!())
  return names.map((how, i) => {
    const us = summarize(samples[i]!.slice(1))
    return { part: 'grows by 1 kB', kB: sizeKb, how, threadUs: round(us.median), spread: spreadOf(us) }
  })
}

// --- offload

interface Offload {
  threadUs: number
  latencyMs: number
  loopP99Ms: number
}

/** Prompts of one size: as many as there is time for, then at a pace that leaves the loop mostly free. */
async function offload(
  estimator: TokenEstimator,
  chars: number,
  mode: 'inline' | 'pool',
  forMs: number,
): Promise<Offload> {
  await using pool = createPromptPool({ estimator, mode, threads: 1, thresholdChars: 1 })
  await pool.measure([user(slice(chars))])
  const runs = Math.max(4, Math.round((forMs * kB * 10) / chars))
  const us = await threadUs(runs, () => inLanes(runs, 8, async () => pool.measure([user(slice(chars))])))
  const delay = monitorEventLoopDelay({ resolution: 1 })
  const latencies: number[] = []
  const begunAtMs = performance.now()
  const everyMs = (chars / kB) * paceMsPerKb
  delay.enable()
  for (let i = 0; performance.now() - begunAtMs < forMs; i++) {
    const dueAtMs = begunAtMs + i * everyMs
    // At least one turn of the loop, also when it is late: otherwise nobody else's delay would be seen.
    do await new Promise((resolve) => setTimeout(resolve, Math.max(0, dueAtMs - performance.now())))
    while (performance.now() < dueAtMs)
    const startedAtMs = performance.now()
    void Promise.resolve(pool.measure([user(slice(chars))])).then(() => latencies.push(performance.now() - startedAtMs))
  }
  await pool.count(['the end'])
  delay.disable()
  return { threadUs: us, latencyMs: medianOf(latencies), loopP99Ms: delay.percentile(99) / 1e6 }
}

/** 2.5 MB a second: 2,500 prompts of 1 kB, or 25 of 100 kB. */
const paceMsPerKb = 0.4

// --- size of the pool

/** Wall time of one prompt of `chars`, us, 32 at once, for each number of threads. */
async function pooledUs(
  estimator: TokenEstimator,
  chars: number,
  counts: readonly number[],
  { rounds, runs }: { rounds: number; runs: number },
): Promise<number[]> {
  const pools = counts.map((threads) => createPromptPool({ estimator, mode: 'pool', threads, thresholdChars: 1 }))
  const measure = async (pool: PromptPool): Promise<number> => {
    const { wallUs } = await costOf(() => inLanes(runs, 32, async () => pool.measure([user(slice(chars))])))
    return wallUs
  }
  try {
    // The first two rounds load vocabularies and fill tables.
    const samples = await alternate(pools, rounds + 2, measure)
    return samples.map((found) => medianOf(found.slice(2)))
  } finally {
    await Promise.all(pools.map((pool) => pool.close()))
  }
}

// --- memory

/** Heap of a meter that has counted ever more texts and messages that nobody keeps, MB. */
function remembered(estimator: TokenEstimator, texts: number): { heapMb: number; texts: number }[] {
  const meter = createPromptMeter(estimator)
  const points: { heapMb: number; texts: number }[] = []
  for (let i = 0; i <= texts; i++) {
    if (i % (texts / 4) === 0) {
      globalThis.gc?.()
      points.push({ heapMb: process.memoryUsage().heapUsed / kB / kB, texts: i })
    }
    meter.count(slice(kB))
    meter.measure([user(slice(kB))])
  }
  return points
}

/** The bench. */
export const bench: Bench = {
  async run({ quick }): Promise<BenchReport> {
    const rounds = quick ? 3 : 7
    const forMs = quick ? 200 : 1_000
    const estimator = await loadEstimator('o200k_base')
    const rows: Row[] = []
    for (const sizeKb of quick ? [10, 100] : [10, 100, 1_000]) {
      for (const row of await growth(estimator, sizeKb, quick ? 50 : 200, rounds)) {
        rows.push({ ...row, latencyMs: '', loopP99Ms: '' })
      }
    }
    const sizes = quick ? [1, 4, 16, 64] : [1, 2, 4, 8, 16, 32, 64, 128]
    const modes = ['inline', 'pool'] as const
    const cells = sizes.flatMap((size) => modes.map((mode) => ({ size, mode })))
    const samples = await alternate(cells, rounds, ({ size, mode }) => offload(estimator, size * kB, mode, forMs))
    for (const [i, { size, mode }] of cells.entries()) {
      const of = (key: keyof Offload): number[] => samples[i]!.map((sample) => sample[key])
      const us = summarize(of('threadUs'))
      rows.push({
        part: 'new prompt',
        kB: size,
        how: mode,
        threadUs: round(us.median),
        spread: spreadOf(us),
        latencyMs: round(medianOf(of('latencyMs'))),
        loopP99Ms: round(medianOf(of('loopP99Ms'))),
      })
    }
    const counts = [...new Set([1, 2, availableParallelism()])].toSorted((a, b) => a - b)
    const pooled = await pooledUs(estimator, 64 * kB, counts, { rounds, runs: quick ? 60 : 200 })
    const sized = counts.map((threads, i) => `${threads}: ${round(pooled[i]!)}`)
    const texts = quick ? 8_000 : 80_000
    const points = remembered(estimator, texts)
    return {
      rows,
      notes: [
        'threadUs: CPU of the thread that asks, for one prompt. latencyMs (median) and loopP99Ms (with the 1 ms of its monitor) at a pace of 2.5 MB a second.',
        'o200k_base. Every text is new: slices of the prose and code of this repository.',
        `Wall time of a prompt of 64 kB, 32 at once, by threads of the pool, us: ${sized.join(', ')}. This computer has ${availableParallelism()} cores; the default is one thread less, and at most 4.`,
        `Heap of a meter after so many new texts of 1 kB and as many messages that nobody keeps: ${points.map(({ heapMb, texts: count }) => `${count}: ${heapMb.toFixed(0)} MB`).join(', ')}. It holds 8 million characters of texts at most.`,
      ],
      settings: { rounds, forMs, texts },
    }
  },
}
