// Turn: one prompt of a stage, from its queue to its answer
//
// Owns: the request that waits or runs, its attempts, its slot, the money set aside for it.
// Does not own: the conversation, what follows from an answer (stage actor), where the stage runs (its seat).
// Invariants
//   U1. A slot that was granted is released exactly once, on every path.
//   U2. It is tried again only where nobody saw a token of it. It moves to another backend before it waits for its own,
//       at most once to each.
//   U3. Once it is over, or its stage has given up on it, whatever still arrives is void.

import { roundMs, type Timer } from '../src/clock.ts'
import type { ChatCall, ChatContext } from '../src/engines/driver.ts'
import { errorFromFacts, healthVerdict, OrlaError, toOrlaError, type ErrorFacts } from '../src/errors.ts'
import { limits } from '../src/limits.ts'
import { costUsd } from '../src/mapping/cost.ts'
import { contextHash, prefixMarks } from '../src/prompts/chain.ts'
import type { PromptMeasure } from '../src/prompts/conversation.ts'
import type { ChatRequest, ChatResult, DeltaChannel } from '../src/schema/chat.ts'
import type { Message } from '../src/schema/message.ts'
import type { ServedTurn } from '../src/schema/queue-pace.ts'
import type { StageState } from '../src/schema/transition.ts'
import { chatRequestOf } from '../src/workflow/chat-request.ts'
import type { StageDefinition } from '../src/workflow/definition.ts'
import type { StageReport, TurnReport } from '../src/workflow/report.ts'
import { mayMove, pauseMs } from '../src/workflow/retry.ts'
import type { StageEvent } from '../src/workflow/stage-lifecycle.ts'
import { answerMessage, type Phase } from '../src/workflow/turn.ts'
import type { BackendRequest, StageAddress } from './messages.ts'
import type { StageHost, TransitionBody } from './stage-host.ts'
import type { StageSeat } from './stage-seat.ts'

/** What a turn needs of its stage. */
export interface TurnStage {
  readonly definition: StageDefinition
  readonly host: StageHost
  readonly report: StageReport
  readonly seat: StageSeat
  readonly address: StageAddress
  readonly state: StageState
  readonly priorities: { stage: number; request: number }
  readonly conversation: readonly Message[]
  readonly phase: Phase
  /** Tokens of the answer, for stages with a script. */
  readonly scriptedTokens: number | undefined
  /** Time at engines so far, over all turns that were answered, ms. */
  servedMs: number
  /** Moves along the lifecycle. Returns the state before; whoever calls emits the transition. */
  move(event: StageEvent): StageState
  /** An actor that throws fails its own stage and nothing else. */
  guarded(run: () => void): void
  /** The turn has its answer, and gave its slot back. */
  answered(result: ChatResult, said: Message): void
  fail(error: OrlaError): void
}

/** What came of an inference. */
interface ReleaseFacts {
  usage: ChatResult['usage']
  finishReason?: ChatResult['finishReason'] | undefined
  costUsd?: number | undefined
  notes?: ChatResult['notes'] | undefined
  error?: ErrorFacts | undefined
}

type TurnFacts = Pick<TurnReport, 'promptTokens' | 'cachedTokens' | 'completionTokens' | 'finishReason'>

const noAnswer: TurnFacts = { promptTokens: null, cachedTokens: null, completionTokens: null, finishReason: null }
const noForecast = { serviceMs: 0, remainingMs: 0 }

