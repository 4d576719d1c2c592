// Mapper actor
//
// Owns: the questions of stages that wait for their mappers.
// Does not own: the state of backends (it asks for their views when a stage is mapped), what mappers know, explicit
// mappings (checked before the run began, they need no question).
// In:  mapper.map, mapper.cancel   Out: stage.mapped, stage.unmapped
// Invariants
//   M1. Every question gets exactly one answer, whatever a mapper does; one that was taken back gets none.
//   M2. At most `mappingsPendingMax` questions are open at once; the next is refused, retryable. None is open for longer
//       than `mappingMsMax`, whatever its mapper does.
//   M3. A decision names a backend that exists and can serve the stage; any other answer is an error, not a guess.
//   M4. What a decision cost is told with it, also where it failed.

import { roundMs, type Clock, type Random, type Timer } from '../src/clock.ts'
import type { Learner } from '../src/accounting/decisions.ts'
import { CancelledError, MappingError, messageOf, OrlaError, toOrlaError } from '../src/errors.ts'
import { limits } from '../src/limits.ts'
import type {
  BackendView,
  MapperCall,
  MappingContext,
  MappingDecision,
  MappingPrompt,
  MappingRequest,
} from '../src/mapping/mapper.ts'
import { placesOf, type Place } from '../src/mapping/place.ts'
import { replicas } from '../src/mapping/replicas.ts'
import { verifyMapping } from '../src/mapping/verify.ts'
import type { StageHistory } from '../src/prediction/stage-history.ts'
import type { ChatResult } from '../src/schema/chat.ts'
import type { MappingFacts } from '../src/schema/transition.ts'
import type { StageContext, StageDefinition } from '../src/workflow/definition.ts'
import { type ActorState, type StateLogic } from './logic.ts'
import type { MapperMap, MapperMessage, Post, StageAddress, StageMapped } from './messages.ts'
import type { SideCalls } from './side-calls.ts'

/** What the mapper actor is made with. */
export interface MapperInput {
  clock: Clock
  random: Random
  stageOf(definitionId: string, stage: string): StageDefinition
  backends(): readonly BackendView[]
  /** Members of a pool; undefined if there is none of that name. */
  poolOf(name: string): readonly string[] | undefined
  history: StageHistory
  calls: Pick<SideCalls, 'ask'>
  /** Builds and measures the first prompt of a stage. */
  readonly promptOf: (stage: StageDefinition, runId: string, context: StageContext) => Promise<MappingPrompt>
  /** A mapper that wants to know what comes of it decided. */
  decided(replyTo: StageAddress, learner: Learner): void
  /** What the actor before it, which broke, leaves to it. */
  adopts?: OpenQuestions | undefined
  post: Post
}

/** Questions that are open, by run and stage. */
export type OpenQuestions = Map<string, Question>

/** A question that is open. */
class Question {
  readonly message: MapperMap
  readonly askedAtMs: number
  timer: Timer | undefined
  costUsd: number | undefined
  /** Whether its stage waits. */
  isOpen = false
  /** What backends are like: when it is asked, and again when it is decided later. */
  views: readonly BackendView[]
  #controller: AbortController | undefined

  constructor(message: MapperMap, askedAtMs: number, views: readonly BackendView[]) {
    this.message = message
    this.views = views
    this.askedAtMs = askedAtMs
  }

  /** Made when a mapper wants it: most do not, and making one costs more than deciding. */
  get signal(): AbortSignal {
    return (this.#controller ??= new AbortController()).signal
  }

  abort(why: OrlaError): void {
    this.#controller?.abort(why)
  }
}

/** State of the mapper actor. */
export class MapperState implements ActorState<MapperMessage> {
  onCrash?: ((error: unknown) => void) | undefined
  readonly #input: MapperInput
  readonly #open: Map<string, Question>

  constructor(input: MapperInput) {
    this.#input = input
    this.#open = input.adopts ?? new Map()
  }

  /** Questions that are open. */
  get pending(): number {
    return this.#open.size
  }

