// The two-level queue of one backend
//
// Owns: every request that waits at the backend, one sub-queue for each stage class, and the two policies.
// Does not own: capacity (the backend actor counts `size` and rejects before it enqueues), slots (request window),
// time (callers say what time it is).
// Invariants
//   S1. A request leaves exactly once: by `next`, `take`, or `withdraw`.
//   S2. `next` serves the head of the class that level 1 chooses, and that head is what level 2 chooses now.
//   S3. A withdrawn request is gone when `withdraw` returns; no policy sees it again.
//   S4. No sub-queue is empty: memory is bounded by what waits, not by the classes ever seen.
//   S5. A bad policy costs the order, never a request: its choice is made first come, first served.
//   S6. `uncachedTokens` and `outputTokens` are the sums over what waits.
// Policies are asked and told while the queue is at work; they must not call it.
// Cost of enqueue, next and withdraw with n waiting in c classes: O(log n) with keyed policies. `next` and `peek` cost
// O(c) with a pick policy at level 1, and O(n) with one at level 2, which says what the head of each class is.

import { assert } from '../errors.ts'
import { arrivedBefore } from './heap.ts'
import { PolicyGuard, type OnPolicyFault } from './policy-guard.ts'
import { isPickPolicy, type SchedulingPolicies } from './policy.ts'
import type { RequestView } from './request-view.ts'
import { stageOrder, type StageOrder } from './stage-order.ts'
import { TurnoverMap } from '../turnover-map.ts'
import { SubQueue, type Waiting } from './sub-queue.ts'

/** For sorting; linear where the input is in order already. */
function byArrival(a: Waiting, b: Waiting): number {
  return arrivedBefore(a, b) ? -1 : 1
}

/** What waits in one sub-queue. */
export interface SubQueueLoad {
  /** `workflow/stage` */
  stageClass: string
  /** Requests waiting, at least 1. */
  waiting: number
  /** When the one that waits longest arrived, ms on the runtime's clock. */
  oldestArrivalMs: number
}

/**
 * The requests that wait at one backend, in the order that two policies give them.
 *
 * @example
 * const queue = new SubQueues({ stage: fcfs(), request: priority() })
 * queue.enqueue(view)
 * while (window.free > 0 && queue.size > 0) grant(queue.next(clock.nowMs()))
 */
export class SubQueues {
  readonly #guard: PolicyGuard
  readonly #waiting = new TurnoverMap<string, Waiting>()
  readonly #subQueues = new TurnoverMap<string, SubQueue>()
  #policies: SchedulingPolicies
  #stages: StageOrder
  #picksRequests: boolean
  #unwatch: () => void = () => {}
  #uncachedTokens = 0
  #outputTokens = 0

  /**
   * @param policies - the order at both levels; objects that keep accounts belong to one queue only
   * @param onPolicyFault - hears once of each policy object that throws, gives a key that is not a finite number, or
   *   picks what is not there
   */
  constructor(policies: SchedulingPolicies, onPolicyFault: OnPolicyFault = () => {}) {
    this.#guard = new PolicyGuard(onPolicyFault)
    this.#policies = { ...policies }
    this.#stages = stageOrder(policies.stage, this.#guard)
    this.#picksRequests = isPickPolicy(policies.request)
    this.#watch()
  }

  /** Requests waiting. */
  get size(): number {
    return this.#waiting.size
  }

  /** Tokens that are not believed to be cached, of all prompts that wait. */
  get uncachedTokens(): number {
    return this.#uncachedTokens
  }

  /** Tokens of all answers that are waited for, predicted. */
  get outputTokens(): number {
    return this.#outputTokens
  }

