// The queue against a naive one, under any order of enqueues, withdrawals, services, policy changes and resizes.

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fcfs } from '../../src/scheduling/fcfs.ts'
import type { PickPolicy, SchedulingPolicies, SchedulingPolicy } from '../../src/scheduling/policy.ts'
import { priority } from '../../src/scheduling/priority.ts'
import type { RequestView } from '../../src/scheduling/request-view.ts'
import { shortestFirst } from '../../src/scheduling/shortest-first.ts'
import { SubQueues } from '../../src/scheduling/sub-queues.ts'
import { RequestWindow } from '../../src/scheduling/window.ts'
import { drain, NaiveQueue, requestView } from './support.ts'

// The same cases in every run; another seed finds others.
fc.configureGlobal({ seed: 1 })

const ageMsPerPoint = 10

const stock: SchedulingPolicy[] = [
  fcfs(),
  priority({ ageMsPerPoint }),
  priority({ ageMsPerPoint: Infinity }),
  shortestFirst({ ageMsPerToken: 3 }),
  shortestFirst({ ageMsPerToken: Infinity }),
]

const leastSlack: PickPolicy = {
  name: 'least-slack',
  pick(candidates, nowMs) {
    const slackMs = candidates.map((view) => view.deadlineMs - nowMs - view.promptTokens * (nowMs % 7))
    return slackMs.indexOf(Math.min(...slackMs))
  },
}

const partlyBad: SchedulingPolicy = {
  name: 'partly-bad',
  key: (view) => (view.promptTokens % 5 === 0 ? Number.NaN : -view.promptTokens),
}

const anyPolicy = fc.constantFrom(...stock, leastSlack, partlyBad)
const anyPolicies: fc.Arbitrary<SchedulingPolicies> = fc.record({ stage: anyPolicy, request: anyPolicy })

const anyView = fc.record({
  stageClass: fc.constantFrom('a', 'b', 'c', 'd'),
  gapMs: fc.nat(12),
  stagePriority: fc.integer({ min: 0, max: 3 }),
  requestPriority: fc.integer({ min: 0, max: 3 }),
  promptTokens: fc.integer({ min: 1, max: 12 }),
  uncachedTokens: fc.nat(12),
  outputTokens: fc.nat(12),
  deadlineMs: fc.nat(200),
})

const anyStep = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('enqueue' as const), view: anyView }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('next' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('withdraw' as const), at: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('comeBack' as const), at: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('setPolicies' as const), policies: anyPolicies }) },
)

type Step = typeof anyStep extends fc.Arbitrary<infer S> ? S : never

/** Runs the steps on the queue and on the naive one, comparing what both answer after each. */
function compare(policies: SchedulingPolicies, steps: readonly Step[]): void {
  const queue = new SubQueues(policies)
  const naive = new NaiveQueue(policies)
  const left: RequestView[] = []
  let nowMs = 0
  for (const [arrivalOrder, step] of steps.entries()) {
    if (step.do === 'enqueue') {
      const { gapMs, ...fields } = step.view
      nowMs += gapMs
      const view = requestView({ ...fields, arrivalOrder, arrivalMs: nowMs })
      queue.enqueue(view)
      naive.waiting.push(view)
    } else if (step.do === 'next') {
      const view = naive.next(nowMs)
      expect(queue.next(nowMs)).toBe(view)
      if (view !== undefined) left.push(view)
    } else if (step.do === 'withdraw' && naive.waiting.length > 0) {
      const view = naive.waiting[step.at % naive.waiting.length]!
      naive.withdraw(view.requestId)
      expect(queue.withdraw(view.requestId)).toBe(true)
      left.push(view)
    } else if (step.do === 'comeBack' && left.length > 0) {
      const [view] = left.splice(step.at % left.length, 1)
      queue.enqueue(view!)
      naive.waiting.push(view!)
    } else if (step.do === 'setPolicies') {
      queue.setPolicies(step.policies)
      naive.policies = step.policies
    }
    for (const view of left) expect(queue.withdraw(view.requestId)).toBe(false)
    expect(queue.size).toBe(naive.waiting.length)
    expect(queue.peek(nowMs)).toBe(naive.peek(nowMs))
    const inOrder = naive.waiting.toSorted((a, b) => a.arrivalOrder - b.arrivalOrder)
    expect([...queue]).toEqual(inOrder)
    const sum = (tokensOf: (view: RequestView) => number): number =>
      inOrder.reduce((all, each) => all + tokensOf(each), 0)
    expect([queue.uncachedTokens, queue.outputTokens]).toEqual([
      sum(({ uncachedTokens }) => uncachedTokens),
      sum(({ outputTokens }) => outputTokens),
    ])
    const classes = Map.groupBy(inOrder, (view) => view.stageClass)
    expect(new Map(queue.classes().map((load) => [load.stageClass, load]))).toEqual(
      new Map(
        [...classes].map(([stageClass, views]) => [
          stageClass,
          { stageClass, waiting: views.length, oldestArrivalMs: views[0]!.arrivalMs },
        ]),
      ),
    )
  }
  expect(drain(queue, nowMs)).toEqual(drain(naive, nowMs))
}