  handle(message: MapperMessage): void {
    if (message.type === 'mapper.cancel') return this.#cancel(message.replyTo)
    if (this.#open.size < limits.mappingsPendingMax) return this.#ask(message)
    const what = `${this.#open.size} stages wait for their mappers already; wait for some, or answer faster`
    const details = { mappingsPendingMax: limits.mappingsPendingMax }
    this.refuse(new OrlaError('ORLA_LIMIT', what, { retryable: true, details }), message)
  }

  /** A message could not be handled: the stage that asked is told, like of any failed mapping. */
  refuse(error: unknown, message: MapperMessage): void {
    if (message.type === 'mapper.cancel') return
    this.#close(message.replyTo)
    this.#unmapped(error, message, undefined)
  }

  /** Takes every question back: the runtime closes, and runs that are on other threads may not say so in time. */
  close(): void {
    for (const { message } of this.#open.values()) this.#cancel(message.replyTo)
  }

  /** What is open goes on under the next actor, after a message broke this one. */
  leave(): OpenQuestions {
    return this.#open
  }

  #ask(message: MapperMap): void {
    const question = new Question(message, this.#input.clock.nowMs(), this.#input.backends())
    try {
      const stage = this.#input.stageOf(message.definitionId, message.stage)
      const decided = this.#askMapper(question, stage)
      // At once where it is known at once: the next stage is mapped by loads that this one is part of.
      if (!isThenable(decided)) return this.#decided(question, stage, decided)
      this.#await(question, stage, Promise.resolve(decided))
    } catch (error) {
      this.#unmapped(error, message, question)
    }
  }

  #await(question: Question, stage: StageDefinition, decided: Promise<MappingDecision>): void {
    const { message } = question
    question.isOpen = true
    this.#open.set(keyOf(message.replyTo), question)
    question.timer = this.#input.clock.setTimer(limits.mappingMsMax, () => {
      const what = `the mapper of stage "${message.stage}" did not answer within ${limits.mappingMsMax} ms`
      this.#answer(question, () => this.#unmapped(new MappingError('ORLA_MAPPING_FAILED', what, []), message, question))
      question.abort(new CancelledError('deadline', what))
    })
    const failed = (error: unknown): void => this.#answer(question, () => this.#unmapped(error, message, question))
    decided.then(
      (decision) => {
        try {
          question.views = this.#input.backends()
          this.#decided(question, stage, decision)
        } catch (error) {
          failed(error)
        }
      },
      (error: unknown) => failed(mapperError(stage, error)),
    )
  }

  /** Checks a decision, and tells the stage. */
  #decided(question: Question, stage: StageDefinition, decided: MappingDecision): void {
    const { views } = question
    const { replyTo } = question.message
    const decision = this.#inPool(question, stage, decided)
    const backend = accept(decision, stage, views)
    const model = decision.model ?? stage.requirements.model ?? backend.model
    const reason = typeof decision.reason === 'string' ? decision.reason : 'the mapper gave no reason'
    const cost = sumOf(question.costUsd, decision.costUsd)
    const facts: MappingFacts = {
      by: typeof decision.by === 'string' ? decision.by : 'custom',
      decisionMs: roundMs(this.#input.clock.nowMs() - question.askedAtMs),
    }
    if (cost !== undefined) facts.costUsd = cost
    if (decision.figures !== undefined) facts.figures = plainFigures(decision.figures)
    const { mapping } = stage
    if (mapping.kind === 'mapper' && mapping.mapper.observe !== undefined) {
      const { by } = facts
      const { features } = decision
      const made = { backend: backend.name, model, reason, by, ...(features !== undefined && { features }) }
      this.#input.decided(replyTo, { decision: made, observe: (outcome) => mapping.mapper.observe!(outcome) })
    }
    const places = this.#places(decision, backend, stage, views)
    const mapped: StageMapped = { type: 'stage.mapped', backend: backend.name, model, reason, facts }
    if (places !== undefined) mapped.places = places
    this.#answer(question, () => this.#input.post(replyTo, mapped))
  }

