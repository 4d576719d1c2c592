// Stage actor
//
// Owns: one stage of one run: its conversation, and what follows from each answer.
// Does not own: where it runs (mapper), when (backend), one request and its attempts (its turn), the run's other stages
// (workflow actor).
// In:  start, cancel (from its workflow actor); stage.mapped, stage.unmapped, stage.granted, stage.rejected,
//      stage.toolResult
// Out: mapper.map, mapper.cancel, backend.request, backend.withdraw, backend.release, tool.call, tool.cancel; transitions
// Invariants
//   T1. Its state moves only along `src/workflow/stage-lifecycle.ts`; one transition is emitted for each move.
//   T2. A slot that was granted is released exactly once, on every path: by the turn that asked, or here if that is over.
//   T3. It settles exactly once. Whatever arrives after that is dropped.
//   T4. Tools run without a slot.

import { roundMs, type Timer } from '../src/clock.ts'
import { assert, CancelledError, errorFromFacts, OrlaError, StageError, toOrlaError } from '../src/errors.ts'
import type { PromptMeasure } from '../src/prompts/conversation.ts'
import type { ChatResult } from '../src/schema/chat.ts'
import { assistant, type Message, type ToolCall } from '../src/schema/message.ts'
import type { MappingFacts, StageState } from '../src/schema/transition.ts'
import { judge, reopen } from '../src/workflow/cascade.ts'
import { checkPrompt } from '../src/workflow/built-prompt.ts'
import { joinConversations } from '../src/workflow/context.ts'
import type { StageContext, StageDefinition, TurnScript } from '../src/workflow/definition.ts'
import { type Place } from '../src/mapping/place.ts'
import { addTurns, type StageReport } from '../src/workflow/report.ts'
import { isSettled, nextStageState, type StageEvent } from '../src/workflow/stage-lifecycle.ts'
import { decideTurn, firstPhase, type Phase, type TurnDecision } from '../src/workflow/turn.ts'
import type { StageAddress, StageMessage } from './messages.ts'
import type { StageHost, StageServices, TransitionBody } from './stage-host.ts'
import { StageSeat } from './stage-seat.ts'
import { StageTurn, type TurnStage } from './stage-turn.ts'
import { ToolRound } from './tool-round.ts'
import { callUser, callUserNow, priorityOf } from '../src/workflow/user-code.ts'

/** One stage of one run. */
export class StageActor implements TurnStage {
  readonly definition: StageDefinition
  readonly report: StageReport
  readonly host: StageHost
  readonly seat: StageSeat
  readonly address: StageAddress
  readonly #services: StageServices
  #state: StageState = 'pending'
  /** Counts up when what is under way becomes void; continuations of promises compare it. */
  #epoch = 0
  priorities = noPriorities
  #conversation: readonly Message[] = []
  /** What its first prompt was. */
  #opening: readonly Message[] = []
  /** Backends of its cascade that were asked, and turns that others took before. */
  #cascaded = 0
  #turnsBefore = 0
  phase: Phase
  #repairs = 0
  servedMs = 0
  #mappingUsd: number | undefined
  scriptedTokens: number | undefined
  #turn: StageTurn | undefined
  /** What its functions see, from its start until it is mapped. */
  #context: StageContext | undefined
  /** Takes its prompt out of the queue for prompt threads. */
  #prompting: AbortController | undefined
  /** Until the next turn of its script. */
  #waitTimer: Timer | undefined
  #stageTimer: Timer | undefined
  /** The tool calls of this turn. */
  #tools: ToolRound | undefined

  constructor(definition: StageDefinition, host: StageHost, report: StageReport) {
    this.definition = definition
    this.report = report
    this.host = host
    this.#services = host.services
    this.address = { actor: 'stage', runId: host.runId, stage: definition.name }
    this.seat = new StageSeat(definition, host, report)
    this.phase = firstPhase(definition)
  }

  /** The conversation so far, the last answer included. */
  get conversation(): readonly Message[] {
    return this.#conversation
  }

  get state(): StageState {
    return this.#state
  }

  /** True while an inference of it is under way. */
  get holdsSlot(): boolean {
    return this.#state === 'inferring'
  }

