import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { StepRun, weightsMs, type StepCosts } from '../../../src/simulator/step-model/step-cost.ts'

const costs: StepCosts = {
  stepMs: 1.5,
  sequenceMs: 0.07,
  denseWeightsMs: 5.6,
  expertWeightsMs: 0,
  expertShare: 0,
  tokenMs: 0.05,
  contextTokenMs: 0.000055,
  attentionPairMs: 0.0000018,
}

const shapes = fc.record({
  decoding: fc.integer({ min: 1, max: 256 }),
  contextTokens: fc.integer({ min: 1, max: 2_000_000 }),
  prefillTokens: fc.constant(0),
  attentionPairs: fc.constant(0),
})

describe('the time of a step', () => {
  it('adds up overhead, weights, context and attention', () => {
    const decode = new StepRun(costs, { decoding: 10, contextTokens: 20_000, prefillTokens: 0, attentionPairs: 0 })
    expect(decode.elapsedMs(1)).toBeCloseTo(1.5 + 0.7 + 5.6 + 1.1, 9)
    const mixed = new StepRun(costs, {
      decoding: 10,
      contextTokens: 20_000,
      prefillTokens: 990,
      attentionPairs: 1_000_000,
    })
    expect(mixed.elapsedMs(1)).toBeCloseTo(1.5 + 0.7 + 50 + 1.1 + 1.8, 9)
  })
})

describe('the time of decode steps in closed form', () => {
  it('equals the sum over single steps', () => {
    fc.assert(
      fc.property(shapes, fc.integer({ min: 1, max: 4_096 }), (shape, steps) => {
        let sum = 0
        let context = shape.contextTokens
        for (let i = 0; i < steps; i++) {
          sum += new StepRun(costs, { ...shape, contextTokens: context }).elapsedMs(1)
          context += shape.decoding
        }
        expect(new StepRun(costs, shape).elapsedMs(steps)).toBeCloseTo(sum, 5)
      }),
      { numRuns: 50 },
    )
  })

  it('finds the steps that are over at any moment', () => {
    fc.assert(
      fc.property(shapes, fc.double({ min: 0, max: 1e6, noNaN: true }), (shape, elapsed) => {
        const run = new StepRun(costs, shape)
        const steps = run.stepsWithin(elapsed)
        expect(run.elapsedMs(steps)).toBeLessThanOrEqual(elapsed + 1e-6)
        expect(run.elapsedMs(steps + 1)).toBeGreaterThan(elapsed)
      }),
    )
  })

  it('counts a step as over at the very moment it ends', () => {
    fc.assert(
      fc.property(shapes, fc.integer({ min: 1, max: 4_096 }), (shape, steps) => {
        const run = new StepRun(costs, shape)
        expect(run.stepsWithin(run.elapsedMs(steps))).toBe(steps)
      }),
    )
  })
})

describe('the weights of a step', () => {
  it('are read once for a small batch and multiplied with every token of a large one', () => {
    expect(weightsMs(costs, 1)).toBe(5.6)
    expect(weightsMs(costs, 112)).toBeCloseTo(5.6)
    expect(weightsMs(costs, 8_192)).toBeCloseTo(409.6)
  })

  it('of a mixture of experts grow with the batch, from the share of one token towards all experts', () => {
    const mixture = { ...costs, denseWeightsMs: 1, expertWeightsMs: 16, expertShare: 8 / 128, tokenMs: 0.001 }
    expect(weightsMs(mixture, 1)).toBeCloseTo(2)
    expect(weightsMs(mixture, 16)).toBeGreaterThan(10)
    expect(weightsMs(mixture, 256)).toBeCloseTo(17, 4)
    for (let tokens = 1; tokens < 256; tokens++) {
      expect(weightsMs(mixture, tokens + 1)).toBeGreaterThanOrEqual(weightsMs(mixture, tokens))
    }
  })
})
