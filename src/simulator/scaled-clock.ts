// A clock that runs faster or slower than another: the time factor of a simulated engine.

import type { Clock } from '../clock.ts'

/**
 * `clock`, with time that passes `factor` times as fast: what takes a second by the result takes 1/factor by `clock`.
 *
 * @param factor - above 0; 1 gives `clock` itself
 */
export function scaledClock(clock: Clock, factor: number): Clock {
  if (factor === 1) return clock
  return {
    virtual: clock.virtual,
    seed: clock.seed,
    nowMs: () => clock.nowMs() * factor,
    epochMs: () => clock.epochMs(),
    setTimer: (delayMs, callback) => clock.setTimer(delayMs / factor, callback),
    clearTimer: (timer) => clock.clearTimer(timer),
    random: (label) => clock.random(label),
  }
}
