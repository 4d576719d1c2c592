// GPU
//
// Owns: the clock side of one GPU: requests on their way in, the one pending timer, the speed of each engine, and the
// order in which things happen that are due at one time.
// Does not own: what an engine does with its time (engine-core.ts).
// Invariants
//   G1. At most one timer of the clock is pending per GPU, and none while all of it is idle.
//   G2. Everything due is processed in order of time, each at its own time, however late the clock's timer fires.
//   G3. At one instant: ends of steps first, then their reports, then arrivals, then the next steps begin.
//   G4. Listeners are called outside of every state change, so they may submit, abort, flush and ask for stats. One that
//       throws keeps nobody else from being told; its error goes to whoever turned the clock.
// Whatever is due is also processed when somebody submits, aborts, flushes or asks, so that they see the state of now:
// on a real clock, whose timers are late, reports may come from within these calls.

import type { Clock, Timer } from '../../clock.ts'
import { InvariantError } from '../../errors.ts'
import type { EngineModel, EngineStats } from '../engine-model.ts'
import { EngineCore, type EngineCounters } from './engine-core.ts'
import { checkProfiles, type EngineProfile } from './profile.ts'
import { newSequence, type Sequence } from './sequence.ts'
import { graceMs } from './step-cost.ts'

/** How engines on one GPU share its time. Its memory they always share by their `kvTokens`. */
export type Sharing =
  /** Each runs as if it were alone. */
  | 'independent'
  /** While n engines are busy each runs at 1/n of its speed. */
  | 'time-sliced'

/** An engine model that also says what it computed. */
export interface StepEngineModel extends EngineModel {
  /** What the engine computed so far, in tokens, and its pool in blocks. */
  counters(): EngineCounters
}

/** One GPU with engines on it. */
export interface StepGpu {
  /**
   * The engine of that name.
   *
   * @throws {InvariantError} `ORLA_INVARIANT` if the GPU has no such engine
   */
  engine(name: string): StepEngineModel
}

/** What a GPU is made of. */
export interface GpuOptions {
  clock: Clock
  engines: Readonly<Record<string, EngineProfile>>
  /** Default `independent`. */
  sharing?: Sharing
  /** Simulate each decode step by itself instead of many in closed form. Same outcome, slower; for checking. */
  stepwise?: boolean
}

interface Placed {
  core: EngineCore
  /** Requests between submission and scheduler, in order of arrival. */
  arriving: Sequence[]
  /** Share of its full speed at which the engine runs. */
  speed: number
  /** At `anchorMs` the segment under way had done `anchorWorkMs`. */
  anchorMs: number
  anchorWorkMs: number
  busyMs: number
}

/**
 * A GPU that serves one or several models, each by an engine of its own.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` with every problem of every profile
 */
export function gpu(options: GpuOptions): StepGpu {
  checkProfiles(options.engines)
  const device = new Gpu(options)
  return { engine: (name) => device.engine(name) }
}

/** One engine that has a GPU of its own. Options as for {@link gpu}. */
export function stepEngineModel(options: {
  clock: Clock
  profile: EngineProfile
  stepwise?: boolean
}): StepEngineModel {
  const { profile, ...rest } = options
  return gpu({ ...rest, engines: { engine: profile } }).engine('engine')
}

class Gpu {
  readonly #clock: Clock
  readonly #sliced: boolean
  readonly #placed: Placed[] = []
  readonly #models = new Map<string, StepEngineModel>()
  /** Reports not yet delivered. */
  #outbox: { sequence: Sequence; report: () => void }[] = []
  #order = 0
  #nowMs: number
  #processing = false
  #timer: Timer | undefined
  #timerAtMs = Infinity
  /** What a listener threw, in a box because it may have thrown anything. */
  #thrown: { error: unknown } | undefined

  constructor(options: GpuOptions) {
    this.#clock = options.clock
    this.#sliced = options.sharing === 'time-sliced'
    this.#nowMs = options.clock.nowMs()
    for (const [name, profile] of Object.entries(options.engines)) {
      const outbox = (sequence: Sequence, report: () => void): void => void this.#outbox.push({ sequence, report })
      const core = new EngineCore({ profile, outbox, stepwise: options.stepwise ?? false })
      const placed: Placed = { core, arriving: [], speed: 1, anchorMs: 0, anchorWorkMs: 0, busyMs: 0 }
      this.#placed.push(placed)
      this.#models.set(name, this.#model(placed))
    }
  }

  engine(name: string): StepEngineModel {
    const model = this.#models.get(name)
    if (model === undefined) throw new InvariantError(`the GPU has no engine "${name}"`)
    return model
  }

