// Memory policies against the engine's own LRU: the paper's cache experiment, and closed loops under pressure.

import { writeFile } from 'node:fs/promises'
import type { MemoryPolicyName } from '../src/memory/plan.ts'
import { workloadPreset } from '../src/simulator/workloads/presets.ts'
import type { Bench, Row } from './lib/bench.ts'
import { overheadUs } from './memory/overhead.ts'
import { page, type Curve } from './memory/page.ts'
import { playArm, type ArmOutcome } from './memory/play-arm.ts'
import { workloadSets, type WorkloadSet } from './memory/sets.ts'
import { spread } from './recipes/draw.ts'

const arms: readonly MemoryPolicyName[] = [
  'lru',
  'flush-per-request',
  'flush-per-workflow',
  'thunderagent',
  'thunderagent-origin',
  'continuum',
  'concur',
  'price',
]
const ratios = [0.25, 0.5, 0.7, 1, 1.5, 2, 2.5]
const seedsAll = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
const engine = { gpu: 'h200', model: 'qwen3-coder-30b-a3b', engine: 'vllm' } as const
const paperEngine = { gpu: 'rtx-pro-6000-max-q', model: 'qwen3-8b', engine: 'sglang' } as const
/** The pool of Qwen3-8B at 60 % of the GPU (paper, appendix C.1). */
const paperKvTokens = 290_000
/** A pool in which nothing is ever evicted, to measure the working set in. */
const amplePoolTokens = 200_000_000

interface Cell {
  workload: string
  ratio: number
  arm: string
  outcomes: ArmOutcome[]
}

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
  busyShare: (o: ArmOutcome) => o.busyShare,
}

function round(value: number): number {
  return Number(value.toPrecision(5))
}

/** One line of the JSON. `spread` is the standard deviation over seeds. */
function jsonRow({ workload, ratio, arm, outcomes }: Cell): object {
  const of = (name: keyof typeof figures) => spread(outcomes.map(figures[name]))
  const mean = (name: keyof typeof figures): number => round(of(name).mean)
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
      (['runsPerSecond', 'outputTokensPerSecond', 'hitRatio', 'p50', 'p90', 'p99'] as const).map((name) => [
        name,
        round(of(name).deviation),
      ]),
    ),
    fairness: mean('fairness'),
    busyShare: mean('busyShare'),
    failed: outcomes.reduce((sum, o) => sum + o.failed, 0),
    flushes: outcomes.reduce((sum, o) => sum + o.flushes, 0),
    refusedFlushes: outcomes.reduce((sum, o) => sum + o.refusedFlushes, 0),
  }
}

function tableRow({ workload, ratio, arm, outcomes }: Cell): Row {
  const mean = (name: keyof typeof figures): number => spread(outcomes.map(figures[name])).mean
  return {
    workload,
    ratio,
    arm,
    runsPerHour: round(mean('runsPerSecond') * 3_600),
    outputTokensPerSecond: `${round(mean('outputTokensPerSecond'))} ± ${round(spread(outcomes.map(figures.outputTokensPerSecond)).deviation)}`,
    hitRatio: round(mean('hitRatio')),
    ttftMsP50: Math.round(mean('p50')),
    ttftMsP90: Math.round(mean('p90')),
    ttftMsP99: Math.round(mean('p99')),
    maxHoldSeconds: Math.round(Math.max(...outcomes.map((o) => o.maxHoldMs)) / 1_000),
    fairness: round(mean('fairness')),
  }
}

/** The paper's experiment: whole workloads, from the first run to the last. */
async function paperCells(seeds: readonly number[]): Promise<Cell[]> {
  const cells: Cell[] = []
  for (const dagContext of ['append', 'parents'] as const) {
    for (const [concurrency, sessions] of [
      [1, 5],
      [64, 128],
    ] as const) {
      for (const arm of ['flush-per-request', 'flush-per-workflow', 'lru'] as const) {
        const outcomes: ArmOutcome[] = []
        for (const seed of seeds) {
          outcomes.push(
            await playArm({
              workload: workloadPreset('dag-math', { sessions, seed, dagContext }),
              concurrency,
              engine: paperEngine,
              kvTokens: paperKvTokens,
              policy: arm,
              waitMsMax: Infinity,
              contextScale: 1,
              warmUpSeconds: 0,
              seconds: Infinity,
              seed,
            }),
          )
        }
        cells.push({ workload: `dag-math ${dagContext}, ${concurrency} at once`, ratio: 0, arm, outcomes })
      }
    }
  }
  return cells
}

