import { describe, expect, test } from 'vitest'
import { randomStream } from '../../../src/clock.ts'
import { OptionsError } from '../../../src/errors.ts'
import { arrivalGaps } from '../../../src/simulator/workloads/arrivals.ts'
import { byPercentiles, gamma, lognormal, lognormalByMean } from '../../../src/simulator/workloads/distributions.ts'
import { workloadPreset, workloadPresetNames } from '../../../src/simulator/workloads/presets.ts'
import type { Workload, WorkloadTurn } from '../../../src/simulator/workloads/workload.ts'
import { promptsOf, tokensOf } from './support.ts'

const turnsOf = ({ runs }: Workload): WorkloadTurn[] => runs.flatMap(({ steps }) => steps.flatMap(({ turns }) => turns))
const quantile = (values: number[], share: number): number =>
  values.toSorted((a, b) => a - b)[Math.floor(share * values.length)]!
const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length
const freshTokens = ({ fresh }: WorkloadTurn): number => tokensOf(fresh)
const promptTokens = (turn: WorkloadTurn): number => turn.shared + freshTokens(turn)
/** Within `share` of the expected value. */
const near = (value: number, expected: number, share: number): void => {
  expect(value).toBeGreaterThan(expected * (1 - share))
  expect(value).toBeLessThan(expected * (1 + share))
}

describe('distributions', () => {
  const draw = (sampler: (random: () => number) => number, count = 20_000): number[] => {
    const random = randomStream(1, 'test')
    return Array.from({ length: count }, () => sampler(random))
  }

  test('have the percentiles they are made of', () => {
    const values = draw(byPercentiles([5, 25, 50, 75, 90, 99], { min: 1, max: 1_000 }))
    for (const [share, expected] of [
      [0.05, 5],
      [0.25, 25],
      [0.5, 50],
      [0.75, 75],
      [0.9, 90],
    ] as const) {
      near(quantile(values, share), expected, 0.08)
    }
    expect(Math.min(...values)).toBeGreaterThanOrEqual(1)
    expect(Math.max(...values)).toBeLessThanOrEqual(1_000)
  })

  test('have the median, mean and cap they are made of', () => {
    near(quantile(draw(lognormal(706, 1.2)), 0.5), 706, 0.05)
    expect(Math.max(...draw(lognormal(706, 1.2, 5_000)))).toBe(5_000)
    near(mean(draw(lognormalByMean(0.424, 0.726))), 0.726, 0.05)
  })

  test.each([0.3, 1, 4])('are gamma distributed with mean and variation of shape %d', (shape) => {
    const values = draw(gamma(shape, 10))
    const variance = mean(values.map((value) => (value - 10) ** 2))
    near(mean(values), 10, 0.05)
    near(Math.sqrt(variance) / 10, 1 / Math.sqrt(shape), 0.08)
  })
})

describe('arrivals', () => {
  test.each([
    [1, 1],
    [0.25, 2],
    [4, 0.5],
  ])('come at the rate, with the variation of burstiness %d', (burstiness, variation) => {
    const gap = arrivalGaps(8, burstiness, randomStream(3, 'arrivals'))
    const gaps = Array.from({ length: 30_000 }, gap)
    near(mean(gaps), 125, 0.05)
    const deviation = Math.sqrt(mean(gaps.map((ms) => (ms - 125) ** 2)))
    near(deviation / 125, variation, 0.08)
  })
})