describe('sub-queues, against a naive queue', () => {
  it('agree on every answer under any operations and any policies', () => {
    fc.assert(fc.property(anyPolicies, fc.array(anyStep, { maxLength: 60 }), compare), { numRuns: 400 })
  })

  const pairs = stock.flatMap((stage, s) => stock.map((request, r) => ({ name: `${s}x${r}`, stage, request })))
  it.each(pairs)('agree for stock policies $stage.name x $request.name ($name)', ({ stage, request }) => {
    fc.assert(fc.property(fc.constant({ stage, request }), fc.array(anyStep, { maxLength: 40 }), compare), {
      numRuns: 40,
    })
  })

  it('break ties by request id when arrivals are equal', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.stringMatching(/^[a-z]{1,3}$/), { maxLength: 20 }),
        anyPolicies,
        (ids, policies) => {
          const queue = new SubQueues(policies)
          const views = ids.map((requestId, i) =>
            requestView({ arrivalOrder: 7, requestId, stageClass: `class-${i % 3}`, deadlineMs: 5 }),
          )
          for (const view of views) queue.enqueue(view)
          expect(drain(queue).map((view) => view.requestId)).toEqual(ids.toSorted())
        },
      ),
    )
  })
})

/** A backend in small: a window, a queue, and who runs. */
describe('a queue with a window', () => {
  const backendStep = fc.oneof(
    { weight: 5, arbitrary: fc.record({ do: fc.constant('arrive' as const), view: anyView }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('finish' as const), at: fc.nat() }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('withdraw' as const), at: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('resize' as const), size: fc.nat(5) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('setPolicies' as const), policies: anyPolicies }) },
  )

  it('never starts more than the window holds, loses no request and grants none twice', () => {
    fc.assert(
      fc.property(anyPolicies, fc.array(backendStep, { maxLength: 100 }), (policies, steps) => {
        const queue = new SubQueues(policies)
        const window = new RequestWindow(2)
        const running = new Set<string>()
        const granted = new Set<string>()
        const withdrawn = new Set<string>()
        let arrived = 0
        let nowMs = 0
        const schedule = (): void => {
          while (window.free > 0 && queue.size > 0) {
            const { requestId } = queue.next(nowMs)!
            expect(window.take()).toBe(true)
            expect(granted.has(requestId) || withdrawn.has(requestId)).toBe(false)
            granted.add(requestId)
            running.add(requestId)
            expect(running.size).toBeLessThanOrEqual(window.size)
          }
        }
        for (const step of steps) {
          nowMs++
          const ids = step.do === 'finish' ? [...running] : Array.from(queue, (view) => view.requestId)
          if (step.do === 'arrive') {
            const { gapMs: _, ...fields } = step.view
            queue.enqueue(requestView({ ...fields, arrivalOrder: arrived++, arrivalMs: nowMs }))
          } else if (step.do === 'resize') window.resize(step.size)
          else if (step.do === 'setPolicies') queue.setPolicies(step.policies)
          else if (ids.length > 0) {
            const requestId = ids[step.at % ids.length]!
            if (step.do === 'finish') {
              running.delete(requestId)
              window.give()
            } else {
              expect(queue.withdraw(requestId)).toBe(true)
              withdrawn.add(requestId)
            }
          }
          schedule()
          expect(window.inFlight).toBe(running.size)
          expect(granted.size + withdrawn.size + queue.size).toBe(arrived)
          expect(queue.size === 0 || window.free === 0).toBe(true)
        }
      }),
      { numRuns: 300 },
    )
  })
})

