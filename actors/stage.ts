// Stage actor
//
// Owns: one stage of one run: its conversation, its turns, its retries, its inference under way.
// Does not own: where it runs (mapper), when (backend), the run's other stages (workflow actor).
// In:  start, cancel (from its workflow actor); stage.mapped, stage.unmapped, stage.granted, stage.rejected,
//      stage.toolResult
// Out: mapper.map, mapper.cancel, backend.request, backend.withdraw, backend.release, tool.call, tool.cancel; transitions
// Invariants
//   T1. Its state moves only along `src/workflow/stage-lifecycle.ts`; one transition is emitted for each move.
//   T2. A slot that was granted is released exactly once, on every path.
//   T3. It settles exactly once. Whatever arrives after that is dropped.
//   T4. Tools run without a slot.
//   T5. A turn is tried again only where nobody saw a token of it. It moves to another backend before it waits for its
//       own, at most once to each.

import { roundMs, type Timer } from '../src/clock.ts'
import {
  assert,
  blamesBackend,
  CancelledError,
  errorFromFacts,
  healthVerdict,
  messageOf,
  OrlaError,
  StageError,
  toOrlaError,
  type ErrorFacts,
} from '../src/errors.ts'
import type { ChatCall, ChatContext } from '../src/engines/driver.ts'
import { limits } from '../src/limits.ts'
import { commonPrefix, contextHash, prefixMarks, type ContextChain } from '../src/prompts/chain.ts'
import type { PromptMeasure } from '../src/prompts/conversation.ts'
import type { ChatRequest, ChatResult, DeltaChannel } from '../src/schema/chat.ts'
import { assistant, type Message, type ToolCall } from '../src/schema/message.ts'
import type { MappingFacts, StageState } from '../src/schema/transition.ts'
import { judge, reopen } from '../src/workflow/cascade.ts'
import { checkPrompt } from '../src/workflow/built-prompt.ts'
import { joinConversations } from '../src/workflow/context.ts'
import type { Hint, StageContext, StageDefinition, TurnScript } from '../src/workflow/definition.ts'
import { costUsd } from '../src/mapping/cost.ts'
import { choosePlace, type Place } from '../src/mapping/place.ts'
import type { ServedTurn } from '../src/schema/queue-pace.ts'
import { addTurns, type StageReport, type TurnReport } from '../src/workflow/report.ts'
import { isSettled, nextStageState, type StageEvent } from '../src/workflow/stage-lifecycle.ts'
import { answerMessage, decideTurn, firstPhase, type Phase, type TurnDecision } from '../src/workflow/turn.ts'
import type { BackendRequest, StageAddress, StageMessage } from './messages.ts'
import type { StageHost, StageServices, TransitionBody } from './stage-host.ts'
import { ToolRound } from './tool-round.ts'

/** The turn that a stage is in. */
interface Turn {
  number: number
  /** When its prompt began to be built, ms on the runtime's clock: TTFT counts from here. */
  readyAtMs: number
  measure: PromptMeasure
  attempt: number
  requestId: string
  queuedAtMs: number
  grantedAtMs: number
  /** Backends that did not serve it. */
  failedAt: Set<string> | undefined
  /** Times that it was sent from one replica's queue to another's. */
  reroutes: number
  /** Replicas that took no more retries since it last waited, and how often it waited for that. */
  refusedBy: Set<string> | undefined
  refusals: number
  /** Attempts that only moved it to another backend. */
  moves: number
  /** What the last engine that it was sent to failed with. */
  error: OrlaError | undefined
  /** Sum over attempts. */
  queueWaitMs: number
  ttftMs: number | null
  /** Set aside of the run's budget, dollars. */
  reservedUsd: number
}

/** What came of an inference. */
interface ReleaseFacts {
  usage: ChatResult['usage']
  finishReason?: ChatResult['finishReason'] | undefined
  costUsd?: number | undefined
  notes?: ChatResult['notes'] | undefined
  error?: ErrorFacts | undefined
}

/** One stage of one run. */
export class StageActor {
  readonly definition: StageDefinition
  readonly report: StageReport
  readonly #host: StageHost
  readonly #services: StageServices
  readonly #address: StageAddress
  #state: StageState = 'pending'
  /** Counts up when what is under way becomes void; continuations of promises compare it. */
  #epoch = 0
  #backend = ''
  /** Where it was mapped to. */
  #home = ''
  /** Replicas that may serve it, its home among them; empty without. */
  #places: readonly Place[] = noPlaces
  #model = ''
  /** Whether it asks for the model that its backend serves, whichever that is when the turn begins. */
  #followsBackend = false
  #priorities = { stage: 0, request: 0 }
  #conversation: readonly Message[] = []
  /** What its first prompt was. */
  #opening: readonly Message[] = []
  /** Backends of its cascade that were asked, and turns that others took before. */
  #cascaded = 0
  #turnsBefore = 0
  #phase: Phase
  #repairs = 0
  /** Time at engines so far, over all turns that were answered, ms. */
  #servedMs = 0
  #mappingUsd: number | undefined
  /** Tokens of the answer, for stages with a script. */
  #scriptedTokens: number | undefined
  #turn: Turn | undefined
  /** Its own last prompt that an engine computed. Meanwhile the run may have sent others there. */
  #chain: ContextChain | undefined
  #call: ChatCall | undefined
  /** Takes its prompt out of the queue for prompt threads. */
  #prompting: AbortController | undefined
  #retryTimer: Timer | undefined
  #stageTimer: Timer | undefined
  /** The tool calls of this turn. */
  #tools: ToolRound | undefined

