// The guard between the queue and policies, which may be anybody's code
//
// Owns: what counts as a usable answer, and which policies have been reported.
// Does not own: what happens instead; callers fall back to first come, first served.
// Invariants
//   P1. Nothing that a policy returns or throws reaches the queue unchecked.
//   P2. Each policy object is reported at most once, so that a bad one does not flood a log.

import { messageOf } from '../errors.ts'
import {
  isPickPolicy,
  type KeyedPolicy,
  type PickPolicy,
  type SchedulingLevel,
  type SchedulingPolicy,
} from './policy.ts'
import type { RequestView } from './request-view.ts'

/** Hears of a policy that gave an unusable answer: its name, and what was wrong. Must not throw. */
export type OnPolicyFault = (policyName: string, message: string) => void

/** Asks policies, and checks what they say. */
export class PolicyGuard {
  readonly #onPolicyFault: OnPolicyFault
  readonly #reported = new WeakSet<SchedulingPolicy>()

  constructor(onPolicyFault: OnPolicyFault) {
    this.#onPolicyFault = onPolicyFault
  }

  /** The key of a request, finite; NaN if the policy has no usable one. */
  key(policy: KeyedPolicy, request: RequestView, level: SchedulingLevel): number {
    let key: unknown
    try {
      key = policy.key(request, level)
    } catch (error) {
      this.#report(policy, `key(${request.requestId}) threw: ${messageOf(error)}`)
      return Number.NaN
    }
    if (typeof key === 'number' && Number.isFinite(key)) return key
    this.#report(policy, `key(${request.requestId}) is ${messageOf(key)}, expected a finite number`)
    return Number.NaN
  }

  /** Index into `candidates`; 0, the earliest arrival, if the policy has no usable answer. */
  pick(policy: PickPolicy, candidates: readonly RequestView[], nowMs: number, level: SchedulingLevel): number {
    let index: unknown
    try {
      index = policy.pick(candidates, nowMs, level)
    } catch (error) {
      this.#report(policy, `pick threw: ${messageOf(error)}`)
      return 0
    }
    if (typeof index === 'number' && Number.isInteger(index) && index >= 0 && index < candidates.length) return index
    this.#report(policy, `pick returned ${messageOf(index)}, expected an index from 0 to ${candidates.length - 1}`)
    return 0
  }

  /** Listens to a policy whose keys may change. Returns how to stop. */
  watch(policy: SchedulingPolicy, changed: (requestIds: readonly string[] | undefined) => void): () => void {
    if (isPickPolicy(policy) || policy.watch === undefined) return () => {}
    try {
      return policy.watch(changed)
    } catch (error) {
      this.#report(policy, `watch threw: ${messageOf(error)}`)
      return () => {}
    }
  }

  /** Tells a policy that a request was served, if it wants to know. */
  served(policy: SchedulingPolicy, request: RequestView, nowMs: number, level: SchedulingLevel): void {
    if (policy.served === undefined) return
    try {
      policy.served(request, nowMs, level)
    } catch (error) {
      this.#report(policy, `served(${request.requestId}) threw: ${messageOf(error)}`)
    }
  }

  #report(policy: SchedulingPolicy, what: string): void {
    if (this.#reported.has(policy)) return
    this.#reported.add(policy)
    this.#onPolicyFault(policy.name, `${what}; served first come, first served instead (reported once)`)
  }
}