  /** Begins: the stage's dependencies are done. */
  start(): void {
    this.guarded(() => {
      const { definition } = this
      const context = this.host.contextOf(definition)
      const { name, when } = definition
      if (when !== undefined && !callUserNow(name, 'the condition `when`', () => when(context))) {
        const reason = 'its condition `when` was not met'
        const from = this.move('skip')
        this.host.emit({ type: 'stage.skipped', stage: definition.name, from, to: this.#state, reason })
        return this.#settle('skipped', undefined, reason)
      }
      const nowMs = this.#services.clock.nowMs()
      this.report.startedAtMs = roundMs(nowMs - this.host.startedAtMs)
      if (definition.stageTimeoutMs !== undefined) this.#armStageTimer(definition.stageTimeoutMs)
      const reason = definition.after.length === 0 ? 'waits for nothing' : 'its dependencies are done'
      const from = this.move('start')
      this.host.emit({ type: 'stage.started', stage: definition.name, from, to: this.#state, reason }, nowMs)
      this.priorities = {
        stage: priorityOf(name, definition.stagePriority, context) + this.host.priority,
        request: priorityOf(name, definition.requestPriority, context) + this.host.priority,
      }
      if (definition.mapping.kind === 'explicit' && !this.#services.isPool(definition.mapping.backend)) {
        const { backend } = definition.mapping
        const model = definition.requirements.model ?? this.#services.modelOf(backend)
        return this.#onMapped(backend, model, 'explicit: the stage names its backend', context)
      }
      const { definitionId, workflow, tenant, budget } = this.host
      const { input, results } = context
      this.#context = context
      this.#services.post(mapperAddress, {
        type: 'mapper.map',
        definitionId,
        workflow,
        stage: definition.name,
        tenant,
        input,
        results,
        ...(budget.limitUsd < Infinity && { budgetUsd: budget.leftUsd }),
        replyTo: this.address,
      })
    })
  }

  /** Takes a message of another actor. Messages that come too late are dropped. */
  receive(message: StageMessage): void {
    this.guarded(() => {
      switch (message.type) {
        case 'stage.mapped': {
          if (this.#state !== 'mapping') return
          const { backend, model, reason, facts, places } = message
          const context = this.#context!
          this.#context = undefined
          return this.#onMapped(backend, model, reason, context, facts, places)
        }
        case 'stage.unmapped':
          if (this.#state !== 'mapping') return
          this.#payMapping(message.costUsd)
          return this.fail(errorFromFacts(message.error))
        case 'stage.granted':
          if (this.#state === 'queued' && this.#turn?.requestId === message.requestId) return this.#turn.granted()
          // The stage gave up while the grant was on its way: the slot goes back at once (T2).
          return this.#services.post(
            { actor: 'backend', name: this.seat.backend },
            { type: 'backend.release', requestId: message.requestId, verdict: 'inconclusive' },
          )
        case 'stage.rejected':
          if (this.#state !== 'queued' || this.#turn?.requestId !== message.requestId) return
          return this.#turn.rejected(message.error)
        case 'stage.toolResult':
          if (this.#state !== 'tooling') return
          return this.#tools?.settle(message)
      }
    })
  }

  /** Stops the stage wherever it is. Does nothing once it has settled. */
  cancel(error: CancelledError): void {
    if (isSettled(this.#state)) return
    this.#abandon(error)
    const reason = error.message
    const from = this.move('cancel')
    this.host.emit({ type: 'stage.cancelled', stage: this.definition.name, from, to: this.#state, reason })
    this.#settle('cancelled', undefined, reason)
  }

  // --- mapping and building

  #onMapped(
    backend: string,
    model: string,
    reason: string,
    context: StageContext,
    facts?: MappingFacts,
    places?: readonly Place[],
  ): void {
    const { name } = this.definition
    this.seat.take(backend, model, places)
    if (facts !== undefined) {
      this.report.mapping = { ...facts, reason }
      this.#payMapping(facts.costUsd)
    }
    const from = this.move('mapped')
    const mapped: Extract<TransitionBody, { type: 'stage.mapped' }> = {
      type: 'stage.mapped',
      stage: name,
      from,
      to: this.#state,
      backend,
      model,
      reason,
    }
    if (facts !== undefined) mapped.mapping = facts
    this.host.emit(mapped)
    const readyAtMs = this.#services.clock.nowMs()
    const { prompt, script } = this.definition
    if (script !== undefined) return this.#nextScripted(script)
    assert(prompt !== undefined, 'a stage has neither prompt nor script', { stage: name })
    if (typeof prompt === 'function') {
      return this.#onBuilt(
        readyAtMs,
        checkPrompt(
          callUser(name, 'the prompt builder', () => prompt(context)),
          name,
        ),
      )
    }
    const rendered = this.#services.render(prompt, context, () => this.#untilAbandoned())
    if (!(rendered instanceof Promise)) return this.#onBuilt(readyAtMs, rendered)
    this.#await(rendered, 'the prompt could not be built', (messages) => this.#onBuilt(readyAtMs, messages))
  }

  #onBuilt(readyAtMs: number, built: readonly Message[]): void {
    const before =
      this.definition.context === 'append' ? joinConversations(this.host.conversationsBefore(this.definition)) : []
    this.#conversation = before.length === 0 ? built : [...before, ...built]
    this.#opening = this.#conversation
    const { definitionId } = this.host
    this.#services.foresight?.built(
      definitionId,
      this.definition,
      this.seat.backend,
      this.seat.model,
      this.#conversation,
    )
    this.#beginTurn(readyAtMs)
  }

  /** What being mapped cost is the stage's, and its run's. */
  #payMapping(costUsd: number | undefined): void {
    if (costUsd === undefined) return
    this.#mappingUsd = costUsd
    this.host.budget.settle(0, costUsd)
  }

  // --- scripted turns

  /** Goes into the script's next turn after the time it says, or ends the stage. */
  #nextScripted(script: TurnScript): void {
    const context = this.host.contextOf(this.definition)
    const number = this.report.turns.length + 1
    const turn = callUser(this.definition.name, 'the script', () => script(context, number))
    if (turn === undefined) return this.#complete(this.#conversation.at(-1)?.content ?? '', 'its script is over')
    const begin = (): void => {
      this.#conversation = turn.messages
      this.scriptedTokens = turn.outputTokens
      this.#beginTurn(this.#services.clock.nowMs())
    }
    if (this.#state === 'building') {
      if (turn.waitMs <= 0) return begin()
      this.#waitTimer = this.#services.clock.setTimer(turn.waitMs, () => this.guarded(begin))
      return
    }
    const from = this.move('toolsCalled')
    const fields = { ...this.#turn!.fields, callId: `${number - 1}.1`, tool: turn.waitFor, to: this.#state }
    this.host.emit({ ...fields, type: 'tool.started', from, reason: 'the script waits', arguments: '{}' })
    const durationMs = turn.waitMs
    this.#waitTimer = this.#services.clock.setTimer(durationMs, () =>
      this.guarded(() => {
        const ended = { ...fields, from: this.#state, ok: true, durationMs }
        this.host.emit({ ...ended, type: 'tool.ended', reason: 'the time that the script gives it is over' })
        const { name } = this.definition
        const before = this.move('continued')
        this.host.emit({
          type: 'stage.continued',
          stage: name,
          from: before,
          to: this.#state,
          turn: number,
          reason: 'the next turn of the script',
        })
        begin()
      }),
    )
  }

  #beginTurn(readyAtMs: number): void {
    const measured = this.#services.measure(this.#conversation, this.definition.toolSpecs, () => this.#untilAbandoned())
    const begin = (measure: PromptMeasure): void => {
      this.#turn = new StageTurn(this, readyAtMs, measure)
      this.#turn.begin()
    }
    if (!(measured instanceof Promise)) return begin(measured)
    this.#await(measured, 'the prompt could not be measured', begin)
  }

  // --- what follows from an answer

  answered(result: ChatResult, said: Message): void {
    const { definition, report } = this
    if (definition.script !== undefined) {
      this.#conversation = [...this.#conversation, said]
      return this.#nextScripted(definition.script)
    }
    const turns = report.turns.length - this.#turnsBefore
    const decision = decideTurn(definition, { phase: this.phase, turns, repairs: this.#repairs }, result)
    if (!(decision instanceof Promise)) return this.#carryOut(decision, said)
    const epoch = this.#epoch
    void decision.then((settled) => this.#if(epoch, () => this.#carryOut(settled, said)))
  }

  #carryOut(decision: TurnDecision, said: Message): void {
    switch (decision.next) {
      case 'complete':
        this.#conversation = [...this.#conversation, said]
        return this.#judge(decision.value, decision.reason)
      case 'fail': {
        const next = this.#nextInCascade()
        if (next === undefined) return this.fail(decision.error)
        // Calls that nobody answers are left out.
        this.#conversation = [...this.#conversation, assistant(said.content)]
        return this.#escalate(next, decision.error.message)
      }
      case 'continue':
        this.phase = decision.phase
        if (decision.repair) this.#repairs++
        return this.#continue(decision.add, decision.reason)
      case 'tools':
        this.#conversation = [...this.#conversation, said]
        return this.#callTools(decision.calls, decision.reason)
    }
  }

  #continue(add: readonly Message[], reason: string): void {
    const readyAtMs = this.#services.clock.nowMs()
    this.#conversation = [...this.#conversation, ...add]
    const turn = this.report.turns.length + 1
    const from = this.move('continued')
    this.host.emit({ type: 'stage.continued', stage: this.definition.name, from, to: this.#state, turn, reason })
    this.#beginTurn(readyAtMs)
  }

  // --- cascade

  /** Ends the stage with its answer, unless that is not good enough and somebody else can make it again. */
  #judge(value: unknown, reason: string): void {
    const { cascade, name } = this.definition
    const next = this.#nextInCascade()
    if (cascade === undefined || next === undefined) return this.#complete(value, reason)
    const { toolCalls } = this.report
    const answer = { value, toolCalls, backend: this.seat.backend }
    const judged = (why: string | undefined): void =>
      why === undefined ? this.#complete(value, reason) : this.#escalate(next, why)
    const why = judge(cascade, name, this.host.contextOf(this.definition), answer)
    if (!(why instanceof Promise)) return judged(why)
    this.#await(why, 'the answer could not be checked', judged)
  }

  #nextInCascade(): string | undefined {
    return this.definition.cascade?.to.slice(this.#cascaded).find((backend) => this.#services.canServe(backend))
  }

  #escalate(backend: string, why: string): void {
    const { definition, report } = this
    const escalatedFrom = this.seat.backend
    this.#cascaded = definition.cascade!.to.indexOf(backend) + 1
    ;(report.escalations ??= []).push({ from: escalatedFrom, to: backend, reason: why })
    this.seat.moveHome(backend)
    this.phase = firstPhase(definition)
    this.#repairs = 0
    this.#turnsBefore = report.turns.length
    this.#conversation = reopen(this.#opening, this.#conversation, report.toolCalls, why)
    const readyAtMs = this.#services.clock.nowMs()
    const from = this.move('continued')
    this.host.emit({
      type: 'stage.continued',
      stage: definition.name,
      from,
      to: this.#state,
      turn: report.turns.length + 1,
      reason: `"${backend}" makes the answer again: ${why}`,
      escalatedFrom,
      backend,
    })
    this.#beginTurn(readyAtMs)
  }

  // --- tools

  #callTools(calls: readonly ToolCall[], reason: string): void {
    const from = this.move('toolsCalled')
    const { definition } = this
    this.#tools = new ToolRound({
      stage: definition,
      definitionId: this.host.definitionId,
      turn: this.#turn!.fields,
      replyTo: this.address,
      post: this.#services.post,
      emit: (transition) => this.host.emit(transition),
      report: this.report.toolCalls,
      done: (results) => {
        this.#tools = undefined
        this.#continue(results, 'tool results are there')
      },
    })
    this.#tools.start(calls, from, reason)
  }

  // --- endings

  #complete(value: unknown, reason: string): void {
    this.#services.history.completed(this.definition.stageClass, this.servedMs)
    this.#epoch++
    this.#clearTimers()
    const turns = this.report.turns.length
    const from = this.move('complete')
    const nowMs = this.#services.clock.nowMs()
    const { name } = this.definition
    this.host.emit({ type: 'stage.completed', stage: name, from, to: this.#state, reason, turns }, nowMs)
    this.#settle('completed', value, reason, nowMs)
  }

  fail(error: OrlaError): void {
    if (isSettled(this.#state)) return
    this.#abandon(error)
    const facts = error.toJSON()
    this.report.error = facts
    const from = this.move('fail')
    this.host.emit({
      type: 'stage.failed',
      stage: this.definition.name,
      from,
      to: this.#state,
      reason: error.message,
      error: facts,
      ...(from === 'mapping' && this.#mappingUsd !== undefined && { mappingCostUsd: this.#mappingUsd }),
    })
    this.#settle('failed', error, error.message)
  }

  #settle(
    settlement: 'completed' | 'failed' | 'skipped' | 'cancelled',
    value: unknown,
    reason: string,
    nowMs = this.#services.clock.nowMs(),
  ): void {
    this.#context = undefined
    this.report.state = this.#state
    this.report.reason = reason
    if (this.report.startedAtMs !== null) this.report.endedAtMs = roundMs(nowMs - this.host.startedAtMs)
    addTurns(this.report)
    if (this.#mappingUsd !== undefined) this.report.costUsd = (this.report.costUsd ?? 0) + this.#mappingUsd
    this.host.settled(this, settlement, value)
  }

  /** Lets go of everything under way, in whatever state (T2). What still arrives is void. */
  #abandon(error: OrlaError): void {
    this.#epoch++
    this.#clearTimers()
    this.#prompting?.abort(error)
    this.#turn?.abandon(error)
    if (this.#state === 'mapping' && this.definition.mapping.kind === 'mapper') {
      this.#services.post(mapperAddress, { type: 'mapper.cancel', replyTo: this.address })
    } else if (this.#state === 'tooling') {
      this.#tools?.cancel()
      this.#tools = undefined
    }
  }

  // --- helpers

  /** Moves along the lifecycle. Returns the state before; whoever calls emits the transition (T1). */
  move(event: StageEvent): StageState {
    const from = this.#state
    this.#state = nextStageState(from, event)
    return from
  }

  #armStageTimer(stageTimeoutMs: number): void {
    this.#stageTimer = this.#services.clock.setTimer(stageTimeoutMs, () =>
      this.guarded(() => {
        const message = `stage "${this.definition.name}" took longer than ${stageTimeoutMs} ms`
        this.fail(new StageError('ORLA_STAGE_TIMEOUT', message, { details: { stageTimeoutMs } }))
      }),
    )
  }

  #clearTimers(): void {
    this.#services.clock.clearTimer(this.#waitTimer)
    this.#services.clock.clearTimer(this.#stageTimer)
    this.#waitTimer = undefined
    this.#stageTimer = undefined
  }

  /** Goes on with what a promise brings, unless the stage has moved on; its failure is the stage's. */
  #await<T>(promise: Promise<T>, what: string, then: (value: T) => void): void {
    const epoch = this.#epoch
    promise.then(
      (value) => this.#if(epoch, () => then(value)),
      (error: unknown) => this.#if(epoch, () => this.fail(toOrlaError(error, 'ORLA_WORKER_TASK', what))),
    )
  }

  /** For work on other threads; most prompts need none. */
  #untilAbandoned(): AbortSignal {
    this.#prompting ??= new AbortController()
    return this.#prompting.signal
  }

  /** Runs a continuation unless what it continues has become void. */
  #if(epoch: number, run: () => void): void {
    if (epoch === this.#epoch) this.guarded(run)
  }

  /** An actor that throws fails its own stage and nothing else. */
  guarded(run: () => void): void {
    try {
      run()
    } catch (error) {
      this.fail(toOrlaError(error, 'ORLA_INVARIANT', `stage "${this.definition.name}" failed`))
    }
  }
}

const mapperAddress = { actor: 'mapper' } as const
const noPriorities = { stage: 0, request: 0 }
