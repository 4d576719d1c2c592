// The paper's mapping experiment through the whole runtime, and the arms that say where the difference comes from.

import { writeFileSync } from 'node:fs'
import { realClock } from '../src/clock.ts'
import type { Bench, Row } from './lib/bench.ts'
import { chart } from './lib/chart.ts'
import { htmlPage, htmlTable } from './lib/page.ts'
import { arms, heavyPrices, playArm, priceRatio, type ArmOutcome } from './mapping/play-arm.ts'
import { bench as qualityForMoney } from './mapping-quality.ts'
import { spread } from './recipes/draw.ts'

const seedsAll = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
const sessionsAll = 2_294
/** Prices of a token of the 4B for one of the 8B. */
const ratios = [0.05, 0.13, 0.25, 0.5, 1]
/** How often a router is right in the rows with mistakes. */
const accuracyLow = 0.9
/** Arms that ask a router. */
const routed = ['one-bit', 'load-aware', 'load-aware, fcfs', 'one-bit, wsjf']

/** One arm over all seeds. */
interface Line {
  arm: string
  outcomes: ArmOutcome[]
}

const mean = (values: readonly number[]): number => spread(values).mean
const meanMs = (outcome: ArmOutcome): number => mean(outcome.durationsMs)
/** What the arm costs if a token of the 4B costs `ratio` of one of the 8B. */
const costAt = ({ costUsd, lightUsd }: ArmOutcome, ratio: number): number =>
  costUsd - lightUsd + (lightUsd / priceRatio) * ratio
const exact = (value: number): number => Number(value.toPrecision(4))

function of(line: Line, figure: (outcome: ArmOutcome) => number): { mean: number; deviation: number } {
  return spread(line.outcomes.map(figure))
}

/** Change against the baseline of the same seed, mean over seeds, per cent. */
function change(line: Line, base: Line, figure: (outcome: ArmOutcome) => number): number {
  return 100 * mean(line.outcomes.map((outcome, i) => figure(outcome) / figure(base.outcomes[i]!) - 1))
}

function percent(value: number): string {
  const shown = value.toFixed(1)
  return `${Number(shown) === 0 ? '0.0' : value > 0 ? `+${shown}` : shown} %`
}

function rowOf(line: Line, base: Line): Row {
  const completion = of(line, meanMs)
  return {
    arm: line.arm,
    wallSeconds: Math.round(of(line, (o) => o.wallSeconds).mean),
    wall: percent(change(line, base, (o) => o.wallSeconds)),
    meanCompletionS: `${(completion.mean / 1_000).toFixed(0)} ± ${(completion.deviation / 1_000).toFixed(0)}`,
    mean: percent(change(line, base, meanMs)),
    costUsd: of(line, (o) => o.costUsd).mean.toFixed(3),
    cost: percent(change(line, base, (o) => o.costUsd)),
    complexOnLight: Math.round(of(line, (o) => o.complexOnLight).mean),
    simpleOnHeavy: Math.round(of(line, (o) => o.simpleOnHeavy).mean),
    decisionS: (of(line, (o) => o.decisionMs).mean / 1_000).toFixed(1),
  }
}

function jsonRowOf(line: Line): object {
  const deviation = (figure: (outcome: ArmOutcome) => number): number => exact(of(line, figure).deviation)
  return {
    arm: line.arm,
    wallSeconds: exact(of(line, (o) => o.wallSeconds).mean),
    meanCompletionMs: exact(of(line, meanMs).mean),
    costUsd: exact(of(line, (o) => o.costUsd).mean),
    complexOnLight: exact(of(line, (o) => o.complexOnLight).mean),
    simpleOnHeavy: exact(of(line, (o) => o.simpleOnHeavy).mean),
    decisionMs: exact(of(line, (o) => o.decisionMs).mean),
    costUsdByRatio: Object.fromEntries(ratios.map((ratio) => [ratio, exact(of(line, (o) => costAt(o, ratio)).mean)])),
    seeds: line.outcomes.length,
    spread: {
      wallSeconds: deviation((o) => o.wallSeconds),
      meanCompletionMs: deviation(meanMs),
      costUsd: deviation((o) => o.costUsd),
    },
  }
}

const colours = ['#555555', '#2878b5', '#b0752c', '#2e8b57', '#7cb4e0', '#999999', '#c62828']
function colourOf(name: string): string {
  const index = arms.findIndex((arm) => arm.name === name)
  return colours[index] ?? '#8e5ea2'
}

