import { describe, expect, it, vi } from 'vitest'
import { InvariantError } from '../../src/errors.ts'
import { fcfs } from '../../src/scheduling/fcfs.ts'
import type { PickPolicy, SchedulingPolicy } from '../../src/scheduling/policy.ts'
import { priority } from '../../src/scheduling/priority.ts'
import { shortestFirst } from '../../src/scheduling/shortest-first.ts'
import { SubQueues } from '../../src/scheduling/sub-queues.ts'
import { drain, requestView } from './support.ts'

const newestFirst: PickPolicy = { name: 'newest-first', pick: (candidates) => candidates.length - 1 }

function filled(policies: { stage: SchedulingPolicy; request: SchedulingPolicy }, layout: string): SubQueues {
  const queue = new SubQueues(policies)
  for (const [i, stageClass] of layout.split('').entries()) queue.enqueue(requestView({ arrivalOrder: i, stageClass }))
  return queue
}

describe('sub-queues', () => {
  it('returns nothing when nothing waits', () => {
    const queue = new SubQueues({ stage: fcfs(), request: newestFirst })
    expect(queue.peek(0)).toBeUndefined()
    expect(queue.next(0)).toBeUndefined()
    expect(queue.withdraw('request-1')).toBe(false)
    expect([...queue]).toEqual([])
    expect(queue.classes()).toEqual([])
  })

  it('serves in order of arrival across classes when both levels are first come, first served', () => {
    const queue = filled({ stage: fcfs(), request: fcfs() }, 'abcabbac')
    expect(drain(queue).map((view) => view.arrivalOrder)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  })

  it('S2: orders classes by the head that level 2 chooses now, also when that is a pick', () => {
    const queue = filled({ stage: fcfs(), request: newestFirst }, 'abba')
    // Heads are b#2 and a#3; without a#3 they are b#2 and a#0.
    expect(queue.peek(0)?.arrivalOrder).toBe(2)
    expect(queue.withdraw('request-3')).toBe(true)
    expect(drain(queue).map((view) => view.arrivalOrder)).toEqual([0, 2, 1])
  })

  it('S3: lets a withdrawn request leave at once', () => {
    const seen: string[] = []
    const watching: PickPolicy = {
      name: 'watching',
      pick: (candidates) => {
        seen.push(...candidates.map((view) => view.requestId))
        return 0
      },
    }
    const queue = filled({ stage: watching, request: watching }, 'aabb')
    expect(queue.withdraw('request-0')).toBe(true)
    expect(queue.withdraw('request-0')).toBe(false)
    expect(queue.size).toBe(3)
    drain(queue)
    expect(seen).not.toContain('request-0')
  })

  it('S4: drops sub-queues that ran empty', () => {
    const queue = filled({ stage: fcfs(), request: fcfs() }, 'abc')
    queue.withdraw('request-1')
    queue.next(0)
    expect(queue.classes().map((load) => load.stageClass)).toEqual(['c'])
    queue.enqueue(requestView({ arrivalOrder: 9, stageClass: 'a' }))
    expect(queue.classes()).toEqual([
      { stageClass: 'c', waiting: 1, oldestArrivalMs: 2 },
      { stageClass: 'a', waiting: 1, oldestArrivalMs: 9 },
    ])
  })

  it('tells how many of each class wait, and since when', () => {
    const queue = filled({ stage: fcfs(), request: newestFirst }, 'abaa')
    expect(queue.classes()).toEqual([
      { stageClass: 'a', waiting: 3, oldestArrivalMs: 0 },
      { stageClass: 'b', waiting: 1, oldestArrivalMs: 1 },
    ])
  })

  it('refuses a request that waits already, and keeps the one it has', () => {
    const queue = filled({ stage: fcfs(), request: fcfs() }, 'a')
    expect(() => queue.enqueue(requestView({ arrivalOrder: 0 }))).toThrow(InvariantError)
    expect(drain(queue)).toHaveLength(1)
  })

  it('gives a request that comes back with its old number its old place', () => {
    const queue = filled({ stage: fcfs(), request: newestFirst }, 'aaab')
    const first = [...queue][0]!
    queue.withdraw(first.requestId)
    queue.enqueue(first)
    queue.setPolicies({ stage: fcfs(), request: fcfs() })
    expect([...queue].map((view) => view.arrivalOrder)).toEqual([0, 1, 2, 3])
    expect(drain(queue).map((view) => view.arrivalOrder)).toEqual([0, 1, 2, 3])
  })

  it('iterates in order of arrival, over what waited when it began', () => {
    const queue = filled({ stage: fcfs(), request: newestFirst }, 'abab')
    const orders: number[] = []
    for (const view of queue) {
      orders.push(view.arrivalOrder)
      queue.withdraw(view.requestId)
    }
    expect(orders).toEqual([0, 1, 2, 3])
    expect(queue.size).toBe(0)
  })

  it('changes policies while requests wait, and loses none', () => {
    const queue = new SubQueues({ stage: fcfs(), request: fcfs() })
    for (let i = 0; i < 6; i++) {
      queue.enqueue(requestView({ arrivalOrder: i, promptTokens: 600 - 100 * i, requestPriority: i % 2 }))
    }
    expect(queue.next(0)?.arrivalOrder).toBe(0)
    queue.setPolicies({ stage: fcfs(), request: shortestFirst() })
    expect(queue.next(0)?.arrivalOrder).toBe(5)
    queue.setPolicies({ stage: newestFirst, request: newestFirst })
    expect(queue.next(0)?.arrivalOrder).toBe(4)
    queue.setPolicies({ stage: fcfs(), request: priority() })
    expect(queue.policies.request.name).toBe('priority')
    expect(drain(queue).map((view) => view.arrivalOrder)).toEqual([1, 3, 2])
  })

  it('tells policies of both levels what was served, and nothing else', () => {
    const served = vi.fn()
    const policy: PickPolicy = { ...newestFirst, served }
    const queue = filled({ stage: policy, request: policy }, 'ab')
    queue.peek(5)
    queue.withdraw('request-0')
    expect(served).not.toHaveBeenCalled()
    const view = queue.next(7)
    expect(served.mock.calls).toEqual([
      [view, 7, 'stage'],
      [view, 7, 'request'],
    ])
  })
})
