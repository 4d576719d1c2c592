// Policies as a user would write them, each in fewer than 20 lines.

import { describe, expect, it } from 'vitest'
import { fcfs } from '../../src/scheduling/fcfs.ts'
import type { KeyedPolicy, PickPolicy } from '../../src/scheduling/policy.ts'
import { SubQueues } from '../../src/scheduling/sub-queues.ts'
import { drain, requestView } from './support.ts'

/** Longest context first: what is expensive to compute again is served while it may still be cached. */
const longestContextFirst: KeyedPolicy = { name: 'longest-context-first', key: (request) => -request.promptTokens }

/** Highest response ratio next: (wait + service) / service, with a service time guessed from the tokens. */
const hrrn: PickPolicy = {
  name: 'hrrn',
  pick(candidates, nowMs) {
    const ratios = candidates.map((request) => {
      const serviceMs = request.uncachedTokens * 0.1 + request.outputTokens * 20
      return (nowMs - request.arrivalMs + serviceMs) / serviceMs
    })
    return ratios.indexOf(Math.max(...ratios))
  },
}

/** Tenants take turns: the tenant goes first who was served least recently. */
function tenantRoundRobin(): PickPolicy {
  const lastTurn = new Map<string, number>()
  let turn = 0
  return {
    name: 'tenant-round-robin',
    pick(candidates) {
      const turns = candidates.map((request) => lastTurn.get(request.tenant) ?? 0)
      return turns.indexOf(Math.min(...turns))
    },
    served: (request) => void lastTurn.set(request.tenant, ++turn),
  }
}

describe('custom policies', () => {
  it('order by a key of their own', () => {
    const queue = new SubQueues({ stage: fcfs(), request: longestContextFirst })
    for (const [i, promptTokens] of [10, 300, 20].entries()) {
      queue.enqueue(requestView({ arrivalOrder: i, promptTokens }))
    }
    expect(drain(queue).map((view) => view.promptTokens)).toEqual([300, 20, 10])
  })

  it('choose by the time at which a slot is free', () => {
    const queue = new SubQueues({ stage: hrrn, request: hrrn })
    queue.enqueue(requestView({ arrivalOrder: 1, arrivalMs: 0, requestId: 'long', stageClass: 'a', outputTokens: 500 }))
    queue.enqueue(
      requestView({ arrivalOrder: 2, arrivalMs: 900, requestId: 'short', stageClass: 'b', outputTokens: 5 }),
    )
    expect(queue.peek(905)?.requestId).toBe('long')
    expect(queue.peek(1_000)?.requestId).toBe('short')
    expect(queue.next(1_000)?.requestId).toBe('short')
  })

  it('keep accounts of what was served, undisturbed by peeks and by classes that lose at level 1', () => {
    const queue = new SubQueues({ stage: fcfs(), request: tenantRoundRobin() })
    for (const [i, tenant] of ['a', 'a', 'a', 'b', 'b', 'c'].entries()) {
      queue.enqueue(requestView({ arrivalOrder: i, tenant }))
      queue.enqueue(requestView({ arrivalOrder: 100 + i, tenant, stageClass: 'workflow/other' }))
    }
    const tenants: string[] = []
    for (let i = 0; i < 6; i++) {
      queue.peek(0)
      tenants.push(queue.next(0)!.tenant)
    }
    expect(tenants.join('')).toBe('abcaba')
  })
})
