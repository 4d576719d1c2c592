// What tenants may have: shares, places, tokens, runs.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BackendError, OrlaError } from '../../src/errors.ts'
import { deficitRoundRobin } from '../../src/scheduling/deficit-round-robin.ts'
import { TenantGate } from '../../src/scheduling/tenant-gate.ts'
import { SubQueues } from '../../src/scheduling/sub-queues.ts'
import { costOf } from '../../src/scheduling/turn-cost.ts'
import { workflow } from '../../src/workflow/builder.ts'
import { testRuntime } from '../support/runtime.ts'
import { scripted } from '../support/scripted-backend.ts'
import { requestView } from './support.ts'

const ask = workflow('ask').stage('s', { backend: 'main', maxTokens: 5, prompt: () => 'hello' })
const onBoth = workflow('both')
  .stage('a', { backend: 'main', prompt: () => 'hello' })
  .stage('b', { backend: 'other', prompt: () => 'hello' })

describe('the gate', () => {
  const draws = fc.array(
    fc.record({
      gapMs: fc.nat(5_000),
      backend: fc.constantFrom('a', 'b'),
      tokens: fc.integer({ min: 1, max: 400 }),
      taken: fc.option(fc.integer({ min: 0, max: 400 }), { nil: undefined }),
      ends: fc.nat(3),
    }),
    { maxLength: 120 },
  )

  test('never lets a tenant have more places than it may, nor more tokens than its rate and one turn', () => {
    fc.assert(
      fc.property(draws, fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 4 }), (all, total, each) => {
        const tokensPerMinute = 3_000
        const gate = new TenantGate({
          t: { inFlightMax: total, inFlightPerBackendMax: each, tokensPerMinute, burstTokens: 500, whenOver: 'wait' },
        })
        const running: { backend: string; tokens: number }[] = []
        let nowMs = 0
        let granted = 0
        for (const { gapMs, backend, tokens, taken, ends } of all) {
          nowMs += gapMs
          const waitMs = gate.enter({ tenant: 't', tokens }, backend, nowMs)
          if (waitMs === 0) {
            running.push({ backend, tokens })
            granted += tokens
            expect(granted).toBeLessThanOrEqual(500 + (nowMs / 60_000) * tokensPerMinute + tokens + 1e-6)
          } else if (waitMs < Infinity) {
            expect(gate.tokensInMs('t', nowMs + waitMs)).toBe(0)
          }
          expect(running.length).toBeLessThanOrEqual(total)
          expect(running.filter((one) => one.backend === backend).length).toBeLessThanOrEqual(each)
          for (let i = 0; i < ends; i++) {
            const one = running.shift()
            if (one === undefined) continue
            // What it took less comes back, what it took more is owed.
            const real = taken === undefined ? undefined : Math.min(taken, 400)
            gate.leave({ tenant: 't', tokens: one.tokens }, one.backend, real, nowMs)
            if (real !== undefined) granted += real - one.tokens
          }
        }
      }),
    )
  })

  test('knows who is not named by `*`, and lets through whom nothing limits', () => {
    const gate = new TenantGate({ '*': { inFlightMax: 1, whenOver: 'wait' }, vip: { whenOver: 'wait' } })
    expect(gate.enter({ tenant: 'x', tokens: 1 }, 'a', 0)).toBe(0)
    expect(gate.enter({ tenant: 'x', tokens: 1 }, 'b', 0)).toBe(Infinity)
    expect(gate.enter({ tenant: 'y', tokens: 1 }, 'a', 0)).toBe(0)
    for (let i = 0; i < 5; i++) expect(gate.enter({ tenant: 'vip', tokens: 1 }, 'a', 0)).toBe(0)
    expect(new TenantGate({}).enter({ tenant: 'x', tokens: 1 }, 'a', 0)).toBe(0)
    expect(gate.leave({ tenant: 'nobody', tokens: 1 }, 'a', 1, 0)).toEqual([])
  })

  test('forgets ten thousand tenants once their buckets are full', () => {
    const gate = new TenantGate({ '*': { tokensPerMinute: 60_000, whenOver: 'wait' } })
    for (let i = 0; i < 25_000; i++) {
      gate.enter({ tenant: `t${i}`, tokens: 60_000 }, 'a', i * 10)
      gate.leave({ tenant: `t${i}`, tokens: 60_000 }, 'a', undefined, i * 10)
    }
    expect(gate.tokensInMs('t1', 0)).toBe(0)
  })
})

