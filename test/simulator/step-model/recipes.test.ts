import { describe, expect, it } from 'vitest'
import { runFirstToken, type ContextMode, type Flush } from '../../../bench/recipes/first-token.ts'
import { runMapping, type Arm } from '../../../bench/recipes/mapping.ts'

describe("the paper's mapping experiment on the model", () => {
  const arm = (name: Arm) => runMapping(name, 1)

  it('saves about 38 % of the wall time and 60 % of the mean with two engines of their own', async () => {
    const [single, oneBit] = await Promise.all([arm('single'), arm('one-bit')])
    expect(oneBit.lightShare).toBeCloseTo(956 / 2_294)
    expect(Math.abs(oneBit.wallSeconds / single.wallSeconds - 0.62)).toBeLessThan(0.1)
    expect(Math.abs(oneBit.meanSeconds / single.meanSeconds - 0.4)).toBeLessThan(0.1)
  })

  it('saves about as much with a second Qwen3-8B or a random split, and little when engines take turns', async () => {
    const [single, random, second, sliced] = await Promise.all([
      arm('single'),
      arm('random'),
      arm('second-8b'),
      arm('one-bit, time-sliced'),
    ])
    expect(second.wallSeconds / single.wallSeconds).toBeLessThan(0.7)
    expect(random.wallSeconds / single.wallSeconds).toBeLessThan(0.7)
    expect(sliced.wallSeconds / single.wallSeconds).toBeGreaterThan(0.85)
    expect(sliced.wallSeconds / single.wallSeconds).toBeLessThan(1)
  })

  it('gives the same figures for the same seed', async () => {
    expect(await runMapping('one-bit', 7, 200)).toEqual(await runMapping('one-bit', 7, 200))
    expect(await runMapping('one-bit', 7, 200)).not.toEqual(await runMapping('one-bit', 8, 200))
  })
})

describe("the paper's cache experiment on the model", () => {
  const meanMs = async (mode: ContextMode, flush: Flush): Promise<number> =>
    (await runFirstToken({ mode, flush, seed: 1 })).meanMs

  it('saves about 88 % of the time to first token when stages see all earlier answers', async () => {
    const saved = 1 - (await meanMs('append', 'per workflow')) / (await meanMs('append', 'per request'))
    expect(Math.abs(saved - 0.88)).toBeLessThan(0.1)
  })

  it('saves about 47 % when stages see their parents only', async () => {
    const saved = 1 - (await meanMs('parents', 'per workflow')) / (await meanMs('parents', 'per request'))
    expect(Math.abs(saved - 0.47)).toBeLessThan(0.1)
  })

  it('saves no more than an engine that is never flushed', async () => {
    expect(await meanMs('append', 'never')).toBeLessThanOrEqual(await meanMs('append', 'per workflow'))
  })

  it('cannot run with workflows side by side: the engine refuses nearly every flush', async () => {
    const outcome = await runFirstToken({
      mode: 'append',
      flush: 'per workflow',
      seed: 1,
      problems: 32,
      concurrent: 16,
    })
    expect(outcome.refusedFlushes).toBeGreaterThanOrEqual(31)
  })
})
