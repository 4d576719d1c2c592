// The clock
//
// Owns: time and chance. Nothing else in the package calls Date.now, performance.now, setTimeout or Math.random, so
// the same code runs in real time and in virtual time, and one seed gives one outcome.
// Invariants
//   C1. nowMs never goes back.
//   C2. Timers of a virtual clock fire in order of (time due, order set); none fires early, none twice.
//   C3. A virtual clock lets every microtask and every immediate that was pending finish before time moves.

import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'

/** A source of numbers in [0, 1). */
export type Random = () => number

/** A pending timer. Opaque. */
export type Timer = { readonly timer: unknown }

/** Time and chance, as everything in the runtime sees them. */
export interface Clock {
  /** True if time only moves when it is told to. */
  readonly virtual: boolean
  /** Seed of every random stream of this clock. Printed with failures, so that they can be replayed. */
  readonly seed: number
  /** Milliseconds since the clock was made, monotonic, fractional. */
  nowMs(): number
  /** Milliseconds since 1970, for logs and file names only. Never used for durations. */
  epochMs(): number
  /** Calls `callback` once, `delayMs` from now. Delays above 2^31-1 ms are honoured, not fired at once. */
  setTimer(delayMs: number, callback: () => void): Timer
  /** Forgets a timer; does nothing if it has fired. */
  clearTimer(timer: Timer | undefined): void
  /** A random stream of its own for `label`: a draw more in one subsystem does not disturb another. */
  random(label: string): Random
}

/** setTimeout fires at once above this. */
const timeoutMsMax = 2 ** 31 - 1

/** Milliseconds to the microsecond: enough for every figure that is reported, and it stays short. */
export function roundMs(ms: number): number {
  return Math.round(ms * 1000) / 1000
}

/** A delay as timers take it: what is negative, or no number, is due at once. */
function dueDelay(delayMs: number): number {
  return delayMs > 0 ? delayMs : 0
}

/** 32-bit FNV-1a: turns (seed, label) into the seed of a stream. */
function hashLabel(seed: number, label: string): number {
  let hash = 0x811c9dc5 ^ seed
  for (let i = 0; i < label.length; i++) {
    hash ^= label.charCodeAt(i)
    hash = Math.imul(hash, 0x01000193)
  }
  return hash | 0
}

/** A seeded stream of numbers in [0, 1) (xoroshiro128+). Equal seed and label give equal numbers. */
export function randomStream(seed: number, label: string): Random {
  const generator = xoroshiro128plus(hashLabel(seed, label))
  return () => uniformFloat64(generator)
}

/**
 * The computer's own time.
 *
 * @param options.seed - seed of the random streams; drawn from the system when absent
 * @param options.originMs - where its zero is, as {@link clockOrigin} of another thread's clock says; default now
 */
export function realClock(options: { seed?: number; originMs?: number } = {}): Clock {
  const seed = options.seed ?? Math.floor(Math.random() * 2 ** 31)
  const startedAtMs = options.originMs === undefined ? performance.now() : options.originMs - performance.timeOrigin
  return {
    virtual: false,
    seed,
    nowMs: () => performance.now() - startedAtMs,
    epochMs: () => Date.now(),
    setTimer(delayMs, callback) {
      const holder: { timer: NodeJS.Timeout } = { timer: undefined as unknown as NodeJS.Timeout }
      const arm = (remainingMs: number): void => {
        const stepMs = Math.min(dueDelay(remainingMs), timeoutMsMax)
        holder.timer = setTimeout(() => {
          if (remainingMs > stepMs) arm(remainingMs - stepMs)
          else callback()
        }, stepMs)
      }
      arm(delayMs)
      return holder
    },
    clearTimer(timer) {
      if (timer !== undefined) clearTimeout(timer.timer as NodeJS.Timeout)
    },
    random: (label) => randomStream(seed, label),
  }
}

/** The instant at which a real clock reads zero, ms since 1970: threads whose clocks share it read the same time. */
export function clockOrigin(clock: Clock): number {
  return performance.timeOrigin + performance.now() - clock.nowMs()
}

