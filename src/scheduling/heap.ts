// An indexed heap: a priority queue whose items can leave or move from the middle.
//
// Owns: the order of the items it holds, and their `position`.
// Does not own: the items; they must not be in two heaps at once.
// Invariants
//   H1. No item orders before its parent, by (key, arrivalOrder, requestId).
//   H2. `items[item.position] === item` for every item held; `position` is -1 for every item that left.
// Four children a node: half the depth of a binary heap, and the keys of siblings share a cache line. Keys are kept
// beside the items, so that most comparisons touch no object.

import { assert } from '../errors.ts'

/** What a heap needs of its items. The tie-breakers may change only together with {@link IndexedHeap.rekey}. */
export interface HeapItem {
  /** First tie-breaker, smaller first. */
  arrivalOrder: number
  /** Last tie-breaker, smaller first. */
  requestId: string
  /** Where the heap holds it; -1 when it does not. Written by the heap only. */
  position: number
}

/** True if `a` arrived before `b`: by arrival order, then by request id. */
export function arrivedBefore(
  a: { arrivalOrder: number; requestId: string },
  b: { arrivalOrder: number; requestId: string },
): boolean {
  return a.arrivalOrder < b.arrivalOrder || (a.arrivalOrder === b.arrivalOrder && a.requestId < b.requestId)
}

/** A minimum heap whose items are their own handles: push, pop, remove and re-key in O(log n), peek in O(1). */
export class IndexedHeap<Item extends HeapItem> {
  #items: Item[] = []
  #keys: number[] = []

  /** Items held. */
  get size(): number {
    return this.#items.length
  }

  /** Every item held, in no particular order. */
  values(): IterableIterator<Item> {
    return this.#items.values()
  }

  /** The item with the smallest key, without removing it. */
  peek(): Item | undefined {
    return this.#items[0]
  }

  /**
   * Adds an item.
   *
   * @param key - any number but NaN, smaller goes first
   * @throws {InvariantError} `ORLA_INVARIANT` if the item is in a heap already
   */
  push(item: Item, key: number): void {
    assert(item.position === -1, 'an item was pushed twice', { requestId: item.requestId })
    this.#items.push(item)
    this.#keys.push(key)
    this.#rise(this.#items.length - 1, item, key)
  }

  /** Removes and returns the item with the smallest key. */
  pop(): Item | undefined {
    const top = this.#items[0]
    if (top !== undefined) this.remove(top)
    return top
  }

  /**
   * Removes an item from wherever it is.
   *
   * @throws {InvariantError} `ORLA_INVARIANT` if this heap does not hold it
   */
  remove(item: Item): void {
    const { position } = item
    assert(this.#items[position] === item, 'an item was removed from a heap that does not hold it', {
      requestId: item.requestId,
    })
    item.position = -1
    const last = this.#items.pop()!
    const lastKey = this.#keys.pop()!
    if (position < this.#items.length) this.#place(position, last, lastKey)
  }

  /**
   * Gives an item another key, other tie-breakers, or both: change the item's own fields just before.
   *
   * @throws {InvariantError} `ORLA_INVARIANT` if this heap does not hold it
   */
  rekey(item: Item, key: number): void {
    assert(this.#items[item.position] === item, 'an item was re-keyed in a heap that does not hold it', {
      requestId: item.requestId,
    })
    this.#place(item.position, item, key)
  }

  /**
   * Lets go of all items and holds these instead, in O(n).
   *
   * @param keys - one for each item
   * @throws {InvariantError} `ORLA_INVARIANT` if there are more or fewer keys than items
   */
  replaceAll(items: readonly Item[], keys: readonly number[]): void {
    assert(items.length === keys.length, 'a heap needs one key for each item')
    for (const item of this.#items) item.position = -1
    this.#items = [...items]
    this.#keys = [...keys]
    for (let i = 0; i < items.length; i++) items[i]!.position = i
    for (let i = (items.length - 2) >> 2; i >= 0; i--) this.#sink(i, this.#items[i]!, this.#keys[i]!)
  }

  /** Puts an item into the hole at `position`, whichever way it has to go from there. */
  #place(position: number, item: Item, key: number): void {
    const risenTo = this.#rise(position, item, key)
    if (risenTo === position) this.#sink(position, item, key)
  }

  #rise(from: number, item: Item, key: number): number {
    const items = this.#items
    const keys = this.#keys
    let hole = from
    while (hole > 0) {
      const parent = (hole - 1) >> 2
      const parentKey = keys[parent]!
      if (parentKey < key) break
      const above = items[parent]!
      if (parentKey === key && !arrivedBefore(item, above)) break
      items[hole] = above
      keys[hole] = parentKey
      above.position = hole
      hole = parent
    }
    items[hole] = item
    keys[hole] = key
    item.position = hole
    return hole
  }

  #sink(from: number, item: Item, key: number): void {
    const items = this.#items
    const keys = this.#keys
    const size = items.length
    let hole = from
    for (let first = 4 * hole + 1; first < size; first = 4 * hole + 1) {
      let least = first
      let leastKey = keys[first]!
      const end = Math.min(first + 4, size)
      for (let child = first + 1; child < end; child++) {
        const childKey = keys[child]!
        if (childKey < leastKey || (childKey === leastKey && arrivedBefore(items[child]!, items[least]!))) {
          least = child
          leastKey = childKey
        }
      }
      if (leastKey > key) break
      const below = items[least]!
      if (leastKey === key && !arrivedBefore(below, item)) break
      items[hole] = below
      keys[hole] = leastKey
      below.position = hole
      hole = least
    }
    items[hole] = item
    keys[hole] = key
    item.position = hole
  }
}
