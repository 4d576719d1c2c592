// Numbers drawn at random, from one stream a purpose.

import type { Random } from '../../src/clock.ts'

/** A standard normal number. */
function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
}

/** A lognormal whole number from 1 to `max`, by its median. */
export function lognormal(random: Random, median: number, sigma: number, max: number): number {
  return Math.max(1, Math.min(max, Math.round(median * Math.exp(sigma * normal(random)))))
}

/** The items in random order. */
export function shuffled<Item>(random: Random, items: readonly Item[]): Item[] {
  const order = items.map((item) => ({ item, at: random() }))
  return order.toSorted((a, b) => a.at - b.at).map(({ item }) => item)
}

/** The value that a share `p` of the values is below. */
export function percentile(values: readonly number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] ?? 0
}

/** Mean and standard deviation over seeds. */
export function spread(values: readonly number[]): { mean: number; deviation: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const square = values.reduce((sum, value) => sum + (value - mean) ** 2, 0)
  return { mean, deviation: Math.sqrt(square / Math.max(1, values.length - 1)) }
}
