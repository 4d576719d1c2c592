import { describe, expect, it, vi } from 'vitest'
import { fcfs } from '../../src/scheduling/fcfs.ts'
import type { SchedulingLevel, SchedulingPolicies, SchedulingPolicy } from '../../src/scheduling/policy.ts'
import { shortestFirst } from '../../src/scheduling/shortest-first.ts'
import { SubQueues } from '../../src/scheduling/sub-queues.ts'
import { drain, requestView } from './support.ts'

const boom = (): never => {
  throw new Error('boom')
}

/** One policy at one level, first come, first served at the other. */
function atLevel(level: SchedulingLevel, policy: SchedulingPolicy): SchedulingPolicies {
  return level === 'stage' ? { stage: policy, request: fcfs() } : { stage: fcfs(), request: policy }
}

const bad: SchedulingPolicy[] = [
  { name: 'NaN key', key: () => Number.NaN },
  { name: 'infinite key', key: () => -Infinity },
  { name: 'throwing key', key: boom },
  { name: 'text for a key', key: () => '1' as unknown as number },
  { name: 'index too large', pick: (candidates) => candidates.length },
  { name: 'negative index', pick: () => -1 },
  { name: 'fractional index', pick: () => 0.5 },
  { name: 'promise for an index', pick: (() => Promise.resolve(0)) as unknown as () => number },
  { name: 'throwing pick', pick: boom },
]

describe.each(['stage', 'request'] as const)('a bad policy at the %s level', (level) => {
  it.each(bad)('$name: serves first come, first served and is reported once', (policy) => {
    const onPolicyFault = vi.fn()
    const queue = new SubQueues(atLevel(level, policy), onPolicyFault)
    for (let i = 0; i < 8; i++) queue.enqueue(requestView({ arrivalOrder: i, stageClass: i % 3 === 0 ? 'a' : 'b' }))
    expect(drain(queue).map((view) => view.arrivalOrder)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
    queue.setPolicies(atLevel(level, policy))
    expect(onPolicyFault).toHaveBeenCalledExactlyOnceWith(policy.name, expect.stringContaining('reported once'))
  })

  it('keeps the order of the policy among candidates that all have keys', () => {
    const someKeys: SchedulingPolicy = {
      name: 'some keys',
      key: (view) => (view.arrivalOrder === 2 ? Number.NaN : -view.arrivalOrder),
    }
    const queue = new SubQueues(atLevel(level, someKeys))
    for (let i = 0; i < 5; i++) {
      queue.enqueue(requestView({ arrivalOrder: i, stageClass: level === 'stage' ? `class-${i}` : 'a' }))
    }
    // First come, first served until the one without a key is gone; then the largest number first.
    expect(drain(queue).map((view) => view.arrivalOrder)).toEqual([0, 1, 2, 4, 3])
  })

  it('is orderly again when the request without a key is withdrawn', () => {
    const someKeys: SchedulingPolicy = {
      name: 'some keys',
      key: (view) => (view.arrivalOrder === 1 ? Number.NaN : -view.arrivalOrder),
    }
    const queue = new SubQueues(atLevel(level, someKeys))
    for (let i = 0; i < 4; i++) {
      queue.enqueue(requestView({ arrivalOrder: i, stageClass: level === 'stage' ? `class-${i}` : 'a' }))
    }
    expect(queue.peek(0)?.arrivalOrder).toBe(0)
    queue.withdraw('request-1')
    expect(drain(queue).map((view) => view.arrivalOrder)).toEqual([3, 2, 0])
  })
})

describe('policy faults', () => {
  it('names the request, what came and what was expected', () => {
    const onPolicyFault = vi.fn()
    const queue = new SubQueues({ stage: fcfs(), request: { name: 'odd', key: () => Infinity } }, onPolicyFault)
    queue.enqueue(requestView({ arrivalOrder: 1, requestId: 'run-1/reply/1.1' }))
    expect(onPolicyFault.mock.calls[0]![1]).toMatch(/key\(run-1\/reply\/1\.1\) is Infinity, expected a finite number/)
  })

  it('reports a policy that throws when told what was served, and serves on', () => {
    const onPolicyFault = vi.fn()
    const queue = new SubQueues({ stage: fcfs(), request: { ...shortestFirst(), served: boom } }, onPolicyFault)
    for (let i = 0; i < 3; i++) queue.enqueue(requestView({ arrivalOrder: i, promptTokens: 30 - 10 * i }))
    expect(drain(queue).map((view) => view.arrivalOrder)).toEqual([2, 1, 0])
    expect(onPolicyFault).toHaveBeenCalledExactlyOnceWith('sjf', expect.stringContaining('boom'))
  })

  it('forgets the faults of a policy that was replaced', () => {
    const withoutKeyFor = (arrivalOrder: number): SchedulingPolicy => ({
      name: `no key for ${arrivalOrder}`,
      key: (view) => (view.arrivalOrder === arrivalOrder ? Number.NaN : -view.arrivalOrder),
    })
    const queue = new SubQueues({ stage: fcfs(), request: withoutKeyFor(1) })
    for (let i = 0; i < 5; i++) queue.enqueue(requestView({ arrivalOrder: i }))
    queue.setPolicies({ stage: fcfs(), request: withoutKeyFor(2) })
    queue.withdraw('request-1')
    expect(drain(queue).map((view) => view.arrivalOrder)).toEqual([0, 2, 4, 3])
  })

  it('survives bad policies without anybody listening', () => {
    const queue = new SubQueues({ stage: { name: 'bad', key: boom }, request: { name: 'bad', pick: boom } })
    for (let i = 0; i < 4; i++) queue.enqueue(requestView({ arrivalOrder: i, stageClass: `class-${i % 2}` }))
    expect(drain(queue)).toHaveLength(4)
  })
})