  /** The policies in force. */
  get policies(): SchedulingPolicies {
    return { ...this.#policies }
  }

  /**
   * Adds a request to the sub-queue of its class.
   *
   * @param view - not changed while it waits. Views usually come in order of `arrivalOrder`; one that comes back with
   *   its old number takes its old place
   * @throws {InvariantError} `ORLA_INVARIANT` if a request of that id waits already
   */
  enqueue(view: RequestView): void {
    assert(!this.#waiting.has(view.requestId), 'a request was enqueued twice', { requestId: view.requestId })
    let subQueue = this.#subQueues.get(view.stageClass)
    const isNew = subQueue === undefined
    subQueue ??= new SubQueue(view.stageClass, this.#policies.request, this.#guard)
    const waiting = subQueue.add(view)
    this.#waiting.set(view.requestId, waiting)
    this.#uncachedTokens += view.uncachedTokens
    this.#outputTokens += view.outputTokens
    if (isNew) {
      this.#subQueues.set(view.stageClass, subQueue)
      this.#stages.add(subQueue, waiting)
    } else {
      this.#stages.update(subQueue, subQueue.standIn()!)
    }
  }

  /**
   * The request that {@link next} would return at that time; it stays.
   *
   * @param nowMs - the time, ms on the runtime's clock; only pick policies look at it
   */
  peek(nowMs: number): RequestView | undefined {
    return this.#choose(nowMs)?.view
  }

  /**
   * Removes and returns the request to serve next, or undefined if none waits.
   *
   * @param nowMs - the time, ms on the runtime's clock; only pick policies look at it
   */
  next(nowMs: number): RequestView | undefined {
    const waiting = this.#choose(nowMs)
    return waiting === undefined ? undefined : this.#serve(waiting, nowMs)
  }

  /** Removes a request that {@link peek} named, to be served. */
  take(requestId: string, nowMs: number): RequestView {
    const waiting = this.#waiting.get(requestId)
    assert(waiting !== undefined, 'a request was taken that does not wait', { requestId })
    return this.#serve(waiting, nowMs)
  }

  /**
   * Serves a request that comes while nothing waits: what {@link enqueue} and {@link next} would do with it, without a
   * place in between. Policies hear that it was served; there is nothing to ask them.
   *
   * @param nowMs - the time, ms on the runtime's clock
   * @throws {InvariantError} `ORLA_INVARIANT` if something waits
   */
  pass(view: RequestView, nowMs: number): void {
    assert(this.#waiting.size === 0, 'a request passes others that wait', { requestId: view.requestId })
    this.#guard.served(this.#policies.stage, view, nowMs, 'stage')
    this.#guard.served(this.#policies.request, view, nowMs, 'request')
  }

  /** Removes a request wherever it is. False if it does not wait here, for example because it was served. */
  withdraw(requestId: string): boolean {
    const waiting = this.#waiting.get(requestId)
    if (waiting === undefined) return false
    this.#remove(waiting)
    return true
  }

  /** Changes both policies, also while requests wait: all of them stay. O(n), and O(c log c) at level 1. */
  setPolicies(policies: SchedulingPolicies): void {
    this.#policies = { ...policies }
    this.#picksRequests = isPickPolicy(policies.request)
    this.#stages = stageOrder(policies.stage, this.#guard)
    for (const subQueue of this.#subQueues.values()) subQueue.setPolicy(policies.request)
    // In order of arrival, so that each addition to an order by arrival goes to its end.
    const heads = Array.from(this.#subQueues.values(), (subQueue) => subQueue.standIn()!).sort(byArrival)
    for (const head of heads) this.#stages.add(head.subQueue, head)
    this.#watch()
  }

  /** Lets go of the policies: keys that change later are no concern of this queue any more. */
  close(): void {
    this.#unwatch()
  }

  /** What waits, by class, in the order in which the classes began to wait. O(c). */
  classes(): SubQueueLoad[] {
    return Array.from(this.#subQueues.values(), (subQueue) => ({
      stageClass: subQueue.stageClass,
      waiting: subQueue.size,
      oldestArrivalMs: subQueue.oldest!.view.arrivalMs,
    }))
  }

  /** What waits now, in order of arrival; later changes do not show. O(n) where requests came in that order. */
  [Symbol.iterator](): IterableIterator<RequestView> {
    const waiting = [...this.#waiting.values()].sort(byArrival)
    return waiting.map((each) => each.view).values()
  }

  /** Listens to policies whose keys may change while requests wait. */
  #watch(): void {
    this.#unwatch()
    const changed = (requestIds: readonly string[] | undefined): void => {
      for (const requestId of requestIds ?? [...this.#waiting.keys()]) {
        const waiting = this.#waiting.get(requestId)
        if (waiting === undefined) continue
        waiting.subQueue.rekey(waiting)
        this.#stages.rekey(waiting.subQueue, waiting.subQueue.standIn()!)
      }
    }
    const policies = new Set([this.#policies.stage, this.#policies.request])
    const stops = Array.from(policies, (policy) => this.#guard.watch(policy, changed))
    this.#unwatch = () => {
      for (const stop of stops) stop()
    }
  }

  #choose(nowMs: number): Waiting | undefined {
    if (this.#picksRequests) {
      for (const subQueue of this.#subQueues.values()) this.#stages.update(subQueue, subQueue.choose(nowMs)!)
    }
    return this.#stages.choose(nowMs)?.head
  }

  #serve(waiting: Waiting, nowMs: number): RequestView {
    this.#remove(waiting)
    this.#guard.served(this.#policies.stage, waiting.view, nowMs, 'stage')
    this.#guard.served(this.#policies.request, waiting.view, nowMs, 'request')
    return waiting.view
  }

  #remove(waiting: Waiting): void {
    const { subQueue, view } = waiting
    this.#waiting.delete(waiting.requestId)
    this.#uncachedTokens -= view.uncachedTokens
    this.#outputTokens -= view.outputTokens
    subQueue.remove(waiting)
    if (subQueue.size > 0) {
      this.#stages.update(subQueue, subQueue.standIn()!)
      return
    }
    this.#stages.remove(subQueue)
    this.#subQueues.delete(subQueue.stageClass)
  }
}