async function pressureCells(set: WorkloadSet, quick: boolean, seeds: readonly number[]): Promise<Cell[]> {
  const cells = new Map<string, Cell>()
  for (const seed of seeds) {
    const { concurrency, warmUpSeconds, seconds } = set
    const workload = set.make(seed)
    const base = { workload, concurrency, warmUpSeconds, seconds, engine, seed, waitMsMax: Infinity, contextScale: 1 }
    const ample = await playArm({ ...base, kvTokens: amplePoolTokens, policy: 'lru' })
    for (const ratio of quick ? [0.5, 2] : ratios) {
      for (const arm of quick ? (['lru', 'continuum', 'price'] as const) : arms) {
        const outcome = await playArm({ ...base, kvTokens: ample.workingSetTokens / ratio, policy: arm })
        const key = `${ratio} ${arm}`
        const name = set.judging ? `${set.name} (judging only)` : set.name
        if (!cells.has(key)) cells.set(key, { workload: name, ratio, arm, outcomes: [] })
        cells.get(key)!.outcomes.push(outcome)
      }
    }
  }
  return [...cells.values()]
}

function notes(cells: readonly Cell[], wallSeconds: number, us: number): string[] {
  const found: string[] = []
  const mean = (cell: Cell | undefined, name: keyof typeof figures): number =>
    cell === undefined ? Number.NaN : spread(cell.outcomes.map(figures[name])).mean
  for (const workload of new Set(cells.map((cell) => cell.workload))) {
    const at = (ratio: number, arm: string): Cell | undefined =>
      cells.find((cell) => cell.workload === workload && cell.ratio === ratio && cell.arm === arm)
    if (workload.startsWith('dag-math')) {
      const change = 100 * (1 - mean(at(0, 'flush-per-workflow'), 'p50') / mean(at(0, 'flush-per-request'), 'p50'))
      found.push(`${workload}: TTFT p50 of flush per workflow is ${change.toFixed(0)} % below flush per request.`)
      continue
    }
    const price = at(2, 'price')
    const gain = mean(price, 'outputTokensPerSecond') / mean(at(2, 'lru'), 'outputTokensPerSecond')
    const gates = cells.filter(
      (cell) =>
        cell.workload === workload &&
        cell.ratio === 2 &&
        !['lru', 'price'].includes(cell.arm) &&
        !cell.arm.startsWith('flush'),
    )
    const best = gates.toSorted((a, b) => mean(b, 'outputTokensPerSecond') - mean(a, 'outputTokensPerSecond'))[0]
    found.push(
      `${workload} at ratio 2: price has ${gain.toFixed(2)} times the output of lru, hit ratio ${mean(price, 'hitRatio').toFixed(2)}; against ${best?.arm}, the published gate with most output, ${(mean(price, 'outputTokensPerSecond') / mean(best, 'outputTokensPerSecond')).toFixed(2)} times its output and ${(mean(price, 'p99') / mean(best, 'p99')).toFixed(2)} times its p99.`,
    )
  }
  return [
    ...found,
    `The memory manager took ${us.toFixed(1)} us a transition at 10,000 live runs with a full window, reviews included.`,
    `Wall time ${Math.round(wallSeconds)} s. Ratio: mean tokens of all live contexts, shared beginnings once, over the pool; the pool is scaled. Closed loop; waits and lengths as in the workload; Qwen3-Coder-30B-A3B on H200 with vLLM's habits; dag-math on RTX PRO 6000, Qwen3-8B, SGLang's habits.`,
    'TTFT counts from ready to first token, holds included; turns without a first token at the end count with their wait so far. Fairness: Jain index over the turns a second of each run.',
    'What it does not show: a real engine, more than one backend, prewarming, and whether people accept a hold. The published gates are built from their descriptions, at one backend: choosing a place for a resumed run does not arise.',
  ]
}

/** Both parts; `quick` has three seeds, three arms, and two ratios of one workload. */
export const bench: Bench = {
  async run({ quick }) {
    const startedAtMs = performance.now()
    const seeds = quick ? seedsAll.slice(0, 3) : seedsAll
    const cells = await paperCells(seeds)
    for (const set of await workloadSets(quick)) cells.push(...(await pressureCells(set, quick, seeds)))
    const us = await overheadUs(10_000, quick ? 1 : 3)
    const wallSeconds = (performance.now() - startedAtMs) / 1_000
    const said = notes(cells, wallSeconds, us)
    const path = process.env['ORLA_BENCH_HTML']
    if (path !== undefined) await writeFile(path, page(cells.map(curveOf), said))
    return { rows: cells.map(tableRow), jsonRows: cells.map(jsonRow), notes: said }
  },
}

function curveOf({ workload, ratio, arm, outcomes }: Cell): Curve {
  const all = outcomes.flatMap((outcome) => outcome.ttftsMs).toSorted((a, b) => a - b)
  const shares = [0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 1]
  const { mean, deviation } = spread(outcomes.map(figures.outputTokensPerSecond))
  return {
    workload,
    ratio,
    arm,
    output: { mean, deviation },
    hitRatio: spread(outcomes.map(figures.hitRatio)).mean,
    ttftsMs: shares.map((share) => ({ share, ms: quantile(all, share) })),
  }
}
