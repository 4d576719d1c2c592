// Policies that go by service, deadlines and tenants: what they promise about starving, and what they do in the runtime.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { simulated } from '../../src/index.ts'
import { earliestStart } from '../../src/scheduling/earliest-start.ts'
import { fair } from '../../src/scheduling/fair.ts'
import { leastAttained } from '../../src/scheduling/least-attained.ts'
import type { KeyedPolicy } from '../../src/scheduling/policy.ts'
import type { RequestView } from '../../src/scheduling/request-view.ts'
import { responseRatio } from '../../src/scheduling/response-ratio.ts'
import { shortestRemaining } from '../../src/scheduling/shortest-remaining.ts'
import { SubQueues } from '../../src/scheduling/sub-queues.ts'
import { weightedShortest } from '../../src/scheduling/weighted-shortest.ts'
import { workflow } from '../../src/workflow/builder.ts'
import { scripted } from '../support/scripted-backend.ts'
import { testRuntime } from '../support/runtime.ts'
import { requestView } from './support.ts'

/** Longest time after a request within which something that arrives may pass it. */
const bounds: [KeyedPolicy, (request: RequestView) => number][] = [
  [leastAttained(), ({ attainedTokens }) => attainedTokens * 0.05],
  [shortestRemaining(), ({ remainingMs }) => 60_000 * Math.sqrt(remainingMs / 60_000)],
  [weightedShortest(), ({ serviceMs }) => serviceMs * 10],
  // What has a deadline needs at most so much.
  [earliestStart(), () => 60_000 + 100_000],
]

const arrivals = fc.array(
  fc.record({
    gapMs: fc.nat(20_000),
    attainedTokens: fc.nat(1_000_000),
    remainingMs: fc.nat(100_000),
    serviceMs: fc.nat(30_000),
    deadlineMs: fc.option(fc.nat(100_000), { nil: undefined }),
    stageClass: fc.constantFrom('w/a', 'w/b', 'w/c'),
    serves: fc.boolean(),
  }),
  { minLength: 2, maxLength: 60 },
)

test.each(bounds.map(([policy, bound]) => [policy.name, policy, bound] as const))(
  '%s: nothing is passed by what arrives later than its bound',
  (_name, policy, bound) => {
    fc.assert(
      fc.property(arrivals, (drawn) => {
        const queue = new SubQueues({ stage: policy, request: policy })
        const waiting = new Map<string, RequestView>()
        let nowMs = 0
        const serve = (): void => {
          const served = queue.next(nowMs)
          if (served === undefined) return
          waiting.delete(served.requestId)
          for (const other of waiting.values()) {
            if (policy.name === 'edf' && other.deadlineMs !== Infinity) continue
            expect(served.arrivalMs - other.arrivalMs).toBeLessThanOrEqual(bound(other) + 1e-6)
          }
        }
        for (const [i, { gapMs, serves, deadlineMs, ...facts }] of drawn.entries()) {
          nowMs += gapMs
          const view = requestView({
            ...facts,
            arrivalOrder: i,
            arrivalMs: nowMs,
            deadlineMs: deadlineMs === undefined ? Infinity : nowMs + deadlineMs,
          })
          waiting.set(view.requestId, view)
          queue.enqueue(view)
          if (serves) serve()
        }
        while (queue.size > 0) serve()
        expect(waiting.size).toBe(0)
      }),
    )
  },
)

test('hrrn: a long turn among short ones is served once its ratio is the highest', () => {
  const policy = responseRatio()
  const queue = new SubQueues({ stage: policy, request: policy })
  queue.enqueue(requestView({ arrivalOrder: 0, arrivalMs: 0, serviceMs: 1_000 }))
  let servedAtMs = NaN
  for (let i = 1; i < 200 && Number.isNaN(servedAtMs); i++) {
    queue.enqueue(requestView({ arrivalOrder: i, arrivalMs: i * 90, serviceMs: 100 }))
    // One place, and always a short one that waited 90 ms: a ratio of 0.9.
    if (queue.next((i + 1) * 90)!.arrivalOrder === 0) servedAtMs = (i + 1) * 90
  }
  expect(servedAtMs).toBeGreaterThan(700)
  expect(servedAtMs).toBeLessThan(1_100)
})

