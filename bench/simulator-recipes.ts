// The paper's two experiments on the engine model, with the ablations it leaves out: mean and spread over ten seeds.

import { runFirstToken, type ContextMode, type FirstTokenOutcome, type Flush } from './recipes/first-token.ts'
import { runMapping, type Arm, type MappingOutcome } from './recipes/mapping.ts'
import { spread } from './recipes/draw.ts'
import type { Bench, Row } from './lib/bench.ts'

const seedsAll = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]

const arms: readonly { arm: Arm; published: string }[] = [
  { arm: 'single', published: 'baseline' },
  { arm: 'one-bit', published: 'wall -38 %, mean -60 % (paper)' },
  { arm: 'random', published: '-' },
  { arm: 'second-8b', published: '-' },
  { arm: 'one-bit, time-sliced', published: '-' },
]

const text = (values: readonly number[], unit: string, digits = 0): string => {
  const { mean, deviation } = spread(values)
  return `${mean.toFixed(digits)} ± ${deviation.toFixed(digits)} ${unit}`
}

const change = (to: readonly number[], from: readonly number[]): string =>
  text(
    to.map((value, i) => 100 * (value / from[i]! - 1)),
    '%',
    1,
  )

async function mapping(seeds: readonly number[]): Promise<Row[]> {
  const rows: Row[] = []
  let baseline: MappingOutcome[] = []
  for (const { arm, published } of arms) {
    const outcomes: MappingOutcome[] = []
    for (const seed of seeds) outcomes.push(await runMapping(arm, seed))
    if (arm === 'single') baseline = outcomes
    const wall = (all: MappingOutcome[]): number[] => all.map((outcome) => outcome.wallSeconds)
    const mean = (all: MappingOutcome[]): number[] => all.map((outcome) => outcome.meanSeconds)
    rows.push({
      experiment: 'mapping, wall | mean',
      arm,
      first: text(wall(outcomes), 's'),
      second: text(mean(outcomes), 's'),
      firstChange: change(wall(outcomes), wall(baseline)),
      secondChange: change(mean(outcomes), mean(baseline)),
      published,
    })
  }
  return rows
}

async function firstToken(
  mode: ContextMode,
  concurrent: number,
  problems: number,
  seeds: readonly number[],
): Promise<Row[]> {
  const rows: Row[] = []
  let baseline: FirstTokenOutcome[] = []
  for (const flush of ['per request', 'per workflow', 'never'] satisfies Flush[]) {
    const outcomes: FirstTokenOutcome[] = []
    for (const seed of seeds) outcomes.push(await runFirstToken({ flush, mode, seed, problems, concurrent }))
    if (flush === 'per request') baseline = outcomes
    const median = (all: FirstTokenOutcome[]): number[] => all.map((outcome) => outcome.p50Ms)
    const mean = (all: FirstTokenOutcome[]): number[] => all.map((outcome) => outcome.meanMs)
    const refused = outcomes.reduce((sum, outcome) => sum + outcome.refusedFlushes, 0)
    rows.push({
      experiment: `first token, ${mode}, ${concurrent} at once, p50 | mean`,
      arm: `flush ${flush}${refused > 0 ? ` (${Math.round(refused / seeds.length)} refused)` : ''}`,
      first: text(median(outcomes), 'ms', 1),
      second: text(mean(outcomes), 'ms', 1),
      firstChange: change(median(outcomes), median(baseline)),
      secondChange: change(mean(outcomes), mean(baseline)),
      published: '-',
    })
  }
  return rows
}

/** Both experiments; `quick` runs two seeds. */
export const bench: Bench = {
  async run({ quick }) {
    const seeds = quick ? seedsAll.slice(0, 2) : seedsAll
    return {
      rows: [
        ...(await mapping(seeds)),
        ...(await firstToken('append', 1, 5, seeds)),
        ...(await firstToken('parents', 1, 5, seeds)),
        ...(await firstToken('append', 64, 128, seeds)),
      ],
      notes: [
        'Changes are against the first arm of each experiment, seed by seed: mean and standard deviation over seeds.',
        'Mapping: with two engines that do not slow each other, a second Qwen3-8B or a random split gains about as much as mapping by difficulty; engines that take turns on one GPU gain little. The paper does not say which of the two its GPU is.',
        'First token: arrival, context and prompt lengths are assumptions (see bench/recipes). With 64 workflows at once nearly every flush is refused, because a request is always under way.',
      ],
    }
  },
}
