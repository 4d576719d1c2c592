// Minutes of mixed load over HTTP: does the heap grow, do handles pile up?
//
// At every sample the lanes pause until no run is live, so that what is on the heap is what runs have left.

import { existsSync, readdirSync } from 'node:fs'
import type { Bench, BenchReport } from './lib/bench.ts'
import { settledHeapBytes } from './lib/cost.ts'
import { round, slopeOf } from './lib/measure.ts'
import { oneRun, openSoak } from './soak/load.ts'

const lanes = 48
/** Pauses to look at the heap: one in ten seconds, at least six and at most thirty. */
const samplesOf = (minutes: number): number => Math.min(30, Math.max(6, Math.round(minutes * 6)))
/** The first part of the time: code is compiled, tables reach their bounds, sockets open. */
const warmUpShare = 0.3
const mB = 1_024 * 1_024

interface Sample {
  minute: number
  heapMb: number
  rssMb: number
  /** Whatever keeps the process alive: requests, timers, sockets in use. */
  handles: number
  kinds: Record<string, number>
  /** Open files of the process, sockets and pipes among them; 0 where the system does not say. */
  openFiles: number
  runs: number
}

function handlesByKind(): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const kind of process.getActiveResourcesInfo()) counts[kind] = (counts[kind] ?? 0) + 1
  return counts
}

function countOpenFiles(): number {
  const folder = '/proc/self/fd'
  return existsSync(folder) ? readdirSync(folder).length : 0
}

/** The bench. */
export const bench: Bench = {
  async run({ quick, minutes = quick ? 0.5 : 15 }): Promise<BenchReport> {
    const runtime = await openSoak()
    const endings: Record<string, number> = {}
    const points: Sample[] = []
    let number = 0
    const startedAtMs = performance.now()
    const samples = samplesOf(minutes)
    const everyMs = (minutes * 60_000) / samples
    try {
      for (let i = 1; i <= samples; i++) {
        const untilMs = startedAtMs + i * everyMs
        const lane = async (): Promise<void> => {
          while (performance.now() < untilMs) {
            const ending = await oneRun(runtime, ++number)
            endings[ending] = (endings[ending] ?? 0) + 1
          }
        }
        await Promise.all(Array.from({ length: lanes }, lane))
        const heapMb = (await settledHeapBytes()) / mB
        const kinds = handlesByKind()
        const handles = Object.values(kinds).reduce((sum, count) => sum + count, 0)
        const minute = (performance.now() - startedAtMs) / 60_000
        points.push({
          minute,
          heapMb,
          rssMb: process.memoryUsage().rss / mB,
          handles,
          kinds,
          openFiles: countOpenFiles(),
          runs: number,
        })
        if (runtime.liveRuns > 0) throw new Error(`${runtime.liveRuns} runs are live although all have ended`)
      }
    } finally {
      await runtime.close()
    }
    const settled = points.slice(Math.floor(samples * warmUpShare))
    const perMinute = slopeOf(settled.map(({ minute, heapMb }) => ({ x: minute, y: heapMb })))
    const perRun = slopeOf(settled.map(({ runs, heapMb }) => ({ x: runs, y: heapMb * mB })))
    const first = settled[0]!
    const last = settled.at(-1)!
    const row = {
      minutes,
      runs: number,
      heapMb: `${round(first.heapMb)} to ${round(last.heapMb)}`,
      heapMbPer10Min: Number((perMinute * 10).toFixed(3)),
      heapBytesPerRun: Number(perRun.toFixed(2)),
      rssMb: `${round(first.rssMb)} to ${round(last.rssMb)}`,
      handles: `${first.handles} to ${last.handles}`,
      handlesMax: Math.max(...settled.map(({ handles }) => handles)),
      openFiles: `${first.openFiles} to ${last.openFiles}`,
      openFilesMax: Math.max(...settled.map(({ openFiles }) => openFiles)),
    }
    return {
      rows: [row],
      jsonRows: [{ ...row, endings, last: last.kinds, points: points.map(({ kinds: _kinds, ...point }) => point) }],
      notes: [
        `Runs ended: ${Object.entries(endings)
          .map(([ending, count]) => `${ending} ${count}`)
          .join(', ')}.`,
        `Handles at the end: ${last.handles === 0 ? 'none' : ''}${Object.entries(last.kinds)
          .map(([kind, count]) => `${kind} ${count}`)
          .join(', ')}.`,
        `heapMbPer10Min: line through ${settled.length} settled heaps after the first ${warmUpShare * 100} % of the time. Aim: below 1 in 15 minutes, handles flat.${minutes < 5 ? ' So short a run shows that the bench works; its slope says little.' : ''}`,
        `${lanes} runs at once over HTTP against two simulated engines in threads: awaited, watched, with tools and schema, cancelled while they stream, late for their deadline; one answer in twenty is broken on the wire.`,
      ],
      settings: { minutes, lanes, samples, warmUpShare },
    }
  },
}
