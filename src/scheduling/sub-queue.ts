// The sub-queue of one stage class at one backend: level 2
//
// Owns: the waiting requests of one class, in order of arrival, and their order by a keyed request policy.
// Does not own: its place among other classes. `head` and the heap fields belong to the stage order (level 1).
// Invariants
//   Q1. Following `later` from the first request visits every request once, in order of arrival.
//   Q2. With a keyed policy the heap holds exactly the requests of the list, with a pick policy none.
//   Q3. `head` is one of the requests here, or undefined.
// A choice among requests of which one has no usable key is made first come, first served.

import { arrivedBefore, IndexedHeap, type HeapItem } from './heap.ts'
import type { PolicyGuard } from './policy-guard.ts'
import { isPickPolicy, type KeyedPolicy, type PickPolicy, type SchedulingPolicy } from './policy.ts'
import type { RequestView } from './request-view.ts'

/** One waiting request: its view, and its links into the structures that hold it. */
export class Waiting implements HeapItem {
  readonly view: RequestView
  readonly subQueue: SubQueue
  readonly arrivalOrder: number
  readonly requestId: string
  position = -1
  /** False if the request policy has no usable key for it. */
  orderable = true
  earlier: Waiting | undefined = undefined
  later: Waiting | undefined = undefined

  constructor(view: RequestView, subQueue: SubQueue) {
    this.view = view
    this.subQueue = subQueue
    this.arrivalOrder = view.arrivalOrder
    this.requestId = view.requestId
  }
}

/** The waiting requests of one stage class. */
export class SubQueue implements HeapItem {
  readonly stageClass: string
  /** The request that stands for this class at level 1. */
  head: Waiting | undefined = undefined
  /** False if the stage policy has no usable key for the head. */
  headOrderable = true
  /** Tie-breakers and place at level 1: those of the head that the stage order knows. */
  arrivalOrder = 0
  requestId = ''
  position = -1

  readonly #guard: PolicyGuard
  readonly #heap = new IndexedHeap<Waiting>()
  /** The request policy is one of these two. */
  #keyed: KeyedPolicy | undefined
  #picking: PickPolicy | undefined
  #unorderable = 0
  #size = 0
  #oldest: Waiting | undefined = undefined
  #newest: Waiting | undefined = undefined

  constructor(stageClass: string, policy: SchedulingPolicy, guard: PolicyGuard) {
    this.stageClass = stageClass
    this.#guard = guard
    this.#usePolicy(policy)
  }

  /** Requests waiting. */
  get size(): number {
    return this.#size
  }

  /** The request that arrived first. */
  get oldest(): Waiting | undefined {
    return this.#oldest
  }

  /** Adds a request. O(log n), and for one that arrives out of order as many steps more as it is late. */
  add(view: RequestView): Waiting {
    const waiting = new Waiting(view, this)
    this.#link(waiting)
    this.#size++
    if (this.#keyed !== undefined) this.#heap.push(waiting, this.#keyOf(this.#keyed, waiting))
    return waiting
  }

  /** Removes a request of this sub-queue. O(log n). */
  remove(waiting: Waiting): void {
    if (waiting.earlier === undefined) this.#oldest = waiting.later
    else waiting.earlier.later = waiting.later
    if (waiting.later === undefined) this.#newest = waiting.earlier
    else waiting.later.earlier = waiting.earlier
    // A dead request that still points at its successors would keep them from an early garbage collection.
    waiting.earlier = undefined
    waiting.later = undefined
    this.#size--
    if (this.#keyed !== undefined) this.#heap.remove(waiting)
    if (!waiting.orderable) this.#unorderable--
    if (this.head === waiting) this.head = undefined
  }

  /**
   * The request that level 2 serves next, or undefined if none waits.
   *
   * O(1) with a keyed policy; with a pick policy O(requests here), and the answer holds for this instant only.
   */
  choose(nowMs: number): Waiting | undefined {
    if (this.#picking === undefined) return this.#first()
    return this.#size > 1 ? this.#pick(this.#picking, nowMs) : this.#oldest
  }

  /** What stands for this class between two choices: the head of a keyed policy, any request for a pick policy. */
  standIn(): Waiting | undefined {
    return this.#picking === undefined ? this.#first() : (this.head ?? this.#oldest)
  }

  /** The key of a request is another now. O(log n). */
  rekey(waiting: Waiting): void {
    if (this.#keyed === undefined) return
    if (!waiting.orderable) this.#unorderable--
    waiting.orderable = true
    this.#heap.rekey(waiting, this.#keyOf(this.#keyed, waiting))
  }

  /** Changes the request policy; nobody loses a place that the new order does not take. O(requests here). */
  setPolicy(policy: SchedulingPolicy): void {
    this.#usePolicy(policy)
    this.#unorderable = 0
    const items: Waiting[] = []
    const keys: number[] = []
    for (let waiting = this.#oldest; waiting !== undefined; waiting = waiting.later) {
      waiting.orderable = true
      if (this.#keyed === undefined) continue
      items.push(waiting)
      keys.push(this.#keyOf(this.#keyed, waiting))
    }
    this.#heap.replaceAll(items, keys)
  }

  #usePolicy(policy: SchedulingPolicy): void {
    this.#keyed = isPickPolicy(policy) ? undefined : policy
    this.#picking = isPickPolicy(policy) ? policy : undefined
  }

  /** The first by key. */
  #first(): Waiting | undefined {
    return this.#unorderable > 0 ? this.#oldest : this.#heap.peek()
  }

  /** Inserts into the list. Requests come in order of arrival but for some that come back, so it looks from the end. */
  #link(waiting: Waiting): void {
    let earlier = this.#newest
    while (earlier !== undefined && arrivedBefore(waiting, earlier)) earlier = earlier.earlier
    const later = earlier === undefined ? this.#oldest : earlier.later
    waiting.earlier = earlier
    waiting.later = later
    if (earlier === undefined) this.#oldest = waiting
    else earlier.later = waiting
    if (later === undefined) this.#newest = waiting
    else later.earlier = waiting
  }

  /** The key of a request; any number for one that cannot be ordered, which is noted. */
  #keyOf(policy: KeyedPolicy, waiting: Waiting): number {
    const key = this.#guard.key(policy, waiting.view, 'request')
    if (!Number.isNaN(key)) return key
    waiting.orderable = false
    this.#unorderable++
    return 0
  }

  #pick(policy: PickPolicy, nowMs: number): Waiting | undefined {
    const waiting: Waiting[] = []
    const candidates: RequestView[] = []
    for (let each = this.#oldest; each !== undefined; each = each.later) {
      waiting.push(each)
      candidates.push(each.view)
    }
    return waiting[this.#guard.pick(policy, candidates, nowMs, 'request')]
  }
}
