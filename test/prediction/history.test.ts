import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CriticalPaths, type PathStage } from '../../src/prediction/critical-path.ts'
import { Spread } from '../../src/prediction/spread.ts'
import { StageHistory } from '../../src/prediction/stage-history.ts'

const values = fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 150 })

describe('a spread', () => {
  test('has quantiles within a class of the true ones, and a mean between the extremes', () => {
    fc.assert(
      fc.property(values, fc.double({ min: 0.05, max: 1, noNaN: true }), (all, q) => {
        const spread = new Spread()
        for (const value of all) spread.add(value)
        expect(spread.count).toBe(all.length)
        expect(spread.mean!).toBeGreaterThanOrEqual(Math.min(...all) * 0.999)
        expect(spread.mean!).toBeLessThanOrEqual(Math.max(...all) * 1.001)
        const found = spread.quantile(q)!
        expect(found).toBeLessThanOrEqual(Math.max(...all) * 1.001)
        expect(spread.quantile(1)!).toBeGreaterThanOrEqual(Math.max(...all) / 1.2 - 1)
      }),
    )
  })

  test('forgets: what is new counts for more than what was there long ago', () => {
    const spread = new Spread()
    for (let i = 0; i < 1_000; i++) spread.add(10)
    for (let i = 0; i < 1_000; i++) spread.add(1_000)
    expect(spread.quantile(0.5)).toBeCloseTo(1_000, 0)
    expect(spread.mean!).toBeGreaterThan(900)
  })

  test('says what to expect beyond a value, and nothing of what it has not seen', () => {
    const spread = new Spread()
    for (const value of [10, 10, 10, 500]) spread.add(value)
    expect(spread.meanBeyond(100)).toBeCloseTo(500)
    expect(spread.meanBeyond(600)).toBeUndefined()
    expect(new Spread().quantile(0.5)).toBeUndefined()
    for (const wrong of [NaN, -1, Infinity]) spread.add(wrong)
    expect(spread.count).toBe(4)
  })
})

describe('the history of stage classes', () => {
  test('counts for more than what a stage asks for once there is some, and never exceeds it', () => {
    const history = new StageHistory()
    expect(history.outputTokens('w/s', 500)).toBe(500)
    for (let i = 0; i < 5; i++) history.answered('w/s', 40, 400, 0)
    expect(history.outputTokens('w/s', 500)).toBeCloseTo(40)
    expect(history.outputTokens('w/s', 8)).toBe(8)
    expect(history.turnServiceMs('w/s', 0, 40)).toBeCloseTo(400, -1)
    // Tokens beyond all that were seen count, but not without end.
    expect(history.turnServiceMs('w/s', 1e6, 1e6)).toBeCloseTo(8 * 400)
    const [facts] = history.facts()
    expect(facts).toMatchObject({ stageClass: 'w/s', answers: 5 })
    expect(facts!.outputErrorShare).toBeCloseTo(0)
  })

  test('tells turns of one class apart by their tokens', () => {
    const history = new StageHistory()
    for (let i = 0; i < 50; i++) {
      const tokens = 1_000 + ((i * 777) % 5_000)
      history.answered('w/s', 100, 500 + tokens / 2, tokens)
    }
    const [short, long] = [1_000, 6_000].map((tokens) => history.turnServiceMs('w/s', tokens, 100))
    expect(short).toBeCloseTo(1_000, -2)
    expect(long).toBeCloseTo(3_500, -2)
  })

  test('expects of a stage that has run long that it runs on', () => {
    const history = new StageHistory()
    expect(history.stageServiceLeftMs('w/s', 0)).toBeUndefined()
    for (const ms of [100, 100, 100, 10_000]) history.completed('w/s', ms)
    expect(history.stageServiceLeftMs('w/s', 0)!).toBeLessThan(3_000)
    expect(history.stageServiceLeftMs('w/s', 200)!).toBeGreaterThan(9_000)
    expect(history.stageServiceLeftMs('w/s', 20_000)).toBe(20_000)
  })
})

test('the critical path is the longest sum of what history says, whatever the DAG', () => {
  fc.assert(
    fc.property(fc.array(fc.array(fc.nat(50), { maxLength: 4 }), { minLength: 1, maxLength: 30 }), (draws) => {
      const history = new StageHistory()
      const after = draws.map((wanted, i) => [...new Set(wanted.filter((parent) => parent < i))])
      const stages: PathStage[] = after.map((parents, i) => ({
        stageClass: `w/s${i}`,
        after: parents,
        dependents: after.flatMap((each, j) => (each.includes(i) ? [j] : [])),
      }))
      for (const [i] of stages.entries()) history.completed(`w/s${i}`, 10 * (i + 1))
      const longest = (i: number): number =>
        Math.max(0, ...stages[i]!.dependents.map((next) => 10 * (next + 1) + longest(next)))
      const paths = new CriticalPaths(history)
      for (const [i] of stages.entries()) expect(paths.afterMs(stages, i)).toBeCloseTo(longest(i), 3)
    }),
    { numRuns: 60 },
  )
})
