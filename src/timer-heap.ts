// Timers in the order in which they are due
//
// Owns: which timers are pending, and which of them is due first.
// Does not own: what time it is (clock).
// Invariants
//   H1. `pop` gives the timer that is due first; of two due at one instant the one set first.
//   H2. A timer that was cleared is not given, and keeps nothing alive.

/** A timer that is set. It is its own handle. */
export class PendingTimer {
  readonly atMs: number
  readonly order: number
  /** Undefined once it has fired or was cleared. */
  callback: (() => void) | undefined

  constructor(atMs: number, order: number, callback: () => void) {
    this.atMs = atMs
    this.order = order
    this.callback = callback
  }

  /** What handles of timers have. */
  get timer(): unknown {
    return this
  }

  fire(): void {
    const { callback } = this
    this.callback = undefined
    callback?.()
  }
}

/** A binary heap of timers by (atMs, order). Cleared timers stay until they surface, or until they are the majority. */
export class TimerHeap {
  #items: PendingTimer[] = []
  #dead = 0

  get live(): number {
    return this.#items.length - this.#dead
  }

  push(timer: PendingTimer): void {
    const items = this.#items
    items.push(timer)
    let i = items.length - 1
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!before(timer, items[parent]!)) break
      items[i] = items[parent]!
      i = parent
    }
    items[i] = timer
  }

  peek(): PendingTimer | undefined {
    while (this.#items.length > 0 && this.#items[0]!.callback === undefined) {
      this.#take()
      this.#dead--
    }
    return this.#items[0]
  }

  pop(): PendingTimer | undefined {
    return this.peek() === undefined ? undefined : this.#take()
  }

  /** Notes that one more timer in the heap is dead, and sweeps when more than half are. */
  forget(): void {
    this.#dead++
    if (this.#dead < 1024 || this.#dead * 2 < this.#items.length) return
    const alive = this.#items.filter((timer) => timer.callback !== undefined)
    this.#items = []
    this.#dead = 0
    for (const timer of alive) this.push(timer)
  }

  #take(): PendingTimer {
    const items = this.#items
    const top = items[0]!
    const last = items.pop()!
    const n = items.length
    if (n > 0) {
      let i = 0
      for (;;) {
        let child = 2 * i + 1
        if (child >= n) break
        if (child + 1 < n && before(items[child + 1]!, items[child]!)) child++
        if (!before(items[child]!, last)) break
        items[i] = items[child]!
        i = child
      }
      items[i] = last
    }
    return top
  }
}

function before(a: PendingTimer, b: PendingTimer): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}
