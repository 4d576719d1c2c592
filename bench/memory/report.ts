// What the memory bench says of its outcomes: rows, curves and sentences.

import type { Row } from '../lib/bench.ts'
import { spread } from '../recipes/draw.ts'
import type { Cell } from './cells.ts'
import type { Curve } from './page.ts'
import type { ArmOutcome } from './play-arm.ts'

function quantile(sorted: readonly number[], p: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] ?? 0
}

const figures = {
  runsPerSecond: (o: ArmOutcome) => o.runsPerSecond,
  outputTokensPerSecond: (o: ArmOutcome) => o.outputTokensPerSecond,
  hitRatio: (o: ArmOutcome) => o.hitRatio,
  rePrefilledTokens: (o: ArmOutcome) => o.rePrefilledTokens,
  p50: (o: ArmOutcome) => quantile(o.ttftsMs, 0.5),
  p90: (o: ArmOutcome) => quantile(o.ttftsMs, 0.9),
  p99: (o: ArmOutcome) => quantile(o.ttftsMs, 0.99),
  fairness: (o: ArmOutcome) => o.fairness,
}

function round(value: number): number {
  return Number(value.toPrecision(5))
}

function meanOf(cell: Cell | undefined, name: keyof typeof figures): number {
  return cell === undefined ? Number.NaN : spread(cell.outcomes.map(figures[name])).mean
}

/** One line of the JSON. `spread` is the standard deviation over seeds; `maxHoldMs` the longest of all seeds. */
export function jsonRow(cell: Cell): object {
  const { workload, ratio, arm, outcomes } = cell
  const mean = (name: keyof typeof figures): number => round(meanOf(cell, name))
  const spreadNames = ['runsPerSecond', 'outputTokensPerSecond', 'hitRatio', 'p50', 'p90', 'p99'] as const
  return {
    workload,
    ratio,
    arm,
    runsPerSecond: mean('runsPerSecond'),
    outputTokensPerSecond: mean('outputTokensPerSecond'),
    hitRatio: mean('hitRatio'),
    rePrefilledTokens: mean('rePrefilledTokens'),
    ttftMs: { p50: mean('p50'), p90: mean('p90'), p99: mean('p99') },
    maxHoldMs: round(Math.max(...outcomes.map((o) => o.maxHoldMs))),
    seeds: outcomes.length,
    spread: Object.fromEntries(
      spreadNames.map((name) => [name, round(spread(outcomes.map(figures[name])).deviation)] as const),
    ),
  }
}

/** One line of the table. */
export function tableRow(cell: Cell): Row {
  const { workload, ratio, arm, outcomes } = cell
  const { mean, deviation } = spread(outcomes.map(figures.outputTokensPerSecond))
  return {
    workload,
    ratio,
    arm,
    runsPerHour: round(meanOf(cell, 'runsPerSecond') * 3_600),
    outputTokensPerSecond: `${round(mean)} ± ${round(deviation)}`,
    hitRatio: round(meanOf(cell, 'hitRatio')),
    ttftMsP50: Math.round(meanOf(cell, 'p50')),
    ttftMsP90: Math.round(meanOf(cell, 'p90')),
    ttftMsP99: Math.round(meanOf(cell, 'p99')),
    maxHoldSeconds: Math.round(Math.max(...outcomes.map((o) => o.maxHoldMs)) / 1_000),
    fairness: round(meanOf(cell, 'fairness')),
    failed: outcomes.reduce((sum, o) => sum + o.failed, 0),
  }
}

/** What the page draws of a cell. */
export function curveOf(cell: Cell): Curve {
  const { workload, ratio, arm, outcomes } = cell
  const all = outcomes.flatMap((outcome) => outcome.ttftsMs).toSorted((a, b) => a - b)
  const shares = [0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 1]
  const { mean, deviation } = spread(outcomes.map(figures.outputTokensPerSecond))
  return {
    workload,
    ratio,
    arm,
    output: { mean, deviation },
    hitRatio: meanOf(cell, 'hitRatio'),
    p99Ms: meanOf(cell, 'p99'),
    maxHoldMs: Math.max(...outcomes.map((o) => o.maxHoldMs)),
    fairness: meanOf(cell, 'fairness'),
    ttftsMs: shares.map((share) => ({ share, ms: Math.round(quantile(all, share)) })),
  }
}

