// Problems of a file, collected: where each is and what to do about it.

import { OptionsError, type Issue } from '../../errors.ts'

/** Problems listed in one error; a file with more of them is not the file that was meant. */
const problemsMax = 20

/** Where in a file: line and column count from 1. */
export interface Place {
  line: number
  /** Column of a table, or key of a JSON line; absent where the line as a whole is wrong. */
  column?: string
}

/** The problems of one file. */
export class FileProblems {
  readonly #file: string
  readonly #issues: Issue[] = []

  constructor(file: string) {
    this.#file = file
  }

  /** How many there are. */
  get count(): number {
    return this.#issues.length
  }

  /**
   * Notes a problem.
   *
   * @throws {OptionsError} `ORLA_OPTIONS` once there are 20: reading on would not help anybody
   */
  add({ line, column }: Place, code: string, message: string): void {
    this.#issues.push({ path: `${this.#file}:${line}${column === undefined ? '' : `:${column}`}`, code, message })
    if (this.#issues.length >= problemsMax) this.throwIfAny()
  }

  /** @throws {OptionsError} `ORLA_OPTIONS` with every problem, if there is one */
  throwIfAny(): void {
    if (this.#issues.length > 0) throw new OptionsError(`workload file "${this.#file}"`, this.#issues)
  }
}