  constructor(definition: StageDefinition, host: StageHost, report: StageReport) {
    this.definition = definition
    this.report = report
    this.#host = host
    this.#services = host.services
    this.#address = { actor: 'stage', runId: host.runId, stage: definition.name }
    this.#phase = firstPhase(definition)
  }

  /** The conversation so far, the last answer included. */
  get conversation(): readonly Message[] {
    return this.#conversation
  }

  /** True while an inference of it is under way. */
  get holdsSlot(): boolean {
    return this.#state === 'inferring'
  }

  /** Begins: the stage's dependencies are done. */
  start(): void {
    this.#guarded(() => {
      const { definition } = this
      const context = this.#host.contextOf(definition)
      if (definition.when !== undefined && !this.#userValue(() => definition.when!(context), 'the condition `when`')) {
        const reason = 'its condition `when` was not met'
        const from = this.#move('skip')
        this.#host.emit({ type: 'stage.skipped', stage: definition.name, from, to: this.#state, reason })
        return this.#settle('skipped', undefined, reason)
      }
      this.report.startedAtMs = this.#host.elapsedMs()
      if (definition.stageTimeoutMs !== undefined) this.#armStageTimer(definition.stageTimeoutMs)
      const reason = definition.after.length === 0 ? 'waits for nothing' : 'its dependencies are done'
      const from = this.#move('start')
      this.#host.emit({ type: 'stage.started', stage: definition.name, from, to: this.#state, reason })
      this.#priorities = {
        stage: this.#hint(definition.stagePriority, context) + this.#host.priority,
        request: this.#hint(definition.requestPriority, context) + this.#host.priority,
      }
      if (definition.mapping.kind === 'explicit' && !this.#services.isPool(definition.mapping.backend)) {
        const { backend } = definition.mapping
        const model = definition.requirements.model ?? this.#services.modelOf(backend)
        return this.#onMapped(backend, model, 'explicit: the stage names its backend', context)
      }
      const { definitionId, workflow, tenant, budget } = this.#host
      const { input, results } = context
      this.#services.post(
        { actor: 'mapper' },
        {
          type: 'mapper.map',
          definitionId,
          workflow,
          stage: definition.name,
          tenant,
          input,
          results: { ...results },
          ...(budget.limitUsd < Infinity && { budgetUsd: budget.leftUsd }),
          replyTo: this.#address,
        },
      )
    })
  }

  /** Takes a message of another actor. Messages that come too late are dropped. */
  receive(message: StageMessage): void {
    this.#guarded(() => {
      switch (message.type) {
        case 'stage.mapped':
          if (this.#state !== 'mapping') return
          this.#places = message.places ?? noPlaces
          return this.#onMapped(
            message.backend,
            message.model,
            message.reason,
            this.#host.contextOf(this.definition),
            message.facts,
          )
        case 'stage.unmapped':
          if (this.#state !== 'mapping') return
          this.#payMapping(message.costUsd)
          return this.#fail(errorFromFacts(message.error))
        case 'stage.granted':
          if (this.#state !== 'queued' || this.#turn?.requestId !== message.requestId) {
            // The stage gave up while the grant was on its way: the slot goes back at once (T2).
            return this.#releaseSlot(message.requestId, 'inconclusive')
          }
          return this.#onGranted(this.#turn)
        case 'stage.rejected':
          if (this.#state !== 'queued' || this.#turn?.requestId !== message.requestId) return
          return this.#onRejected(this.#turn, message.error)
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
    const from = this.#move('cancel')
    this.#host.emit({ type: 'stage.cancelled', stage: this.definition.name, from, to: this.#state, reason })
    this.#settle('cancelled', undefined, reason)
  }

  // --- mapping and building

  #onMapped(backend: string, model: string, reason: string, context: StageContext, facts?: MappingFacts): void {
    const { name } = this.definition
    this.#backend = backend
    this.#home = backend
    this.#model = model
    this.#followsBackend = model === this.#services.modelOf(backend)
    this.report.backend = backend
    this.report.model = model
    if (facts !== undefined) {
      this.report.mapping = { ...facts, reason }
      this.#payMapping(facts.costUsd)
    }
    const from = this.#move('mapped')
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
    this.#host.emit(mapped)
    const readyAtMs = this.#services.clock.nowMs()
    const { prompt, script } = this.definition
    if (script !== undefined) return this.#nextScripted(script)
    assert(prompt !== undefined, 'a stage has neither prompt nor script', { stage: name })
    if (typeof prompt === 'function') {
      return this.#onBuilt(
        readyAtMs,
        checkPrompt(
          this.#userCode(() => prompt(context), 'the prompt builder'),
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
      this.definition.context === 'append' ? joinConversations(this.#host.conversationsBefore(this.definition)) : []
    this.#conversation = before.length === 0 ? built : [...before, ...built]
    this.#opening = this.#conversation
    const { definitionId } = this.#host
    this.#services.foresight?.built(definitionId, this.definition, this.#backend, this.#model, this.#conversation)
    this.#beginTurn(readyAtMs)
  }

  /** What being mapped cost is the stage's, and its run's. */
  #payMapping(costUsd: number | undefined): void {
    if (costUsd === undefined) return
    this.#mappingUsd = costUsd
    this.#host.budget.settle(0, costUsd)
  }

  // --- scripted turns

  /** Goes into the script's next turn after the time it says, or ends the stage. */
  #nextScripted(script: TurnScript): void {
    const context = this.#host.contextOf(this.definition)
    const number = this.report.turns.length + 1
    const turn = this.#userCode(() => script(context, number), 'the script')
    if (turn === undefined) return this.#complete(this.#conversation.at(-1)?.content ?? '', 'its script is over')
    const begin = (): void => {
      this.#conversation = turn.messages
      this.#scriptedTokens = turn.outputTokens
      this.#beginTurn(this.#services.clock.nowMs())
    }
    if (this.#state === 'building') {
      if (turn.waitMs <= 0) return begin()
      this.#retryTimer = this.#services.clock.setTimer(turn.waitMs, () => this.#guarded(begin))
      return
    }
    const from = this.#move('toolsCalled')
    const fields = { ...this.#turnFields(this.#turn!), callId: `${number - 1}.1`, tool: turn.waitFor, to: this.#state }
    this.#host.emit({ ...fields, type: 'tool.started', from, reason: 'the script waits', arguments: '{}' })
    const durationMs = turn.waitMs
    this.#retryTimer = this.#services.clock.setTimer(durationMs, () =>
      this.#guarded(() => {
        const ended = { ...fields, from: this.#state, ok: true, durationMs }
        this.#host.emit({ ...ended, type: 'tool.ended', reason: 'the time that the script gives it is over' })
        const { name } = this.definition
        const before = this.#move('continued')
        this.#host.emit({
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
    if (!(measured instanceof Promise)) return this.#enqueueTurn(readyAtMs, measured)
    this.#await(measured, 'the prompt could not be measured', (measure) => this.#enqueueTurn(readyAtMs, measure))
  }

  #enqueueTurn(readyAtMs: number, measure: PromptMeasure): void {
    this.#turn = {
      number: this.report.turns.length + 1,
      readyAtMs,
      measure,
      attempt: 1,
      requestId: '',
      queuedAtMs: 0,
      failedAt: undefined,
      reroutes: 0,
      refusedBy: undefined,
      refusals: 0,
      moves: 0,
      error: undefined,
      grantedAtMs: 0,
      queueWaitMs: 0,
      ttftMs: null,
      reservedUsd: 0,
    }
    this.#enqueue(this.#turn, this.#place(this.#turn) ?? 'the prompt is ready')
  }

  /** Chooses among replicas for the first turn; those that follow stay with what it leaves in the cache. */
  #place(turn: Turn): string | undefined {
    if (turn.number > 1 || this.#places.length < 2) return undefined
    const { warmHeads, clock } = this.#services
    const { chain } = turn.measure
    const marks = prefixMarks(chain)
    const placement = choosePlace(this.#places, (backend) =>
      Math.max(
        this.#host.sharedTokens(backend, this.#model, chain),
        warmHeads.tokens(backend, this.#host.tenant, marks, clock.nowMs()),
      ),
    )!
    const { place, savedTokens } = placement
    if (place.backend !== this.#backend) this.#settleAt(place.backend)
    this.#home = place.backend
    return savedTokens === 0
      ? undefined
      : `"${place.backend}" has ${savedTokens} tokens of it that not all replicas have`
  }

  #enqueue(turn: Turn, reason: string): void {
    const { definition } = this
    const { correction, clock, post } = this.#services
    const chain = turn.measure.chain
    turn.requestId = `${this.#host.runId}/${definition.name}/${turn.number}.${turn.attempt}`
    turn.queuedAtMs = clock.nowMs()
    const promptTokens = correction.correct(this.#backend, this.#model, turn.measure.tokens)
    const knownTokens = Math.max(
      this.#host.sharedTokens(this.#backend, this.#model, chain),
      this.#chain === undefined ? 0 : commonPrefix(this.#chain, chain).tokens,
    )
    const addedTokens = Math.max(0, promptTokens - correction.correct(this.#backend, this.#model, knownTokens))
    const outputTokens = this.#scriptedTokens ?? definition.params.maxTokens ?? limits.outputTokensGuess
    const outputTokensMax = this.#scriptedTokens ?? definition.params.maxTokens ?? limits.budgetOutputTokens
    const short = this.#setAside(turn, promptTokens, outputTokensMax)
    if (short !== undefined) return this.#fail(short)
    const from = this.#move('enqueued')
    const queued: Extract<TransitionBody, { type: 'stage.queued' }> = {
      type: 'stage.queued',
      stage: definition.name,
      turn: turn.number,
      backend: this.#backend,
      model: this.#model,
      from,
      to: this.#state,
      reason,
      requestId: turn.requestId,
      stagePriority: this.#priorities.stage,
      requestPriority: this.#priorities.request,
      promptTokens,
      addedTokens,
      contextHash: contextHash(chain),
      prefix: prefixMarks(chain),
    }
    if (definition.cache !== 'auto') queued.cacheHint = definition.cache
    this.#host.emit(queued)
    const { serviceMs, remainingMs } = this.#services.forecasts()
      ? this.#forecast(addedTokens, outputTokens)
      : noForecast
    const message: BackendRequest = {
      type: 'backend.request',
      replyTo: this.#address,
      outputTokensMax,
      request: {
        requestId: turn.requestId,
        runId: this.#host.runId,
        stageClass: definition.stageClass,
        tenant: this.#host.tenant,
        stagePriority: this.#priorities.stage,
        requestPriority: this.#priorities.request,
        promptTokens,
        uncachedTokens: addedTokens,
        outputTokens,
        serviceMs,
        remainingMs,
        runStartedAtMs: this.#host.startedAtMs,
        attainedTokens: this.#host.attainedTokens,
        deadlineMs: this.#host.deadlineAtMs,
      },
    }
    if (turn.error !== undefined) message.retry = true
    if (this.#places.length > 1 && turn.reroutes < limits.reroutesMax) message.among = this.#elsewhere(turn)
    post({ actor: 'backend', name: this.#backend }, message)
  }

  /** Sets aside what the turn may cost at most. Returns why it cannot. */
  #setAside(turn: Turn, promptTokens: number, completionTokens: number): OrlaError | undefined {
    const { budget } = this.#host
    const prices = this.#services.pricesOf(this.#backend)
    if (prices === undefined || budget.limitUsd === Infinity) return undefined
    this.#settleCost(turn, 0)
    const mostUsd = costUsd({ promptTokens, completionTokens }, prices)!
    if (budget.reserve(mostUsd)) {
      turn.reservedUsd = mostUsd
      return undefined
    }
    const { limitUsd, spentUsd, reservedUsd } = budget
    const dollars = (usd: number): string => `$${usd.toPrecision(3)}`
    const message = `stage "${this.definition.name}" may cost up to ${dollars(mostUsd)} at "${this.#backend}"; of ${dollars(limitUsd)} the run has spent ${dollars(spentUsd)} and set aside ${dollars(reservedUsd)}: raise budgetUsd, lower maxTokens, or map it to a cheaper backend`
    const details = { backend: this.#backend, mostUsd, limitUsd, spentUsd, reservedUsd }
    return new OrlaError('ORLA_BUDGET', message, { details })
  }

  #settleCost(turn: Turn, spentUsd: number): void {
    this.#host.budget.settle(turn.reservedUsd, spentUsd)
    turn.reservedUsd = 0
  }

  /** What history says of this turn, and of what its run needs from here on. */
  #forecast(uncachedTokens: number, askedTokens: number): { serviceMs: number; remainingMs: number } {
    const { history } = this.#services
    const { stageClass } = this.definition
    const outputTokens = history.outputTokens(stageClass, askedTokens)
    const serviceMs = history.turnServiceMs(stageClass, uncachedTokens, outputTokens)
    const stageMs = Math.max(serviceMs, history.stageServiceLeftMs(stageClass, this.#servedMs) ?? 0)
    return { serviceMs, remainingMs: stageMs + this.#host.remainingAfterMs(this.definition) }
  }

  // --- inference

  #onGranted(turn: Turn): void {
    const { clock } = this.#services
    turn.grantedAtMs = clock.nowMs()
    // The engine may have been replaced while the turn waited.
    if (this.#followsBackend) this.report.model = this.#model = this.#services.modelOf(this.#backend)
    const queueWaitMs = roundMs(turn.grantedAtMs - turn.queuedAtMs)
    turn.queueWaitMs += queueWaitMs
    const reason = queueWaitMs === 0 ? 'a slot was free' : 'a slot came free and it was its turn'
    const from = this.#move('granted')
    this.#host.emit({
      type: 'stage.granted',
      stage: this.definition.name,
      turn: turn.number,
      backend: this.#backend,
      model: this.#model,
      from,
      to: this.#state,
      reason,
      requestId: turn.requestId,
      queueWaitMs,
    })
    this.#chain = turn.measure.chain
    this.#host.remember(this.#backend, this.#model, turn.measure.chain)
    if (this.#places.length > 1) {
      const marks = prefixMarks(turn.measure.chain)
      this.#services.warmHeads.computed(this.#backend, this.#host.tenant, marks, turn.grantedAtMs)
    }
    const epoch = this.#epoch
    const sink = { delta: (channel: DeltaChannel, text: string) => this.#onDelta(turn, epoch, channel, text) }
    const { runId, tenant } = this.#host
    const context: ChatContext = {
      requestId: turn.requestId,
      runId,
      sessionId: runId,
      priority: this.#priorities.request,
    }
    // Tenants other than the default one do not share a prefix cache.
    if (tenant !== 'default') context.salt = tenant
    const request = this.#request()
    this.#call = this.#services.infer(this.#backend, request, context, sink, this.definition.timeouts)
    this.#call.result.then(
      (result) => this.#if(epoch, () => this.#onAnswer(turn, result, request, context)),
      (error: unknown) =>
        this.#if(epoch, () =>
          this.#onInferenceError(turn, toOrlaError(error, 'ORLA_BACKEND_PROTOCOL', 'the driver failed')),
        ),
    )
  }

  #request(): ChatRequest {
    const { definition } = this
    const request: ChatRequest = { model: this.#model, messages: this.#conversation, params: definition.params }
    if (this.#scriptedTokens !== undefined) {
      request.params = { ...definition.params, maxTokens: this.#scriptedTokens, ignoreEos: true }
    }
    if (definition.toolSpecs !== undefined) {
      // Tools stay in the request for the final answer too: they are part of the prompt, and of the cached prefix.
      request.tools = definition.toolSpecs
      if (this.#phase === 'answer') request.toolChoice = 'none'
    }
    if (definition.output !== undefined && this.#phase === 'answer') {
      request.responseSchema = {
        name: definition.name.replaceAll(/[^\w-]/g, '_'),
        schema: definition.output.jsonSchema,
      }
    }
    return request
  }

  #onDelta(turn: Turn, epoch: number, channel: DeltaChannel, text: string): void {
    if (epoch !== this.#epoch) return
    if (turn.ttftMs === null) {
      const ttftMs = roundMs(this.#services.clock.nowMs() - turn.readyAtMs)
      turn.ttftMs = ttftMs
      const { from, to } = { from: this.#state, to: this.#state }
      const reason = 'the first token arrived'
      this.#host.emit({ ...this.#turnFields(turn), type: 'stage.firstToken', from, to, reason, ttftMs })
      this.#host.foresee(this.definition, this.#conversation)
    }
    this.#host.token(this.definition.name, turn.number, channel, text)
  }

  #onAnswer(turn: Turn, result: ChatResult, request: ChatRequest, context: ChatContext): void {
    const { usage, finishReason } = result
    const { shadow } = this.#services
    if (shadow?.draws(this.definition.stageClass)) shadow.take(this.definition.stageClass, request, context, result)
    const serviceMs = this.#services.clock.nowMs() - turn.grantedAtMs
    this.#servedMs += serviceMs
    const { promptTokens, cachedTokens = 0, completionTokens } = usage
    const uncachedTokens = promptTokens === undefined ? undefined : promptTokens - cachedTokens
    this.#services.history.answered(this.definition.stageClass, completionTokens, serviceMs, uncachedTokens)
    this.#services.correction.learn(this.#backend, this.#model, turn.measure.tokens, usage.promptTokens)
    this.#host.attain((usage.promptTokens ?? turn.measure.tokens) + (usage.completionTokens ?? 0))
    const cost = costUsd(usage, this.#services.pricesOf(this.#backend))
    // An engine that does not say how many tokens there were may have made as many as it could.
    this.#settleCost(turn, cost ?? turn.reservedUsd)
    this.#pushTurn(turn, {
      promptTokens: usage.promptTokens ?? null,
      cachedTokens: usage.cachedTokens ?? null,
      completionTokens: usage.completionTokens ?? null,
      finishReason,
      costUsd: cost,
    })
    this.report.truncated = finishReason === 'length'
    const said = answerMessage(result, this.#phase)
    this.#record(turn, result, said)
    const facts = { usage, finishReason, costUsd: cost, notes: result.notes }
    this.#release(turn, 'ok', `the engine finished: ${result.finishDetail ?? finishReason}`, facts)
    const { script } = this.definition
    if (script !== undefined) {
      this.#conversation = [...this.#conversation, said]
      return this.#nextScripted(script)
    }
    const decision = decideTurn(
      this.definition,
      { phase: this.#phase, turns: this.report.turns.length - this.#turnsBefore, repairs: this.#repairs },
      result,
    )
    if (!(decision instanceof Promise)) return this.#carryOut(decision, said)
    const epoch = this.#epoch
    void decision.then((settled) => this.#if(epoch, () => this.#carryOut(settled, said)))
  }

  #record(turn: Turn, result: ChatResult, answer: Message): void {
    const { runId, tenant, priority, startedAtMs } = this.#host
    this.#services.recorder?.turn({
      runId,
      tenant,
      priority,
      runStartedAtMs: startedAtMs,
      stage: this.definition.name,
      stageStartedAtMs: startedAtMs + this.report.startedAtMs!,
      readyAtMs: turn.readyAtMs,
      endedAtMs: this.#services.clock.nowMs(),
      messages: this.#conversation,
      chain: turn.measure.chain,
      result,
      answer,
    })
  }

  #carryOut(decision: TurnDecision, said: Message): void {
    switch (decision.next) {
      case 'complete':
        this.#conversation = [...this.#conversation, said]
        return this.#judge(decision.value, decision.reason)
      case 'fail': {
        const next = this.#nextInCascade()
        if (next === undefined) return this.#fail(decision.error)
        // Calls that nobody answers are left out.
        this.#conversation = [...this.#conversation, assistant(said.content)]
        return this.#escalate(next, decision.error.message)
      }
      case 'continue':
        this.#phase = decision.phase
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
    const from = this.#move('continued')
    this.#host.emit({ type: 'stage.continued', stage: this.definition.name, from, to: this.#state, turn, reason })
    this.#beginTurn(readyAtMs)
  }

  // --- cascade

  /** Ends the stage with its answer, unless that is not good enough and somebody else can make it again. */
  #judge(value: unknown, reason: string): void {
    const { cascade, name } = this.definition
    const next = this.#nextInCascade()
    if (cascade === undefined || next === undefined) return this.#complete(value, reason)
    const { toolCalls } = this.report
    const answer = { value, toolCalls, backend: this.#backend }
    const judged = (why: string | undefined): void =>
      why === undefined ? this.#complete(value, reason) : this.#escalate(next, why)
    const why = judge(cascade, name, this.#host.contextOf(this.definition), answer)
    if (!(why instanceof Promise)) return judged(why)
    this.#await(why, 'the answer could not be checked', judged)
  }

  #nextInCascade(): string | undefined {
    return this.definition.cascade?.to.slice(this.#cascaded).find((backend) => this.#services.canServe(backend))
  }

  #escalate(backend: string, why: string): void {
    const { definition, report } = this
    const escalatedFrom = this.#backend
    this.#cascaded = definition.cascade!.to.indexOf(backend) + 1
    ;(report.escalations ??= []).push({ from: escalatedFrom, to: backend, reason: why })
    this.#settleAt(backend)
    this.#home = backend
    this.#places = noPlaces
    this.#chain = undefined
    this.#phase = firstPhase(definition)
    this.#repairs = 0
    this.#turnsBefore = report.turns.length
    this.#conversation = reopen(this.#opening, this.#conversation, report.toolCalls, why)
    const readyAtMs = this.#services.clock.nowMs()
    const from = this.#move('continued')
    this.#host.emit({
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

  // --- failures of a turn

  #onInferenceError(turn: Turn, error: OrlaError): void {
    const { requestId } = turn
    const backend = this.#backend
    turn.error = error
    this.#sayReleased(turn, 'failed', error.message, { usage: {}, error: error.toJSON() })
    // The slot goes back once it is decided what follows: a run that fails must not give it to a stage of its own.
    try {
      this.#retryOrFail(turn, error)
    } finally {
      this.#releaseSlot(requestId, healthVerdict(error), backend)
    }
  }

  #onRejected(turn: Turn, facts: ErrorFacts): void {
    turn.queueWaitMs += this.#services.clock.nowMs() - turn.queuedAtMs
    const reason = facts.message
    const from = this.#move('rejected')
    this.#host.emit({
      ...this.#turnFields(turn),
      type: 'stage.rejected',
      from,
      to: this.#state,
      reason,
      requestId: turn.requestId,
      error: facts,
    })
    this.#retryOrFail(turn, errorFromFacts(facts))
  }

  #retryOrFail(turn: Turn, error: OrlaError): void {
    const from = this.#backend
    const reroutedTo = error.code === 'ORLA_REROUTED' ? (error.details?.['to'] as string) : undefined
    if (reroutedTo === undefined) turn.failedAt = (turn.failedAt ?? new Set()).add(from)
    else turn.reroutes++
    if (error.code === 'ORLA_RETRY_BUDGET') turn.refusedBy = (turn.refusedBy ?? new Set()).add(from)
    // Once somebody has seen tokens of an answer, another answer would contradict them.
    const delivered = turn.ttftMs !== null && this.#host.tokensWatched
    const other = reroutedTo ?? (delivered || !mayMove(error) ? undefined : this.#alternative(turn))
    // A request that only waited where an actor broke has not been tried.
    const innocent = error.code === 'ORLA_INVARIANT' && error.details?.['innocent'] === true
    const refused = other === undefined && this.#waitsForReplicas(turn, error)
    const spent = !innocent && turn.attempt - turn.moves >= this.definition.attempts
    if (other === undefined && !refused && (delivered || spent || !error.retryable)) {
      this.#pushTurn(turn, { promptTokens: null, cachedTokens: null, completionTokens: null, finishReason: null })
      // Not being allowed to try again is not what went wrong.
      return this.#fail(error.code === 'ORLA_RETRY_BUDGET' ? (turn.error ?? error) : error)
    }
    const delayMs = other === undefined ? this.#backoffMs(turn, error) : 0
    if (other !== undefined) this.#moveTo(other, turn)
    else if (innocent || refused) turn.moves++
    turn.attempt++
    turn.ttftMs = null
    const before = this.#move('retry')
    this.#host.emit({
      ...this.#turnFields(turn),
      type: 'stage.retrying',
      from: before,
      to: this.#state,
      reason: other === undefined ? error.message : `goes on at "${other}": ${error.message}`,
      attempt: turn.attempt,
      delayMs,
      ...(other !== undefined && { failedOverFrom: from }),
      error: error.toJSON(),
    })
    this.#retryTimer = this.#services.clock.setTimer(delayMs, () =>
      this.#guarded(() => {
        this.#retryTimer = undefined
        this.#enqueue(turn, `attempt ${turn.attempt}`)
      }),
    )
  }

  /**
   * Whether it waits until replicas take retries again. One that stops sends all that it had in flight to the others at
   * once, which is more than their retry budgets hold; the engines get no more of it at a time for that.
   */
  #waitsForReplicas(turn: Turn, error: OrlaError): boolean {
    if (error.code !== 'ORLA_RETRY_BUDGET' || this.#places.length < 2) return false
    if (turn.refusals >= limits.retryRefusalsMax) return false
    turn.refusals++
    for (const backend of turn.refusedBy ?? []) turn.failedAt?.delete(backend)
    turn.refusedBy = undefined
    return true
  }

  /** Pause before a turn is tried again, ms: full jitter, or what the backend asks for. */
  #backoffMs(turn: Turn, error: OrlaError): number {
    const exponent = turn.attempt - turn.moves - 1 + turn.refusals
    const ceilingMs = Math.min(this.definition.backoffMs * 2 ** exponent, limits.retryBackoffMsMax)
    // Details come from drivers, which may be anybody's.
    const askedMs = Number(error.details?.['retryAfterMs'] ?? 0) || 0
    return roundMs(Math.max(this.#services.random() * ceilingMs, Math.min(askedMs, limits.retryBackoffMsMax)))
  }

  /** The best backend that this turn was not at, and that takes requests now. */
  #alternative(turn: Turn): string | undefined {
    const services = this.#services
    const replicas = this.#places.map(({ backend }) => backend)
    const places = [this.#home, ...replicas, ...services.peersOf(this.#home), ...this.definition.fallback]
    return places.find((place) => turn.failedAt?.has(place) !== true && services.canServe(place))
  }

  /** Replicas that have not failed this turn. */
  #elsewhere(turn: Turn): string[] {
    const replicas = this.#places.map(({ backend }) => backend)
    return replicas.filter((backend) => backend !== this.#backend && turn.failedAt?.has(backend) !== true)
  }

  #moveTo(backend: string, turn: Turn): void {
    turn.moves++
    this.#settleAt(backend)
    // What its last engine holds, this one does not.
    this.#chain = undefined
  }

  #settleAt(backend: string): void {
    this.#backend = backend
    this.#followsBackend = this.definition.requirements.model === undefined
    this.#model = this.definition.requirements.model ?? this.#services.modelOf(backend)
    this.report.backend = backend
    this.report.model = this.#model
  }

  // --- tools

  #callTools(calls: readonly ToolCall[], reason: string): void {
    const from = this.#move('toolsCalled')
    const { definition } = this
    this.#tools = new ToolRound({
      stage: definition,
      definitionId: this.#host.definitionId,
      turn: this.#turnFields(this.#turn!),
      replyTo: this.#address,
      post: this.#services.post,
      emit: (transition) => this.#host.emit(transition),
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
    this.#services.history.completed(this.definition.stageClass, this.#servedMs)
    this.#epoch++
    this.#clearTimers()
    const turns = this.report.turns.length
    const from = this.#move('complete')
    this.#host.emit({ type: 'stage.completed', stage: this.definition.name, from, to: this.#state, reason, turns })
    this.#settle('completed', value, reason)
  }

  #fail(error: OrlaError): void {
    if (isSettled(this.#state)) return
    this.#abandon(error)
    const facts = error.toJSON()
    this.report.error = facts
    const from = this.#move('fail')
    this.#host.emit({
      type: 'stage.failed',
      stage: this.definition.name,
      from,
      to: this.#state,
      reason: error.message,
      error: facts,
    })
    this.#settle('failed', error, error.message)
  }

  #settle(settlement: 'completed' | 'failed' | 'skipped' | 'cancelled', value: unknown, reason: string): void {
    this.report.state = this.#state
    this.report.reason = reason
    if (this.report.startedAtMs !== null) this.report.endedAtMs = this.#host.elapsedMs()
    addTurns(this.report)
    if (this.#mappingUsd !== undefined) this.report.costUsd = (this.report.costUsd ?? 0) + this.#mappingUsd
    this.#host.settled(this, settlement, value)
  }

  /** Lets go of everything under way, in whatever state (T2). What still arrives is void. */
  #abandon(error: OrlaError): void {
    this.#epoch++
    this.#clearTimers()
    this.#prompting?.abort(error)
    const turn = this.#turn
    if (turn !== undefined) this.#settleCost(turn, 0)
    if (this.#state === 'mapping' && this.definition.mapping.kind === 'mapper') {
      this.#services.post({ actor: 'mapper' }, { type: 'mapper.cancel', replyTo: this.#address })
    } else if (this.#state === 'queued' && turn !== undefined) {
      this.#services.post(
        { actor: 'backend', name: this.#backend },
        { type: 'backend.withdraw', requestId: turn.requestId },
      )
    } else if (this.#state === 'inferring' && turn !== undefined) {
      this.#call?.cancel(error)
      this.#pushTurn(turn, { promptTokens: null, cachedTokens: null, completionTokens: null, finishReason: null })
      this.#release(turn, 'cancelled', error.message, { usage: {} })
    } else if (this.#state === 'tooling') {
      this.#tools?.cancel()
      this.#tools = undefined
    }
  }

  // --- helpers

  #release(turn: Turn, outcome: 'ok' | 'cancelled', reason: string, facts: ReleaseFacts): void {
    this.#sayReleased(turn, outcome, reason, facts)
    if (outcome === 'cancelled') return this.#releaseSlot(turn.requestId, 'inconclusive')
    this.#releaseSlot(turn.requestId, 'ok', this.#backend, this.#servedOf(turn, facts.usage))
  }

  /** How the turn went at the engine. */
  #servedOf(turn: Turn, usage: ChatResult['usage']): ServedTurn {
    const { promptTokens = turn.measure.tokens, cachedTokens = 0, completionTokens = 0 } = usage
    return {
      promptTokens,
      uncachedTokens: Math.max(0, promptTokens - cachedTokens),
      outputTokens: completionTokens,
      ...(turn.ttftMs !== null && { ttftMs: Math.max(0, turn.readyAtMs + turn.ttftMs - turn.grantedAtMs) }),
      durationMs: this.#services.clock.nowMs() - turn.grantedAtMs,
    }
  }

  #sayReleased(turn: Turn, outcome: 'ok' | 'failed' | 'cancelled', reason: string, facts: ReleaseFacts): void {
    this.#call = undefined
    const durationMs = roundMs(this.#services.clock.nowMs() - turn.grantedAtMs)
    const from = this.#move('released')
    const { usage, finishReason, costUsd: cost, notes, error } = facts
    const released: Extract<TransitionBody, { type: 'stage.released' }> = {
      type: 'stage.released',
      stage: this.definition.name,
      turn: turn.number,
      backend: this.#backend,
      model: this.#model,
      from,
      to: this.#state,
      reason,
      requestId: turn.requestId,
      outcome,
      durationMs,
      usage,
    }
    if (finishReason !== undefined) released.finishReason = finishReason
    if (cost !== undefined) released.costUsd = cost
    if (notes !== undefined) released.notes = notes
    if (error !== undefined) released.error = error
    this.#host.emit(released)
  }

  #releaseSlot(
    requestId: string,
    verdict: 'ok' | 'faulty' | 'inconclusive',
    backend = this.#backend,
    served?: ServedTurn,
  ): void {
    const to = { actor: 'backend' as const, name: backend }
    this.#services.post(to, { type: 'backend.release', requestId, verdict, ...(served !== undefined && { served }) })
  }

  #pushTurn(
    turn: Turn,
    facts: Pick<TurnReport, 'promptTokens' | 'cachedTokens' | 'completionTokens' | 'finishReason'> & {
      costUsd?: number | undefined
    },
  ): void {
    const { promptTokens, cachedTokens, completionTokens, finishReason, costUsd: cost } = facts
    const report: TurnReport = {
      queueWaitMs: turn.queueWaitMs,
      ttftMs: turn.ttftMs,
      promptTokens,
      cachedTokens,
      completionTokens,
      finishReason,
      attempts: turn.attempt,
    }
    if (cost !== undefined) report.costUsd = cost
    // A list that begins as a literal has no room to grow; one that is pushed to has room for 17: 130 bytes a stage.
    if (this.report.turns.length === 0) this.report.turns = [report]
    else this.report.turns.push(report)
  }

  #turnFields(turn: Turn): { stage: string; turn: number; backend: string; model: string } {
    return { stage: this.definition.name, turn: turn.number, backend: this.#backend, model: this.#model }
  }

  /** Moves along the lifecycle. Returns the state before; whoever calls emits the transition (T1). */
  #move(event: StageEvent): StageState {
    const from = this.#state
    this.#state = nextStageState(from, event)
    return from
  }

  #hint(hint: Hint, context: StageContext): number {
    if (typeof hint === 'number') return hint
    const value = this.#userValue(() => hint(context), 'the priority')
    if (Number.isFinite(value)) return value
    throw new StageError(
      'ORLA_STAGE_BUILDER',
      `stage "${this.definition.name}": the priority is ${String(value)}, not a number`,
    )
  }

  /** Calls a user's function; what it throws becomes an error that says whose it was. */
  #userCode<T>(call: () => T, what: string): T {
    try {
      return call()
    } catch (error) {
      throw new StageError(
        'ORLA_STAGE_BUILDER',
        `stage "${this.definition.name}": ${what} threw: ${messageOf(error)}`,
        {
          cause: error,
        },
      )
    }
  }

  /** Like {@link #userCode}, for what must be there at once. */
  #userValue<T>(call: () => T, what: string): T {
    const value = this.#userCode(call, what)
    if (!(value instanceof Promise)) return value
    value.catch(() => {})
    throw new StageError(
      'ORLA_STAGE_BUILDER',
      `stage "${this.definition.name}": ${what} returned a promise; it must be synchronous`,
    )
  }

  #armStageTimer(stageTimeoutMs: number): void {
    this.#stageTimer = this.#services.clock.setTimer(stageTimeoutMs, () =>
      this.#guarded(() => {
        const message = `stage "${this.definition.name}" took longer than ${stageTimeoutMs} ms`
        this.#fail(new StageError('ORLA_STAGE_TIMEOUT', message, { details: { stageTimeoutMs } }))
      }),
    )
  }

  #clearTimers(): void {
    this.#services.clock.clearTimer(this.#retryTimer)
    this.#services.clock.clearTimer(this.#stageTimer)
    this.#retryTimer = undefined
    this.#stageTimer = undefined
  }

  /** Goes on with what a promise brings, unless the stage has moved on; its failure is the stage's. */
  #await<T>(promise: Promise<T>, what: string, then: (value: T) => void): void {
    const epoch = this.#epoch
    promise.then(
      (value) => this.#if(epoch, () => then(value)),
      (error: unknown) => this.#if(epoch, () => this.#fail(toOrlaError(error, 'ORLA_WORKER_TASK', what))),
    )
  }

  /** For work on other threads; most prompts need none. */
  #untilAbandoned(): AbortSignal {
    this.#prompting ??= new AbortController()
    return this.#prompting.signal
  }

  /** Runs a continuation unless what it continues has become void. */
  #if(epoch: number, run: () => void): void {
    if (epoch === this.#epoch) this.#guarded(run)
  }

  /** An actor that throws fails its own stage and nothing else. */
  #guarded(run: () => void): void {
    try {
      run()
    } catch (error) {
      this.#fail(toOrlaError(error, 'ORLA_INVARIANT', `stage "${this.definition.name}" failed`))
    }
  }
}

const noPlaces: readonly Place[] = []
const noForecast = { serviceMs: 0, remainingMs: 0 }

/** Whether another backend may do what this one did not: it is sick, full or gone, or lacks the key, model or room. */
function mayMove(error: OrlaError): boolean {
  switch (error.code) {
    case 'ORLA_BACKEND_DRAINING':
    case 'ORLA_RETRY_BUDGET':
    case 'ORLA_CONTEXT_LENGTH':
      return true
    case 'ORLA_TENANT_LIMIT':
      // It has had its tokens wherever it goes.
      return false
    case 'ORLA_BACKEND_HTTP':
      return error.retryable || [401, 403, 404].includes(error.details?.['status'] as number)
    default:
      return error.retryable || blamesBackend(error)
  }
}