/** One turn. */
export class StageTurn {
  readonly number: number
  readonly #stage: TurnStage
  /** When its prompt began to be built, ms on the runtime's clock: TTFT counts from here. */
  readonly #readyAtMs: number
  readonly #measure: PromptMeasure
  #requestId = ''
  #attempt = 1
  #queuedAtMs = 0
  #grantedAtMs = 0
  /** Backends that did not serve it. */
  #failedAt: Set<string> | undefined
  /** Times that it was sent from one replica's queue to another's. */
  #reroutes = 0
  /** Replicas that took no more retries since it last waited, and how often it waited for that. */
  #refusedBy: Set<string> | undefined
  #refusals = 0
  /** Attempts that only moved it to another backend. */
  #moves = 0
  /** What the last engine that it was sent to failed with. */
  #error: OrlaError | undefined
  /** Sum over attempts. */
  #queueWaitMs = 0
  #ttftMs: number | null = null
  /** Set aside of the run's budget, dollars. */
  #reservedUsd = 0
  #call: ChatCall | undefined
  #retryTimer: Timer | undefined
  #isOver = false

  constructor(stage: TurnStage, readyAtMs: number, measure: PromptMeasure) {
    this.#stage = stage
    this.#readyAtMs = readyAtMs
    this.#measure = measure
    this.number = stage.report.turns.length + 1
  }

  /** Of the attempt under way. */
  get requestId(): string {
    return this.#requestId
  }

  /** What its transitions have in common. */
  get fields(): { stage: string; turn: number; backend: string; model: string } {
    const { definition, seat } = this.#stage
    return { stage: definition.name, turn: this.number, backend: seat.backend, model: seat.model }
  }

  /** Asks for a slot. */
  begin(): void {
    this.#enqueue(this.#place() ?? 'the prompt is ready')
  }

  /** Chooses among replicas, where there are any. Returns why, where something speaks for one. */
  #place(): string | undefined {
    const { seat, host } = this.#stage
    if (!seat.isReplicated) return undefined
    const { chain, tokens } = this.#measure
    if (this.number === 1) return seat.choose(chain)
    const promptTokens = host.services.correction.correct(seat.backend, seat.model, tokens)
    return seat.reconsider(chain, promptTokens, this.#outputTokens())
  }

