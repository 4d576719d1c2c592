// Draws from published distributions.

import type { Random } from '../../clock.ts'

/** Draws one number. */
export type Sampler = (random: Random) => number

/** A standard normal number (Box and Muller). */
function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
}

/**
 * Lognormal numbers.
 *
 * @param median - above 0
 * @param sigma - standard deviation of the logarithm
 * @param max - larger draws become this
 */
export function lognormal(median: number, sigma: number, max = Infinity): Sampler {
  return (random) => Math.min(max, median * Math.exp(sigma * normal(random)))
}

/** Lognormal numbers by median and mean, as tool times are published. The mean must be above the median. */
export function lognormalByMean(median: number, mean: number): Sampler {
  return lognormal(median, Math.sqrt(2 * Math.log(mean / median)))
}

/** Probabilities of the percentiles that traces are published with. */
const published = [0.05, 0.25, 0.5, 0.75, 0.9, 0.99]

/**
 * Numbers whose percentiles are the published ones; logarithms are interpolated between them.
 *
 * @param percentiles - p5, p25, p50, p75, p90, p99, all above 0 and not falling
 * @param bounds - smallest and largest value
 */
export function byPercentiles(percentiles: readonly number[], bounds: { min: number; max: number }): Sampler {
  const at = [0, ...published, 1]
  const logs = [bounds.min, ...percentiles, bounds.max].map((value) => Math.log(value))
  return (random) => {
    const u = random()
    let i = 1
    while (at[i]! < u) i++
    const share = (u - at[i - 1]!) / (at[i]! - at[i - 1]!)
    return Math.exp(logs[i - 1]! + share * (logs[i]! - logs[i - 1]!))
  }
}

/**
 * Gamma numbers (Marsaglia and Tsang 2000).
 *
 * @param shape - above 0
 * @param mean - above 0
 */
export function gamma(shape: number, mean: number): Sampler {
  // Below 1 the method needs a shape one higher and a correction.
  const d = (shape < 1 ? shape + 1 : shape) - 1 / 3
  const c = 1 / Math.sqrt(9 * d)
  return (random) => {
    for (;;) {
      const x = normal(random)
      const v = (1 + c * x) ** 3
      if (v <= 0 || Math.log(1 - random()) >= 0.5 * x * x + d - d * v + d * Math.log(v)) continue
      const corrected = shape < 1 ? d * v * (1 - random()) ** (1 / shape) : d * v
      return (corrected * mean) / shape
    }
  }
}

/** A whole number of at least `min`. */
export function whole(value: number, min = 1): number {
  return Math.max(min, Math.round(value))
}

/** One of `items`, as likely as its weight says. Weights are at least 0 and not all 0. */
export function weighted<Item>(random: Random, items: readonly (readonly [item: Item, weight: number])[]): Item {
  let left = random() * items.reduce((sum, [, weight]) => sum + weight, 0)
  for (const [item, weight] of items) {
    left -= weight
    if (left < 0) return item
  }
  return items.at(-1)![0]
}
