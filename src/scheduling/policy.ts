// Scheduling policies: an order over waiting requests.
//
// A policy is used at either level: level 1 orders stage classes by the head of each sub-queue, level 2 orders the
// requests within one sub-queue. It comes in one of two forms, and says its cost by the form it takes:
//   keyed   a number that is fixed while the request waits. A heap keeps it: O(log n) for each arrival and departure.
//   pick    a choice among the candidates, made when a slot is free. O(candidates) each time; for orders that change
//           with time or with the state of a cache.
// Ties always go to the earlier arrival, then to the smaller request id, so that replays agree.
// The head of a sub-queue is what level 2 would serve of it now. So a pick at level 2 is asked about every class that
// has a choice, not only about the one that level 1 then takes, and costs O(all that wait).

import type { RequestView } from './request-view.ts'

/** Where a policy is asked: to choose among stage classes (level 1), or among requests of one class (level 2). */
export type SchedulingLevel = 'stage' | 'request'

interface PolicyBase {
  /** For people: appears in load reports and fault messages. */
  readonly name: string
  /** It reads `serviceMs` or `remainingMs`: they are computed only if a policy of the runtime says so. */
  readonly forecast?: true
  /**
   * Told after a request left the queue to be served, for policies that keep accounts (round robin, deficits).
   *
   * An object that is used at both levels is told once for each.
   */
  served?(request: RequestView, nowMs: number, level: SchedulingLevel): void
}

/** An order with keys that are fixed while a request waits. Smaller keys go first. */
export interface KeyedPolicy extends PolicyBase {
  /** Finite number, the same each time it is asked about the same waiting request, unless `changed` said otherwise. */
  key(request: RequestView, level: SchedulingLevel): number
  /**
   * For orders that others decide: keys of these requests, or of all that wait, are others now. The queue asks for them
   * again. Called by each queue that uses the policy; returns how to stop.
   */
  watch?(changed: (requestIds: readonly string[] | undefined) => void): () => void
}

/** An order that is decided when a slot is free. */
export interface PickPolicy extends PolicyBase {
  /**
   * Index of the candidate to serve next. Candidates are in order of arrival; there are at least two.
   *
   * A question, not an event: it may be asked about requests that are not served then, so it changes no state.
   */
  pick(candidates: readonly RequestView[], nowMs: number, level: SchedulingLevel): number
}

/** An order over waiting requests, for stage classes or for requests. */
export type SchedulingPolicy = KeyedPolicy | PickPolicy

/** The two levels of one backend. */
export interface SchedulingPolicies {
  /** Level 1: which stage class is served next. */
  stage: SchedulingPolicy
  /** Level 2: which of its requests. */
  request: SchedulingPolicy
}

/** True for policies that choose when asked. */
export function isPickPolicy(policy: SchedulingPolicy): policy is PickPolicy {
  return 'pick' in policy
}
