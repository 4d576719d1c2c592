// The cells of the memory bench: one workload at one ratio under one arm, over seeds.

import type { MemoryOptions, MemoryPolicyName } from '../../src/memory/plan.ts'
import { price } from '../../src/memory/windows/price.ts'
import { workloadPreset } from '../../src/simulator/workloads/presets.ts'
import type { Workload } from '../../src/simulator/workloads/workload.ts'
import { clairvoyant } from './clairvoyant.ts'
import { playArm, type ArmOutcome } from './play-arm.ts'
import type { WorkloadSet } from './sets.ts'

/** One workload, ratio and arm, with an outcome for each seed. */
export interface Cell {
  workload: string
  /** Working set over pool; 0 where it was not set. */
  ratio: number
  arm: string
  outcomes: ArmOutcome[]
}

/** An arm, made for each workload. */
interface Arm {
  name: string
  policy(workload: Workload): NonNullable<MemoryOptions['policy']>
}

const stock = (name: MemoryPolicyName): Arm => ({ name, policy: () => name })
const arms: readonly Arm[] = [
  stock('lru'),
  stock('flush-per-request'),
  stock('flush-per-workflow'),
  stock('thunderagent'),
  stock('thunderagent-origin'),
  stock('continuum'),
  stock('concur'),
  stock('price'),
]
const quickArms: readonly Arm[] = [stock('lru'), stock('continuum'), stock('price')]
/** What the longest holds are bought with, and what could be had by knowing the future. Where places are scarce only. */
const bounds: readonly Arm[] = [
  ...[0.02, 0.3, 0.5].map((exchangeShare) => {
    const name = `price, exchange share ${exchangeShare}`
    return { name, policy: () => ({ name, window: () => price({ exchangeShare }) }) }
  }),
  { name: 'price, told all waits', policy: clairvoyant },
]
const ratios = [0.25, 0.5, 0.7, 1, 1.5, 2, 2.5]
const engine = { gpu: 'h200', model: 'qwen3-coder-30b-a3b', engine: 'vllm' } as const
const paperEngine = { gpu: 'rtx-pro-6000-max-q', model: 'qwen3-8b', engine: 'sglang' } as const
/** The pool of Qwen3-8B at 60 % of the GPU (paper, appendix C.1). */
const paperKvTokens = 290_000
/** A pool in which nothing is ever evicted, to measure the working set in. */
const amplePoolTokens = 200_000_000

/** The paper's experiment: whole workloads, from the first run to the last. */
export async function paperCells(seeds: readonly number[]): Promise<Cell[]> {
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

/** Closed loops under pressure. `quick`: two ratios and three arms. */
export async function pressureCells(set: WorkloadSet, quick: boolean, seeds: readonly number[]): Promise<Cell[]> {
  const cells = new Map<string, Cell>()
  for (const seed of seeds) {
    const { concurrency, warmUpSeconds, seconds } = set
    const workload = set.make(seed)
    const base = { workload, concurrency, warmUpSeconds, seconds, engine, seed, waitMsMax: Infinity, contextScale: 1 }
    const ample = await playArm({ ...base, kvTokens: amplePoolTokens, policy: 'lru' })
    for (const ratio of quick ? [0.5, 2] : ratios) {
      const here = quick ? quickArms : ratio === 2 && set.bounds ? [...arms, ...bounds] : arms
      for (const arm of here) {
        const policy = arm.policy(workload)
        const outcome = await playArm({ ...base, kvTokens: ample.workingSetTokens / ratio, policy })
        const key = `${ratio} ${arm.name}`
        const name = set.judging ? `${set.name} (judging only)` : set.name
        if (!cells.has(key)) cells.set(key, { workload: name, ratio, arm: arm.name, outcomes: [] })
        cells.get(key)!.outcomes.push(outcome)
      }
    }
  }
  return [...cells.values()]
}
