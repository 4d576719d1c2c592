// A window that finds its size
//
// Owns: the size, and what throughput was at this size and at the one before.
// Does not own: what is in flight (request window), the engine, time.
// Invariants
//   A1. The size is a whole number from `min` to `max`, always.
//   A2. It grows only by what was measured with the window full: an idle backend teaches nothing.
//   A3. A request that the engine fails cuts the window at once. While the engine says that many requests wait in it,
//       that its pool is full or that it preempted some, the window does not grow.
// What is measured is how much of the work of one request alone is done at a time: the tokens of a request, each priced
// at what it takes an idle engine, over the time that it took, times how many were in flight. Raw latency would not do:
// lengths of prompts and answers spread over orders of magnitude. As long as the engine batches well this grows with the
// window; where it is full it stays, and where it evicts and computes again it falls. The search is a hill climb with
// multiplicative steps; the gradient of throughput takes the place of that of latency in Netflix's concurrency-limits.

import type { ServedTurn } from '../schema/queue-pace.ts'
import type { AdaptiveWindowSettings } from '../schema/backend.ts'

/** What an engine says of itself; what it does not say is absent. */
export interface EngineWord {
  /** Requests that wait inside of it. */
  waiting?: number
  /** Share of its KV pool in use by live requests, 0..1. */
  usedFraction?: number
  /** Preemptions since it started. */
  preemptions?: number
}

/** A turn that ended, as the window sees it. */
export interface WindowSample extends ServedTurn {
  /** Requests in flight, this one included: mean of when it was granted and when it ended. */
  inFlight: number
}

/** Size of a step upwards, and downwards. */
const step = 1.5
/** A step upwards is kept if throughput grew by at least this share of it. */
const gainMin = 0.15
/** Turns of a period, at least, and for each place of the window. */
const periodTurnsMin = 48
const periodTurnsPerPlace = 4
/** Share of the window that has to be in use for a period to say anything. */
const fullShare = 0.8
/** Periods that it rests where a step brought nothing, before it looks again. */
const restPeriods = 3
/** What an engine that fails keeps of its window. */
const cutFaulty = 0.7
/** Requests in an engine's own queue that are no sign of anything: some are always on their way in. */
const waitingSpared = 2
/** Share of the window that may wait in the engine: prompts wait there for the prefill of others. */
const waitingShare = 0.25
/** Share of the KV pool from which on nothing grows. */
const poolFull = 0.95
/** How fast what an idle engine takes is forgotten, for each turn: it may have been replaced by another. */
const drift = 1.0001

interface Rates {
  size: number
  /** Tokens of prompts that are not cached, and of answers, that were done in a ms. */
  prompt: number
  output: number
}

/** Finds how many requests an engine should have at once. */
export class AdaptiveWindow {
  readonly #settings: AdaptiveWindowSettings
  #size: number
  /** Least ms for a token of a prompt, and of an answer, that was ever seen, drifting upwards. */
  #promptMs = Infinity
  #outputMs = Infinity
  #startedAtMs = 0
  #turns = 0
  #inFlight = 0
  #durationMs = 0
  #prompt = 0
  #output = 0
  /** What was measured where the last step began; undefined before the first period, and after a cut. */
  #before: Rates | undefined
  #rests = 0
  /** The next step after a rest goes down. */
  #looksDown = false
  #mayGrow = true
  #preemptions: number | undefined

  constructor(settings: AdaptiveWindowSettings, initial: number) {
    this.#settings = settings
    this.#size = this.#clamped(initial)
  }

  /** Requests that may be in flight. */
  get size(): number {
    return this.#size
  }

