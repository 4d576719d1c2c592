// Ten thousand live runs over HTTP: the engine is another process, which begins to answer after a while, so that all runs
// are in flight at once.

import type { EngineOptions } from '../engine/child.ts'
import type { BenchReport, Row } from '../lib/bench.ts'
import { startChild } from '../lib/child.ts'
import { round } from '../lib/measure.ts'
import type { Answer, Question } from './http-child.ts'

const engineEntry = new URL('../engine/child.ts', import.meta.url)
const entry = new URL('./http-child.ts', import.meta.url)

/** Measures live runs over HTTP. */
export async function measureOverHttp({ quick }: { quick: boolean }): Promise<BenchReport> {
  const sizes = quick ? [1_000] : [1_000, 10_000]
  const options: EngineOptions = quick
    ? { pieces: 20, paceMs: 20, delayMs: 500 }
    : { pieces: 20, paceMs: 500, delayMs: 5_000 }
  const rows: Row[] = []
  const notes: string[] = []
  for (const liveRuns of sizes) {
    const engine = startChild<EngineOptions, number>(engineEntry)
    const child = startChild<Question, Answer>(entry)
    try {
      const port = await engine.ask(options)
      const found = await child.ask({ origin: `http://127.0.0.1:${port}`, liveRuns })
      rows.push({
        liveRuns: found.liveMax,
        completed: found.completed,
        rssMbMax: found.rssMbMax,
        loopP50Ms: round(found.loopP50Ms),
        loopP99Ms: round(found.loopP99Ms),
        loopMaxMs: round(found.loopMaxMs),
        cpuUsPerStage: round((found.cpuSeconds * 1e6) / liveRuns / 3),
        seconds: round(found.seconds),
      })
      const others = Object.entries(found.otherwise).map(([end, count]) => `${end} ${count}`)
      if (others.length > 0) notes.push(`Of ${liveRuns} runs: ${others.join(', ')}.`)
    } finally {
      await Promise.all([engine.close(), child.close()])
    }
  }
  notes.push(
    `Runs of three stages, each with a socket of its own all the time. Three runs start in a millisecond. A stage's answer begins after ${options.delayMs} to ${2 * options.delayMs} ms and comes in ${options.pieces} packets, ${options.paceMs} ms apart. Loop delays include the 1 ms of their monitor.`,
    'Aims at 10,000: all complete, at most 1,024 MB, p99 at most 50 ms.',
  )
  return { rows, notes, settings: { ...options } }
}
