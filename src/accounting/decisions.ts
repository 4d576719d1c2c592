// Decisions of where stages run, and what people think of what came of them
//
// Owns: the decisions of runs that are live, those of runs that ended lately, and the feedback on both.
// Does not own: accounts; mappers that learn and recorders, which hear of ends and of feedback.
// Invariants
//   D1. At most `decisionsMax` decisions of runs that are over; whole runs are forgotten, the one that ended first first.
//   D2. Feedback on a stage that has not ended is told when it ends; nothing is told twice.
//   D3. At most `feedbackPerDecisionMax` entries stay with a decision, and `ratedDecisionsMax` decisions that have any
//       are listed; the oldest go first.

import { OptionsError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { MappingOutcome } from '../mapping/mapper.ts'
import { TurnoverMap } from '../turnover-map.ts'
import type { AccountBook, StageEnd } from './accounts.ts'

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
  /** Where it ran last. */
  backend: string
  model: string
  /** Who decided: `explicit`, or the name of a mapper. */
  by: string
  reason: string
  /** Absent while it runs. */
  state?: StageEnd
  /** From the start of the stage to its end, ms; 0 while it runs. */
  durationMs: number
  /** Of its answers whose price is known, dollars; absent if of none. */
  costUsd?: number
  /** Oldest first, at most 16. */
  feedback: FeedbackEntry[]
}

/** A mapper that wants to know what came of its decision, and the decision as it made it. */
export interface Learner {
  readonly decision: MappingOutcome['decision']
  observe(outcome: MappingOutcome): void
}

/** Decisions of one run. */
export class RunDecisions {
  readonly runId: string
  readonly workflow: string
  readonly tenant: string
  /** The decision that was made last; each knows the one before it. */
  #last: Decision | undefined
  #count = 0
  /** Made once there are many: most runs have few stages, and an empty map takes more than they do. */
  #byStage: Map<string, Decision> | undefined
  /** Feedback on the run as a whole: for stages that end after it, too. */
  given: FeedbackEntry[] | undefined
  /** Decisions whose stages have not ended. */
  open = 0
  /** Of stages that are being mapped. */
  learners: Map<string, Learner> | undefined

  constructor(runId: string, workflow: string, tenant: string) {
    this.runId = runId
    this.workflow = workflow
    this.tenant = tenant
  }

  /** Decisions so far. */
  get count(): number {
    return this.#count
  }

