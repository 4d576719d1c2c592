// How long runs stay away: durations of tools and pauses, by what is waited for
//
// Owns: one histogram for each tool (bounded; the one used longest ago goes first), and one over all.
// Does not own: what follows from a prediction (policies).
// Invariants
//   W1. At most `toolsMax` histograms of `bucketCount` numbers each, whatever names models make up.
//   W2. A tool with fewer than `samplesMin` observations is predicted by all tools together; with none at all, by
//       `priorMs`.

/** Upper bounds of the buckets grow by this factor, so a prediction is off by at most a quarter. */
const growth = 1.25
/** Upper bound of the first bucket, ms: shorter waits are all alike to a cache. */
const firstMs = 10
/** Covers 10 ms to some 13 hours. */
const bucketCount = 70
const toolsMax = 1_024
/** Below this a tool's own history says less than everybody's. */
const samplesMin = 8
/** A wait of which nothing is known, ms: the median of public coding-agent traces is 10 s, most tools take less. */
const priorMs = 2_000
/** Observations count half after this many more, so that a changed tool is believed. */
const halfLife = 500
/** A wait that outlasts all that was seen counts as so many, so that a single return does not make a rate. */
const unseen = 1

function bucketOf(ms: number): number {
  if (!(ms > firstMs)) return 0
  return Math.min(bucketCount - 1, Math.ceil(Math.log(ms / firstMs) / Math.log(growth)))
}

function upperMs(bucket: number): number {
  return firstMs * growth ** bucket
}

class Histogram {
  readonly #weights = new Float64Array(bucketCount)
  #total = 0
  #added = 0

  /** Observations as they count now. */
  get total(): number {
    return this.#total
  }

  add(ms: number): void {
    const bucket = bucketOf(ms)
    this.#weights[bucket]! += 1
    this.#total += 1
    if (++this.#added < halfLife) return
    this.#added = 0
    this.#total = 0
    for (let i = 0; i < bucketCount; i++) this.#total += this.#weights[i]! /= 2
  }

  /** Expected further wait after `elapsedMs`, and the share of such waits that end within `withinMs` more. */
  after(elapsedMs: number, withinMs: number): { remainingMs: number; endsWithin: number } {
    let weight = 0
    let sum = 0
    let within = 0
    for (let i = bucketOf(elapsedMs); i < bucketCount; i++) {
      const middle = Math.max(upperMs(i) * 0.9, elapsedMs) - elapsedMs
      weight += this.#weights[i]!
      sum += this.#weights[i]! * middle
      if (middle <= withinMs) within += this.#weights[i]!
    }
    // Longer than all that was seen: it may take as long again (Lindy's rule; the tails of these times are heavy).
    if (weight <= 0) return { remainingMs: Math.max(elapsedMs, firstMs), endsWithin: withinMs >= elapsedMs ? 0.5 : 0 }
    return { remainingMs: sum / weight, endsWithin: within / weight }
  }

  /** The most returns that a ms of keeping brings, after `elapsedMs`: over stopping times, P(ends by then) / E[kept]. */
  returnRate(elapsedMs: number): number {
    const from = bucketOf(elapsedMs)
    let rest = unseen
    for (let i = from; i < bucketCount; i++) rest += this.#weights[i]!
    const all = rest
    let kept = 0
    let best = 0
    for (let i = from; i < bucketCount; i++) {
      const weight = this.#weights[i]!
      if (weight <= 0) continue
      const lowerMs = Math.max(i === 0 ? 0 : upperMs(i - 1), elapsedMs)
      const middle = (Math.max(lowerMs, upperMs(i)) + lowerMs) / 2 - elapsedMs
      kept += weight * middle
      rest -= weight
      best = Math.max(best, (all - rest) / Math.max(1, kept + rest * middle))
    }
    return best > 0 ? best : 1 / Math.max(elapsedMs, firstMs)
  }
}

/** What is expected of a wait under way. */
export interface WaitForecast {
  /** Expected further wait, ms. */
  remainingMs: number
  /** Chance that it ends within the time asked for, 0..1. */
  endsWithin: number
}

/** Learns how long waits take and predicts the ones under way. */
export class WaitTimes {
  readonly #tools = new Map<string, Histogram>()
  readonly #all = new Histogram()

  /** Takes in a wait that ended. O(1). */
  observe(waitFor: string, durationMs: number): void {
    let tool = this.#tools.get(waitFor)
    if (tool === undefined) {
      tool = new Histogram()
      if (this.#tools.size >= toolsMax) this.#tools.delete(this.#tools.keys().next().value!)
    } else {
      this.#tools.delete(waitFor)
    }
    this.#tools.set(waitFor, tool)
    tool.add(durationMs)
    this.#all.add(durationMs)
  }

  /**
   * What to expect of a wait that has lasted `elapsedMs`. O(buckets).
   *
   * @param withinMs - the time for `endsWithin`
   */
  forecast(waitFor: string, elapsedMs: number, withinMs: number): WaitForecast {
    const own = this.#tools.get(waitFor)
    const history = own !== undefined && own.total >= samplesMin ? own : this.#all
    if (history.total > 0) return history.after(elapsedMs, withinMs)
    const remainingMs = Math.max(priorMs, elapsedMs)
    return { remainingMs, endsWithin: 1 - Math.exp(-withinMs / remainingMs) }
  }

  /**
   * Returns that keeping a context brings, at most, for each ms that it is kept, after a wait of `elapsedMs`: the
   * greatest, over times to give up, of P(wait ends by then) / E[time kept] (the Gittins index of the wait; Gittins,
   * "Bandit processes and dynamic allocation indices", 1979). Unlike the mean rest, it is not ruled by waits so long
   * that nobody would keep the context through them. O(buckets).
   */
  returnRate(waitFor: string, elapsedMs: number): number {
    const own = this.#tools.get(waitFor)
    const history = own !== undefined && own.total >= samplesMin ? own : this.#all
    return history.total > 0 ? history.returnRate(elapsedMs) : 1 / Math.max(priorMs, elapsedMs)
  }
}