describe('a runtime with limits', () => {
  test('a tenant has at most its places at each backend and at all; others pass it meanwhile', async () => {
    const [main, other] = [scripted(() => {}, { windowRequests: 4 }), scripted(() => {}, { windowRequests: 4 })]
    const tenants = { big: { inFlightMax: 3, inFlightPerBackendMax: 2 } }
    const runtime = await testRuntime({ main, other }, { tenants })
    const runs = Array.from({ length: 6 }, () => runtime.start(onBoth, undefined, { tenant: 'big' }).outcome)
    await runtime.settle()
    expect([main.open.length, other.open.length]).toEqual([2, 1])
    expect(runtime.backends().map(({ waiting }) => waiting)).toEqual([4, 5])
    // Places are free, and whoever has no limit gets them.
    const small = runtime.start(ask, undefined, { tenant: 'small' })
    await runtime.settle()
    expect(main.open.length).toBe(3)
    let most = 0
    for (let i = 0; i < 40 && [...main.open, ...other.open].length > 0; i++) {
      const call = (i % 2 === 0 ? main.open[0] : other.open[0]) ?? main.open[0] ?? other.open[0]!
      call.answer()
      await runtime.settle()
      const big = [...main.open, ...other.open].filter(({ context }) => context.salt === 'big')
      most = Math.max(most, big.length)
    }
    expect(most).toBe(3)
    expect((await runtime.until(Promise.all([...runs, small.outcome]))).map(({ state }) => state)).toEqual(
      Array.from({ length: 7 }, () => 'completed'),
    )
    runtime.audit()
  })

  test('tokens come with time: what is beyond them waits, and keeps its order', async () => {
    const main = scripted(
      (call) => call.answer({ content: 'x', usage: { promptTokens: 50, completionTokens: 50 } }, 1),
      { windowRequests: 1 },
    )
    const runtime = await testRuntime({ main }, { tenants: { t: { tokensPerMinute: 600, burstTokens: 100 } } })
    const runs = Array.from({ length: 5 }, () => runtime.start(ask, undefined, { tenant: 't' }).outcome)
    await runtime.until(Promise.all(runs))
    // 100 tokens each at 600 a minute: one in ten seconds, after the two that the bucket held and overdrew.
    expect(main.calls.map(({ context }) => context.requestId.split('-')[1])).toEqual(['1', '2', '3', '4', '5'])
    const seconds = main.calls.map(({ atMs }) => Math.round(atMs / 1_000))
    expect(seconds[4]! - seconds[1]!).toBeGreaterThanOrEqual(25)
    expect(seconds[4]! - seconds[1]!).toBeLessThanOrEqual(31)
    await runtime.clock.advance(60_000)
    runtime.audit()
  })

  test('with `refuse` the rejection is typed and says when to come back', async () => {
    const main = scripted((call) => call.answer({ content: 'x', usage: { promptTokens: 500, completionTokens: 500 } }))
    const tenants = { t: { tokensPerMinute: 600, whenOver: 'refuse' as const } }
    const runtime = await testRuntime({ main, spare: scripted() }, { tenants, failover: { main: ['spare'] } })
    expect((await runtime.until(runtime.start(ask, undefined, { tenant: 't' }).outcome)).state).toBe('completed')
    const once = workflow('once').stage('s', { backend: 'main', prompt: () => 'x', retry: { attempts: 1 } })
    const refused = await runtime.until(runtime.start(once, undefined, { tenant: 't' }).outcome)
    expect(refused.error).toMatchObject({ code: 'ORLA_TENANT_LIMIT', retryable: true })
    expect(refused.error!.details!['retryAfterMs']).toBeGreaterThan(30_000)
    // A stage that may try again does so when there are tokens.
    const patient = await runtime.until(runtime.start(ask, undefined, { tenant: 't' }).outcome)
    expect(patient.state).toBe('completed')
    expect(patient.durationMs).toBeGreaterThan(30_000)
    runtime.audit()
  })

  test('a tenant has at most so many live runs', async () => {
    const main = scripted()
    const runtime = await testRuntime({ main }, { tenants: { '*': { liveRunsMax: 2 } } })
    const runs = [runtime.start(ask, undefined, { tenant: 't' }), runtime.start(ask, undefined, { tenant: 't' })]
    const third = (): unknown => runtime.start(ask, undefined, { tenant: 't' })
    expect(third).toThrow(OrlaError)
    expect(third).toThrow(/"t" has 2 live runs already/)
    runtime.start(ask, undefined, { tenant: 'u' }).cancel()
    runs[0]!.cancel()
    await runtime.until(runs[0]!.outcome)
    const next = runtime.start(ask, undefined, { tenant: 't' })
    next.cancel()
    runs[1]!.cancel()
    await runtime.until(Promise.all([next.outcome, runs[1]!.outcome]))
    runtime.audit()
  })

  test('what is cancelled, drained, rejected or retried while it is parked leaves nothing behind', async () => {
    const main = scripted(() => {}, { windowRequests: 4 })
    const tenants = { t: { inFlightMax: 1, tokensPerMinute: 1_000 } }
    const runtime = await testRuntime({ main, other: scripted() }, { tenants })
    const runs = Array.from({ length: 8 }, () => runtime.start(ask, undefined, { tenant: 't' }))
    await runtime.settle()
    expect(main.open).toHaveLength(1)
    runs[3]!.cancel()
    runs[1]!.cancel()
    await runtime.settle()
    expect(runtime.backends()[0]!.waiting).toBe(5)
    main.open[0]!.fail(new BackendError('ORLA_BACKEND_UNREACHABLE', 'no', { retryable: true }))
    await runtime.settle()
    expect(main.open).toHaveLength(1)
    void runtime.removeBackend('main')
    await runtime.settle()
    main.open[0]!.answer()
    const outcomes = await runtime.until(Promise.all(runs.map((run) => run.outcome)))
    expect(new Set(outcomes.map(({ state }) => state))).toEqual(new Set(['completed', 'failed', 'cancelled']))
    await runtime.clock.advance(120_000)
    expect(runtime.errors).toEqual([])
    expect(runtime.liveRuns).toBe(0)
  })

  test.each(['fair', 'drr'] as const)('weights of tenants count where a policy is named: %s', async (policy) => {
    const main = scripted((call) => call.answer('x', 10), { windowRequests: 1 })
    const runtime = await testRuntime(
      { main },
      { tenants: { paying: { weight: 3 } }, scheduling: { main: { stage: policy, request: policy } } },
    )
    const long = workflow('long').stage('s', { backend: 'main', maxTokens: 2_000, prompt: () => 'hello' })
    const runs = Array.from({ length: 80 }, (_, i) =>
      runtime.start(long, undefined, { tenant: i % 2 === 0 ? 'paying' : 'free' }),
    )
    await runtime.until(Promise.all(runs.map((run) => run.outcome)))
    const early = main.calls.slice(1, 41).filter(({ context }) => context.salt === 'paying').length
    expect(early).toBeGreaterThanOrEqual(28)
    expect(early).toBeLessThanOrEqual(32)
    runtime.audit()
  })

  test('says what is wrong with limits', async () => {
    const tenants = { t: { weight: 0, inFlightMax: 0, tokensPerMinute: -1, whenOver: 'drop' as never } }
    await expect(testRuntime({ main: scripted() }, { tenants })).rejects.toThrow(
      /tenants\.t\.weight[^]*tenants\.t\.inFlightMax[^]*tenants\.t\.tokensPerMinute[^]*tenants\.t\.whenOver/,
    )
  })
})