  /** It has a slot. */
  granted(): void {
    const { host, seat, definition } = this.#stage
    const nowMs = host.services.clock.nowMs()
    this.#grantedAtMs = nowMs
    seat.refresh()
    const queueWaitMs = roundMs(this.#grantedAtMs - this.#queuedAtMs)
    this.#queueWaitMs += queueWaitMs
    const reason = queueWaitMs === 0 ? 'a slot was free' : 'a slot came free and it was its turn'
    const from = this.#stage.move('granted')
    const granted: Extract<TransitionBody, { type: 'stage.granted' }> = {
      type: 'stage.granted',
      stage: definition.name,
      turn: this.number,
      backend: seat.backend,
      model: seat.model,
      from,
      to: this.#stage.state,
      reason,
      requestId: this.#requestId,
      queueWaitMs,
    }
    host.emit(granted, nowMs)
    seat.computes(this.#measure.chain)
    this.#infer()
  }

  /** A backend does not take it. */
  rejected(facts: ErrorFacts): void {
    const { host } = this.#stage
    this.#queueWaitMs += host.services.clock.nowMs() - this.#queuedAtMs
    const from = this.#stage.move('rejected')
    host.emit({
      ...this.fields,
      type: 'stage.rejected',
      from,
      to: this.#stage.state,
      reason: facts.message,
      requestId: this.#requestId,
      error: facts,
    })
    this.#retryOrFail(errorFromFacts(facts))
  }

  /** Its stage gives up on it, wherever it is (U1). */
  abandon(error: OrlaError): void {
    if (this.#isOver) return
    this.#isOver = true
    const { host, seat, state } = this.#stage
    host.services.clock.clearTimer(this.#retryTimer)
    this.#settleCost(0)
    if (state === 'queued') {
      host.services.post(
        { actor: 'backend', name: seat.backend },
        { type: 'backend.withdraw', requestId: this.#requestId },
      )
    } else if (state === 'inferring') {
      this.#call?.cancel(error)
      this.#report(noAnswer, undefined)
      this.#sayReleased('cancelled', error.message, { usage: {} })
      this.#releaseSlot('inconclusive')
    }
  }

  // --- the queue

  #enqueue(reason: string): void {
    const { definition, host, seat, priorities, scriptedTokens } = this.#stage
    const { correction, clock, post } = host.services
    const { chain, tokens } = this.#measure
    this.#requestId = `${host.runId}/${definition.name}/${this.number}.${this.#attempt}`
    const nowMs = clock.nowMs()
    this.#queuedAtMs = nowMs
    const promptTokens = correction.correct(seat.backend, seat.model, tokens)
    const knownTokens = correction.correct(seat.backend, seat.model, seat.knownTokens(chain))
    const addedTokens = Math.max(0, promptTokens - knownTokens)
    const outputTokens = this.#outputTokens()
    const outputTokensMax = scriptedTokens ?? definition.params.maxTokens ?? limits.budgetOutputTokens
    const short = this.#setAside(promptTokens, outputTokensMax)
    if (short !== undefined) return this.#stage.fail(short)
    const from = this.#stage.move('enqueued')
    const queued: Extract<TransitionBody, { type: 'stage.queued' }> = {
      type: 'stage.queued',
      stage: definition.name,
      turn: this.number,
      backend: seat.backend,
      model: seat.model,
      from,
      to: this.#stage.state,
      reason,
      requestId: this.#requestId,
      stagePriority: priorities.stage,
      requestPriority: priorities.request,
      promptTokens,
      addedTokens,
      contextHash: contextHash(chain),
      prefix: prefixMarks(chain),
    }
    if (definition.cache !== 'auto') queued.cacheHint = definition.cache
    host.emit(queued, nowMs)
    const { serviceMs, remainingMs } = host.services.forecasts()
      ? this.#forecast(addedTokens, outputTokens)
      : noForecast
    const message: BackendRequest = {
      type: 'backend.request',
      replyTo: this.#stage.address,
      outputTokensMax,
      request: {
        requestId: this.#requestId,
        runId: host.runId,
        stageClass: definition.stageClass,
        tenant: host.tenant,
        stagePriority: priorities.stage,
        requestPriority: priorities.request,
        promptTokens,
        uncachedTokens: addedTokens,
        outputTokens,
        askedTokens: scriptedTokens ?? definition.params.maxTokens ?? limits.outputTokensGuess,
        serviceMs,
        remainingMs,
        runStartedAtMs: host.startedAtMs,
        attainedTokens: host.attainedTokens,
        deadlineMs: host.deadlineAtMs,
      },
    }
    if (this.#error !== undefined) message.retry = true
    const among = seat.elsewhere(this.#failedAt, this.#reroutes)
    if (among !== undefined) message.among = among
    post({ actor: 'backend', name: seat.backend }, message)
  }

  /** Tokens that the answer is expected to have. Who plays a workload knows better, but whoever decides must not. */
  #outputTokens(): number {
    const { definition, host } = this.#stage
    return host.services.history.outputTokens(definition.stageClass, definition.params.maxTokens)
  }

  /** What history says of this turn, and of what its run needs from here on. */
  #forecast(uncachedTokens: number, outputTokens: number): { serviceMs: number; remainingMs: number } {
    const { definition, host, servedMs } = this.#stage
    const { history } = host.services
    const { stageClass } = definition
    const serviceMs = history.turnServiceMs(stageClass, uncachedTokens, outputTokens)
    const stageMs = Math.max(serviceMs, history.stageServiceLeftMs(stageClass, servedMs) ?? 0)
    return { serviceMs, remainingMs: stageMs + host.remainingAfterMs(definition) }
  }

  /** Sets aside what it may cost at most. Returns why it cannot. */
  #setAside(promptTokens: number, completionTokens: number): OrlaError | undefined {
    const { definition, host, seat } = this.#stage
    const { budget } = host
    const prices = host.services.pricesOf(seat.backend)
    if (prices === undefined || budget.limitUsd === Infinity) return undefined
    this.#settleCost(0)
    const mostUsd = costUsd({ promptTokens, completionTokens }, prices)!
    if (budget.reserve(mostUsd)) {
      this.#reservedUsd = mostUsd
      return undefined
    }
    const { limitUsd, spentUsd, reservedUsd } = budget
    const dollars = (usd: number): string => `$${usd.toPrecision(3)}`
    const message = `stage "${definition.name}" may cost up to ${dollars(mostUsd)} at "${seat.backend}"; of ${dollars(limitUsd)} the run has spent ${dollars(spentUsd)} and set aside ${dollars(reservedUsd)}: raise budgetUsd, lower maxTokens, or map it to a cheaper backend`
    const details = { backend: seat.backend, mostUsd, limitUsd, spentUsd, reservedUsd }
    return new OrlaError('ORLA_BUDGET', message, { details })
  }

  #settleCost(spentUsd: number): void {
    this.#stage.host.budget.settle(this.#reservedUsd, spentUsd)
    this.#reservedUsd = 0
  }

  // --- inference

  #infer(): void {
    const { definition, host, seat, priorities, conversation, phase, scriptedTokens } = this.#stage
    const { runId, tenant } = host
    const context: ChatContext = {
      requestId: this.#requestId,
      runId,
      sessionId: runId,
      priority: priorities.request,
    }
    // Tenants other than the default one do not share a prefix cache.
    if (tenant !== 'default') context.salt = tenant
    const request = chatRequestOf(definition, seat.model, conversation, phase, scriptedTokens)
    const attempt = this.#attempt
    const isVoid = (): boolean => this.#isOver || attempt !== this.#attempt
    const sink = {
      delta: (channel: DeltaChannel, text: string): void => void (isVoid() || this.#onDelta(channel, text)),
    }
    this.#call = host.services.infer(seat.backend, request, context, sink, definition.timeouts)
    this.#call.result.then(
      (result) => {
        if (!isVoid()) this.#stage.guarded(() => this.#onAnswer(result, request, context))
      },
      (error: unknown) => {
        if (isVoid()) return
        const failure = toOrlaError(error, 'ORLA_BACKEND_PROTOCOL', 'the driver failed')
        this.#stage.guarded(() => this.#onError(failure))
      },
    )
  }

  #onDelta(channel: DeltaChannel, text: string): void {
    const { definition, host, state, conversation } = this.#stage
    if (this.#ttftMs === null) {
      const ttftMs = roundMs(host.services.clock.nowMs() - this.#readyAtMs)
      this.#ttftMs = ttftMs
      const reason = 'the first token arrived'
      host.emit({ ...this.fields, type: 'stage.firstToken', from: state, to: state, reason, ttftMs })
      host.foresee(definition, conversation)
    }
    host.token(definition.name, this.number, channel, text)
  }

  #onAnswer(result: ChatResult, request: ChatRequest, context: ChatContext): void {
    const { definition, host, seat, report, phase } = this.#stage
    const { services } = host
    const { stageClass } = definition
    const { usage, finishReason } = result
    const { promptTokens, cachedTokens, completionTokens } = usage
    if (services.shadow?.draws(stageClass)) services.shadow.take(stageClass, request, context, result)
    const nowMs = services.clock.nowMs()
    const serviceMs = nowMs - this.#grantedAtMs
    this.#stage.servedMs += serviceMs
    const uncachedTokens = promptTokens === undefined ? undefined : promptTokens - (cachedTokens ?? 0)
    services.history.answered(stageClass, completionTokens, serviceMs, uncachedTokens)
    services.correction.learn(seat.backend, seat.model, this.#measure.tokens, promptTokens)
    host.attain((promptTokens ?? this.#measure.tokens) + (completionTokens ?? 0))
    const cost = costUsd(usage, services.pricesOf(seat.backend))
    // An engine that does not say how many tokens there were may have made as many as it could.
    this.#settleCost(cost ?? this.#reservedUsd)
    this.#report(
      {
        promptTokens: promptTokens ?? null,
        cachedTokens: cachedTokens ?? null,
        completionTokens: completionTokens ?? null,
        finishReason,
      },
      cost,
    )
    report.truncated = finishReason === 'length'
    const said = answerMessage(result, phase)
    this.#record(result, said)
    const facts = { usage, finishReason, costUsd: cost, notes: result.notes }
    this.#sayReleased('ok', `the engine finished: ${result.finishDetail ?? finishReason}`, facts, nowMs)
    this.#releaseSlot('ok', seat.backend, this.#served(usage, nowMs))
    this.#isOver = true
    this.#stage.answered(result, said)
  }

  #onError(error: OrlaError): void {
    const requestId = this.#requestId
    const { backend } = this.#stage.seat
    this.#error = error
    this.#sayReleased('failed', error.message, { usage: {}, error: error.toJSON() })
    // The slot goes back once it is decided what follows: a run that fails must not give it to a stage of its own.
    try {
      this.#retryOrFail(error)
    } finally {
      this.#releaseSlot(healthVerdict(error), backend, undefined, requestId)
    }
  }

  #record(result: ChatResult, answer: Message): void {
    const { definition, host, report, conversation } = this.#stage
    const { runId, tenant, priority, startedAtMs, services } = host
    services.recorder?.turn({
      runId,
      tenant,
      priority,
      runStartedAtMs: startedAtMs,
      stage: definition.name,
      stageStartedAtMs: startedAtMs + report.startedAtMs!,
      readyAtMs: this.#readyAtMs,
      endedAtMs: services.clock.nowMs(),
      messages: conversation,
      chain: this.#measure.chain,
      result,
      answer,
    })
  }

