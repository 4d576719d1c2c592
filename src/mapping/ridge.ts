// Ridge regression that learns one observation at a time
//
// Owns: the sums of one regression (its Gram matrix and moments).
// Invariants
//   G1. Bounded: d^2 + d numbers for d features, whatever comes.
//   G2. The matrix that is solved is positive definite: sums of squares, and the ridge on its diagonal.
//   G3. Made again from its data, it predicts the same numbers.

/** The sums of a regression as plain data. */
export interface RidgeData {
  /** Upper triangle of the Gram matrix, row by row: d (d + 1) / 2 numbers. */
  gram: number[]
  /** Sums of feature times target, d numbers. */
  moments: number[]
  /** Observations that are in the sums, older ones with less than 1. */
  weight: number
}

/**
 * Predicts one number from `dimension` features, linearly: what it has not seen, it predicts as 0.
 *
 * O(d^2) for an observation, O(d^3) for the first prediction after one, O(d^2) for the next.
 */
export class Ridge {
  readonly dimension: number
  readonly #ridge: number
  readonly #gram: Float64Array
  readonly #moments: Float64Array
  #weight = 0
  /** Lower triangle of the Cholesky factor, and the solution; made when asked for. */
  #solved: { factor: Float64Array; theta: Float64Array } | undefined

  /** @param ridge - what stands on the diagonal before anything was seen, above 0: how many observations a guess of 0 is worth */
  constructor(dimension: number, ridge: number) {
    this.dimension = dimension
    this.#ridge = ridge
    this.#gram = new Float64Array(dimension * dimension)
    this.#moments = new Float64Array(dimension)
  }

  /** Observations that count, older ones with less than 1. */
  get weight(): number {
    return this.#weight
  }

  /** Everything so far counts for `keep` of what it did, 0..1. What is not seen again is forgotten, and unsure again. */
  fade(keep: number): void {
    for (let i = 0; i < this.#gram.length; i++) this.#gram[i]! *= keep
    for (let i = 0; i < this.#moments.length; i++) this.#moments[i]! *= keep
    this.#weight *= keep
    this.#solved = undefined
  }

  /** Takes in one observation. Both must be finite. */
  observe(features: readonly number[], target: number): void {
    const { dimension } = this
    for (let i = 0; i < dimension; i++) {
      const x = features[i]!
      this.#moments[i]! += x * target
      for (let j = i; j < dimension; j++) this.#gram[i * dimension + j]! += x * features[j]!
    }
    this.#weight += 1
    this.#solved = undefined
  }

  /** What is expected of these features. */
  predict(features: readonly number[]): number {
    const { theta } = this.#solve()
    return features.reduce((sum, x, i) => sum + x * theta[i]!, 0)
  }

  /**
   * How unsure a prediction is, in standard deviations of one observation: sqrt(x' A^-1 x), the width that LinUCB
   * (Li et al. 2010) adds. Falls towards 0 as observations like this one come.
   */
  width(features: readonly number[]): number {
    const { factor } = this.#solve()
    const half = forward(factor, features, this.dimension)
    return Math.sqrt(half.reduce((sum, x) => sum + x * x, 0))
  }

  /** Its sums as plain data. */
  export(): RidgeData {
    const { dimension } = this
    const gram: number[] = []
    for (let i = 0; i < dimension; i++) {
      for (let j = i; j < dimension; j++) gram.push(this.#gram[i * dimension + j]!)
    }
    return { gram, moments: [...this.#moments], weight: this.#weight }
  }

  /** Takes over sums. False, and nothing taken, if they cannot be sums of squares of so many features. */
  import({ gram, moments, weight }: RidgeData): boolean {
    const { dimension } = this
    if (gram.length !== (dimension * (dimension + 1)) / 2 || moments.length !== dimension) return false
    const square = new Float64Array(dimension * dimension)
    let next = 0
    for (let i = 0; i < dimension; i++) for (let j = i; j < dimension; j++) square[i * dimension + j] = gram[next++]!
    if (cholesky(square, dimension, this.#ridge) === undefined) return false
    this.#gram.set(square)
    this.#moments.set(moments)
    this.#weight = weight
    this.#solved = undefined
    return true
  }

  #solve(): { factor: Float64Array; theta: Float64Array } {
    if (this.#solved !== undefined) return this.#solved
    const { dimension } = this
    // G2: without a positive pivot rounding has eaten the ridge, and a guess of 0 is better than noise.
    const factor = cholesky(this.#gram, dimension, this.#ridge) ?? identity(dimension, Math.sqrt(this.#ridge))
    const theta = backward(factor, forward(factor, this.#moments, dimension), dimension)
    this.#solved = { factor, theta }
    return this.#solved
  }
}

/** Lower factor of (upper triangle `gram` + ridge on the diagonal); undefined if that is not positive definite. */
function cholesky(gram: Float64Array, dimension: number, ridge: number): Float64Array | undefined {
  const factor = new Float64Array(dimension * dimension)
  for (let i = 0; i < dimension; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = gram[j * dimension + i]! + (i === j ? ridge : 0)
      for (let k = 0; k < j; k++) sum -= factor[i * dimension + k]! * factor[j * dimension + k]!
      if (i !== j) factor[i * dimension + j] = sum / factor[j * dimension + j]!
      else if (sum > 0 && sum < Infinity) factor[i * dimension + i] = Math.sqrt(sum)
      else return undefined
    }
  }
  return factor
}

function identity(dimension: number, value: number): Float64Array {
  const matrix = new Float64Array(dimension * dimension)
  for (let i = 0; i < dimension; i++) matrix[i * dimension + i] = value
  return matrix
}

/** Solves L y = b. */
function forward(factor: Float64Array, b: ArrayLike<number>, dimension: number): Float64Array {
  const y = new Float64Array(dimension)
  for (let i = 0; i < dimension; i++) {
    let sum = b[i]!
    for (let k = 0; k < i; k++) sum -= factor[i * dimension + k]! * y[k]!
    y[i] = sum / factor[i * dimension + i]!
  }
  return y
}

/** Solves L' x = y. */
function backward(factor: Float64Array, y: Float64Array, dimension: number): Float64Array {
  const x = new Float64Array(dimension)
  for (let i = dimension - 1; i >= 0; i--) {
    let sum = y[i]!
    for (let k = i + 1; k < dimension; k++) sum -= factor[k * dimension + i]! * x[k]!
    x[i] = sum / factor[i * dimension + i]!
  }
  return x
}
