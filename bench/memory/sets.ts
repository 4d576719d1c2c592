// The workloads that memory policies are compared on, and how each is played.

import { byPercentiles } from '../../src/simulator/workloads/distributions.ts'
import { randomStream } from '../../src/clock.ts'
import { loadWorkload } from '../../src/simulator/workloads/load.ts'
import { workloadPreset } from '../../src/simulator/workloads/presets.ts'
import type { Workload } from '../../src/simulator/workloads/workload.ts'

/** One workload, in a closed loop. */
export interface WorkloadSet {
  name: string
  /** Judged on only: no constant of a policy was chosen by it. */
  judging: boolean
  /** Whether bounds of the price policy are shown on it. */
  bounds: boolean
  concurrency: number
  warmUpSeconds: number
  seconds: number
  make(seed: number): Workload
}

/** Lengths of Azure's code trace of 2023, percentiles p5 to p99 (Azure/AzurePublicDataset, CC-BY). */
const azureCode = {
  input: byPercentiles([75, 578, 1_469, 2_745, 5_194, 7_436], { min: 3, max: 7_437 }),
  output: byPercentiles([6, 9, 13, 24, 55, 252], { min: 1, max: 1_899 }),
}

/** Tool times and turns of `swe-agent` with the lengths of Azure's code trace. */
function azureAgent(seed: number): Workload {
  const base = workloadPreset('swe-agent', { sessions: 3_000, seed })
  const runs = base.runs.map((run) => {
    const random = randomStream(seed, `azure lengths ${run.id}`)
    let contextTokens = 0
    const steps = run.steps.map((step) => ({
      ...step,
      turns: step.turns.map((turn, k) => {
        const length = Math.max(1, Math.round(azureCode.input(random)))
        const outputTokens = Math.max(1, Math.round(azureCode.output(random)))
        const shared = k === 0 ? 0 : contextTokens
        contextTokens = shared + length + outputTokens
        return { ...turn, shared, outputTokens, fresh: [{ stream: `${run.id}#azure ${k}`, from: 0, to: length }] }
      }),
    }))
    return { ...run, steps }
  })
  return { ...base, name: 'azure-agent', runs }
}

/** Sessions of a file, as often as a stretch may need them, in an order of each seed's own. */
async function fileSets(path: string): Promise<WorkloadSet[]> {
  const whole = await loadWorkload(path)
  const cut = Math.floor((whole.runs.length * 2) / 3)
  const part = (name: string, runs: Workload['runs'], judging: boolean): WorkloadSet => ({
    name,
    judging,
    bounds: false,
    ...people,
    make(seed) {
      const random = randomStream(seed, name)
      const order = runs.map((run) => ({ run, at: random() })).toSorted((a, b) => a.at - b.at)
      const again = [0, 1, 2, 3].flatMap((round) =>
        order.map(({ run: { arrivalMs: _unused, ...run } }) => ({ ...run, id: `${run.id}.${round}` })),
      )
      return { ...whole, name, runs: again }
    },
  })
  return [
    part('sessions-first-two-thirds', whole.runs.slice(0, cut), false),
    part('sessions-last-third', whole.runs.slice(cut), true),
  ]
}

/** Hours of sessions with people at them, or minutes of agents without. */
const people = { concurrency: 64, warmUpSeconds: 600, seconds: 10_800 }
const agents = { concurrency: 128, warmUpSeconds: 300, seconds: 1_200 }

/** All sets; those of a file of sessions only where one is given. */
export async function workloadSets(quick: boolean, sessionsFile?: string): Promise<WorkloadSet[]> {
  const preset = (
    name: 'claude-code' | 'swe-agent' | 'long-chat',
    how: typeof people,
    sessions: number,
  ): WorkloadSet => ({
    name,
    judging: false,
    bounds: name === 'claude-code',
    ...how,
    make: (seed) => workloadPreset(name, { sessions, seed }),
  })
  const claude = preset('claude-code', people, 1_000)
  if (quick) return [claude]
  return [
    claude,
    preset('swe-agent', agents, 3_000),
    preset('long-chat', agents, 20_000),
    { name: 'azure-agent', judging: true, bounds: false, ...agents, make: azureAgent },
    ...(sessionsFile === undefined ? [] : await fileSets(sessionsFile)),
  ]
}
