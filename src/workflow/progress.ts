// Progress of one run through its DAG
//
// Owns: which stages are settled, how, and which wait for how many others.
// Does not own: running them (stage actors), or the run's lifecycle (workflow machine).
// Invariants
//   P1. A stage becomes ready exactly once, when all its dependencies are settled and at least one completed.
//   P2. A stage all of whose dependencies were skipped is skipped, with the reason, without becoming ready.
//   P3. `unsettled` is the number of stages that are not settled; it only falls.

import { assert } from '../errors.ts'
import type { StageDefinition } from './definition.ts'

/** How a stage ended, as far as its dependents care. */
export type Settlement = 'completed' | 'skipped' | 'failed' | 'cancelled'

/** What follows from a stage being settled. */
export interface Consequences {
  /** Stages whose dependencies are done now. */
  ready: number[]
  /** Stages that are skipped with it, in order, each with the reason. */
  skipped: { stage: number; reason: string }[]
}

/** Progress of one run. */
export class RunProgress {
  readonly #stages: readonly StageDefinition[]
  readonly #settlement: (Settlement | undefined)[]
  /** Dependencies not yet settled, by stage. */
  readonly #waitingFor: number[]
  #unsettled: number

  constructor(stages: readonly StageDefinition[]) {
    this.#stages = stages
    this.#settlement = Array<Settlement | undefined>(stages.length)
    // A plain array: a typed one costs 0.2 us more for each run.
    this.#waitingFor = stages.map(({ after }) => after.length)
    this.#unsettled = stages.length
  }

  /** Stages that are not settled yet. */
  get unsettled(): number {
    return this.#unsettled
  }

  /** How a stage ended, or undefined while it has not. */
  settlement(stage: number): Settlement | undefined {
    return this.#settlement[stage]
  }

  /** Notes that a stage is settled, and says what follows. Failed and cancelled stages unlock nothing. */
  settle(stage: number, settlement: Settlement): Consequences {
    const consequences: Consequences = { ready: [], skipped: [] }
    this.#mark(stage, settlement)
    if (settlement === 'failed' || settlement === 'cancelled') return consequences
    const settled = [stage]
    for (let at = settled.pop(); at !== undefined; at = settled.pop()) {
      for (const dependent of this.#stages[at]!.dependents) {
        this.#waitingFor[dependent]!--
        if (this.#waitingFor[dependent]! > 0 || this.#settlement[dependent] !== undefined) continue
        const { after } = this.#stages[dependent]!
        if (after.some((dependency) => this.#settlement[dependency] !== 'skipped')) {
          consequences.ready.push(dependent)
          continue
        }
        const names = after.map((dependency) => this.#stages[dependency]!.name).join(', ')
        consequences.skipped.push({ stage: dependent, reason: `all it depends on was skipped: ${names}` })
        this.#mark(dependent, 'skipped')
        settled.push(dependent)
      }
    }
    return consequences
  }

  #mark(stage: number, settlement: Settlement): void {
    assert(this.#settlement[stage] === undefined, 'a stage was settled twice', { stage: this.#stages[stage]!.name })
    this.#settlement[stage] = settlement
    this.#unsettled--
  }
}