  /** A turn was served. Returns true if the size is another now. */
  served({ uncachedTokens, outputTokens, ttftMs, durationMs, inFlight }: WindowSample, nowMs: number): boolean {
    this.#promptMs *= drift
    this.#outputMs *= drift
    if (ttftMs !== undefined && uncachedTokens > 0 && ttftMs > 0) {
      this.#promptMs = Math.min(this.#promptMs, ttftMs / uncachedTokens)
      if (outputTokens > 1 && durationMs > ttftMs)
        this.#outputMs = Math.min(this.#outputMs, (durationMs - ttftMs) / (outputTokens - 1))
    } else if (outputTokens > 0) {
      this.#outputMs = Math.min(this.#outputMs, durationMs / outputTokens)
    }
    // What began before this period ran under another size.
    if (durationMs <= 0 || nowMs - durationMs < this.#startedAtMs) return false
    this.#turns++
    this.#inFlight += inFlight
    this.#durationMs += durationMs
    this.#prompt += uncachedTokens
    this.#output += outputTokens
    if (this.#turns < Math.max(periodTurnsMin, periodTurnsPerPlace * this.#size)) return false
    const size = this.#size
    this.#review()
    this.#begin(nowMs)
    return this.#size !== size
  }

  /** The engine failed a request. Returns true if the size is another now. */
  failed(nowMs: number): boolean {
    return this.#cut(this.#size * cutFaulty, nowMs)
  }

  /** The engine says how it is: whether the next step may go up. */
  told({ waiting = 0, usedFraction = 0, preemptions }: EngineWord): void {
    const preempted = preemptions !== undefined && this.#preemptions !== undefined && preemptions > this.#preemptions
    this.#preemptions = preemptions
    this.#mayGrow =
      waiting <= Math.max(waitingSpared, this.#size * waitingShare) && usedFraction < poolFull && !preempted
  }

  #review(): void {
    const inFlight = this.#inFlight / this.#turns
    // Little's law: what is done in a time is what is in flight over how long it takes.
    const perMs = inFlight / this.#durationMs
    const now: Rates = { size: this.#size, prompt: this.#prompt * perMs, output: this.#output * perMs }
    if (inFlight < fullShare * this.#size) return
    const before = this.#before
    if (before === undefined || before.size === this.#size) {
      this.#before = now
      if (this.#rests-- > 0) return
      this.#set(this.#looksDown ? this.#size / step : this.#mayGrow ? this.#size * step : this.#size)
      this.#looksDown = !this.#looksDown && this.#size === now.size
      return
    }
    const gain = this.#throughput(now) / this.#throughput(before) - 1
    const kept = gain / (now.size / before.size - 1)
    if (now.size > before.size) {
      if (kept >= gainMin) {
        this.#before = now
        this.#set(this.#mayGrow ? this.#size * step : this.#size)
        return
      }
    } else if (kept < gainMin) {
      // Fewer places do as much: the rest of them only made requests wait for each other.
      this.#before = now
      this.#set(this.#size / step)
      return
    }
    this.#set(before.size)
    this.#before = undefined
    this.#rests = restPeriods
    this.#looksDown = now.size > before.size
  }

  #throughput({ prompt, output }: Rates): number {
    const price = (ms: number): number => (ms === Infinity ? 0 : ms)
    return Math.max(1e-12, prompt * price(this.#promptMs) + output * price(this.#outputMs))
  }

  #cut(size: number, nowMs: number): boolean {
    const before = this.#size
    this.#set(Math.min(size, before - 1))
    this.#before = undefined
    this.#rests = restPeriods
    this.#looksDown = false
    this.#begin(nowMs)
    return this.#size !== before
  }

  #begin(nowMs: number): void {
    this.#startedAtMs = nowMs
    this.#turns = this.#inFlight = this.#durationMs = this.#prompt = this.#output = 0
  }

  #set(size: number): void {
    const rounded = size > this.#size ? Math.ceil(size) : Math.floor(size)
    this.#size = this.#clamped(rounded)
  }

  #clamped(size: number): number {
    const { min, max } = this.#settings
    return Math.min(max, Math.max(min, Math.round(size)))
  }
}