  /** All decisions, in the order in which they were made. O(decisions). */
  all(): Decision[] {
    const list: Decision[] = []
    for (let each = this.#last; each !== undefined; each = each.before) list.push(each)
    return list.reverse()
  }

  /** A stage has its backend. Each stage is mapped once. */
  add(decision: Decision): void {
    decision.before = this.#last
    this.#last = decision
    this.#count++
    this.open++
    if (this.#byStage !== undefined) this.#byStage.set(decision.stage, decision)
    else if (this.#count > fewDecisions) this.#byStage = new Map(this.all().map((each) => [each.stage, each]))
  }

  /** The decision of a stage. */
  of(stage: string): Decision | undefined {
    if (this.#byStage !== undefined) return this.#byStage.get(stage)
    let each = this.#last
    while (each !== undefined && each.stage !== stage) each = each.before
    return each
  }
}

/** Decisions that are looked through as fast as they are looked up. */
const fewDecisions = 8

/** One decision. */
export class Decision {
  readonly run: RunDecisions
  readonly stage: string
  readonly reason: string
  /** Ms since its run did. */
  readonly startedAtMs: number
  readonly learner: Learner | undefined
  /** The decision before it in its run. */
  before: Decision | undefined = undefined
  /** The account of where it runs now. */
  book: AccountBook
  model: string
  state: StageEnd | undefined = undefined
  durationMs = 0
  costUsd: number | undefined = undefined
  feedback: FeedbackEntry[] | undefined = undefined

  constructor(
    run: RunDecisions,
    made: Pick<Decision, 'stage' | 'reason' | 'startedAtMs' | 'book' | 'model'>,
    learner: Learner | undefined,
  ) {
    this.run = run
    this.stage = made.stage
    this.reason = made.reason
    this.startedAtMs = made.startedAtMs
    this.book = made.book
    this.model = made.model
    this.learner = learner
  }

  /** As people see it. */
  record(): DecisionRecord {
    const { runId, workflow, tenant } = this.run
    const { stageClass, backend, variant: by } = this.book
    const { stage, model, reason, state, durationMs, costUsd, feedback = [] } = this
    return {
      runId,
      workflow,
      tenant,
      stage,
      stageClass,
      backend,
      model,
      by,
      reason,
      ...(state !== undefined && { state }),
      durationMs,
      ...(costUsd !== undefined && { costUsd }),
      feedback: structuredClone(feedback),
    }
  }
}

/** What decisions need. */
export interface DecisionsInput {
  /** A stage has ended. */
  ended(decision: Decision): void
  /** A stage that has ended got feedback. */
  told(decision: Decision, entry: FeedbackEntry): void
  /** Default `limits.decisionsMax`. */
  decisionsMax?: number
}

/** Keeps decisions. */
export class Decisions {
  readonly #input: DecisionsInput
  readonly #decisionsMax: number
  readonly #live = new TurnoverMap<string, RunDecisions>()
  readonly #over = new Map<string, RunDecisions>()
  /** Runs that are over, in the order in which they ended; those before `#oldest` were forgotten. A Map would find its
   *  first entry only after all that were deleted. */
  #order: RunDecisions[] = []
  #oldest = 0
  #overCount = 0
  /** Those that have feedback, in the order in which they got it last. */
  readonly #rated = new Set<Decision>()

  constructor(input: DecisionsInput) {
    this.#input = input
    this.#decisionsMax = input.decisionsMax ?? limits.decisionsMax
  }

  /** A run began. One that began before, on a thread that ended, begins with all of its stages. */
  began(runId: string, workflow: string, tenant: string): void {
    const run = new RunDecisions(runId, workflow, tenant)
    run.given = this.#live.get(runId)?.given
    this.#live.set(runId, run)
  }

  /** The decisions of a live run. */
  run(runId: string): RunDecisions | undefined {
    return this.#live.get(runId)
  }

  /** The decision of a stage of a live run. */
  of(runId: string, stage: string): Decision | undefined {
    return this.#live.get(runId)?.of(stage)
  }

  /** A stage ended. */
  ended(decision: Decision, state: StageEnd, durationMs: number): void {
    decision.state = state
    decision.run.open--
    decision.durationMs = durationMs
    this.#input.ended(decision)
    for (const entry of decision.feedback ?? []) this.#input.told(decision, entry)
    if (state !== 'completed') return
    for (const entry of decision.run.given ?? []) this.#give(decision, entry)
  }

  /** A run is over: what is known of it is kept for a while. */
  over(runId: string): void {
    const run = this.#live.get(runId)
    if (run === undefined) return
    this.#live.delete(runId)
    run.learners = undefined
    this.#over.set(runId, run)
    this.#order.push(run)
    this.#overCount += run.count
    // A run without decisions takes a place too.
    while (this.#overCount > this.#decisionsMax || this.#over.size > this.#decisionsMax) {
      const oldest = this.#order[this.#oldest++]!
      this.#over.delete(oldest.runId)
      this.#overCount -= oldest.count
    }
    if (this.#oldest < 1_024 || this.#oldest < this.#order.length / 2) return
    this.#order = this.#order.slice(this.#oldest)
    this.#oldest = 0
  }

  /**
   * Somebody thinks something of a run, or of one of its stages. On a run: goes to every stage that completes in it.
   *
   * @throws {OptionsError} `ORLA_OPTIONS`: a run that is not remembered, a stage without a decision
   */
  give(runId: string, stage: string | undefined, entry: FeedbackEntry): void {
    const run = this.#live.get(runId) ?? this.#over.get(runId)
    if (run === undefined) {
      const message = `run "${runId}" has not begun, or ended too long ago: feedback is taken while a run is live, and for the last ${this.#decisionsMax} stages of runs that are over`
      throw new OptionsError('feedback', [{ path: 'runId', code: 'unknown_run', message }])
    }
    if (stage !== undefined) {
      const decision = run.of(stage)
      if (decision !== undefined) return this.#give(decision, entry)
      const made = run.all().slice(0, 20)
      const known = made.map((each) => each.stage).join(', ')
      const message = `stage "${stage}" of run "${runId}" did not get a backend; those that did: ${known || 'none'}`
      throw new OptionsError('feedback', [{ path: 'stage', code: 'no_decision', message }])
    }
    if (this.#live.has(runId)) pushBounded((run.given ??= []), entry)
    for (const decision of run.all()) if (decision.state === 'completed') this.#give(decision, entry)
  }

  /** Decisions that have feedback, the one that got it last at the end. */
  rated(): DecisionRecord[] {
    return [...this.#rated].map((decision) => decision.record())
  }

  #give(decision: Decision, entry: FeedbackEntry): void {
    pushBounded((decision.feedback ??= []), entry)
    this.#rated.delete(decision)
    this.#rated.add(decision)
    if (this.#rated.size > limits.ratedDecisionsMax) this.#rated.delete(this.#rated.values().next().value!)
    if (decision.state !== undefined) this.#input.told(decision, entry)
  }
}

function pushBounded(entries: FeedbackEntry[], entry: FeedbackEntry): void {
  entries.push(entry)
  if (entries.length > limits.feedbackPerDecisionMax) entries.shift()
}