function page(lines: readonly Line[], rows: readonly Row[], notes: readonly string[]): string {
  const heads = Object.keys(rows[0]!)
  const base = lines[0]!
  const table = htmlTable(
    heads,
    rows.map((row) => Object.values(row).map(String)),
    colourOf,
  )
  const what = htmlTable(
    ['', 'what it is'],
    arms.map(({ name, about }) => [name, about]),
    colourOf,
  )
  const byRatio = htmlTable(
    ['cost against single-8b, price ratio 4B/8B', ...ratios.map(String)],
    lines.map((line) => [
      line.arm,
      ...ratios.map((ratio) =>
        percent(100 * (of(line, (o) => costAt(o, ratio)).mean / of(base, (o) => o.costUsd).mean - 1)),
      ),
    ]),
    colourOf,
  )
  const scatter = chart(
    lines.map((line) => ({
      name: line.arm,
      points: [{ x: of(line, (o) => o.costUsd).mean, y: of(line, meanMs).mean / 1_000 }],
    })),
    { title: 'mean completion, s, against cost, $', xLabel: 'left and down is better', scatter: true, colourOf },
  )
  const distribution = chart(
    lines.slice(0, 7).map(({ arm, outcomes }) => {
      const sorted = outcomes.flatMap((o) => o.durationsMs).toSorted((a, b) => a - b)
      const shares = Array.from({ length: 21 }, (_, i) => i / 20)
      const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!
      return { name: arm, points: shares.map((share) => ({ x: at(share) / 1_000, y: share })) }
    }),
    { title: 'completion of requests, CDF', xLabel: 's', yMax: 1, colourOf },
  )
  return htmlPage({
    title: "The paper's mapping experiment, through the whole runtime",
    notes,
    body: [table, what, byRatio, scatter, distribution].join('\n'),
  })
}

/** Every arm over ten seeds; `quick` has two seeds. With `gsm8k` the rows of `mapping-quality` too, in JSON and notes. */
export const bench: Bench = {
  async run({ quick, gsm8k, html }) {
    const wall = realClock({ seed: 1 })
    const seeds = quick ? seedsAll.slice(0, 2) : seedsAll
    const lines: Line[] = []
    const play = async (name: string, accuracy: number): Promise<ArmOutcome[]> => {
      const arm = arms.find((each) => each.name === name)!
      const outcomes: ArmOutcome[] = []
      for (const seed of seeds) outcomes.push(await playArm(arm, { seed, sessions: sessionsAll, accuracy }))
      return outcomes
    }
    for (const { name } of arms) lines.push({ arm: name, outcomes: await play(name, 1) })
    for (const name of routed) {
      lines.push({ arm: `${name}, router ${100 * accuracyLow} %`, outcomes: await play(name, accuracyLow) })
    }
    const base = lines[0]!
    const lineOf = (name: string): Line => lines.find(({ arm }) => arm === name)!
    const rows = lines.map((line) => rowOf(line, base))
    const against = (arm: string, other: string): string =>
      percent(change(lineOf(arm), lineOf(other), meanMs)) +
      `, ${percent(change(lineOf(arm), lineOf(other), (o) => o.costUsd))} of the cost`
    const failed = lines.reduce((sum, { outcomes }) => sum + outcomes.reduce((all, o) => all + o.failed, 0), 0)
    const notes = [
      `Wall time ${Math.round(wall.nowMs() / 1_000)} s. ${sessionsAll} requests of the preset "swe-oneshot", ${seeds.length} seeds, 64 requests in each engine; ± is the standard deviation over seeds. Changes are against single-8b, the mean over pairs of one seed. Failed requests: ${failed}.`,
      `The paper reports 38 % less wall clock, 60 % less mean completion and 35 % less cost for one-bit against one 8B. Here the router is the 4B itself: its calls, some 300 tokens and one of answer, wait in the queue before the work, and their time (decisionS) and cost are in the figures. Prices are assumed: the 8B at $${heavyPrices.inputUsdPerMTok} and $${heavyPrices.outputUsdPerMTok} per million tokens, the 4B at ${priceRatio} of that; the paper does not give its own.`,
      `Mean completion of load-aware against one-bit: ${against('load-aware', 'one-bit')}; against two-8b: ${against('load-aware', 'two-8b')}.`,
      `What comes from what: the mapper alone against one-bit, both first come first served: ${against('load-aware, fcfs', 'one-bit')}; with the order alone: ${against('one-bit, wsjf', 'one-bit')}. Where the light engine may not take what is complex, the heavy one is the bottleneck whoever maps, and the order of its queue is what is left to gain. A random split of the same share is as fast as one-bit: time comes from the second engine, not from the bit, which is about quality (complexOnLight).`,
      'What it does not show: a real engine, the quality of any answer, a GPU that two engines share as they do in fact (independent: each as if alone; time-sliced: turns).',
    ]
    if (html !== undefined) writeFileSync(html, page(lines, rows, notes))
    const quality = gsm8k === undefined ? undefined : await qualityForMoney.run({ quick, gsm8k })
    return {
      rows,
      jsonRows: [...lines.map(jsonRowOf), ...(quality?.jsonRows ?? [])],
      notes: [...notes, ...(quality?.notes ?? []).map((note) => `Quality for money: ${note}`)],
    }
  },
}
