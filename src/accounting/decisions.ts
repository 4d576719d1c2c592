// Decisions of where stages run, and what people think of what came of them
//
// Owns: the decisions of runs that are live, those of runs that ended lately, and the feedback on both.
// Does not own: accounts, and mappers that learn: both hear of feedback here.
// Invariants
//   D1. At most `decisionsMax` decisions of runs that are over; whole runs are forgotten, the one that ended first first.
//   D2. Feedback on a stage that has not ended is told when it ends; nothing is told twice.
//   D3. At most `feedbackPerDecisionMax` entries stay with a decision, and `ratedDecisionsMax` decisions that have any
//       are listed; the oldest go first. What went was told.

import { OptionsError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { StageEnd } from './accounts.ts'

/** What somebody thinks of a result. */
export interface FeedbackEntry {
  /** 0 (useless) to 1 (as wanted); absent where only labels were given. */
  rating?: number
  /** Words of one's own: `wrong-tone`, `resolved`. */
  labels: string[]
  /** When it was given, ms on the runtime's clock. */
  atMs: number
}

/** Where a stage ran, why, what came of it, and what people think of it. Plain data. */
export interface DecisionRecord {
  runId: string
  workflow: string
  tenant: string
  stage: string
  /** `workflow/stage` */
  stageClass: string
  backend: string
  model: string
  /** Who decided: `explicit`, or the name of a mapper. */
  by: string
  reason: string
  /** Undefined while it runs. */
  state: StageEnd | undefined
  /** From the start of the stage to its end, ms; 0 while it runs. */
  durationMs: number
  /** Of its answers whose price is known, dollars; absent if of none. */
  costUsd?: number
  feedback: FeedbackEntry[]
}

/** Decisions of one run. */
interface RunDecisions {
  readonly byStage: Map<string, DecisionRecord>
  /** Feedback on the run as a whole: for stages that end after it, too. */
  readonly given: FeedbackEntry[]
}

/** What decisions need. */
export interface DecisionsInput {
  /** A decision, whose stage has ended, got feedback. */
  told(decision: DecisionRecord, entry: FeedbackEntry): void
  /** Default `limits.decisionsMax`. */
  decisionsMax?: number
}

/** Keeps decisions. */
export class Decisions {
  readonly #input: DecisionsInput
  readonly #live = new Map<string, RunDecisions>()
  /** In the order in which their runs ended. */
  readonly #over = new Map<string, RunDecisions>()
  #overCount = 0
  /** Those that have feedback, in the order in which they got it last. */
  readonly #rated = new Set<DecisionRecord>()

  constructor(input: DecisionsInput) {
    this.#input = input
  }

  /** A run began, for the first time or again. */
  began(runId: string): void {
    this.#live.set(runId, { byStage: new Map(), given: this.#live.get(runId)?.given ?? [] })
  }

  /** A stage has its backend. */
  made(decision: DecisionRecord): void {
    this.#live.get(decision.runId)?.byStage.set(decision.stage, decision)
  }

  /** The decision of a stage of a run that is live. */
  of(runId: string, stage: string): DecisionRecord | undefined {
    return this.#live.get(runId)?.byStage.get(stage)
  }

  /** Decisions of a live run whose stages have not ended. */
  open(runId: string): DecisionRecord[] {
    return [...(this.#live.get(runId)?.byStage.values() ?? [])].filter(({ state }) => state === undefined)
  }

  /** A stage ended. */
  ended(decision: DecisionRecord, state: StageEnd, durationMs: number): void {
    decision.state = state
    decision.durationMs = durationMs
    for (const entry of decision.feedback) this.#tell(decision, entry)
    if (state !== 'completed') return
    for (const entry of this.#live.get(decision.runId)?.given ?? []) this.#give(decision, entry)
  }

  /** A run is over: what is known of it is kept for a while. */
  over(runId: string): void {
    const run = this.#live.get(runId)
    if (run === undefined) return
    this.#live.delete(runId)
    this.#over.set(runId, run)
    this.#overCount += run.byStage.size
    const { decisionsMax = limits.decisionsMax } = this.#input
    for (const [id, { byStage }] of this.#over) {
      // A run without decisions takes a place too.
      if (this.#overCount <= decisionsMax && this.#over.size <= decisionsMax) break
      this.#over.delete(id)
      this.#overCount -= byStage.size
    }
  }

  /**
   * Somebody thinks something of a run, or of one of its stages. On a run: goes to every stage that completes in it.
   *
   * @throws {OptionsError} `ORLA_OPTIONS`: a run that is not remembered, a stage without a decision
   */
  give(runId: string, stage: string | undefined, entry: FeedbackEntry): void {
    const run = this.#live.get(runId) ?? this.#over.get(runId)
    if (run === undefined) {
      const message = `run "${runId}" is not known, or ended too long ago: feedback is taken while a run is live and for the last ${this.#input.decisionsMax ?? limits.decisionsMax} stages of runs that are over`
      throw new OptionsError('feedback', [{ path: 'runId', code: 'unknown_run', message }])
    }
    if (stage !== undefined) {
      const decision = run.byStage.get(stage)
      if (decision !== undefined) return this.#give(decision, entry)
      const known = [...run.byStage.keys()].slice(0, 20).join(', ')
      const message = `stage "${stage}" of run "${runId}" did not get a backend; those that did: ${known || 'none'}`
      throw new OptionsError('feedback', [{ path: 'stage', code: 'no_decision', message }])
    }
    if (this.#live.has(runId)) pushBounded(run.given, entry)
    for (const decision of run.byStage.values()) if (decision.state === 'completed') this.#give(decision, entry)
  }

  /** Decisions that have feedback, the one that got it last at the end. */
  rated(): DecisionRecord[] {
    return [...this.#rated].map((decision) => structuredClone(decision))
  }

  #give(decision: DecisionRecord, entry: FeedbackEntry): void {
    pushBounded(decision.feedback, entry)
    this.#rated.delete(decision)
    this.#rated.add(decision)
    if (this.#rated.size > limits.ratedDecisionsMax) this.#rated.delete(this.#rated.values().next().value!)
    if (decision.state !== undefined) this.#tell(decision, entry)
  }

  #tell(decision: DecisionRecord, entry: FeedbackEntry): void {
    this.#input.told(decision, entry)
  }
}

function pushBounded(entries: FeedbackEntry[], entry: FeedbackEntry): void {
  entries.push(entry)
  if (entries.length > limits.feedbackPerDecisionMax) entries.shift()
}
