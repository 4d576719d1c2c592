// Workflow actor: one run
//
// Owns: a run's machine, its progress through the DAG, the results and reports of its stages, its transition numbers,
// its deadline, and the root of its cancellation tree.
// Does not own: what a stage does (stage actors), where and when requests run (mapper, backends).
// In:  start, cancel, deadline; stages that settle   Out: transitions; one outcome
// Invariants
//   W1. `seq` counts up by one with each transition; the last one is run.completed or run.failed, and nothing follows.
//   W2. A stage starts once, when its dependencies are done; none starts once the run is stopping.
//   W3. The outcome is given exactly once, after every stage that was alive has settled.
//   W4. When the outcome is given, nothing of the run is left: no timer, listener, lease or entry.

import { createActor, type ActorRefFrom, type AnyActorRef } from 'xstate'
import { workflowMachine, type RunEffects, type RunEvent as MachineEvent } from '../machines/workflow.ts'
import { roundMs, type Timer } from '../src/clock.ts'
import { CancelledError, StageError, toOrlaError, type OrlaError } from '../src/errors.ts'
import { Feed } from '../src/feed.ts'
import type { Logger } from '../src/log.ts'
import { commonPrefix, type ContextChain } from '../src/prompts/chain.ts'
import type { DeltaChannel } from '../src/schema/chat.ts'
import type { Message } from '../src/schema/message.ts'
import type { RunState, Transition, RunEvent } from '../src/schema/transition.ts'
import { joinConversations, resultsByName, stageContext } from '../src/workflow/context.ts'
import type { StageContext, StageDefinition, WorkflowDefinition } from '../src/workflow/definition.ts'
import { RunProgress, type Settlement } from '../src/workflow/progress.ts'
import { RunBudget } from '../src/mapping/budget.ts'
import { sumCosts, emptyReport, type RunOutcome, type StageReport } from '../src/workflow/report.ts'
import type { CacheBody, RunMessage, StageMessage } from './messages.ts'
import type { StageHost, StageServices, TransitionBody } from './stage-host.ts'
import { flatMachineLogic } from './machine-logic.ts'
import { StageActor } from './stage.ts'

/** What a run is made with. */
export interface WorkflowInput {
  runId: string
  definition: WorkflowDefinition
  /** Identifies the definition within the runtime: two workflows may have one name. */
  definitionId: string
  tenant: string
  priority: number
  /** Ms from start; undefined without a deadline. */
  deadlineMs: number | undefined
  /** When it should be done, ms from its start; nothing happens if it is not. */
  targetMs?: number | undefined
  /** What it may spend, dollars. */
  budgetUsd?: number | undefined
  /** The run began before, on a thread that ended. */
  again?: RunAgain | undefined
}

/** What is kept of a run that is started again. */
export interface RunAgain {
  /** Number of its last transition. */
  seq: number
  /** When it first started, ms on the runtime's clock. */
  startedAtMs: number
  reason: string
}

/** What a run needs of the runtime. */
export interface WorkflowServices extends StageServices {
  /** The actor that hears of errors of the run's machine. */
  root: AnyActorRef
  log: Logger
  /** Takes every transition, before anybody else sees it, and when it was, ms on the runtime's clock. */
  transition(transition: Transition, nowMs: number): void
  /** The feed of the whole runtime. */
  feed: Feed
  /** The run is over: forget it. */
  ended(outcome: RunOutcome, definitionId: string): void
}

/** What `machines/workflow.ts` draws, as the actor of each run walks it. */
const runLogic = flatMachineLogic<{ effects: RunEffects }, MachineEvent, { effects: RunEffects }>(workflowMachine)

/** One run of a workflow. */
export class WorkflowActor implements RunEffects, StageHost {
  readonly services: WorkflowServices
  readonly runId: string
  readonly workflow: string
  readonly definitionId: string
  readonly tenant: string
  readonly priority: number
  readonly startedAtMs: number
  readonly deadlineAtMs: number
  readonly budget: RunBudget
  readonly #definition: WorkflowDefinition
  #input: unknown
  readonly #machine: ActorRefFrom<typeof runLogic>
  readonly #progress: RunProgress
  readonly #results: unknown[]
  readonly #reports: (StageReport | undefined)[]
  /** By stage; most runs keep none. */
  #conversations: Map<number, readonly Message[]> | undefined
  /** Stages that began and have not settled, by index. */
  readonly #alive: (StageActor | undefined)[]
  /** Last prompt by backend and model, of which there are few: what of the next one the engine may have cached. */
  #chains: { backend: string; model: string; chain: ContextChain }[] | undefined
  /** Stages whose dependencies are done and that did not start yet. Drained by a loop, so that a long chain of stages
   *  that settle at once does not nest. */
  readonly #ready: number[] = []
  #draining = false
  #feed: Feed | undefined
  #deadlineTimer: Timer | undefined
  #seq: number
  readonly #again: RunAgain | undefined
  #attainedTokens = 0
  /** Above 0 while a transition is on its way to those who hear it. */
  #emitting = 0
  readonly #cache: CacheBody[] = []
  #state: RunState = 'pending'
  #error: OrlaError | undefined
  #begun = false
  #over = false