describe('orders over time', () => {
  const anyHistory = fc.array(fc.record({ view: anyView, served: fc.nat(2) }), { minLength: 1, maxLength: 60 })

  /** Enqueues and serves by turns; calls `check` with each request served and what still waits. */
  function replay(
    policies: SchedulingPolicies,
    history: readonly { view: { gapMs: number } & Partial<RequestView>; served: number }[],
    check: (served: RequestView, waiting: readonly RequestView[]) => void,
  ): void {
    const queue = new SubQueues(policies)
    let nowMs = 0
    for (const [arrivalOrder, { view, served }] of history.entries()) {
      const { gapMs, ...fields } = view
      nowMs += gapMs
      queue.enqueue(requestView({ ...fields, arrivalOrder, arrivalMs: nowMs }))
      for (let i = 0; i < served && queue.size > 0; i++) check(queue.next(nowMs)!, [...queue])
    }
  }

  it('first come, first served: nothing is overtaken at either level', () => {
    fc.assert(
      fc.property(anyHistory, (history) => {
        replay({ stage: fcfs(), request: fcfs() }, history, (served, waiting) => {
          for (const other of waiting) expect(served.arrivalOrder).toBeLessThan(other.arrivalOrder)
        })
      }),
    )
  })

  it('first come, first served at level 2 holds within each class, whatever level 1 does', () => {
    fc.assert(
      fc.property(anyHistory, anyPolicy, (history, stage) => {
        replay({ stage, request: fcfs() }, history, (served, waiting) => {
          for (const other of waiting) {
            if (other.stageClass === served.stageClass) expect(served.arrivalOrder).toBeLessThan(other.arrivalOrder)
          }
        })
      }),
    )
  })

  it('priority: one level overtakes by less than the difference of points times the age per point', () => {
    fc.assert(
      fc.property(anyHistory, (history) => {
        replay({ stage: fcfs(), request: priority({ ageMsPerPoint }) }, history, (served, waiting) => {
          for (const other of waiting.filter((each) => each.stageClass === served.stageClass)) {
            if (served.arrivalOrder < other.arrivalOrder) continue
            const points = served.requestPriority - other.requestPriority
            expect(points).toBeGreaterThan(0)
            expect(served.arrivalMs - other.arrivalMs).toBeLessThan(points * ageMsPerPoint)
          }
        })
      }),
    )
  })

  it('priority: both levels together overtake by at most the sum of their spans', () => {
    const boundMs = (3 + 3) * ageMsPerPoint
    fc.assert(
      fc.property(anyHistory, (history) => {
        const policy = priority({ ageMsPerPoint })
        replay({ stage: policy, request: policy }, history, (served, waiting) => {
          for (const other of waiting) expect(served.arrivalMs - other.arrivalMs).toBeLessThanOrEqual(boundMs)
        })
      }),
      { numRuns: 300 },
    )
  })

  it('shortest first: both levels together overtake by at most twice the longest prompt', () => {
    const boundMs = 2 * 12 * 3
    fc.assert(
      fc.property(anyHistory, (history) => {
        const policy = shortestFirst({ ageMsPerToken: 3 })
        replay({ stage: policy, request: policy }, history, (served, waiting) => {
          for (const other of waiting) expect(served.arrivalMs - other.arrivalMs).toBeLessThanOrEqual(boundMs)
        })
      }),
      { numRuns: 300 },
    )
  })
})