  #model(placed: Placed): StepEngineModel {
    const { core } = placed
    return {
      submit: (request, listener) => {
        this.#process()
        const arrivesAtMs = this.#clock.nowMs() + core.profile.frontOverheadMs
        const sequence = newSequence(request, listener, this.#order++, arrivesAtMs)
        placed.arriving.push(sequence)
        this.#arm()
        return () => this.#abort(placed, sequence)
      },
      flush: () => {
        this.#process()
        if (core.running + core.waiting + placed.arriving.length > 0) return false
        core.flush()
        return true
      },
      stats: () => {
        this.#process()
        return this.#stats(placed)
      },
      counters: () => {
        this.#process()
        core.catchUp(this.#workMs(placed))
        return core.counters
      },
    }
  }

  #stats(placed: Placed): EngineStats {
    const { core } = placed
    core.catchUp(this.#workMs(placed))
    const { blocks, preemptions, promptTokens, cachedTokens, outputTokens } = core.counters
    const { blockTokens } = core.profile
    return {
      running: core.running,
      waiting: core.waiting + placed.arriving.length,
      kvTokensTotal: blocks.total * blockTokens,
      kvTokensLive: blocks.live * blockTokens,
      kvTokensCached: blocks.cached * blockTokens,
      preemptions,
      promptTokens,
      cachedTokens,
      outputTokens,
      busyMs: placed.busyMs + (core.busy ? this.#nowMs - placed.anchorMs : 0),
    }
  }

  #abort(placed: Placed, sequence: Sequence): void {
    if (sequence.state === 'ended') return
    this.#process()
    if (sequence.state === 'arriving') placed.arriving = placed.arriving.filter((other) => other !== sequence)
    placed.core.abort(sequence, this.#workMs(placed))
    this.#arm()
  }

  /** Work that the segment under way has done by now. */
  #workMs(placed: Placed): number {
    return placed.anchorWorkMs + (this.#nowMs - placed.anchorMs) * placed.speed
  }

  #boundaryAtMs(placed: Placed): number {
    return placed.anchorMs + (placed.core.nextAtWorkMs - placed.anchorWorkMs) / placed.speed
  }

  #nextAtMs(): number {
    let next = Infinity
    for (const placed of this.#placed) {
      next = Math.min(next, this.#boundaryAtMs(placed), placed.arriving[0]?.arrivesAtMs ?? Infinity)
    }
    return next
  }

  /** Processes everything due by now, in order (G2). Does nothing when called by a listener from within. */
  #process(): void {
    if (this.#processing) return
    const untilMs = this.#clock.nowMs()
    this.#processing = true
    for (let atMs = this.#nextAtMs(); atMs <= untilMs + graceMs; atMs = this.#nextAtMs()) {
      // Never back: a request that a listener submits late, on a real clock, is due at once.
      this.#nowMs = Math.max(this.#nowMs, atMs)
      this.#instant()
    }
    this.#nowMs = Math.max(this.#nowMs, untilMs)
    this.#processing = false
    this.#arm()
    const thrown = this.#thrown
    this.#thrown = undefined
    if (thrown !== undefined) throw thrown.error
  }

  /** All that is due at one instant (G3). */
  #instant(): void {
    const dueMs = this.#nowMs + graceMs
    for (const placed of this.#placed) {
      if (this.#boundaryAtMs(placed) > dueMs) continue
      placed.core.reach()
      if (!placed.core.busy) placed.busyMs += this.#nowMs - placed.anchorMs
    }
    this.#deliver()
    for (const placed of this.#placed) {
      let arrived = 0
      while (arrived < placed.arriving.length && placed.arriving[arrived]!.arrivesAtMs <= dueMs) {
        placed.core.enqueue(placed.arriving[arrived++]!, this.#workMs(placed))
      }
      if (arrived > 0) placed.arriving.splice(0, arrived)
    }
    for (const placed of this.#placed) {
      // An arrival may have cut the segment at this very instant: then it ends first.
      if (placed.core.busy) continue
      placed.core.start()
      placed.anchorMs = this.#nowMs
      placed.anchorWorkMs = 0
    }
    this.#setSpeeds()
    this.#deliver()
  }

  /** Sets each engine's speed to its share, from now on. */
  #setSpeeds(): void {
    if (!this.#sliced) return
    const busy = this.#placed.reduce((count, placed) => count + (placed.core.busy ? 1 : 0), 0)
    const speed = 1 / Math.max(1, busy)
    for (const placed of this.#placed) {
      if (placed.speed === speed) continue
      if (placed.core.busy) {
        placed.busyMs += this.#nowMs - placed.anchorMs
        placed.anchorWorkMs = this.#workMs(placed)
        placed.anchorMs = this.#nowMs
      }
      placed.speed = speed
    }
  }

  /** Calls listeners, in order (G4). What they cause is added behind. */
  #deliver(): void {
    for (let next = this.#outbox.shift(); next !== undefined; next = this.#outbox.shift()) {
      if (next.sequence.state === 'ended') continue
      try {
        next.report()
      } catch (error) {
        this.#thrown ??= { error }
      }
    }
  }

  /** Keeps the one timer at the next thing due (G1). */
  #arm(): void {
    if (this.#processing) return
    const atMs = this.#nextAtMs()
    if (atMs === this.#timerAtMs) return
    this.#clock.clearTimer(this.#timer)
    this.#timer = undefined
    this.#timerAtMs = atMs
    if (atMs === Infinity) return
    this.#timer = this.#clock.setTimer(atMs - this.#clock.nowMs(), () => {
      this.#timer = undefined
      this.#timerAtMs = Infinity
      this.#process()
    })
  }
}
