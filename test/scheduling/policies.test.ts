import { describe, expect, it } from 'vitest'
import { OptionsError } from '../../src/errors.ts'
import { fcfs } from '../../src/scheduling/fcfs.ts'
import { isPickPolicy } from '../../src/scheduling/policy.ts'
import { priority } from '../../src/scheduling/priority.ts'
import { schedulingPolicy, schedulingPolicyNames } from '../../src/scheduling/registry.ts'
import { shortestFirst } from '../../src/scheduling/shortest-first.ts'
import { SubQueues } from '../../src/scheduling/sub-queues.ts'
import { drain, requestView } from './support.ts'

/** Ids in order of service, with one policy at level 2 and a single class. */
function servedIds(policy: ReturnType<typeof fcfs>, views: ReturnType<typeof requestView>[]): string[] {
  const queue = new SubQueues({ stage: fcfs(), request: policy })
  for (const view of views) queue.enqueue(view)
  return drain(queue).map((view) => view.requestId)
}

describe('fcfs', () => {
  it('serves in order of arrival, whatever the clock says', () => {
    const views = [5, 5, 3].map((arrivalMs, i) => requestView({ arrivalOrder: i, arrivalMs, requestId: `r${i}` }))
    expect(servedIds(fcfs(), views)).toEqual(['r0', 'r1', 'r2'])
  })
})

describe('priority', () => {
  const pair = (gapMs: number) => [
    requestView({ arrivalOrder: 1, arrivalMs: 0, requestId: 'low', requestPriority: 1 }),
    requestView({ arrivalOrder: 2, arrivalMs: gapMs, requestId: 'high', requestPriority: 3 }),
  ]

  it('lets two points pass those who came less than twice the age per point earlier, and nobody else', () => {
    expect(servedIds(priority(), pair(9_999))).toEqual(['high', 'low'])
    expect(servedIds(priority(), pair(10_000))).toEqual(['low', 'high'])
    expect(servedIds(priority({ ageMsPerPoint: 100 }), pair(199))).toEqual(['high', 'low'])
    expect(servedIds(priority({ ageMsPerPoint: 100 }), pair(200))).toEqual(['low', 'high'])
  })

  it('never lets age make up for priority without ageing', () => {
    expect(servedIds(priority({ ageMsPerPoint: Infinity }), pair(1e12))).toEqual(['high', 'low'])
  })

  it('reads the stage priority at level 1 and the request priority at level 2', () => {
    const policies = { stage: priority(), request: priority() }
    const queue = new SubQueues(policies)
    queue.enqueue(requestView({ arrivalOrder: 1, requestId: 'a1', stageClass: 'a', requestPriority: 0 }))
    queue.enqueue(requestView({ arrivalOrder: 2, requestId: 'a2', stageClass: 'a', requestPriority: 9 }))
    queue.enqueue(requestView({ arrivalOrder: 3, requestId: 'b1', stageClass: 'b', stagePriority: 5 }))
    expect(drain(queue).map((view) => view.requestId)).toEqual(['b1', 'a2', 'a1'])
  })
})

describe('shortest first', () => {
  const pair = (gapMs: number) => [
    requestView({ arrivalOrder: 1, arrivalMs: 0, requestId: 'long', promptTokens: 1_000 }),
    requestView({ arrivalOrder: 2, arrivalMs: gapMs, requestId: 'short', promptTokens: 900 }),
  ]

  it('lets a hundred tokens less pass those who came less than 2 s earlier, and nobody else', () => {
    expect(servedIds(shortestFirst(), pair(1_999))).toEqual(['short', 'long'])
    expect(servedIds(shortestFirst(), pair(2_000))).toEqual(['long', 'short'])
  })

  it('orders by length alone without ageing', () => {
    expect(servedIds(shortestFirst({ ageMsPerToken: Infinity }), pair(1e12))).toEqual(['short', 'long'])
  })
})

describe('stock policies', () => {
  it.each([0, -1, Number.NaN])('refuse an ageing rate of %s, naming the option', (rate) => {
    expect(() => priority({ ageMsPerPoint: rate })).toThrow(OptionsError)
    expect(() => priority({ ageMsPerPoint: rate })).toThrow(/ageMsPerPoint/)
    expect(() => shortestFirst({ ageMsPerToken: rate })).toThrow(/ageMsPerToken/)
  })

  it.each(schedulingPolicyNames)('are found by name: %s', (name) => {
    const policy = schedulingPolicy(name)
    expect(policy.name).toBe(name)
    expect(isPickPolicy(policy)).toBe(['hrrn', 'fair', 'drr'].includes(name))
    expect(schedulingPolicy(name)).not.toBe(policy)
  })
})