  /** The decision, made among the members where the name is that of a pool. */
  #inPool(question: Question, stage: StageDefinition, decided: MappingDecision): MappingDecision {
    // A mapper is user code: what it returns is checked by `accept`.
    const name: unknown = (decided as MappingDecision | null | undefined)?.backend
    const among = typeof name === 'string' ? this.#input.poolOf(name) : undefined
    if (among === undefined) return decided
    const request = this.#requestOf(question, stage)
    const placed = replicas({ among })(request, this.#context(question, stage)) as MappingDecision
    return {
      ...placed,
      ...decided,
      backend: placed.backend,
      reason: `${decided.reason}; ${placed.reason}`,
      figures: { ...decided.figures, ...placed.figures },
    }
  }

  /** Replicas that can serve the stage, the chosen one first; undefined if there is no other. */
  #places(
    { among }: MappingDecision,
    chosen: BackendView,
    stage: StageDefinition,
    views: readonly BackendView[],
  ): Place[] | undefined {
    if (!Array.isArray(among)) return undefined
    const others = views.filter(
      (view) =>
        view !== chosen && among.includes(view.name) && verifyMapping(stage.requirements, view, '').length === 0,
    )
    return others.length === 0 ? undefined : placesOf([chosen, ...others], this.#input.clock.nowMs())
  }

  #askMapper(question: Question, stage: StageDefinition): MappingDecision | Promise<MappingDecision> {
    const { mapping } = stage
    if (mapping.kind === 'explicit') {
      const { backend } = mapping
      return { backend, reason: `the stage names "${backend}"`, by: 'explicit' }
    }
    const request = this.#requestOf(question, stage)
    try {
      return mapping.mapper(request, this.#context(question, stage))
    } catch (error) {
      throw mapperError(stage, error)
    }
  }

  #requestOf(question: Question, stage: StageDefinition): MappingRequest {
    const { workflow, tenant, input, results, replyTo } = question.message
    const { stageClass, requirements } = stage
    return {
      runId: replyTo.runId,
      workflow,
      stage: stage.name,
      stageClass,
      tenant,
      input,
      results,
      requirements,
      outputTokens: this.#input.history.outputTokens(stageClass, requirements.maxTokens),
      backends: question.views,
    }
  }

  #context(question: Question, stage: StageDefinition): MappingContext {
    const { clock, random, promptOf } = this.#input
    return new Context(question, clock, random, {
      prompt: ({ input, results, replyTo }) => promptOf(stage, replyTo.runId, { input, results }),
      ask: (call) => this.#call(question, stage, call),
    })
  }

  async #call(question: Question, stage: StageDefinition, call: MapperCall): Promise<ChatResult> {
    const { replyTo, tenant, budgetUsd } = question.message
    const backend = this.#input.backends().find(({ name }) => name === call.backend)
    if (backend === undefined) {
      const known = this.#input.backends().map(({ name }) => name)
      const issue = { path: 'backend', code: 'unknown_backend', message: `there are: ${known.join(', ')}` }
      throw new MappingError('ORLA_MAPPING_FAILED', `a mapper called "${call.backend}", which is no backend`, [issue])
    }
    const { messages, params = {}, responseSchema, priority = decisionPriority } = call
    const answer = await this.#input.calls.ask({
      backend: backend.name,
      request: {
        model: call.model ?? backend.model,
        messages,
        params,
        ...(responseSchema !== undefined && backend.capabilities.jsonSchema && { responseSchema }),
      },
      runId: replyTo.runId,
      tenant,
      stageClass: `${stage.stageClass}~mapping`,
      priority,
      budgetUsd: budgetUsd === undefined ? undefined : budgetUsd - (question.costUsd ?? 0),
      signal: question.signal,
    })
    question.costUsd = sumOf(question.costUsd, answer.costUsd)
    return answer.result
  }

  #cancel(replyTo: StageAddress): void {
    this.#close(replyTo)?.abort(new CancelledError('caller', 'the stage is not to be mapped any more'))
  }

  /** Tells, unless the question was answered or taken back before. One that is answered at once was never open. */
  #answer(question: Question, tell: () => void): void {
    if (!question.isOpen) return tell()
    if (this.#open.get(keyOf(question.message.replyTo)) !== question) return
    this.#close(question.message.replyTo)
    tell()
  }

  #close(replyTo: StageAddress): Question | undefined {
    const key = keyOf(replyTo)
    const question = this.#open.get(key)
    if (question === undefined) return undefined
    this.#open.delete(key)
    this.#input.clock.clearTimer(question.timer)
    return question
  }

  #unmapped(cause: unknown, { stage, replyTo }: MapperMap, question: Question | undefined): void {
    const error = toOrlaError(cause, 'ORLA_MAPPING_FAILED', `mapper of stage "${stage}" failed`).toJSON()
    const costUsd = question?.costUsd
    this.#input.post(replyTo, { type: 'stage.unmapped', error, ...(costUsd !== undefined && { costUsd }) })
  }
}

