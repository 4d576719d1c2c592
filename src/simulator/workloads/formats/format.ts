// What a format of workload files is.

import { limits } from '../../../limits.ts'
import type { Line } from '../lines.ts'
import type { FileProblems } from '../problems.ts'
import type { Workload } from '../workload.ts'

/** What reading needs besides the lines. */
export interface ReadOptions {
  problems: FileProblems
  /** Tokens of a hash block, for formats that have them. */
  blockTokens: number
}

/** What a reader makes: a workload without the name that its file gives it. */
export type ReadWorkload = Omit<Workload, 'name'>

/** One format. */
export interface WorkloadFormat {
  /** For people. */
  name: string
  /** True if a file that begins with this line is of this format. */
  begins(firstLine: string): boolean
  /** Reads all lines. Notes problems; what it returns counts only if there are none. */
  read(lines: AsyncIterable<Line>, options: ReadOptions): Promise<ReadWorkload>
}

/** Counts turns, so that no file fills the memory. */
export class TurnBudget {
  #turns = 0
  readonly #problems: FileProblems

  constructor(problems: FileProblems) {
    this.#problems = problems
  }

  /** Takes `turns` more. False, with a problem noted, if that is too many. */
  take(line: number, turns = 1): boolean {
    this.#turns += turns
    if (this.#turns <= limits.workloadTurnsMax) return true
    this.#problems.add({ line }, 'too_many_turns', `more than ${limits.workloadTurnsMax} turns: cut the file`)
    return false
  }
}