describe('fair', () => {
  const cost = ({ uncachedTokens, outputTokens }: RequestView): number => uncachedTokens + 2 * outputTokens

  test('gives tenants that wait all the time their shares, but for one turn of each', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.array(fc.tuple(fc.integer({ min: 1, max: 2_000 }), fc.integer({ min: 1, max: 500 })), {
          minLength: 20,
          maxLength: 200,
        }),
        (weight, turns) => {
          const policy = fair({ weights: { heavy: weight } })
          const queue = new SubQueues({ stage: policy, request: policy })
          const served = { heavy: 0, light: 0 }
          let largest = 0
          let order = 0
          const add = (tenant: 'heavy' | 'light', [uncachedTokens, outputTokens]: [number, number]): void => {
            const view = requestView({ arrivalOrder: order++, tenant, uncachedTokens, outputTokens })
            largest = Math.max(largest, cost(view))
            queue.enqueue(view)
          }
          // Both always have something that waits.
          for (const tenant of ['heavy', 'light'] as const) for (let i = 0; i < 2; i++) add(tenant, turns[i]!)
          for (const turn of turns) {
            const next = queue.next(0)!
            const tenant = next.tenant as 'heavy' | 'light'
            served[tenant] += cost(next)
            add(tenant, turn)
            expect(Math.abs(served.heavy / weight - served.light)).toBeLessThanOrEqual(largest / weight + largest)
          }
        },
      ),
    )
  })

  test('gives no credit for having been away', () => {
    const policy = fair()
    const queue = new SubQueues({ stage: policy, request: policy })
    let order = 0
    const add = (tenant: string): void => queue.enqueue(requestView({ arrivalOrder: order++, tenant }))
    for (let i = 0; i < 50; i++) {
      add('busy')
      queue.next(0)
    }
    for (let i = 0; i < 10; i++) for (const tenant of ['busy', 'back']) add(tenant)
    const first = Array.from({ length: 10 }, () => queue.next(0)!.tenant)
    expect(first.filter((tenant) => tenant === 'back').length).toBeLessThanOrEqual(6)
  })

  test('refuses weights that are none, all at once', () => {
    expect(() => fair({ weights: { a: 0, b: -1, c: 2 } })).toThrow(/2 problem/)
  })
})

/** Order in which runs, numbered from 1, got their slots. */
function grants(runtime: Awaited<ReturnType<typeof testRuntime>>): number[] {
  return runtime
    .transitions()
    .flatMap((each) => (each.type === 'stage.granted' ? [Number(each.runId.split('-')[1])] : []))
}

