// Pilot of one backend's window
//
// Owns: the search for the window's size, and when the engine is asked how it is.
// Does not own: the window (backend actor), or the engine.
// Invariants
//   W1. The engine is asked only while requests are in flight, one question at a time.

import type { Clock, Timer } from '../src/clock.ts'
import { AdaptiveWindow, type EngineWord } from '../src/scheduling/adaptive-window.ts'
import type { AdaptiveWindowSettings } from '../src/schema/backend.ts'
import type { ServedTurn } from '../src/schema/queue-pace.ts'

/** What a pilot is made with. */
export interface WindowPilotInput {
  settings: AdaptiveWindowSettings
  /** Size to begin with, requests. */
  initial: number
  clock: Clock
  /** Asks the engine; undefined where it cannot be asked. */
  readonly ask: () => Promise<EngineWord> | undefined
  /** The window is to have another size. */
  resize(size: number): void
  /** Makes a timer's or a promise's work safe for the actor. */
  readonly guarded: (what: string, run: () => void) => () => void
}

/** Finds the size of a window while it is in use. */
export class WindowPilot {
  readonly #input: WindowPilotInput
  readonly #window: AdaptiveWindow
  #inFlight = 0
  #timer: Timer | undefined
  #asking = false
  #stopped = false

  constructor(input: WindowPilotInput) {
    this.#input = input
    this.#window = new AdaptiveWindow(input.settings, input.initial)
    if (this.#window.size !== input.initial) input.resize(this.#window.size)
  }

  /** A request was granted: so many are in flight now. */
  granted(inFlight: number): void {
    this.#inFlight = inFlight
    this.#arm()
  }

  /**
   * A request gave its slot back.
   *
   * @param served - how it went; undefined if it was not answered
   * @param inFlightBefore - requests in flight when it was granted, this one included
   * @param inFlight - requests in flight now
   * @param faulty - whether the engine is to blame that it was not answered
   */
  ended(served: ServedTurn | undefined, inFlightBefore: number, inFlight: number, faulty: boolean): void {
    this.#inFlight = inFlight
    const nowMs = this.#input.clock.nowMs()
    if (served !== undefined) {
      const sample = { ...served, inFlight: (inFlightBefore + inFlight + 1) / 2 }
      if (this.#window.served(sample, nowMs)) this.#resize()
    } else if (faulty && this.#window.failed(nowMs)) {
      this.#resize()
    }
  }

  /** Ends it: the window stays as it is. */
  stop(): void {
    this.#stopped = true
    this.#input.clock.clearTimer(this.#timer)
  }

  #resize(): void {
    if (!this.#stopped) this.#input.resize(this.#window.size)
  }

  #arm(): void {
    const { settings, clock, guarded } = this.#input
    if (settings.askEveryMs === 0 || this.#timer !== undefined || this.#asking || this.#stopped) return
    this.#timer = clock.setTimer(
      settings.askEveryMs,
      guarded('window timer', () => this.#ask()),
    )
  }

  #ask(): void {
    this.#timer = undefined
    if (this.#inFlight === 0) return
    const { ask, guarded } = this.#input
    const answer = ask()
    if (answer === undefined) return
    this.#asking = true
    const over = (word: EngineWord | undefined): void => {
      this.#asking = false
      if (this.#stopped) return
      if (word !== undefined) this.#window.told(word)
      this.#arm()
    }
    answer.then(
      (word) => guarded('window answer', () => over(word))(),
      // An engine that does not answer this question may well answer others.
      () => guarded('window answer', () => over(undefined))(),
    )
  }
}
