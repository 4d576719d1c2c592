import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { CachePolicy } from '../../src/memory/cache-policy.ts'
import { user } from '../../src/schema/message.ts'
import { workflow } from '../../src/workflow/builder.ts'
import { tool } from '../../src/workflow/tool.ts'
import { testRuntime } from '../support/runtime.ts'
import { decisions, kvBackend } from './memory-kit.ts'

const usage = { promptTokens: 1_000, cachedTokens: 0, completionTokens: 20 }
const long = user('context '.repeat(500))

/** A chain of stages, each at its backend; every prompt begins with the same long message. */
function chainOf(backends: readonly string[], hints: readonly ('preserve' | 'flush' | 'auto')[] = []) {
  const first = workflow('chain').stage('s0', {
    backend: backends[0]!,
    cache: hints[0] ?? 'auto',
    prompt: () => [long],
  })
  return backends.slice(1).reduce(
    (flow, backend, i) =>
      flow.stage(`s${i + 1}`, {
        after: [`s${i}`] as never,
        backend,
        cache: hints[i + 1] ?? 'auto',
        prompt: () => [long, user(`step ${i}`)],
      }) as never,
    first,
  )
}

describe('the paper’s policies through the runtime', () => {
  test('preserve a context that goes on at the same backend and grows little', async () => {
    const engine = kvBackend((call) => call.answer({ content: 'ok', usage }, 10))
    const runtime = await testRuntime({ engine }, { memory: { policy: 'paper' } })
    await runtime.until(runtime.start(chainOf(['engine', 'engine']), undefined).result)
    const kept = decisions(runtime.heard, 'cache.kept')
    expect(kept).toHaveLength(1)
    expect(kept[0]!.reason).toContain('at most 256')
    expect(kept[0]!.figures).toMatchObject({ residentTokens: 1_020, thresholdTokens: 256 })
    runtime.audit()
  })

  test('flush once when the run ends, and not before', async () => {
    const engine = kvBackend((call) => call.answer({ content: 'ok', usage }, 10))
    const runtime = await testRuntime({ engine }, { memory: { policy: 'paper' } })
    await runtime.until(runtime.start(chainOf(['engine', 'engine', 'engine']), undefined).result)
    await runtime.settle()
    expect(engine.told).toEqual(['flushAll'])
    expect(engine.backend.calls).toHaveLength(3)
    expect(engine.openWhenTold).toEqual([0])
    runtime.audit()
  })

  test('flush the previous backend when the run switches', async () => {
    const light = kvBackend((call) => call.answer({ content: 'ok', usage }, 10))
    const heavy = kvBackend((call) => call.answer({ content: 'ok', usage }, 10))
    const runtime = await testRuntime({ light, heavy }, { memory: { policy: 'paper' } })
    const run = runtime.start(chainOf(['light', 'heavy', 'heavy']), undefined)
    await runtime.clock.advance(15)
    expect(light.told).toEqual(['flushAll'])
    expect(heavy.told).toEqual([])
    await runtime.until(run.result)
    await runtime.settle()
    expect(light.told).toEqual(['flushAll'])
    expect(heavy.told).toEqual(['flushAll'])
    expect(decisions(runtime.heard, 'cache.released')[0]).toMatchObject({ backend: 'light', tokens: 1_020 })
    runtime.audit()
  })

  test('flush nothing while another live run has context there, be it only waiting for a tool', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const engine = kvBackend((call, index) => {
      if (index === 0) call.answer({ toolCalls: [{ name: 'wait' }], usage }, 10)
      else call.answer({ content: 'ok', usage }, 10)
    })
    const runtime = await testRuntime({ engine }, { memory: { policy: 'paper' } })
    const wait = tool({ description: 'waits', input: z.strictObject({}), run: () => promise.then(() => 'done') })
    const waiting = workflow('waiting').stage('ask', { backend: 'engine', tools: { wait }, prompt: () => [long] })
    const first = runtime.start(waiting, undefined)
    await runtime.clock.advance(20)
    await runtime.until(runtime.start(chainOf(['engine']), undefined).result)
    await runtime.settle()
    expect(engine.told).toEqual([])
    expect(decisions(runtime.heard, 'cache.released').at(-1)!.reason).toContain('others need the cache')
    resolve()
    await runtime.until(first.result)
    await runtime.settle()
    expect(engine.told).toEqual(['flushAll'])
    runtime.audit()
  })

  test('end the session where the engine can, also while others are at work', async () => {
    const engine = kvBackend((call) => call.answer({ content: 'ok', usage }, 10), {
      flushAll: 'exact',
      releaseSession: 'hint',
    })
    const runtime = await testRuntime({ engine }, { memory: { policy: 'paper' } })
    const runs = [1, 2].map(() => runtime.start(chainOf(['engine']), undefined))
    await runtime.until(Promise.all(runs.map((run) => run.result)))
    await runtime.settle()
    expect(engine.told).toEqual(runs.map((run) => `endSession ${run.id}`))
    runtime.audit()
  })

  test('let idle runs go under pressure that the engine reports, the one untouched longest first', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const engine = kvBackend(
      (call) => {
        if (call.request.messages.length === 1) call.answer({ toolCalls: [{ name: 'wait' }], usage }, 10)
        else call.answer({ content: 'ok', usage }, 10)
      },
      { releaseSession: 'exact' },
    )
    engine.usedFraction = 0.95
    const runtime = await testRuntime({ engine }, { memory: { policy: 'paper' } })
    const wait = tool({ description: 'waits', input: z.strictObject({}), run: () => promise.then(() => 'done') })
    const waiting = workflow('waiting').stage('ask', { backend: 'engine', tools: { wait }, prompt: () => [long] })
    const first = runtime.start(waiting, undefined)
    await runtime.clock.advance(100)
    const second = runtime.start(waiting, undefined)
    await runtime.clock.advance(2_000)
    // The engine's word arrives with the first look at it, and counts from the second.
    const third = runtime.start(waiting, undefined)
    await runtime.clock.advance(2_500)
    expect(engine.told[0]).toBe(`endSession ${first.id}`)
    expect(engine.told).not.toContain(`endSession ${third.id}`)
    expect(decisions(runtime.heard, 'cache.released')[0]!.reason).toContain('(engine)')
    resolve()
    await runtime.until(Promise.all([first.result, second.result, third.result]))
    await runtime.settle()
  })
})