/** What a mapper may use. A class: an object with a getter of its own would have a hidden class of its own, too. */
class Context implements MappingContext {
  readonly clock: Clock
  readonly random: Random
  readonly prompt: () => Promise<MappingPrompt>
  readonly ask: MappingContext['ask']
  readonly #question: Question

  constructor(
    question: Question,
    clock: Clock,
    random: Random,
    { prompt, ask }: { prompt: (message: MapperMap) => Promise<MappingPrompt>; ask: MappingContext['ask'] },
  ) {
    this.#question = question
    this.clock = clock
    this.random = random
    let built: Promise<MappingPrompt> | undefined
    this.prompt = () => (built ??= prompt(question.message))
    this.ask = ask
  }

  get signal(): AbortSignal {
    return this.#question.signal
  }
}

/** Decisions go before the work that waits for them. */
const decisionPriority = 1_000

function keyOf({ runId, stage }: StageAddress): string {
  return `${runId}\n${stage}`
}

/** A mapper is user code: what are no numbers is left out. */
function plainFigures(figures: Readonly<Record<string, number>>): Readonly<Record<string, number>> {
  let isPlain = true
  for (const name in figures) if (typeof figures[name] !== 'number') isPlain = false
  if (isPlain) return figures
  return Object.fromEntries(Object.entries(figures).filter(([, value]) => typeof value === 'number'))
}

function sumOf(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined ? b : a + (b ?? 0)
}

function mapperError(stage: StageDefinition, error: unknown): MappingError {
  const issue = { path: `stages.${stage.name}.mapping`, code: 'mapper_threw', message: messageOf(error) }
  return new MappingError('ORLA_MAPPING_FAILED', `the mapper of stage "${stage.name}" threw`, [issue], error)
}

function isThenable(value: MappingDecision | PromiseLike<MappingDecision>): value is PromiseLike<MappingDecision> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function'
}

function accept(decision: MappingDecision, stage: StageDefinition, backends: readonly BackendView[]): BackendView {
  const path = `stages.${stage.name}.mapping`
  // A mapper is user code: what it returns is checked like any input.
  const name = (decision as MappingDecision | null | undefined)?.backend
  const backend = backends.find((view) => view.name === name)
  if (backend === undefined) {
    const known = backends.map((view) => view.name).join(', ')
    const chosen = typeof name === 'string' ? JSON.stringify(name) : messageOf(name)
    const message = `the mapper chose ${chosen}; there are: ${known}`
    throw new MappingError('ORLA_MAPPING_FAILED', `stage "${stage.name}" cannot be mapped`, [
      { path, code: 'unknown_backend', message },
    ])
  }
  if (decision.model !== undefined && typeof decision.model !== 'string') {
    const message = `the mapper chose the model ${messageOf(decision.model)}, which is no name`
    throw new MappingError('ORLA_MAPPING_FAILED', `stage "${stage.name}" cannot be mapped`, [
      { path, code: 'invalid_model', message },
    ])
  }
  const requirements =
    decision.model === undefined ? stage.requirements : { ...stage.requirements, model: decision.model }
  const issues = verifyMapping(requirements, backend, path)
  if (issues.length > 0) {
    throw new MappingError('ORLA_MAPPING_FAILED', `stage "${stage.name}" cannot run on "${backend.name}"`, issues)
  }
  return backend
}

/** Logic of the mapper actor. */
export const mapperLogic: StateLogic<MapperState, MapperMessage, MapperInput> = {
  create: (input) => new MapperState(input),
  onError: (state, error, message) => state.refuse(error, message),
}
