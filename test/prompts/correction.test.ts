import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { OptionsError } from '../../src/errors.ts'
import { createTokenCorrection } from '../../src/prompts/correction.ts'

describe('token correction', () => {
  test('leaves estimates alone while nothing was learned', () => {
    const correction = createTokenCorrection()
    expect(correction.factor('light', 'qwen3')).toBe(1)
    expect(correction.correct('light', 'qwen3', 123)).toBe(123)
  })

  test('moves a fifth of the way with each report', () => {
    const correction = createTokenCorrection()
    correction.learn('light', 'qwen3', 100, 150)
    expect(correction.factor('light', 'qwen3')).toBeCloseTo(1.1, 10)
    correction.learn('light', 'qwen3', 100, 150)
    expect(correction.factor('light', 'qwen3')).toBeCloseTo(1.18, 10)
    expect(correction.correct('light', 'qwen3', 100)).toBe(118)
  })

  test('converges to what the engine keeps reporting', () => {
    const correction = createTokenCorrection()
    for (let i = 0; i < 40; i++) correction.learn('light', 'qwen3', 1_000, 1_234)
    expect(correction.correct('light', 'qwen3', 1_000)).toBe(1_234)
  })

  test('keeps backends and models apart, whatever their names', () => {
    const correction = createTokenCorrection()
    correction.learn('a/b', 'c', 100, 200)
    expect(correction.factor('a', 'b/c')).toBe(1)
    expect(correction.factor('a/b', 'd')).toBe(1)
    expect(correction.factor('a/b', 'c')).toBeGreaterThan(1)
  })

  test('K1: never leaves its bounds', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.double(), fc.double()), { maxLength: 50 }), (reports) => {
        const correction = createTokenCorrection()
        for (const [estimated, actual] of reports) correction.learn('light', 'qwen3', estimated, actual)
        expect(correction.factor('light', 'qwen3')).toBeGreaterThanOrEqual(0.25)
        expect(correction.factor('light', 'qwen3')).toBeLessThanOrEqual(4)
      }),
    )
  })

  test('K2: keeps no more factors than its capacity, the recently learned ones', () => {
    const correction = createTokenCorrection({ capacity: 2 })
    correction.learn('a', 'm', 100, 200)
    correction.learn('b', 'm', 100, 200)
    correction.learn('a', 'm', 100, 200)
    correction.learn('c', 'm', 100, 200)
    expect(correction.size).toBe(2)
    expect(correction.factor('b', 'm')).toBe(1)
    expect(correction.factor('a', 'm')).toBeGreaterThan(1)
  })

  test('K3: learns nothing from usage that is unknown or impossible', () => {
    const correction = createTokenCorrection()
    for (const actual of [undefined, 0, -5, Number.NaN, Infinity]) correction.learn('light', 'qwen3', 100, actual)
    for (const estimated of [0, -1, Number.NaN, Infinity]) correction.learn('light', 'qwen3', estimated, 100)
    expect(correction.size).toBe(0)
  })

  test('refuses a capacity that holds nothing', () => {
    expect(() => createTokenCorrection({ capacity: 0 })).toThrow(OptionsError)
  })
})
