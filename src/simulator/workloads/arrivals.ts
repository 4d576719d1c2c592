// When runs begin.

import type { Random } from '../../clock.ts'
import { gamma } from './distributions.ts'

/** When runs begin: open loops do not wait for anybody, the closed one keeps a number of runs going. */
export type Arrivals =
  /** The next run starts when one ends. */
  | { kind: 'closed'; concurrency: number }
  /**
   * Gaps are gamma distributed. `burstiness` is the shape: 1 is a Poisson process, less comes in bursts (vLLM's
   * benchmark calls it so); the coefficient of variation is 1 / sqrt(burstiness).
   */
  | { kind: 'open'; ratePerSecond: number; burstiness: number }
  /** At the times that the workload says. */
  | { kind: 'trace' }

/**
 * Milliseconds between the beginnings of runs, one after the other.
 *
 * @param ratePerSecond - runs a second, above 0
 * @param burstiness - shape of the gamma distribution, above 0; 1 for Poisson
 */
export function arrivalGaps(ratePerSecond: number, burstiness: number, random: Random): () => number {
  const meanMs = 1_000 / ratePerSecond
  if (burstiness === 1) return () => -Math.log(1 - random()) * meanMs
  const sample = gamma(burstiness, meanMs)
  return () => sample(random)
}
