// A thousand, ten thousand and a hundred thousand live runs: memory and start of each, CPU a stage as their number grows,
// cancelling all of them, and what finished runs leave.

import type { Bench, BenchReport, Row } from './lib/bench.ts'
import { startChild, type Child } from './lib/child.ts'
import { round, spreadOf, summarize } from './lib/measure.ts'
import { alternate } from './lib/rounds.ts'
import type { Answers, Question } from './scale/child.ts'
import { measureOverHttp } from './scale/http.ts'

const entry = new URL('./scale/child.ts', import.meta.url)

type ScaleChild = Child<Question, Answers[Question['type']]>

const startScale = (): ScaleChild => startChild(entry)

/** The bench. */
export const bench: Bench = {
  async run({ quick, http = false }): Promise<BenchReport> {
    if (http) return measureOverHttp({ quick })
    const sizes = quick ? [500, 5_000] : [1_000, 10_000, 100_000]
    const answers = quick ? 5_000 : 20_000
    const rounds = quick ? 5 : 7
    const finishedRuns = quick ? 20_000 : 1_000_000
    const children = sizes.map((liveRuns) => ({ liveRuns, child: startScale() }))
    const rows: Row[] = []
    try {
      const filled: Answers['fill'][] = []
      for (const { liveRuns, child } of children) {
        filled.push((await child.ask({ type: 'fill', liveRuns })) as Answers['fill'])
      }
      const samples = await alternate(children, rounds, async ({ child }) => {
        const { cpuUsPerStage } = (await child.ask({ type: 'advance', answers })) as Answers['advance']
        return cpuUsPerStage
      })
      for (const [i, { liveRuns, child }] of children.entries()) {
        const { cancelUsPerRun, leftBytesPerRun } = (await child.ask({ type: 'cancel' })) as Answers['cancel']
        const cpu = summarize(samples[i]!)
        const ratios = summarize(samples[i]!.map((us, at) => us / samples[0]![at]!))
        rows.push({
          liveRuns,
          bytesPerLiveRun: Math.round(filled[i]!.bytesPerLiveRun),
          startUsPerRun: round(filled[i]!.startUsPerRun),
          cpuUsPerStage: round(cpu.median),
          spread: spreadOf(cpu),
          ratioToFewest: round(ratios.median),
          ratioSpread: spreadOf(ratios),
          cancelUsPerRun: round(cancelUsPerRun),
          leftBytesPerRun: Math.round(leftBytesPerRun),
        })
      }
    } finally {
      await Promise.all(children.map(({ child }) => child.close()))
    }
    const last = startScale()
    const { bytesPerFinishedRun } = (await last.ask({ type: 'finish', runs: finishedRuns })) as Answers['finish']
    await last.close()
    return {
      rows,
      jsonRows: [...rows, { finishedRuns, bytesPerFinishedRun: Number(bytesPerFinishedRun.toFixed(2)) }],
      notes: [
        `Finished runs leave ${bytesPerFinishedRun.toFixed(2)} bytes each: slope of the settled heap over ${finishedRuns} diamonds.`,
        'Aims: at most 4,500 bytes for a live run, and a ratio of at most 1.6 at 100,000.',
        `A run is a chain of ten stages with everything on (see overhead). Each live run waits for its model, which answers one at random, 64 in a turn of the loop; ${answers} answers a sample, ${rounds} rounds.`,
        'bytesPerLiveRun is without what the engine of the bench holds for a request. Starting includes mapping, prompt and request of the first stage; a stage includes a tenth of a start.',
      ],
      settings: { answers, rounds, finishedRuns },
    }
  },
}