interface VirtualTimer {
  atMs: number
  order: number
  callback: (() => void) | undefined
}

/** A clock that its owner turns. */
export interface VirtualClock extends Clock {
  /** Fires every timer due within the next `ms`, in order, and stops there. Microtasks finish between timers. */
  advance(ms: number): Promise<void>
  /** Turns the clock until `done` settles, and returns or throws what it settled to. */
  run<T>(done: Promise<T>): Promise<T>
  /** Turns the clock until no timer is pending. */
  runAll(): Promise<void>
  /** Timers that are pending. */
  readonly pendingTimers: number
}

/** A run of this many timers without any progress of time is taken for a loop. */
const timersAtOneInstantMax = 10_000_000

/**
 * A virtual clock: two thousand requests finish in seconds, and the same seed gives the same outcome.
 *
 * @param options.seed - seed of all random streams, default 1
 * @param options.epochMs - what `epochMs` reads at time zero, default 2026-01-01
 */
export function virtualClock(options: { seed?: number; epochMs?: number } = {}): VirtualClock {
  const seed = options.seed ?? 1
  const epochMs = options.epochMs ?? Date.UTC(2026, 0, 1)
  const timers = new TimerHeap()
  let nowMs = 0
  let order = 0

  /** One turn of the event loop: every pending microtask, and what those queued, is done after it (C3). */
  const settle = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve))

  const fireNext = (): void => {
    const timer = timers.pop()
    if (timer === undefined) return
    if (timer.atMs > nowMs) nowMs = timer.atMs
    const { callback } = timer
    timer.callback = undefined
    callback?.()
  }

  return {
    virtual: true,
    seed,
    nowMs: () => nowMs,
    epochMs: () => epochMs + nowMs,
    setTimer(delayMs, callback) {
      const timer: VirtualTimer = { atMs: nowMs + dueDelay(delayMs), order: order++, callback }
      timers.push(timer)
      return { timer }
    },
    clearTimer(handle) {
      if (handle === undefined) return
      const timer = handle.timer as VirtualTimer
      if (timer.callback === undefined) return
      timer.callback = undefined
      timers.forget()
    },
    random: (label) => randomStream(seed, label),
    get pendingTimers() {
      return timers.live
    },
    async advance(ms) {
      const untilMs = nowMs + ms
      await settle()
      for (let next = timers.peek(); next !== undefined && next.atMs <= untilMs; next = timers.peek()) {
        fireNext()
        await settle()
      }
      nowMs = Math.max(nowMs, untilMs)
    },
    async run<T>(done: Promise<T>): Promise<T> {
      let settled = false
      const mark = (): void => {
        settled = true
      }
      done.then(mark, mark)
      await settle()
      let atOneInstant = 0
      while (!settled) {
        const next = timers.peek()
        if (next === undefined) {
          // Nothing will ever move again unless something outside virtual time is under way: give it one more turn.
          await settle()
          if (!settled && timers.peek() === undefined) {
            throw new Error(`virtual time stands still at ${nowMs} ms with no timer pending (seed ${seed})`)
          }
          continue
        }
        atOneInstant = next.atMs > nowMs ? 0 : atOneInstant + 1
        if (atOneInstant > timersAtOneInstantMax) throw new Error(`timers loop at ${nowMs} ms (seed ${seed})`)
        fireNext()
        await settle()
      }
      return await done
    },
    async runAll() {
      await settle()
      while (timers.peek() !== undefined) {
        fireNext()
        await settle()
      }
    },
  }
}

/** A binary heap of timers by (atMs, order). Cleared timers stay until they surface, or until they are the majority. */
class TimerHeap {
  #items: VirtualTimer[] = []
  #dead = 0

  get live(): number {
    return this.#items.length - this.#dead
  }

  push(timer: VirtualTimer): void {
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

  peek(): VirtualTimer | undefined {
    while (this.#items.length > 0 && this.#items[0]!.callback === undefined) {
      this.#take()
      this.#dead--
    }
    return this.#items[0]
  }

  pop(): VirtualTimer | undefined {
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

  #take(): VirtualTimer {
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

function before(a: VirtualTimer, b: VirtualTimer): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}