/** Published gates: what a window holds runs back by. */
const gates = ['thunderagent', 'thunderagent-origin', 'continuum', 'concur']

/** What follows from the figures, workload by workload. */
export function findings(cells: readonly Cell[]): string[] {
  const found: string[] = []
  for (const workload of new Set(cells.map((cell) => cell.workload))) {
    const at = (ratio: number, arm: string): Cell | undefined =>
      cells.find((cell) => cell.workload === workload && cell.ratio === ratio && cell.arm === arm)
    if (workload.startsWith('dag-math')) {
      const flushed = meanOf(at(0, 'flush-per-request'), 'p50')
      const change = 100 * (1 - meanOf(at(0, 'flush-per-workflow'), 'p50') / flushed)
      const engine = 100 * (1 - meanOf(at(0, 'lru'), 'p50') / flushed)
      found.push(
        `${workload}: TTFT p50 of flush per workflow is ${change.toFixed(0)} % below flush per request; that of the engine's default, which never flushes, ${engine.toFixed(0)} %.`,
      )
      continue
    }
    if (workload.startsWith('prewarm')) {
      const [off, on] = [at(0, 'no prewarm'), at(0, 'prewarm')]
      const stopped = spread((on?.outcomes ?? []).map((o) => o.stoppedPrefills ?? 0)).mean
      const lost = spread((on?.outcomes ?? []).map((o) => o.rePrefilledTokens)).mean
      found.push(
        `${workload}: TTFT p50 of the second stage ${Math.round(meanOf(off, 'p50'))} ms without and ${Math.round(meanOf(on, 'p50'))} ms with prewarming, p99 ${Math.round(meanOf(off, 'p99'))} and ${Math.round(meanOf(on, 'p99'))} ms. In ${on?.outcomes[0]?.runs ?? 0} runs, ${stopped.toFixed(0)} prefills gave way, and those that did not computed ${Math.round(lost)} prompt tokens more than were found cached.`,
      )
      continue
    }
    const price = at(2, 'price')
    if (price === undefined) continue
    const times = (cell: Cell | undefined, name: 'outputTokensPerSecond' | 'p99'): string =>
      (meanOf(price, name) / meanOf(cell, name)).toFixed(2)
    const best = gates
      .flatMap((arm) => at(2, arm) ?? [])
      .toSorted((a, b) => meanOf(b, 'outputTokensPerSecond') - meanOf(a, 'outputTokensPerSecond'))[0]
    found.push(
      `${workload} at ratio 2: price has ${times(at(2, 'lru'), 'outputTokensPerSecond')} times the output of lru, hit ratio ${meanOf(price, 'hitRatio').toFixed(2)}` +
        (best === undefined
          ? '.'
          : `; against ${best.arm}, the published gate with most output, ${times(best, 'outputTokensPerSecond')} times its output and ${times(best, 'p99')} times its p99.`),
    )
    const lru = at(2, 'lru')
    const { meanMs, share } = waiting(price)
    found.push(
      `${workload} at ratio 2: p99 is ${seconds(meanOf(price, 'p99'))} s under price and ${seconds(meanOf(lru, 'p99'))} s under lru, where nobody is held and the median is ${seconds(meanOf(lru, 'p50'))} s (price: ${seconds(meanOf(price, 'p50'))} s). Turns under price wait ${seconds(meanMs)} s on average, which follows from its output (Little's law); shared equally among the ${(100 * share).toFixed(0)} % that wait for more than ${waitMsMin / 1_000} s, that is ${seconds(meanMs / share)} s each: a rough lower bound of p99 at this output, unless turns are made to wait whose context is there.`,
    )
    const ahead = pressed.flatMap((ratio) => leaders(cells, workload, ratio))
    found.push(
      ahead.length === 0
        ? `${workload}: no published arm that was measured has more output than price at ratios ${pressed.filter((ratio) => at(ratio, 'price') !== undefined).join(', ')}.`
        : `${workload}: more output than price have ${ahead.join('; ')}.`,
    )
    const below = [0.25, 0.5, 0.7].flatMap((ratio) => pairedChange(at(ratio, 'price'), at(ratio, 'lru')))
    if (below.length > 0) {
      const percent = (share: number): string => `${share < 0 ? '' : '+'}${(100 * share).toFixed(1)} %`
      const p99 = [0.25, 0.5, 0.7]
        .map((ratio) => meanOf(at(ratio, 'price'), 'p99') / meanOf(at(ratio, 'lru'), 'p99'))
        .filter((share) => !Number.isNaN(share))
      found.push(
        `${workload} up to ratio 0.7: output of price against lru from ${percent(Math.min(...below))} to ${percent(Math.max(...below))}, means of pairs over seeds; p99 at most ${Math.max(...p99).toFixed(1)} times that of lru.`,
      )
    }
  }
  return found
}

