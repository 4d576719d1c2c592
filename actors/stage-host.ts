// What a stage actor needs of its run, and of the runtime. The workflow actor and the runtime supply it.

import type { Clock, Random } from '../src/clock.ts'
import type { ChatCall, ChatContext, ChatSink } from '../src/engines/driver.ts'
import type { ContextChain } from '../src/prompts/chain.ts'
import type { PromptMeasure } from '../src/prompts/conversation.ts'
import type { RunBudget } from '../src/mapping/budget.ts'
import type { Place } from '../src/mapping/place.ts'
import type { WarmHeads } from '../src/mapping/warm-heads.ts'
import type { CriticalPaths } from '../src/prediction/critical-path.ts'
import type { StageHistory } from '../src/prediction/stage-history.ts'
import type { Prices } from '../src/schema/backend.ts'
import type { TokenCorrection } from '../src/prompts/correction.ts'
import type { CompiledPrompt } from '../src/prompts/template.ts'
import type { ChatRequest, ChatResult, DeltaChannel, ToolSpec } from '../src/schema/chat.ts'
import type { Message } from '../src/schema/message.ts'
import type { Transition } from '../src/schema/transition.ts'
import type { StageContext, StageDefinition } from '../src/workflow/definition.ts'
import type { Settlement } from '../src/workflow/progress.ts'
import type { RunRecorder } from '../src/workflow/recorder.ts'
import type { Post } from './messages.ts'
import type { StageActor } from './stage.ts'

type WithoutStamp<T> = T extends Transition ? Omit<T, 'seq' | 'atMs' | 'runId'> : never

/** A transition before its run stamps it. Who emits it lets go of it. */
export type TransitionBody = WithoutStamp<Transition>

/** Learns of prompts before their stages ask, where prewarming is on. */
export interface Foresight {
  /** A stage's first prompt was built. */
  built(definitionId: string, stage: StageDefinition, backend: string, model: string, prompt: readonly Message[]): void
  /**
   * A stage is next: all that it waits for is done, but for what runs now.
   *
   * @param before - what its prompt begins with for certain; empty if nothing of its run is known
   */
  next(
    run: Pick<StageHost, 'runId' | 'tenant' | 'definitionId'>,
    stage: StageDefinition,
    before: readonly Message[],
  ): void
}

/** Takes requests that were answered, to ask them of another backend too. */
export interface Shadow {
  /** Whether the next of a stage class is wanted. */
  draws(stageClass: string): boolean
  take(stageClass: string, request: ChatRequest, context: ChatContext, result: ChatResult): void
}

/** Services of the runtime that every stage uses. */
export interface StageServices {
  clock: Clock
  /** Jitter of retries. */
  random: Random
  post: Post
  /** Tokens and chain of a prompt: at once when small, from the pool when large. */
  measure(
    messages: readonly Message[],
    tools: readonly ToolSpec[] | undefined,
    signal?: () => AbortSignal,
  ): PromptMeasure | Promise<PromptMeasure>
  /** Messages of a prompt template: at once when small, from the pool when large. */
  render(
    prompt: CompiledPrompt,
    context: StageContext,
    signal?: () => AbortSignal,
  ): readonly Message[] | Promise<readonly Message[]>
  correction: TokenCorrection
  /** What stages of each class took. */
  history: StageHistory
  /** What remains of runs, from history. */
  paths: CriticalPaths
  /** Whether any policy reads forecasts. */
  forecasts(): boolean
  /** Hears what is known of prompts ahead; undefined without prewarming. */
  foresight: Foresight | undefined
  /** Hears of every turn that got its answer. */
  recorder: RunRecorder | undefined
  /** Draws requests to be copied to shadow variants, and takes them; undefined where there is none. */
  shadow: Shadow | undefined
  /** Model that a backend serves by default. */
  modelOf(backend: string): string
  /** What tokens cost at a backend; undefined where nobody says. */
  pricesOf(backend: string): Prices | undefined
  /** Backends that serve the same model in its place. */
  peersOf(backend: string): readonly string[]
  /** Whether a name is that of a pool of backends. */
  isPool(name: string): boolean
  /** Replicas as they stand; undefined where turns that follow stay where they are. */
  placesNow: (backends: readonly string[]) => Place[] | undefined
  /** Beginnings of prompts that replicas have computed, over all runs. */
  warmHeads: WarmHeads
  /** Whether a backend takes requests now. */
  canServe(backend: string): boolean
  /** Starts an inference at a backend, under its deadlines and the stage's. */
  infer(
    backend: string,
    request: ChatRequest,
    context: ChatContext,
    sink: ChatSink,
    timeouts: StageDefinition['timeouts'],
  ): ChatCall
}

/** What a stage needs of its run. */
export interface StageHost {
  readonly services: StageServices
  readonly runId: string
  readonly workflow: string
  /** Identifies the definition within the runtime: two workflows may have one name. */
  readonly definitionId: string
  readonly tenant: string
  /** The run's priority, added to the stage's hints. */
  readonly priority: number
  /** Ms on the runtime's clock. */
  readonly startedAtMs: number
  /** Ms on the runtime's clock; Infinity without a deadline. */
  readonly deadlineAtMs: number
  /** Tokens that the run was served so far. */
  readonly attainedTokens: number
  /** What its run may spend. */
  readonly budget: RunBudget
  /** Service on the longest way from the end of a stage to the end of the run, predicted, ms. */
  remainingAfterMs(stage: StageDefinition): number
  /** True if somebody sees token events of this run. */
  readonly tokensWatched: boolean
  attain(tokens: number): void
  contextOf(stage: StageDefinition): StageContext
  /** Conversations of the stage's dependencies that completed, in order of `after`. */
  conversationsBefore(stage: StageDefinition): readonly (readonly Message[])[]
  /** Estimated tokens that a prompt shares with the run's last one on that backend and model. */
  sharedTokens(backend: string, model: string, chain: ContextChain): number
  /** A stage has the first token of a turn: those that wait for it alone are next. */
  foresee(stage: StageDefinition, conversation: readonly Message[]): void
  /** Notes the prompt that the backend computes now. */
  remember(backend: string, model: string, chain: ContextChain): void
  /** Stamps it and tells it. @param nowMs - when it is, ms on the runtime's clock, where whoever emits it has just looked */
  emit(transition: TransitionBody, nowMs?: number): void
  token(stage: string, turn: number, channel: DeltaChannel, text: string): void
  /** A stage is done, for good. `value` is its result, or its error. */
  settled(stage: StageActor, settlement: Settlement, value: unknown): void
}
