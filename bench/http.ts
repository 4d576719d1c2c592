// What a call to a model costs over loopback HTTP: runs of Orla beside undici by hand, the `openai` client and the AI SDK.
//
// The engine is another process; each caller has one of its own, and they take turns.

import type { EngineOptions } from './engine/child.ts'
import { callers } from './http/callers.ts'
import type { Question } from './http/child.ts'
import type { Bench, BenchReport, Row } from './lib/bench.ts'
import { startChild, type Child } from './lib/child.ts'
import type { Cost } from './lib/cost.ts'
import { medianOf, round, spreadOf, summarize } from './lib/measure.ts'
import { howToInstall, installedVersion } from './lib/peers.ts'
import { alternate } from './lib/rounds.ts'

const pieces = 50
const characters = Array.from({ length: pieces }, (_, i) => ` word${i % 100}`.length).reduce((a, b) => a + b)

/** Events a millisecond that a paced engine sends, over all streams: what a busy process with some headroom hears. */
const eventsPerMs = 20

/** Rounds that open connections and warm code: thousands of calls go by until it is compiled for good. */
const warmUps = 4

/** The bench. */
export const bench: Bench = {
  async run({ quick }): Promise<BenchReport> {
    const concurrencies = quick ? [64] : [1, 64, 512]
    const rounds = quick ? 5 : 7
    const forMs = quick ? 300 : 600
    const notes: string[] = []
    const versions: Record<string, string> = {}
    const engine = startChild<EngineOptions, number>(new URL('./engine/child.ts', import.meta.url))
    const started: { name: string; child: Child<Question, Cost> }[] = []
    for (const [name, { package: required, peer }] of Object.entries(callers)) {
      const version = required === undefined ? undefined : installedVersion(required, peer ? 'peers' : 'project')
      if (required !== undefined && version === undefined) {
        notes.push(`Left out: ${name}. ${required} is not installed; install the peers with: ${howToInstall}`)
        continue
      }
      if (required !== undefined && version !== undefined) versions[required] = version
      started.push({ name, child: startChild(new URL('./http/child.ts', import.meta.url), [name]) })
    }
    const rows: Row[] = []
    try {
      for (const delivery of ['together', 'paced'] as const) {
        for (const concurrency of concurrencies) {
          const paceMs = delivery === 'together' ? 0 : Math.max(1, Math.round(concurrency / eventsPerMs))
          const port = await engine.ask({ pieces, paceMs, delayMs: 0 })
          const measured = started.filter(({ name }) => delivery === 'together' || callers[name]!.streams)
          const question = { origin: `http://127.0.0.1:${port}`, concurrency, forMs, characters }
          const samples = await alternate(measured, warmUps + rounds, ({ child }) => child.ask(question))
          for (const [i, { name }] of measured.entries()) {
            const mine = samples[i]!.slice(warmUps)
            const cpu = summarize(mine.map(({ cpuUs }) => cpuUs))
            const ratios = summarize(mine.map(({ cpuUs }, at) => cpuUs / samples[0]![at + warmUps]!.cpuUs))
            rows.push({
              delivery,
              concurrency,
              caller: name,
              cpuUsPerCall: round(cpu.median),
              spread: spreadOf(cpu),
              ratioToUndici: round(ratios.median),
              ratioSpread: spreadOf(ratios),
              wallUsPerCall: round(medianOf(mine.map(({ wallUs }) => wallUs))),
            })
          }
        }
      }
    } finally {
      await Promise.all([engine.close(), ...started.map(({ child }) => child.close())])
    }
    notes.push(
      `An answer is ${pieces} events of some 190 bytes. together: the engine writes them at once; paced: each in a packet of its own, some ${eventsPerMs} a millisecond over all streams, so that the pace follows from the concurrency.`,
      'Orla runs ten stages one after the other: a call is a stage, with a tenth of a run. All send the same instruction of 900 characters and a question of 100 that is new each time; Orla counts its tokens.',
      'Aims at 64, streamed: at most 2 times undici, and less than openai.',
      ...started.map(({ name }) => `${name}: ${callers[name]!.about}.`),
    )
    return { rows, notes, settings: { forMs, pieces, rounds, eventsPerMs }, versions }
  },
}
