import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { WindowPolicy } from '../../src/memory/window-policy.ts'
import { user } from '../../src/schema/message.ts'
import { workflow } from '../../src/workflow/builder.ts'
import { scripted } from '../support/scripted-backend.ts'
import { testRuntime } from '../support/runtime.ts'
import { decisions } from './memory-kit.ts'

const long = user('context '.repeat(500))
const usage = { promptTokens: 1_000, cachedTokens: 0, completionTokens: 20 }
/** Nobody but the first ever gets a place by it: only the bound lets others through. */
const stubborn: WindowPolicy = {
  name: 'stubborn',
  tickMs: 1_000,
  enter: (_run, { placed }) => (placed.size === 0 ? 'the first' : undefined),
  review: () => ({ release: [], admit: [] }),
}
const broken: WindowPolicy = {
  ...stubborn,
  review: () => {
    throw new Error('oops')
  },
}
const one = workflow('one').stage('s', { backend: 'engine', retry: { attempts: 1 }, prompt: () => [long] })

describe('a backend with a KV window', () => {
  test('holds what does not fit, and lets it in when a run ends', async () => {
    const engine = scripted((call) => call.answer({ content: 'ok', usage }, 100))
    const runtime = await testRuntime({ engine }, { memory: { policy: 'price', kvTokens: { engine: 2_200 } } })
    const runs = [1, 2, 3].map(() => runtime.start(one, undefined))
    await runtime.clock.advance(10)
    // The prompts are equal: what they share is counted once, and all of it fits.
    expect(engine.calls).toHaveLength(3)
    await runtime.until(Promise.all(runs.map((run) => run.result)))
    runtime.audit()

    const other = scripted((call) => call.answer({ content: 'ok', usage }, 100))
    const tight = await testRuntime({ engine: other }, { memory: { policy: 'price', kvTokens: { engine: 1_600 } } })
    const own = (i: number) =>
      workflow(`own-${i}`).stage('s', { backend: 'engine', prompt: () => [user(`${i} ${'context '.repeat(500)}`)] })
    const held = [1, 2, 3].map((i) => tight.start(own(i), undefined))
    await tight.clock.advance(10)
    expect(other.calls).toHaveLength(1)
    expect(tight.backends()[0]).toMatchObject({ held: 2, kvWindow: { placed: 1, held: 2, policy: 'price' } })
    await tight.until(Promise.all(held.map((run) => run.result)))
    expect(other.openMax).toBe(1)
    expect(decisions(tight.heard, 'cache.held')).toHaveLength(2)
    expect(decisions(tight.heard, 'cache.admitted').every(({ figures }) => figures['heldMs']! > 0)).toBe(true)
    expect(tight.cacheDecisions().length).toBeGreaterThanOrEqual(4)
    tight.audit()
  })

  test.each([stubborn, broken])('never holds longer than the bound, whatever the policy does', async (policy) => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 5_000 }),
        fc.array(fc.nat(4_000), { minLength: 2, maxLength: 8 }),
        async (holdMsMax, gaps) => {
          const engine = scripted((call) => call.answer({ content: 'ok', usage }, 10_000))
          const memory = { policy: { name: 'x', window: () => policy }, kvTokens: { engine: 10 }, holdMsMax }
          const runtime = await testRuntime({ engine }, { memory })
          const started: number[] = []
          for (const gap of gaps) {
            await runtime.clock.advance(gap)
            started.push(runtime.clock.nowMs())
            runtime.start(one, undefined)
            await runtime.settle()
          }
          await runtime.clock.advance(60_000)
          expect(engine.calls).toHaveLength(gaps.length)
          engine.calls.forEach((call, i) => {
            // The engine takes all at once, and the bound is the same for all: they come in order.
            expect(call.atMs - started[i]!).toBeLessThanOrEqual(holdMsMax + 0.01)
          })
          expect(runtime.liveRuns).toBe(0)
          await runtime.close()
        },
      ),
      { numRuns: 25 },
    )
  })

  test('lets go of held requests that are cancelled, and counts them against the capacity', async () => {
    const engine = scripted((call) => call.answer({ content: 'ok', usage }, 1_000), { queueCapacity: 2 })
    const memory = { policy: { name: 'x', window: () => stubborn }, kvTokens: { engine: 10 }, holdMsMax: 500_000 }
    const runtime = await testRuntime({ engine }, { memory })
    const runs = [1, 2, 3, 4].map(() => runtime.start(one, undefined))
    await runtime.settle()
    expect(runtime.backends()[0]).toMatchObject({ held: 2 })
    expect((await runtime.until(runs[3]!.outcome)).error?.code).toBe('ORLA_QUEUE_FULL')
    runs[1]!.cancel()
    runs[2]!.cancel()
    await runtime.until(Promise.all(runs.map((run) => run.outcome)))
    expect(runtime.backends()[0]).toMatchObject({ held: 0, kvWindow: { held: 0, placed: 0 } })
    runtime.audit()
  })

  test('does nothing without one', async () => {
    const engine = scripted((call) => call.answer({ content: 'ok', usage }, 10))
    const runtime = await testRuntime({ engine }, { memory: { policy: 'price' } })
    await runtime.until(runtime.start(one, undefined).result)
    expect(decisions(runtime.heard)).toEqual([])
    expect(runtime.backends()[0]).not.toHaveProperty('kvWindow')
    runtime.audit()
  })
})
