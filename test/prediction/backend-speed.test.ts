// What is learned of the speed of backends.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BackendSpeeds } from '../../src/prediction/backend-speed.ts'

describe('the speed of a backend', () => {
  test('is not known before its first answer', () => {
    expect(new BackendSpeeds().of('a')).toBeUndefined()
  })

  test('is told apart by prompt and answer, and follows what happens lately', () => {
    const speeds = new BackendSpeeds()
    const serve = (prompt: number, output: number, times: number): void => {
      for (let i = 0; i < times; i++) {
        const [p, o] = [500 + ((i * 37) % 1_000), 50 + ((i * 53) % 400)]
        speeds.answered('a', p, o, p * prompt + o * output)
      }
    }
    serve(0.2, 20, 300)
    expect(speeds.of('a')!.msPerPromptToken).toBeCloseTo(0.2, 2)
    expect(speeds.of('a')!.msPerOutputToken).toBeCloseTo(20, 0)
    serve(0.4, 40, 300)
    expect(speeds.of('a')!.msPerPromptToken).toBeCloseTo(0.4, 1)
    expect(speeds.of('a')!.msPerOutputToken).toBeCloseTo(40, 0)
    speeds.forget('a')
    expect(speeds.of('a')).toBeUndefined()
  })

  test('is finite and never negative, whatever was measured', () => {
    const answer = fc.tuple(fc.nat(100_000), fc.nat(10_000), fc.double({ min: 0, max: 1e6, noNaN: true }))
    fc.assert(
      fc.property(fc.array(answer, { minLength: 1, maxLength: 50 }), (answers) => {
        const speeds = new BackendSpeeds()
        for (const [prompt, output, ms] of answers) speeds.answered('a', prompt, output, ms)
        const { msPerPromptToken, msPerOutputToken, serviceMs } = speeds.of('a')!
        for (const figure of [msPerPromptToken, msPerOutputToken, serviceMs]) {
          expect(Number.isFinite(figure) && figure >= 0).toBe(true)
        }
      }),
    )
  })
})