describe('a preset', () => {
  test.each(workloadPresetNames)('%s is the same for the same seed, another for another, and plays', (name) => {
    const make = (seed: number): Workload => workloadPreset(name, { sessions: 6, seed })
    expect(make(1)).toEqual(make(1))
    expect(make(1).runs).not.toEqual(make(2).runs)
    expect(make(1).runs).toHaveLength(6)
    for (const run of make(1).runs) {
      for (const [i, step] of run.steps.entries()) {
        const prompts = promptsOf(run, {}, i)
        expect(prompts).toHaveLength(step.turns.length)
        expect(prompts.map(({ tokens }) => tokens)).toEqual(step.turns.map(promptTokens))
        for (const turn of step.turns) {
          expect(turn.outputTokens).toBeGreaterThanOrEqual(1)
          expect(freshTokens(turn)).toBeGreaterThanOrEqual(1)
          expect(turn.waitMs).toBeGreaterThanOrEqual(0)
        }
      }
    }
  })

  test('claude-code has the published percentiles', () => {
    const { runs } = workloadPreset('claude-code', { sessions: 600 })
    const counts = runs.map(({ steps }) => steps[0]!.turns.length)
    near(quantile(counts, 0.5), 44, 0.15)
    const later = runs.flatMap(({ steps }) => steps[0]!.turns.slice(1))
    near(quantile(later.map(freshTokens), 0.5), 706, 0.05)
    near(
      quantile(
        later.map(({ outputTokens }) => outputTokens),
        0.5,
      ),
      217,
      0.05,
    )
    near(
      quantile(
        later.map(({ waitMs }) => waitMs),
        0.5,
      ),
      10_000,
      0.05,
    )
    near(
      quantile(
        runs.flatMap(({ steps }) => steps[0]!.turns.map(promptTokens)),
        0.5,
      ),
      100_221,
      0.2,
    )
    const appended = runs.flatMap(({ steps }) =>
      steps[0]!.turns.slice(1).map((turn, i) => turn.shared === promptTokens(steps[0]!.turns[i]!)),
    )
    near(appended.filter(Boolean).length / appended.length, 0.978, 0.005)
    expect(runs[0]!.steps[0]!.turns[0]!.fresh[0]).toEqual(runs[1]!.steps[0]!.turns[0]!.fresh[0])
  })

  test('swe-agent mixes tools as published and ends with submit', () => {
    const turns = turnsOf(workloadPreset('swe-agent', { sessions: 1_500 })).filter(({ waitFor }) => waitFor !== 'user')
    const share = (tool: string): number => turns.filter(({ waitFor }) => waitFor === tool).length / turns.length
    // Of the calls that a turn follows: all but submit.
    near(share('editor'), 0.543 / 0.9355, 0.05)
    near(share('heavy-bash'), 0.2118 / 0.9355, 0.05)
    const heavy = turns.filter(({ waitFor }) => waitFor === 'heavy-bash').map(({ waitMs }) => waitMs)
    near(quantile(heavy, 0.5), 488, 0.1)
    near(turns.length / 1_500 + 1, 15.5, 0.12)
  })

  test.each([
    ['chat', 5.53, 1_155, 211, 0.1],
    ['code-complete', 2.567, 2_048, 27.9, 0.25],
  ] as const)('%s has the published rate and means', (name, rate, input, output, tolerance) => {
    const workload = workloadPreset(name, { sessions: 20_000 })
    near(20_000 / (workload.runs.at(-1)!.arrivalMs! / 1_000), rate, tolerance)
    near(mean(turnsOf(workload).map(promptTokens)), input, 0.05)
    near(mean(turnsOf(workload).map(({ outputTokens }) => outputTokens)), output, 0.2)
  })

  test('long-chat has the published rate, lengths and reuse', () => {
    const workload = workloadPreset('long-chat', { sessions: 3_000 })
    const turns = turnsOf(workload)
    near(turns.length / (workload.runs.at(-1)!.arrivalMs! / 1_000), 3.401, 0.15)
    near(mean(turns.map(promptTokens)), 12_035, 0.12)
    const shared = turns.reduce((sum, turn) => sum + turn.shared, 0)
    near(shared / turns.reduce((sum, turn) => sum + promptTokens(turn), 0), 0.374, 0.06)
  })

  test('swe-oneshot has the share of simple requests and the rate', () => {
    const { runs } = workloadPreset('swe-oneshot')
    expect(runs).toHaveLength(2_294)
    near(runs.filter(({ id }) => id.endsWith('simple')).length / 2_294, 0.417, 0.08)
    near(2_294 / (runs.at(-1)!.arrivalMs! / 1_000), 2.4, 0.08)
  })

  test('dag-math has 11 to 38 steps that see all before them, or their parents only', () => {
    const sees = (dagContext: 'append' | 'parents'): number[] => {
      const { runs } = workloadPreset('dag-math', { sessions: 20, dagContext })
      for (const { steps } of runs) {
        expect(steps.length).toBeGreaterThanOrEqual(11)
        expect(steps.length).toBeLessThanOrEqual(38)
        for (const [i, { after, turns }] of steps.entries()) {
          expect(after.length === 0).toBe(i === 0)
          expect(turns[0]!.outputTokens).toBeLessThanOrEqual(256)
        }
      }
      return runs.map(({ steps }) => promptTokens(steps.at(-1)!.turns[0]!))
    }
    expect(mean(sees('append'))).toBeGreaterThan(3 * mean(sees('parents')))
  })

  test('support-ticket has the shape of the paper: two stages side by side', () => {
    const [run] = workloadPreset('support-ticket', { sessions: 1 }).runs
    expect(run!.steps.map(({ name, after }) => [name, after])).toEqual([
      ['classify', []],
      ['policy_check', ['classify']],
      ['route_ticket', ['classify']],
      ['reply', ['classify', 'policy_check']],
    ])
    // The reply reads what the policy check answered.
    const { turns } = run!.steps[1]!
    const seen = run!.steps[3]!.turns[0]!.fresh.at(-1)!
    expect(seen.to - seen.from).toBe(turns.at(-1)!.outputTokens)
  })

  test('refuses names and numbers that are not known', () => {
    expect(() => workloadPreset('nope' as 'chat')).toThrow(OptionsError)
    expect(() => workloadPreset('nope' as 'chat')).toThrow(/there are support-ticket, swe-oneshot/)
    expect(() => workloadPreset('chat', { sessions: 0 })).toThrow(/from 1 to 100000/)
    expect(() => workloadPreset('toString' as 'chat')).toThrow(OptionsError)
  })
})
