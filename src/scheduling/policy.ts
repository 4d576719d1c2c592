// Scheduling policies: an order over waiting requests.
//
// A policy is used at either level: level 1 orders stage classes by the head of each sub-queue, level 2 orders the
// requests within one sub-queue. It comes in one of two forms, and says its cost by the form it takes:
//   keyed   a number that is fixed while the request waits. A heap keeps it: O(log n) for each arrival and departure.
//   pick    a choice among the candidates, made when a slot is free. O(candidates) each time; for orders that change
//           with time or with the state of a cache.
// Ties always go to the earlier arrival, then to the smaller request id, so that replays agree.

import type { RequestView } from './request-view.ts'

/** An order with keys that are fixed while a request waits. Smaller keys go first. */
export interface KeyedPolicy {
  readonly name: string
  /** Finite number, the same each time it is asked about the same request. */
  key(request: RequestView): number
}

/** An order that is decided when a slot is free. */
export interface PickPolicy {
  readonly name: string
  /** Index of the candidate to serve next. Candidates are in order of arrival; there is at least one. */
  pick(candidates: readonly RequestView[], nowMs: number): number
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
