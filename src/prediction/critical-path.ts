// The longest way from a stage to the end of its run, in ms of service
//
// Owns: for each workflow definition, what remains after each stage, as the history of its stage classes says.
// Invariants
//   C1. What it says is at most `refreshEvery` observations old: a path is O(stages) to compute, a question O(1).

import { StageHistory } from './stage-history.ts'

/** Observations after which paths are computed again. */
const refreshEvery = 64
/** Service of a stage of which nothing is known, ms. */
const unknownStageMs = 1_000

/** What it needs to know of a stage. */
export interface PathStage {
  readonly stageClass: string
  /** Indexes of the stages that wait for it; all are larger than its own or come later in any order. */
  readonly dependents: readonly number[]
  readonly after: readonly number[]
}

interface Paths {
  version: number
  /** From the end of each stage to the end of its run, ms. */
  after: Float64Array
}

/** Critical paths of definitions. */
export class CriticalPaths {
  readonly #history: StageHistory
  readonly #paths = new WeakMap<readonly PathStage[], Paths>()

  constructor(history: StageHistory) {
    this.#history = history
  }

  /** Service on the longest way from the end of a stage to the end of its run, ms. */
  afterMs(stages: readonly PathStage[], index: number): number {
    let paths = this.#paths.get(stages)
    if (paths === undefined || this.#history.version - paths.version >= refreshEvery) {
      paths = { version: this.#history.version, after: this.#compute(stages) }
      this.#paths.set(stages, paths)
    }
    return paths.after[index]!
  }

  #compute(stages: readonly PathStage[]): Float64Array {
    const after = new Float64Array(stages.length)
    const left = stages.map(({ dependents }) => dependents.length)
    const ready: number[] = []
    for (const [i, count] of left.entries()) if (count === 0) ready.push(i)
    // From the last stages backwards; a loop, because chains are long.
    for (let i = ready.pop(); i !== undefined; i = ready.pop()) {
      const stage = stages[i]!
      const wholeMs = after[i]! + (this.#history.stageServiceLeftMs(stage.stageClass, 0) ?? unknownStageMs)
      for (const parent of stage.after) {
        after[parent] = Math.max(after[parent]!, wholeMs)
        if (--left[parent]! === 0) ready.push(parent)
      }
    }
    return after
  }
}
