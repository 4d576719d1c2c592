// Timing: median and spread of repetitions, after a warm-up.

/** Times of one case, in the unit of the caller. */
export interface Timing {
  median: number
  min: number
  max: number
}

/** Fewest repetitions that a median is taken of. */
const repetitionsMin = 5

/**
 * Times `work` several times over and says how long one operation takes.
 *
 * `prepare` runs untimed before each repetition and hands what it made to `work`. Warm-up repetitions come first, and
 * the garbage of one is collected before the next.
 *
 * @param options.operations - operations that one call of `work` does
 * @param options.repetitions - timed calls, at least 5, default 7
 * @param options.warmups - untimed calls before, default 2
 * @returns microseconds per operation
 */
export function measureUsPerOp<Input>(
  prepare: () => Input,
  work: (input: Input) => void,
  options: { operations: number; repetitions?: number; warmups?: number },
): Timing {
  for (let i = 0; i < (options.warmups ?? 2); i++) work(prepare())
  const timesUs: number[] = []
  for (let i = 0; i < Math.max(repetitionsMin, options.repetitions ?? 7); i++) {
    const input = prepare()
    globalThis.gc?.()
    const startedAtMs = performance.now()
    work(input)
    timesUs.push(((performance.now() - startedAtMs) * 1_000) / options.operations)
  }
  return summarize(timesUs)
}

/** Median, smallest and largest of at least one number. */
export function summarize(values: readonly number[]): Timing {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle]!
  const median = sorted.length % 2 === 1 ? upper : (sorted[middle - 1]! + upper) / 2
  return { median, min: sorted[0]!, max: sorted.at(-1)! }
}

/** The middle of at least one number. */
export function medianOf(values: readonly number[]): number {
  return summarize(values).median
}

/** The slope of the straight line that fits points best (least squares), in units of y for one of x; at least two points. */
export function slopeOf(points: readonly { x: number; y: number }[]): number {
  const mean = (of: (point: { x: number; y: number }) => number): number =>
    points.reduce((sum, point) => sum + of(point), 0) / points.length
  const meanX = mean(({ x }) => x)
  const meanY = mean(({ y }) => y)
  const covariance = mean(({ x, y }) => (x - meanX) * (y - meanY))
  return covariance / mean(({ x }) => (x - meanX) ** 2)
}

/** The spread of a timing as text: `0.21-0.25`. */
export function spreadOf(timing: Timing): string {
  return `${round(timing.min)}-${round(timing.max)}`
}

/** A number with three significant digits, or none behind the point from 100 on. */
export function round(value: number): number {
  return Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(3))
}
