// Regressions that learn one observation at a time.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Ridge } from '../../src/mapping/ridge.ts'
import { promptShape, promptShapeNames } from '../../src/mapping/prompt-shape.ts'

const source = (input: unknown, results: unknown = {}) => ({ workflow: 'w', stage: 's', input, results })

describe('a ridge regression', () => {
  test('finds the line behind its observations', () => {
    const ridge = new Ridge(2, 1e-6)
    for (let x = 0; x < 10; x++) ridge.observe([1, x], 3 + 2 * x)
    expect(ridge.predict([1, 100])).toBeCloseTo(203, 3)
    expect(ridge.weight).toBe(10)
  })

  test('predicts 0 for what it has not seen, and is less sure of it', () => {
    const ridge = new Ridge(2, 1)
    ridge.observe([1, 0], 5)
    expect(ridge.predict([0, 1])).toBe(0)
    expect(ridge.width([0, 1])).toBe(1)
    expect(ridge.width([1, 0])).toBeCloseTo(Math.sqrt(1 / 2))
  })

  test('goes with what is new, as fast as it is told to forget', () => {
    const ridge = new Ridge(1, 1)
    for (let i = 0; i < 240; i++) {
      ridge.fade(0.9)
      ridge.observe([1], i < 200 ? 0 : 1)
    }
    expect(ridge.predict([1])).toBeGreaterThan(0.85)
    expect(ridge.weight).toBeCloseTo(10, 1)
  })

  test('predicts the same numbers when it is made again from its data as JSON', () => {
    const observation = fc.tuple(
      fc.array(fc.double({ min: -1, max: 1, noNaN: true }), { minLength: 3, maxLength: 3 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
    )
    fc.assert(
      fc.property(
        fc.array(observation, { maxLength: 30 }),
        fc.double({ min: 0.5, max: 1, noNaN: true }),
        (all, keep) => {
          const [one, other] = [new Ridge(3, 2), new Ridge(3, 2)]
          for (const [features, target] of all) {
            one.fade(keep)
            one.observe(features, target)
          }
          expect(other.import(JSON.parse(JSON.stringify(one.export())))).toBe(true)
          const asked = [0.3, -0.2, 0.9]
          expect(other.predict(asked)).toBe(one.predict(asked))
          expect(other.width(asked)).toBe(one.width(asked))
        },
      ),
    )
  })

  test('stays finite, and its width falls, whatever it observes', () => {
    const number = fc.double({ min: -1_000, max: 1_000, noNaN: true })
    fc.assert(
      fc.property(fc.array(fc.tuple(number, number, number), { minLength: 1, maxLength: 40 }), (all) => {
        const ridge = new Ridge(2, 0.5)
        let width = Infinity
        for (const [a, b, target] of all) {
          ridge.observe([a, b], target)
          expect(Number.isFinite(ridge.predict([1, 1]))).toBe(true)
          expect(ridge.width([1, 1])).toBeLessThanOrEqual(width + 1e-6)
          width = ridge.width([1, 1])
        }
      }),
    )
  })

  test('refuses sums of another size, and sums that no observations have', () => {
    const ridge = new Ridge(2, 1)
    ridge.observe([1, 0.5], 1)
    const before = ridge.predict([1, 1])
    const good = ridge.export()
    expect(ridge.import({ ...good, gram: [1] })).toBe(false)
    expect(ridge.import({ ...good, gram: [-5, 0, 1] })).toBe(false)
    expect(ridge.import({ ...good, gram: [1, 100, 1] })).toBe(false)
    expect(ridge.predict([1, 1])).toBe(before)
  })

  test('guesses 0 where rounding has eaten its ridge', () => {
    const ridge = new Ridge(2, 1e-12)
    ridge.observe([1e9, 1e9], 1)
    expect(ridge.predict([1, 0])).toBeTypeOf('number')
    expect(Number.isFinite(ridge.predict([1, 0]))).toBe(true)
  })
})

describe('the shape of a prompt', () => {
  const shape = (input: unknown, results?: unknown): Record<string, number> =>
    Object.fromEntries(promptShape(source(input, results)).map((value, i) => [promptShapeNames[i], value]))

  test('has a figure between 0 and 1 for each name, whatever the input', () => {
    fc.assert(
      fc.property(fc.anything(), (input) => {
        const figures = promptShape(source(input))
        expect(figures).toHaveLength(promptShapeNames.length)
        for (const figure of figures) expect(figure >= 0 && figure <= 1).toBe(true)
      }),
    )
  })

  test('tells a sum of money from a sentence', () => {
    const sum = shape('If each of 12 eggs costs $2.50, what are half of them, and 10% more?')
    expect(sum).toMatchObject({
      numbers: 3 / 7,
      decimals: 0.5,
      fractions: 0.5,
      percents: 0.5,
      amounts: 0.5,
      questions: 0.5,
    })
    expect(sum['conditions']).toBeCloseTo(1 / 3)
    expect(sum['comparisons']).toBeCloseTo(1 / 3)
    expect(sum['repetitions']).toBeCloseTo(1 / 3)
    expect(shape('Say hello.')).toMatchObject({ numbers: 0, largestNumber: 0, questions: 0, sentences: 1 / 5 })
  })

  test('sees the text of nested input and of results', () => {
    expect(shape({ ticket: { body: ['one two', 'three'] } })['words']).toBeCloseTo(3 / 53)
    expect(shape(7, { classify: 'a, b' })).toMatchObject({ commas: 1 / 4, numbers: 1 / 5 })
    const circle: { self?: unknown } = {}
    circle.self = circle
    expect(shape(circle)['characters']).toBe(0)
  })

  test('is quick on a text of a megabyte', () => {
    expect(shape('1,'.repeat(500_000))['characters']).toBe(1)
  })
})