  // --- another attempt

  #retryOrFail(error: OrlaError): void {
    const { definition, host, seat } = this.#stage
    const from = seat.backend
    const reroutedTo = error.code === 'ORLA_REROUTED' ? (error.details?.['to'] as string) : undefined
    if (reroutedTo === undefined) this.#failedAt = (this.#failedAt ?? new Set()).add(from)
    else this.#reroutes++
    if (error.code === 'ORLA_RETRY_BUDGET') this.#refusedBy = (this.#refusedBy ?? new Set()).add(from)
    // Once somebody has seen tokens of an answer, another answer would contradict them.
    const delivered = this.#ttftMs !== null && host.tokensWatched
    const other = reroutedTo ?? (delivered || !mayMove(error) ? undefined : seat.alternative(this.#failedAt))
    // A request that only waited where an actor broke has not been tried.
    const innocent = error.code === 'ORLA_INVARIANT' && error.details?.['innocent'] === true
    const refused = other === undefined && this.#waitsForReplicas(error)
    const spent = !innocent && this.#attempt - this.#moves >= definition.attempts
    if (other === undefined && !refused && (delivered || spent || !error.retryable)) {
      this.#report(noAnswer, undefined)
      // Not being allowed to try again is not what went wrong.
      return this.#stage.fail(error.code === 'ORLA_RETRY_BUDGET' ? (this.#error ?? error) : error)
    }
    const exponent = this.#attempt - this.#moves - 1 + this.#refusals
    const delayMs =
      other === undefined ? roundMs(pauseMs(definition.backoffMs, exponent, host.services.random(), error)) : 0
    if (other !== undefined) seat.moveTo(other)
    if (other !== undefined || innocent || refused) this.#moves++
    this.#attempt++
    this.#ttftMs = null
    const before = this.#stage.move('retry')
    host.emit({
      ...this.fields,
      type: 'stage.retrying',
      from: before,
      to: this.#stage.state,
      reason: other === undefined ? error.message : `goes on at "${other}": ${error.message}`,
      attempt: this.#attempt,
      delayMs,
      ...(other !== undefined && { failedOverFrom: from }),
      error: error.toJSON(),
    })
    this.#retryTimer = host.services.clock.setTimer(delayMs, () =>
      this.#stage.guarded(() => {
        this.#retryTimer = undefined
        this.#enqueue(`attempt ${this.#attempt}`)
      }),
    )
  }

  /**
   * Whether it waits until replicas take it again. One that stops sends all that it had in flight to the others at once,
   * which is more than their retry budgets hold; the engines get no more of it at a time for that. And where it waited at
   * one that drains, others that failed it once may serve it yet.
   */
  #waitsForReplicas({ code }: OrlaError): boolean {
    const { seat } = this.#stage
    if (!seat.isReplicated || this.#refusals >= limits.retryRefusalsMax) return false
    if (code === 'ORLA_RETRY_BUDGET') {
      for (const backend of this.#refusedBy ?? []) this.#failedAt?.delete(backend)
      this.#refusedBy = undefined
    } else if (code === 'ORLA_BACKEND_DRAINING' && seat.hasOther) {
      this.#failedAt = undefined
    } else {
      return false
    }
    this.#refusals++
    return true
  }

  // --- the slot

  /** How the turn went at the engine. */
  #served(usage: ChatResult['usage'], nowMs: number): ServedTurn {
    const { promptTokens = this.#measure.tokens, cachedTokens = 0, completionTokens = 0 } = usage
    return {
      promptTokens,
      uncachedTokens: Math.max(0, promptTokens - cachedTokens),
      outputTokens: completionTokens,
      ...(this.#ttftMs !== null && { ttftMs: Math.max(0, this.#readyAtMs + this.#ttftMs - this.#grantedAtMs) }),
      durationMs: nowMs - this.#grantedAtMs,
    }
  }

  #sayReleased(
    outcome: 'ok' | 'failed' | 'cancelled',
    reason: string,
    facts: ReleaseFacts,
    nowMs = this.#stage.host.services.clock.nowMs(),
  ): void {
    const { definition, host, seat } = this.#stage
    this.#call = undefined
    const durationMs = roundMs(nowMs - this.#grantedAtMs)
    const from = this.#stage.move('released')
    const { usage, finishReason, costUsd: cost, notes, error } = facts
    const released: Extract<TransitionBody, { type: 'stage.released' }> = {
      type: 'stage.released',
      stage: definition.name,
      turn: this.number,
      backend: seat.backend,
      model: seat.model,
      from,
      to: this.#stage.state,
      reason,
      requestId: this.#requestId,
      outcome,
      durationMs,
      usage,
    }
    if (finishReason !== undefined) released.finishReason = finishReason
    if (cost !== undefined) released.costUsd = cost
    if (notes !== undefined) released.notes = notes
    if (error !== undefined) released.error = error
    host.emit(released, nowMs)
  }

  #releaseSlot(
    verdict: 'ok' | 'faulty' | 'inconclusive',
    backend = this.#stage.seat.backend,
    served?: ServedTurn,
    requestId = this.#requestId,
  ): void {
    const to = { actor: 'backend' as const, name: backend }
    const { post } = this.#stage.host.services
    post(to, { type: 'backend.release', requestId, verdict, ...(served !== undefined && { served }) })
  }

  #report({ promptTokens, cachedTokens, completionTokens, finishReason }: TurnFacts, cost: number | undefined): void {
    const { report: stage } = this.#stage
    const report: TurnReport = {
      queueWaitMs: this.#queueWaitMs,
      ttftMs: this.#ttftMs,
      promptTokens,
      cachedTokens,
      completionTokens,
      finishReason,
      attempts: this.#attempt,
    }
    if (cost !== undefined) report.costUsd = cost
    // A list that begins as a literal has no room to grow; one that is pushed to has room for 17: 130 bytes a stage.
    if (stage.turns.length === 0) stage.turns = [report]
    else stage.turns.push(report)
  }
}
