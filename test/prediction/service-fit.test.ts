// What is learned of the speed of an engine.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ServiceFit } from '../../src/prediction/service-fit.ts'

describe('the speed of an engine', () => {
  test('is told apart by prompt and answer, and follows what happens lately', () => {
    const fit = new ServiceFit()
    const serve = (prompt: number, output: number, times: number): void => {
      for (let i = 0; i < times; i++) {
        const [p, o] = [500 + ((i * 37) % 1_000), 50 + ((i * 53) % 400)]
        fit.add(p, o, p * prompt + o * output)
      }
    }
    serve(0.2, 20, 300)
    expect(fit.speed.msPerPromptToken).toBeCloseTo(0.2, 2)
    expect(fit.speed.msPerOutputToken).toBeCloseTo(20, 0)
    serve(0.4, 40, 300)
    expect(fit.speed.msPerPromptToken).toBeCloseTo(0.4, 1)
    expect(fit.speed.msPerOutputToken).toBeCloseTo(40, 0)
  })

  test('is finite and never negative, whatever was measured', () => {
    const answer = fc.tuple(fc.nat(100_000), fc.nat(10_000), fc.double({ min: 0, max: 1e6, noNaN: true }))
    fc.assert(
      fc.property(fc.array(answer, { minLength: 1, maxLength: 50 }), (answers) => {
        const fit = new ServiceFit()
        for (const [prompt, output, ms] of answers) fit.add(prompt, output, ms)
        const { msPerPromptToken, msPerOutputToken, serviceMs } = fit.speed
        for (const figure of [msPerPromptToken, msPerOutputToken, serviceMs]) {
          expect(Number.isFinite(figure) && figure >= 0).toBe(true)
        }
      }),
    )
  })
})