describe('drr', () => {
  test('gives tenants that wait all the time their shares, but for a quantum and the largest turns', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.array(fc.tuple(fc.integer({ min: 1, max: 2_000 }), fc.integer({ min: 1, max: 500 }), fc.nat(3)), {
          minLength: 20,
          maxLength: 200,
        }),
        (weight, turns) => {
          const quantumTokens = 1_000
          const policy = deficitRoundRobin({ weights: { heavy: weight }, quantumTokens })
          const queue = new SubQueues({ stage: policy, request: policy })
          const served = { heavy: 0, light: 0 }
          let largest = 0
          let order = 0
          const add = (
            tenant: 'heavy' | 'light',
            [uncachedTokens, outputTokens, cached]: [number, number, number],
          ): void => {
            const tokens = { promptTokens: uncachedTokens + cached, uncachedTokens, outputTokens }
            const view = requestView({ arrivalOrder: order++, arrivalMs: 0, tenant, ...tokens })
            largest = Math.max(largest, costOf(view))
            queue.enqueue(view)
          }
          for (const tenant of ['heavy', 'light'] as const) for (let i = 0; i < 2; i++) add(tenant, turns[i]!)
          for (const turn of turns) {
            const next = queue.next(0)!
            const tenant = next.tenant as 'heavy' | 'light'
            served[tenant] += costOf(next)
            add(tenant, turn)
            const bound = quantumTokens + largest * 2
            expect(Math.abs(served.heavy / weight - served.light)).toBeLessThanOrEqual(bound)
          }
        },
      ),
    )
  })

  test('stays with a tenant while its quantum lasts, takes what is cached first, and passes nobody for long', () => {
    const policy = deficitRoundRobin({ quantumTokens: 100, patienceMs: 1_000 })
    const queue = new SubQueues({ stage: policy, request: policy })
    const add = (order: number, tenant: string, cached: number, arrivalMs = 0): void =>
      queue.enqueue(
        requestView({
          arrivalOrder: order,
          arrivalMs,
          tenant,
          promptTokens: 30 + cached,
          uncachedTokens: 30,
          outputTokens: 10,
        }),
      )
    add(0, 'a', 0)
    add(1, 'a', 500)
    add(2, 'a', 200)
    for (let i = 3; i < 6; i++) add(i, 'b', 0)
    // 50 each: two of one, two of the other.
    const order = Array.from({ length: 6 }, () => queue.next(0)!.arrivalOrder)
    expect(order).toEqual([1, 2, 3, 4, 0, 5])
    add(6, 'a', 0, 0)
    add(7, 'a', 900, 500)
    expect(queue.next(1_001)!.arrivalOrder).toBe(6)
  })

  test('who was away has one quantum and a turn for it, however long it was', () => {
    const policy = deficitRoundRobin({ quantumTokens: 100 })
    const queue = new SubQueues({ stage: policy, request: policy })
    let order = 0
    const add = (tenant: string): void =>
      queue.enqueue(requestView({ arrivalOrder: order++, arrivalMs: 0, tenant, uncachedTokens: 30, outputTokens: 10 }))
    add('back')
    queue.next(0)
    for (let i = 0; i < 50; i++) {
      add('busy')
      queue.next(0)
    }
    for (let i = 0; i < 6; i++) add('back')
    for (let i = 0; i < 6; i++) add('busy')
    const served = Array.from({ length: 12 }, () => queue.next(0)!.tenant)
    expect(served.slice(0, 6).filter((tenant) => tenant === 'back').length).toBeLessThanOrEqual(4)
    expect(() => deficitRoundRobin({ quantumTokens: 0, patienceMs: -1 })).toThrow(/2 problem/)
    expect(() => deficitRoundRobin({ weights: { a: 0 } })).toThrow(/weights\.a/)
  })

  test('forgets tenants beyond ten thousand', () => {
    const policy = deficitRoundRobin()
    const queue = new SubQueues({ stage: policy, request: policy })
    for (let i = 0; i < 10_100; i++) {
      queue.enqueue(requestView({ arrivalOrder: i, tenant: `t${i}`, uncachedTokens: 10_000 }))
      queue.next(0)
    }
    // Those that were served first are as new.
    queue.enqueue(requestView({ arrivalOrder: 20_000, tenant: 't10099', uncachedTokens: 10_000 }))
    queue.enqueue(requestView({ arrivalOrder: 20_001, tenant: 't0', uncachedTokens: 10_000 }))
    expect(queue.next(0)!.tenant).toBe('t0')
  })
})
