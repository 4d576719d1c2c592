// Supervisor
//
// Owns: which of its children are alive, the order in which they start and stop, and how often they may be restarted.
// Does not own: what a child does, or what it takes over from the one before it (its `start`).
// Source of strategies, kinds and intensity: Erlang/OTP, supervisor behaviour.
// Invariants
//   S1. Children start in order and stop in reverse order; those that restart together do so too.
//   S2. A child that fails for ever is started exactly `restartsMax` + 1 times; then all stop, and `gaveUp` hears it once.
//   S3. A failure that comes while another is handled waits for its turn.
//   S4. A child that throws while it stops does not keep the others from stopping.

import type { Clock } from '../src/clock.ts'
import type { Logger } from '../src/log.ts'

/**
 * Who restarts with a child that failed: only it; all; or it and those that started after it.
 */
export type SupervisionStrategy = 'one-for-one' | 'one-for-all' | 'rest-for-one'

/** A child under supervision. */
export interface ChildSpec {
  name: string
  /** `permanent` restarts whenever it ends, `transient` only if it failed, `temporary` never. */
  kind?: 'permanent' | 'transient' | 'temporary'
  /** Starts it, the first time and every time after. Throwing counts as a failure. */
  start(): RunningChild
}

/** A child that runs. */
export interface RunningChild {
  stop(): void
}

/** How a supervisor supervises. */
export interface SupervisorOptions {
  name: string
  strategy: SupervisionStrategy
  /** Restarts within `withinMs` that are tolerated, default 1. */
  restartsMax?: number
  /** Default 5,000 ms. */
  withinMs?: number
  clock: Clock
  log: Logger
  /** It failed more often than it may, and has stopped all. */
  gaveUp(error: unknown): void
}

interface Child {
  spec: ChildSpec
  running: RunningChild | undefined
}

interface Ending {
  name: string
  error: unknown
  failed: boolean
}

/** Starts, watches and restarts children. */
export class Supervisor {
  readonly #options: SupervisorOptions
  /** In order of start. */
  readonly #children = new Map<string, Child>()
  readonly #endings: Ending[] = []
  /** When restarts happened that still count, ms. */
  #restartsAtMs: number[] = []
  #restarts = 0
  #working = false
  #over = false

  constructor(options: SupervisorOptions) {
    this.#options = options
  }

  /** Restarts so far. */
  get restarts(): number {
    return this.#restarts
  }

  /** Names of the children that run, in order of start. */
  get running(): string[] {
    return [...this.#children].filter(([, { running }]) => running !== undefined).map(([name]) => name)
  }

  /** Adds a child and starts it, as the last. What its first start throws is thrown, and the child is not kept. */
  add(spec: ChildSpec): void {
    this.#children.set(spec.name, { spec, running: undefined })
    const wasWorking = this.#working
    this.#working = true
    try {
      this.#children.get(spec.name)!.running = spec.start()
    } catch (error) {
      this.#children.delete(spec.name)
      throw error
    } finally {
      this.#working = wasWorking
    }
    this.#work()
  }

  /** Stops a child for good. */
  remove(name: string): void {
    const child = this.#children.get(name)
    if (child === undefined) return
    this.#children.delete(name)
    this.#stop(child)
  }

  /** A child ended, with an error or by itself. One that is not known any more is of no interest. */
  ended(name: string, failure?: { error: unknown }): void {
    this.#endings.push({ name, error: failure?.error, failed: failure !== undefined })
    this.#work()
  }

  /** Stops all, the last first. */
  stop(): void {
    this.#over = true
    for (const child of [...this.#children.values()].reverse()) this.#stop(child)
    this.#children.clear()
  }

  #work(): void {
    if (this.#working) return
    this.#working = true
    try {
      for (let ending = this.#endings.shift(); ending !== undefined; ending = this.#endings.shift()) {
        if (!this.#over) this.#onEnded(ending)
      }
    } finally {
      this.#working = false
    }
  }

  #onEnded({ name, error, failed }: Ending): void {
    const child = this.#children.get(name)
    if (child === undefined) return
    const { kind = 'permanent' } = child.spec
    if (kind === 'temporary' || (kind === 'transient' && !failed)) return this.remove(name)
    const { clock, log, restartsMax = 1, withinMs = 5_000 } = this.#options
    const nowMs = clock.nowMs()
    this.#restartsAtMs = this.#restartsAtMs.filter((atMs) => nowMs - atMs < withinMs)
    if (this.#restartsAtMs.length >= restartsMax) {
      log.error({ supervisor: this.#options.name, child: name, error }, 'a supervisor gave up')
      this.stop()
      return this.#options.gaveUp(error)
    }
    this.#restartsAtMs.push(nowMs)
    this.#restarts++
    log.warn({ supervisor: this.#options.name, child: name, error }, 'a child is restarted')
    const together = this.#together(name)
    for (const each of [...together].reverse()) this.#stop(each)
    for (const each of together) {
      try {
        each.running = each.spec.start()
      } catch (startError) {
        // The rest of them start once this one has.
        this.#endings.unshift({ name: each.spec.name, error: startError, failed: true })
        return
      }
    }
  }

  /** The children that restart with one, in order of start. Those that a failed start left behind are among them. */
  #together(name: string): Child[] {
    const all = [...this.#children.values()]
    const at = all.findIndex(({ spec }) => spec.name === name)
    switch (this.#options.strategy) {
      case 'one-for-one':
        return [all[at]!]
      case 'one-for-all':
        return all
      case 'rest-for-one':
        return all.slice(at)
    }
  }

  #stop(child: Child): void {
    const { running } = child
    child.running = undefined
    try {
      running?.stop()
    } catch (error) {
      this.#options.log.error(
        { supervisor: this.#options.name, child: child.spec.name, error },
        'a child would not stop',
      )
    }
  }
}