/** A turn that has its first token sooner did not wait for its place. */
const waitMsMin = 5_000

/** Mean time to first token, and the share of turns that wait for it. */
function waiting({ outcomes }: Cell): { meanMs: number; share: number } {
  const all = outcomes.flatMap((outcome) => outcome.ttftsMs)
  const meanMs = all.reduce((sum, ms) => sum + ms, 0) / Math.max(1, all.length)
  return { meanMs, share: all.filter((ms) => ms > waitMsMin).length / Math.max(1, all.length) }
}

/** Ratios at which contexts do not all fit. */
const pressed = [1, 1.5, 2, 2.5]
/** Less than this share is no difference. */
const aheadMin = 0.005

/** Arms with more output than price, in words. */
function leaders(cells: readonly Cell[], workload: string, ratio: number): string[] {
  const here = cells.filter((cell) => cell.workload === workload && cell.ratio === ratio)
  const own = meanOf(
    here.find(({ arm }) => arm === 'price'),
    'outputTokensPerSecond',
  )
  return here
    .filter((cell) => !cell.arm.startsWith('price') && meanOf(cell, 'outputTokensPerSecond') > own * (1 + aheadMin))
    .map((cell) => `${cell.arm} at ${ratio} (${(meanOf(cell, 'outputTokensPerSecond') / own).toFixed(2)} times)`)
}

function seconds(ms: number): string {
  return (ms / 1_000).toFixed(ms < 10_000 ? 1 : 0)
}

/** Mean over seeds of how far one arm's output is from the other's, as a share. */
function pairedChange(a: Cell | undefined, b: Cell | undefined): number[] {
  if (a === undefined || b === undefined) return []
  const changes = a.outcomes.map((o, i) => o.outputTokensPerSecond / b.outcomes[i]!.outputTokensPerSecond - 1)
  return [spread(changes).mean]
}

/** What belongs to the figures, whatever they are. */
export function settings(wallSeconds: number): string[] {
  return [
    `Wall time ${Math.round(wallSeconds)} s. Ratio: mean tokens of all live contexts, shared beginnings once, over the pool; the pool is scaled. Closed loop: 64 runs live with people at them, three hours after ten minutes of warm-up; 128 without, 20 minutes after 5. Waits and lengths as in the workload; Qwen3-Coder-30B-A3B on H200 with vLLM's habits; dag-math on RTX PRO 6000, Qwen3-8B, SGLang's habits. Seeds 1 to 10; constants of price were swept on seeds 21 to 26 of claude-code, 21 and 22 of swe-agent, and a workload of fast-growing contexts that is not here; of the sets for judging only, seeds 21 and 22 of azure-agent were looked at along with them, and 22 to 26 checked before the policy was settled. That a large context which was held for long is not passed by small ones was added after a first sweep over all of this.`,
    'TTFT counts from ready to first token, holds included; turns without a first token at the end count with their wait so far. Fairness: Jain index over the turns a second of each run. No hold is longer than 30 minutes.',
    'A p99 of a third of the published gate with most output is not reached. The mean wait follows from output; the row that is told all waits in advance has hardly more output, and the rows with other exchange shares show that exchanging places more often costs output and does not shorten the tail: who gives up a place waits in turn.',
    'What it does not show: a real engine, more than one backend, and whether people accept a hold. The published gates are built from their descriptions, at one backend: choosing a place for a resumed run does not arise.',
  ]
}