describe('in the runtime', () => {
  const stage = (name: string) => workflow(name).stage('s', { backend: 'main', prompt: () => name })
  const short = stage('short')
  const long = stage('long')
  const engine = () =>
    scripted((call) => call.answer('x', call.context.runId !== '' && call.lastText === 'long' ? 1_000 : 10), {
      windowRequests: 1,
    })

  test.each(['wsjf', 'critical-path', 'hrrn'] as const)(
    '%s learns what a class takes, and lets the short one pass',
    async (policy) => {
      const runtime = await testRuntime(
        { main: engine() },
        { scheduling: { main: { stage: policy, request: policy } } },
      )
      for (let i = 0; i < 4; i++)
        for (const each of [short, long]) await runtime.until(runtime.start(each, undefined).outcome)
      const before = grants(runtime).length
      // One runs; behind it a long one, and a short one after that.
      const runs = [long, long, short].map((each) => runtime.start(each, undefined))
      await runtime.until(Promise.all(runs.map((run) => run.outcome)))
      expect(grants(runtime).slice(before)).toEqual([9, 11, 10])
      const facts = runtime.stageClasses().find(({ stageClass }) => stageClass === 'long/s')!
      expect(facts.turnServiceMs.mean).toBeCloseTo(1_000, 0)
      runtime.audit()
    },
  )

  test('las lets a new run pass one that was served much', async () => {
    const usage = { promptTokens: 40_000, cachedTokens: 0, completionTokens: 5 }
    const main = scripted((call) => call.answer({ content: 'x', usage }, call.lastText === 'long' ? 1_000 : 10), {
      windowRequests: 1,
    })
    const runtime = await testRuntime({ main }, { scheduling: { main: { stage: 'las', request: 'las' } } })
    const twice = workflow('twice')
      .stage('first', { backend: 'main', prompt: () => 'x'.repeat(40_000) })
      .stage('second', { backend: 'main', after: ['first'], prompt: () => 'again' })
    const runs = [runtime.start(twice, undefined), runtime.start(long, undefined)]
    await runtime.settle()
    await runtime.clock.advance(5)
    // While `long` runs, the second stage of `twice` and a new run wait.
    await runtime.clock.advance(20)
    runs.push(runtime.start(short, undefined))
    await runtime.until(Promise.all(runs.map((run) => run.outcome)))
    expect(grants(runtime)).toEqual([1, 2, 3, 1])
    runtime.audit()
  })

  test('edf lets what must begin first pass, and a target that is missed cancels nothing', async () => {
    const runtime = await testRuntime({ main: engine() }, { scheduling: { main: { stage: 'edf', request: 'edf' } } })
    const runs = [
      runtime.start(long, undefined),
      runtime.start(short, undefined),
      runtime.start(short, undefined, { targetMs: 500 }),
    ]
    const outcomes = await runtime.until(Promise.all(runs.map((run) => run.outcome)))
    expect(grants(runtime)).toEqual([1, 3, 2])
    expect(outcomes.map(({ state }) => state)).toEqual(['completed', 'completed', 'completed'])
    expect(outcomes[2]!.durationMs).toBeGreaterThan(500)
  })

  test.each(['fair', 'drr'] as const)(
    '%s keeps the p99 of a tenant within 1.5 times of being alone while another floods',
    async (policy) => {
      const ask = workflow('ask').stage('s', { backend: 'main', prompt: ({ input }) => `Question ${String(input)}` })
      const p99 = async (floods: boolean): Promise<number> => {
        const main = simulated({
          model: 'm',
          windowRequests: 8,
          queueCapacity: 100_000,
          engine: { decodeMsPerToken: 10 },
          // Answers of any length: a place comes free now and then, not all of them at once.
          responder: (_request, { random }) => ({ content: 'word '.repeat(5 + Math.floor(random() * 90)) }),
        })
        const runtime = await testRuntime(
          { main },
          { watch: false, scheduling: { main: { stage: policy, request: policy } } },
        )
        const mine: Promise<number>[] = []
        const others: Promise<unknown>[] = []
        if (floods) for (let i = 0; i < 2_000; i++) others.push(runtime.start(ask, i, { tenant: 'flood' }).outcome)
        // Half of the engine is its share: it asks for four of eight places.
        for (let i = 0; i < 50; i++) {
          for (let j = 0; j < 4; j++) {
            const { outcome } = runtime.start(ask, 10_000 + 4 * i + j, { tenant: 'calm' })
            mine.push(outcome.then(({ durationMs }) => durationMs))
          }
          await runtime.clock.advance(1_500)
        }
        const durations = (await runtime.until(Promise.all(mine))).toSorted((a, b) => a - b)
        await runtime.close()
        return durations[Math.floor(0.99 * durations.length)]!
      }
      const [alone, flooded] = [await p99(false), await p99(true)]
      expect(flooded).toBeLessThanOrEqual(1.5 * alone)
    },
  )
})