  constructor(input: WorkflowInput, services: WorkflowServices) {
    const { clock } = services
    this.services = services
    this.runId = input.runId
    this.workflow = input.definition.name
    this.definitionId = input.definitionId
    this.tenant = input.tenant
    this.priority = input.priority
    this.startedAtMs = input.again?.startedAtMs ?? clock.nowMs()
    this.#again = input.again
    this.#seq = input.again?.seq ?? 0
    this.budget = new RunBudget(input.budgetUsd ?? Infinity)
    this.deadlineAtMs = this.startedAtMs + Math.min(input.deadlineMs ?? Infinity, input.targetMs ?? Infinity)
    this.#definition = input.definition
    this.#progress = new RunProgress(input.definition.stages)
    const { length } = input.definition.stages
    this.#results = blank(length)
    this.#reports = blank(length)
    this.#alive = blank(length)
    // `parent` shares the root's system: half the memory of an actor with a system of its own, and its errors arrive
    // at the root. The root does not keep a list of its runs: spawning into one costs more with every sibling.
    this.#machine = createActor(runLogic, { input: { effects: this }, parent: services.root })
    if (input.deadlineMs !== undefined) {
      const { deadlineMs } = input
      this.#deadlineTimer = clock.setTimer(this.startedAtMs + deadlineMs - clock.nowMs(), () =>
        this.cancel(new CancelledError('deadline', `the run's deadline of ${deadlineMs} ms passed`)),
      )
    }
  }

  get attainedTokens(): number {
    return this.#attainedTokens
  }

  get tokensWatched(): boolean {
    return this.services.feed.observed || (this.#feed?.observed ?? false)
  }

  /** The run's own feed. Made when first asked for: a run that nobody watches has none. */
  get feed(): Feed {
    this.#feed ??= new Feed()
    if (this.#over) this.#feed.close()
    return this.#feed
  }

  /** Begins, with an input that was checked. */
  start(input: unknown): void {
    if (this.#over) return
    this.#begun = true
    this.#input = input
    this.#machine.start()
    this.#machine.send({ type: 'run.start' })
  }

  /**
   * Stops the run wherever it is. Does nothing once it is over, or is stopping already.
   *
   * A run that has begun hears of it in a microtask: the caller may stand in the middle of a step of this run, or of a
   * backend that is about to grant it a slot (an observer, a prompt builder, a tool), and a step that has begun ends.
   */
  cancel(error: CancelledError): void {
    if (this.#begun) queueMicrotask(() => this.#cancel(error))
    else this.#cancel(error)
  }

  #cancel(error: CancelledError): void {
    if (this.#over) return
    this.#begun = true
    this.#machine.start()
    this.#machine.send({ type: 'run.cancel', error })
  }

  /** Ends the run before it began: its input is not valid. */
  refuse(error: OrlaError): void {
    if (this.#over) return
    this.#machine.start()
    this.#machine.send({ type: 'run.fail', error })
  }

  /** Takes a message to one of its stages. False if that stage is not alive. */
  deliver(stage: string, message: StageMessage): boolean {
    const actor = this.#alive[this.#definition.byName.get(stage)?.index ?? -1]
    if (actor === undefined) return false
    actor.receive(message)
    return true
  }

  // --- effects of the machine

  begin(): void {
    this.#guarded(() => this.#begin())
  }

  stop(error: OrlaError): void {
    this.#guarded(() => this.#stop(error))
  }

  finish(state: 'completed' | 'failed' | 'cancelled'): void {
    this.#guarded(() => this.#finish(state))
  }

  #begin(): void {
    this.#moveRun('running', (from, to) => ({
      type: 'run.started',
      from,
      to,
      reason: this.#again?.reason ?? 'started by the caller',
      workflow: this.workflow,
      tenant: this.tenant,
      stages: this.#definition.stages.length,
    }))
    for (const stage of this.#definition.roots) this.#ready.push(stage)
    this.#drain()
  }

  #stop(error: OrlaError): void {
    this.#error = error
    this.#ready.length = 0
    const to = error instanceof CancelledError ? 'cancelling' : 'failing'
    this.#moveRun(to, (from) => ({ type: 'run.stopping', from, to, reason: error.message, error: error.toJSON() }))
    const why =
      error instanceof CancelledError ? error : new CancelledError('sibling', `another stage failed: ${error.message}`)
    // Those that hold a slot come last: a slot that is given back must not go to a sibling that is to stop too.
    for (const actor of this.#alive) if (actor?.holdsSlot === false) actor.cancel(why)
    for (const actor of this.#alive) actor?.cancel(why)
    for (const stage of this.#definition.stages) {
      if (this.#progress.settlement(stage.index) !== undefined) continue
      this.#progress.settle(stage.index, 'cancelled')
      const reason = `never started: ${why.message}`
      this.#report(stage.index).state = 'cancelled'
      this.#report(stage.index).reason = reason
      this.emit({ type: 'stage.cancelled', stage: stage.name, from: 'pending', to: 'cancelled', reason })
    }
    this.#machine.send({ type: 'stage.settled', unsettled: this.#progress.unsettled })
  }

  #finish(state: 'completed' | 'failed' | 'cancelled'): void {
    const reports = this.#stageReports()
    let result: unknown
    let ended = state
    if (state === 'completed') {
      try {
        const { stages } = this.#definition
        const results = resultsByName(stages, indexes(stages.length), this.#results)
        const { runId } = this
        result = this.#definition.result({ input: this.#input, results, runId, stages: reports })
        if (result instanceof Promise) {
          result.catch(() => {})
          const message = "the workflow's output function returned a promise; it must be synchronous"
          throw new StageError('ORLA_STAGE_BUILDER', message)
        }
      } catch (error) {
        ended = 'failed'
        // An error of ours says more than that something threw.
        this.#error = toOrlaError(error, 'ORLA_STAGE_BUILDER', "the workflow's output function threw")
      }
    }
    const error = this.#error?.toJSON()
    this.#moveRun(ended, (from, to) =>
      ended === 'completed'
        ? { type: 'run.completed', from, to, reason: 'every stage is settled' }
        : { type: 'run.failed', from, to, reason: this.#error!.message, error: error! },
    )
    this.#end(ended === 'completed' ? { state: ended, result } : { state: ended, error: error! }, reports)
  }

  #end(how: Pick<RunOutcome, 'state' | 'result' | 'error'>, stages = this.#stageReports()): void {
    this.#over = true
    this.services.clock.clearTimer(this.#deadlineTimer)
    this.#feed?.close()
    const costUsd = sumCosts(Object.values(stages))
    this.services.ended(
      {
        runId: this.runId,
        workflow: this.workflow,
        ...how,
        results: this.#completedResults(),
        stages,
        durationMs: this.elapsedMs(),
        ...(costUsd !== undefined && { costUsd }),
      },
      this.definitionId,
    )
  }

  /** A bug inside the machinery of this run fails this run, and nothing else. */
  #guarded(run: () => void): void {
    try {
      run()
    } catch (error) {
      const failure = toOrlaError(error, 'ORLA_INVARIANT', `run ${this.runId} broke`)
      this.services.log.error({ runId: this.runId, error: failure }, 'a run broke')
      if (this.#over) return
      this.#error = failure
      this.#over = true
      const why = new CancelledError('sibling', failure.message)
      for (const actor of this.#alive) {
        try {
          actor?.cancel(why)
        } catch {
          // What broke the run may break its stages too; the others still deserve to be stopped.
        }
      }
      this.#end({ state: 'failed', error: failure.toJSON() })
      this.#machine.send({ type: 'run.crash' })
    }
  }

  // --- what stages ask for

  elapsedMs(): number {
    return roundMs(this.services.clock.nowMs() - this.startedAtMs)
  }

  remainingAfterMs(stage: StageDefinition): number {
    return this.services.paths.afterMs(this.#definition.stages, stage.index)
  }

  attain(tokens: number): void {
    this.#attainedTokens += tokens
  }

  contextOf(stage: StageDefinition): StageContext {
    return stageContext(this.#definition.stages, stage, this.#input, this.#results)
  }

  conversationsBefore(stage: StageDefinition): readonly (readonly Message[])[] {
    return stage.after.flatMap((index) => {
      const conversation = this.#conversations?.get(index)
      return conversation === undefined ? [] : [conversation]
    })
  }

  sharedTokens(backend: string, model: string, chain: ContextChain): number {
    const last = this.#chains?.find((each) => each.backend === backend && each.model === model)
    return last === undefined ? 0 : commonPrefix(last.chain, chain).tokens
  }

  foresee(stage: StageDefinition, conversation: readonly Message[]): void {
    const { foresight } = this.services
    if (foresight === undefined) return
    for (const index of stage.dependents) {
      const next = this.#definition.stages[index]!
      const others = next.after.filter((each) => each !== stage.index)
      if (others.some((each) => this.#progress.settlement(each) === undefined)) continue
      // What comes after this stage's answer is known, but not where it will stand.
      const before = next.after.slice(0, next.after.indexOf(stage.index)).flatMap((each) => {
        const earlier = this.#conversations?.get(each)
        return earlier === undefined ? [] : [earlier]
      })
      foresight.next(this, next, next.context === 'append' ? joinConversations([...before, conversation]) : [])
    }
  }

  remember(backend: string, model: string, chain: ContextChain): void {
    const last = this.#chains?.find((each) => each.backend === backend && each.model === model)
    if (last !== undefined) last.chain = chain
    else if (this.#chains === undefined) this.#chains = [{ backend, model, chain }]
    else this.#chains.push({ backend, model, chain })
  }

  emit(body: TransitionBody, nowMs = this.services.clock.nowMs()): void {
    // Stamped in place: whoever emits has just made it. A copy costs 0.2 us, six times a stage.
    const transition = body as Transition
    transition.seq = ++this.#seq
    transition.atMs = roundMs(nowMs - this.startedAtMs)
    transition.runId = this.runId
    this.#emitting++
    this.services.transition(transition, nowMs)
    this.#publish(transition)
    this.#emitting--
    this.#emitCache()
  }

  /** Takes a decision of the memory manager. One made while a transition is being told comes right after it. */
  receive(message: RunMessage): void {
    if (this.#over) return
    this.#cache.push(message.transition)
    this.#emitCache()
  }

  #emitCache(): void {
    while (this.#emitting === 0 && this.#cache.length > 0) {
      const from = this.#state
      this.emit({ ...this.#cache.shift()!, from, to: from })
    }
  }

  token(stage: string, turn: number, channel: DeltaChannel, text: string): void {
    if (!this.tokensWatched) return
    this.#publish({ type: 'stage.token', atMs: this.elapsedMs(), runId: this.runId, stage, turn, channel, text })
  }

  settled(actor: StageActor, settlement: Settlement, value: unknown): void {
    const { index, keepsConversation } = actor.definition
    this.#alive[index] = undefined
    if (settlement === 'completed') {
      this.#results[index] = value
      if (keepsConversation) (this.#conversations ??= new Map()).set(index, actor.conversation)
    }
    const { ready, skipped } = this.#progress.settle(index, settlement)
    for (const { stage, reason } of skipped) {
      this.#report(stage).state = 'skipped'
      this.#report(stage).reason = reason
      this.emit({
        type: 'stage.skipped',
        stage: this.#definition.stages[stage]!.name,
        from: 'pending',
        to: 'skipped',
        reason,
      })
    }
    if (settlement === 'failed') {
      this.#machine.send({ type: 'run.fail', error: value as OrlaError })
      return
    }
    // While the run is being stopped, `stop` settles everything and reports once.
    if (this.#error !== undefined) return
    for (const stage of ready) this.#ready.push(stage)
    this.#drain()
    // Stages that settled while they were started may have ended the run already.
    if (!this.#over) this.#machine.send({ type: 'stage.settled', unsettled: this.#progress.unsettled })
  }

  // --- helpers

  #drain(): void {
    if (this.#draining) return
    this.#draining = true
    try {
      // Read by position: shifting a list of 100,000 ready stages is quadratic.
      for (let i = 0; i < this.#ready.length; i++) {
        const stage = this.#definition.stages[this.#ready[i]!]!
        const actor = new StageActor(stage, this, this.#report(stage.index))
        this.#alive[stage.index] = actor
        actor.start()
      }
      this.#ready.length = 0
    } finally {
      this.#draining = false
    }
  }

  #report(index: number): StageReport {
    return (this.#reports[index] ??= emptyReport())
  }

  #stageReports(): Record<string, StageReport> {
    const reports: Record<string, StageReport> = {}
    for (const { name, index } of this.#definition.stages) reports[name] = this.#report(index)
    return reports
  }

  #completedResults(): Readonly<Record<string, unknown>> {
    const { stages } = this.#definition
    const completed: number[] = []
    for (let i = 0; i < stages.length; i++) if (this.#progress.settlement(i) === 'completed') completed.push(i)
    return resultsByName(stages, completed, this.#results)
  }

  #moveRun<T extends RunState>(to: T, body: (from: RunState, to: T) => TransitionBody): void {
    const from = this.#state
    this.#state = to
    this.emit(body(from, to))
  }

  #publish(event: RunEvent): void {
    this.#feed?.publish(event)
    this.services.feed.publish(event)
  }
}

function indexes(count: number): number[] {
  const all: number[] = []
  for (let i = 0; i < count; i++) all.push(i)
  return all
}

/** A list of so many empty places. */
function blank<T>(length: number): (T | undefined)[] {
  // Exactly so many: one that is made longer afterwards has room for half as many again and 16 more.
  return Array<T | undefined>(length)
}
