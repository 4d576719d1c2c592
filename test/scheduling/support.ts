// Request views for tests, and the queue as one would write it without caring for speed: the reference that the real
// one is held against.

import type { SchedulingLevel, SchedulingPolicies, SchedulingPolicy } from '../../src/scheduling/policy.ts'
import type { RequestView } from '../../src/scheduling/request-view.ts'

/** A request view of which a test says only what matters to it. `arrivalMs` follows `arrivalOrder` unless given. */
export function requestView(fields: Partial<RequestView> & { arrivalOrder: number }): RequestView {
  return {
    requestId: `request-${fields.arrivalOrder}`,
    runId: 'run-1',
    stageClass: 'workflow/stage',
    tenant: 'tenant',
    arrivalMs: fields.arrivalOrder,
    stagePriority: 0,
    requestPriority: 0,
    promptTokens: 100,
    uncachedTokens: 100,
    outputTokens: 10,
    askedTokens: 10,
    serviceMs: 0,
    remainingMs: 0,
    runStartedAtMs: 0,
    attainedTokens: 0,
    deadlineMs: Infinity,
    ...fields,
  }
}

function compareArrival(a: RequestView, b: RequestView): number {
  return a.arrivalOrder - b.arrivalOrder || (a.requestId < b.requestId ? -1 : 1)
}

/** What `policy` serves of `candidates`, decided by looking at all of them. */
function naiveChoice(
  policy: SchedulingPolicy,
  candidates: readonly RequestView[],
  nowMs: number,
  level: SchedulingLevel,
): RequestView {
  const sorted = candidates.toSorted(compareArrival)
  if ('pick' in policy) return sorted[policy.pick(sorted, nowMs, level)]!
  const keys = sorted.map((request) => policy.key(request, level))
  if (!keys.every((key) => Number.isFinite(key))) return sorted[0]!
  return sorted[keys.indexOf(Math.min(...keys))]!
}

/** The two-level queue over one plain array. */
export class NaiveQueue {
  waiting: RequestView[] = []
  policies: SchedulingPolicies

  constructor(policies: SchedulingPolicies) {
    this.policies = policies
  }

  peek(nowMs: number): RequestView | undefined {
    if (this.waiting.length === 0) return undefined
    const classes = Map.groupBy(this.waiting, (request) => request.stageClass)
    const heads = [...classes.values()].map((requests) =>
      naiveChoice(this.policies.request, requests, nowMs, 'request'),
    )
    return naiveChoice(this.policies.stage, heads, nowMs, 'stage')
  }

  next(nowMs: number): RequestView | undefined {
    const request = this.peek(nowMs)
    if (request !== undefined) this.withdraw(request.requestId)
    return request
  }

  withdraw(requestId: string): boolean {
    const before = this.waiting.length
    this.waiting = this.waiting.filter((request) => request.requestId !== requestId)
    return this.waiting.length < before
  }
}

/** Everything that waits, in the order of service, at one instant. */
export function drain(queue: { next(nowMs: number): RequestView | undefined }, nowMs = 0): RequestView[] {
  const served: RequestView[] = []
  for (let next = queue.next(nowMs); next !== undefined; next = queue.next(nowMs)) served.push(next)
  return served
}
