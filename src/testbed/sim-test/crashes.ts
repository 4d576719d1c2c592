// Crashes of the runtime's own actors, on purpose
//
// Owns: when an actor may break, and which words in the log tell of it.
// Does not own: what becomes of it (supervisors).
// An actor runs code that it did not write in two places: policies, which it guards and reports to the log, and readings
// of a tool's definition. A policy that throws breaks nothing, so the log throws as well when it is told.
// Invariants
//   C1. Between two crashes there are `gapMs`, so that a long gap is always survived.
//   C2. What is logged without a crash is never taken for the words of one.

import type { CachePolicy } from '../../memory/cache-policy.ts'
import type { MemoryPolicy } from '../../memory/plan.ts'
import type { WindowPolicy } from '../../memory/window-policy.ts'
import type { SchedulingPolicy } from '../../scheduling/policy.ts'

/** What breaks an actor. */
class SimCrash extends Error {
  constructor() {
    super('broken on purpose')
    this.name = 'SimCrash'
  }
}

/** Words of actors that tell of their own end. */
const obituary = /(?:actor|manager) failed$/

/** Breaks actors, and knows the words that follow. */
export class SimCrashes {
  readonly #strikes: () => boolean
  readonly #nowMs: () => number
  readonly #gapMs: number
  #lastMs = -Infinity
  #armed = false
  #gaveUp = false

  constructor({ strikes, nowMs, gapMs }: { strikes: () => boolean; nowMs: () => number; gapMs: number }) {
    this.#strikes = strikes
    this.#nowMs = nowMs
    this.#gapMs = gapMs
  }

  /** Whether anything broke so far. */
  get any(): boolean {
    return this.#lastMs >= 0
  }

  /** Whether an actor broke too often, so that the runtime closed. */
  get gaveUp(): boolean {
    return this.#gaveUp
  }

  /** Breaks the actor that runs this, if a crash strikes. */
  break(): void {
    if (this.#nowMs() - this.#lastMs < this.#gapMs || !this.#strikes()) return
    this.#lastMs = this.#nowMs()
    this.#armed = true
    throw new SimCrash()
  }

  /** Hears what is logged as an error. Returns whether a crash explains it; throws where one goes on. */
  explains(error: unknown, message: string): boolean {
    if (this.#armed && !obituary.test(message)) {
      this.#armed = false
      throw new SimCrash()
    }
    if (!(error instanceof SimCrash)) return false
    this.#armed = false
    if (message.startsWith('an actor cannot be kept alive')) this.#gaveUp = true
    return true
  }
}

/** A policy that breaks its backend's actor where `crash` throws. */
export function breakablePolicy(policy: SchedulingPolicy, crash: () => void): SchedulingPolicy {
  if ('pick' in policy) {
    return {
      ...policy,
      pick(candidates, nowMs, level) {
        crash()
        return policy.pick(candidates, nowMs, level)
      },
    }
  }
  return {
    ...policy,
    key(request, level) {
      crash()
      return policy.key(request, level)
    },
    served(request, nowMs, level) {
      crash()
      policy.served?.(request, nowMs, level)
    },
  }
}

/** A memory policy that breaks the memory manager where `crash` throws. */
export function breakableMemory({ name, cache, window }: MemoryPolicy, crash: () => void): MemoryPolicy {
  return {
    name,
    ...(cache !== undefined && { cache: breakableCache(cache, crash) }),
    ...(window !== undefined && { window: () => breakableWindow(window(), crash) }),
  }
}

function breakableCache(policy: CachePolicy, crash: () => void): CachePolicy {
  return {
    ...policy,
    atBoundary(view) {
      crash()
      return policy.atBoundary?.(view)
    },
  }
}

function breakableWindow(policy: WindowPolicy, crash: () => void): WindowPolicy {
  return {
    ...policy,
    enter(run, view) {
      crash()
      return policy.enter(run, view)
    },
    review(view) {
      crash()
      return policy.review(view)
    },
  }
}