describe('stage hints', () => {
  test('override the policy, and work without one', async () => {
    const engine = kvBackend((call) => call.answer({ content: 'ok', usage }, 10))
    const runtime = await testRuntime({ engine })
    await runtime.until(runtime.start(chainOf(['engine', 'engine'], ['auto', 'flush']), undefined).result)
    await runtime.settle()
    expect(engine.told).toEqual(['flushAll'])
    runtime.audit()

    const kept = kvBackend((call) => call.answer({ content: 'ok', usage }, 10))
    const other = await testRuntime({ engine: kept }, { memory: { policy: 'paper' } })
    await other.until(other.start(chainOf(['engine', 'engine'], ['auto', 'preserve']), undefined).result)
    await other.settle()
    expect(kept.told).toEqual([])
    expect(decisions(other.heard, 'cache.kept').at(-1)!.policy).toBe('stage hint')
    other.audit()
  })
})

describe('a flush that does not work', () => {
  test.each([
    ['is refused', () => Promise.resolve({ outcome: 'busy', reason: 'requests run' } as const)],
    ['throws', () => Promise.reject(new Error('no route'))],
    ['never ends', () => new Promise<never>(() => {})],
    ['says nothing', () => Promise.resolve({ outcome: 'unknown', reason: 'an empty body' } as const)],
  ])('and %s blocks no stage and is reported', async (_what, flush) => {
    const light = kvBackend((call) => call.answer({ content: 'ok', usage }, 10))
    const heavy = kvBackend((call) => call.answer({ content: 'ok', usage }, 10_000))
    light.flush = flush
    const runtime = await testRuntime({ light, heavy }, { memory: { policy: 'paper' } })
    const run = runtime.start(chainOf(['light', 'heavy']), undefined)
    const outcome = await runtime.until(run.outcome)
    expect(outcome.state).toBe('completed')
    expect(outcome.durationMs).toBe(10_010)
    expect(decisions(runtime.heard, 'cache.flushFailed')).toHaveLength(1)
    await runtime.clock.advance(6_000)
    runtime.audit()
  })

  test('costs nothing but a log line when the policy itself throws', async () => {
    const engine = kvBackend((call) => call.answer({ content: 'ok', usage }, 10))
    const broken: CachePolicy = {
      name: 'broken',
      atBoundary() {
        throw new Error('oops')
      },
    }
    const runtime = await testRuntime({ engine }, { memory: { policy: { name: 'broken', cache: broken } } })
    const outcome = await runtime.until(runtime.start(chainOf(['engine', 'engine']), undefined).outcome)
    expect(outcome.state).toBe('completed')
    expect(runtime.errors.length).toBeGreaterThan(0)
    expect(engine.told).toEqual([])
  })
})
