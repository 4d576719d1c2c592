// What a stage costs whose model answers at once: Orla beside frameworks, bare XState, a queue, and bare promises.
//
// Each system has a process of its own; they take turns, forwards and backwards.

import type { Bench, BenchReport } from './lib/bench.ts'
import { startChild, type Child } from './lib/child.ts'
import { medianOf, round, spreadOf, summarize } from './lib/measure.ts'
import { howToInstall, installedVersion } from './lib/peers.ts'
import { alternate } from './lib/rounds.ts'
import type { Answers, Question } from './overhead/child.ts'
import { shapes } from './overhead/shape.ts'
import { systems } from './overhead/systems.ts'

const entry = new URL('./overhead/child.ts', import.meta.url)
const atOnce = 64
const liveRuns = 1_000

type Answer = Answers[Question['type']]
type SystemChild = Child<Question, Answer>

interface Measured {
  case: string
  system: string
  cpuUsPerStage: number
  wallUsPerStage: number
  spread: string
  /** Median over rounds of this system's CPU over Orla's in the same round. */
  ratioToOrla: number
  bytesPerLiveRun: number
  bytesPerFinishedRun: number
}

/** One process per system; those that cannot be started are told in `notes`. */
async function startAll(
  notes: string[],
  versions: Record<string, string>,
  settings: { targetMs: number; warmMs: number },
): Promise<{ name: string; child: SystemChild; runs: Map<string, number> }[]> {
  const started = []
  for (const [name, { package: required, peer }] of Object.entries(systems)) {
    const version = required === undefined ? undefined : installedVersion(required, peer ? 'peers' : 'project')
    if (required !== undefined && version === undefined) {
      notes.push(`Left out: ${name}. ${required} is not installed; install the peers with: ${howToInstall}`)
      continue
    }
    if (required !== undefined && version !== undefined) versions[required] = version
    const child: SystemChild = startChild(entry, [name], { silent: peer })
    const runs = new Map<string, number>()
    try {
      for (const shape of shapes) {
        const calibrated = await child.ask({ type: 'calibrate', shape: shape.name, atOnce, ...settings })
        runs.set(shape.name, (calibrated as Answers['calibrate']).runs)
      }
      started.push({ name, child, runs })
    } catch (error) {
      notes.push(`Left out: ${name}. It failed: ${error instanceof Error ? error.message : String(error)}`)
      await child.close()
    }
  }
  return started
}

/** Fills in the heap figures of one system, in a fresh process: heaps do not mind who else is at work. */
async function measureMemory(name: string, rows: readonly Measured[], quick: boolean): Promise<void> {
  const child: SystemChild = startChild(entry, [name, 'memory'], { silent: systems[name]!.peer })
  try {
    for (const row of rows) {
      if (row.system !== name) continue
      const question = {
        type: 'memory',
        shape: row.case,
        liveRuns: quick ? 500 : liveRuns,
        atOnce,
        warmMs: 500,
      } as const
      const found = await child.ask({ ...question, fillMs: quick ? 2_000 : 60_000, finishedMs: quick ? 250 : 2_000 })
      const { bytesPerLiveRun, bytesPerFinishedRun } = found as Answers['memory']
      row.bytesPerLiveRun = Math.round(bytesPerLiveRun)
      row.bytesPerFinishedRun = Math.round(bytesPerFinishedRun)
    }
  } finally {
    await child.close()
  }
}

/** What the aims say of the diamond. */
function verdict(rows: readonly Measured[]): string[] {
  const ratio = (system: string): number | undefined =>
    rows.find((row) => row.case === 'diamond' && row.system === system)?.ratioToOrla
  const mastra = ratio('mastra')
  const langgraph = ratio('langgraph')
  return [
    ...(mastra === undefined ? [] : [`Diamond: Orla costs ${round(1 / mastra)} of Mastra's CPU (aim: at most 0.5).`]),
    ...(langgraph === undefined
      ? []
      : [`Diamond: LangGraph.js costs ${round(langgraph)} times Orla's CPU (aim: at least 25).`]),
  ]
}

/** The bench. */
export const bench: Bench = {
  async run({ quick }): Promise<BenchReport> {
    const notes: string[] = []
    const versions: Record<string, string> = {}
    const rounds = quick ? 5 : 7
    const targetMs = quick ? 25 : 1_000
    const warmMs = quick ? 500 : 4_000
    const rows: Measured[] = []
    const started = await startAll(notes, versions, { targetMs, warmMs })
    try {
      for (const { name: shape } of shapes) {
        const samples = await alternate(started, rounds, async ({ child, runs }) => {
          const cost = await child.ask({ type: 'sample', shape, atOnce, runs: runs.get(shape)! })
          return cost as Answers['sample']
        })
        for (const [i, { name }] of started.entries()) {
          const cpu = summarize(samples[i]!.map(({ cpuUs }) => cpuUs))
          rows.push({
            case: shape,
            system: name,
            cpuUsPerStage: round(cpu.median),
            wallUsPerStage: round(medianOf(samples[i]!.map(({ wallUs }) => wallUs))),
            spread: spreadOf(cpu),
            ratioToOrla: round(medianOf(samples[i]!.map(({ cpuUs }, at) => cpuUs / samples[0]![at]!.cpuUs))),
            bytesPerLiveRun: 0,
            bytesPerFinishedRun: 0,
          })
        }
      }
    } finally {
      await Promise.all(started.map(({ child }) => child.close()))
    }
    for (const { name } of started) await measureMemory(name, rows, quick)
    notes.push(
      ...verdict(rows),
      `${atOnce} runs at once; ${rounds} rounds, CPU of the whole process with its garbage collection, median and [spread] for one stage.`,
      `bytesPerLiveRun: heap of ${quick ? 500 : liveRuns} runs that all wait for their model in the middle of the workflow. bytesPerFinishedRun: slope of the settled heap over finished runs, after 25,000 stages that fill what is bounded${quick ? ' (or two seconds)' : ''}; some tens of bytes either way are noise.`,
      ...started.map(({ name }) => `${name}: ${systems[name]!.about}.`),
    )
    return {
      rows: rows.map((row) => ({ ...row })),
      notes,
      settings: { atOnce, rounds, targetMs, warmMs, liveRuns },
      versions,
    }
  },
}
