// The order of stage classes at one backend: level 1
//
// Owns: which class is served next, by the head of each sub-queue, and the heap fields of the sub-queues.
// Does not own: the heads themselves (level 2 chooses them), nor the sub-queues.
// Invariants
//   O1. It holds exactly the sub-queues that were added and not removed, each with a head.
//   O2. A sub-queue's tie-breakers are those of the head that it was placed by.
// A choice among heads of which one has no usable key is made first come, first served.

import { arrivedBefore, IndexedHeap } from './heap.ts'
import type { PolicyGuard } from './policy-guard.ts'
import { isPickPolicy, type KeyedPolicy, type PickPolicy, type SchedulingPolicy } from './policy.ts'
import type { SubQueue, Waiting } from './sub-queue.ts'

/** Sub-queues ordered by their heads. */
export interface StageOrder {
  /** Places a sub-queue that is new here. */
  add(subQueue: SubQueue, head: Waiting): void
  /** Notes the head of a sub-queue that is here; free if it has not changed. */
  update(subQueue: SubQueue, head: Waiting): void
  /** Notes the head of a sub-queue that is here, and that its key may be another. */
  rekey(subQueue: SubQueue, head: Waiting): void
  /** Forgets a sub-queue. */
  remove(subQueue: SubQueue): void
  /** The sub-queue to serve next, or undefined if there is none. */
  choose(nowMs: number): SubQueue | undefined
}

/** The stage order of a policy. */
export function stageOrder(policy: SchedulingPolicy, guard: PolicyGuard): StageOrder {
  return isPickPolicy(policy) ? new PickedStages(policy, guard) : new KeyedStages(policy, guard)
}

function setHead(subQueue: SubQueue, head: Waiting): void {
  subQueue.head = head
  subQueue.arrivalOrder = head.arrivalOrder
  subQueue.requestId = head.requestId
}

/** Under a keyed policy: a heap. Every change costs O(log classes), a choice O(1), or O(classes) beside a bad key. */
class KeyedStages implements StageOrder {
  readonly #policy: KeyedPolicy
  readonly #guard: PolicyGuard
  readonly #heap = new IndexedHeap<SubQueue>()
  #unorderable = 0

  constructor(policy: KeyedPolicy, guard: PolicyGuard) {
    this.#policy = policy
    this.#guard = guard
  }

  add(subQueue: SubQueue, head: Waiting): void {
    subQueue.position = -1
    subQueue.headOrderable = true
    setHead(subQueue, head)
    this.#heap.push(subQueue, this.#keyOf(subQueue, head))
  }

  update(subQueue: SubQueue, head: Waiting): void {
    if (subQueue.head === head) return
    setHead(subQueue, head)
    this.#heap.rekey(subQueue, this.#keyOf(subQueue, head))
  }

  rekey(subQueue: SubQueue, head: Waiting): void {
    setHead(subQueue, head)
    this.#heap.rekey(subQueue, this.#keyOf(subQueue, head))
  }

  remove(subQueue: SubQueue): void {
    this.#heap.remove(subQueue)
    if (!subQueue.headOrderable) this.#unorderable--
  }

  choose(): SubQueue | undefined {
    let choice = this.#heap.peek()
    if (choice === undefined || this.#unorderable === 0) return choice
    for (const subQueue of this.#heap.values()) if (arrivedBefore(subQueue, choice)) choice = subQueue
    return choice
  }

  #keyOf(subQueue: SubQueue, head: Waiting): number {
    const key = this.#guard.key(this.#policy, head.view, 'stage')
    const orderable = !Number.isNaN(key)
    if (orderable !== subQueue.headOrderable) this.#unorderable += orderable ? -1 : 1
    subQueue.headOrderable = orderable
    return orderable ? key : 0
  }
}

/** Under a pick policy: an array by arrival of the heads. Changes cost O(log classes) and a memmove, a choice O(classes). */
class PickedStages implements StageOrder {
  readonly #policy: PickPolicy
  readonly #guard: PolicyGuard
  readonly #subQueues: SubQueue[] = []

  constructor(policy: PickPolicy, guard: PolicyGuard) {
    this.#policy = policy
    this.#guard = guard
  }

  add(subQueue: SubQueue, head: Waiting): void {
    setHead(subQueue, head)
    this.#subQueues.splice(this.#indexOf(subQueue), 0, subQueue)
  }

  update(subQueue: SubQueue, head: Waiting): void {
    if (subQueue.head === head) return
    this.remove(subQueue)
    this.add(subQueue, head)
  }

  rekey(subQueue: SubQueue, head: Waiting): void {
    this.update(subQueue, head)
  }

  remove(subQueue: SubQueue): void {
    this.#subQueues.splice(this.#indexOf(subQueue), 1)
  }

  choose(nowMs: number): SubQueue | undefined {
    const subQueues = this.#subQueues
    if (subQueues.length < 2) return subQueues[0]
    const candidates = subQueues.map((subQueue) => subQueue.head!.view)
    return subQueues[this.#guard.pick(this.#policy, candidates, nowMs, 'stage')]
  }

  /** Where the sub-queue is, or belongs: the number of sub-queues whose heads arrived before its own. */
  #indexOf(subQueue: SubQueue): number {
    const subQueues = this.#subQueues
    let low = 0
    let high = subQueues.length
    // Most new heads arrived last.
    if (high > 0 && arrivedBefore(subQueues[high - 1]!, subQueue)) return high
    while (low < high) {
      const middle = (low + high) >> 1
      if (arrivedBefore(subQueues[middle]!, subQueue)) low = middle + 1
      else high = middle
    }
    return low
  }
}
