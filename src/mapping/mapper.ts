// The mapper contract: which backend and model a stage runs on.

import type { Clock } from '../clock.ts'
import type { Speed } from '../prediction/service-fit.ts'
import type { Prices } from '../schema/backend.ts'
import type { Capabilities } from '../schema/capabilities.ts'
import type { ChatResult, InferenceParams } from '../schema/chat.ts'
import type { JsonSchema } from '../schema/json.ts'
import type { Message } from '../schema/message.ts'
import type { QueuePace } from '../schema/queue-pace.ts'

/** What a mapper may know about a backend. Plain data, read when the stage is ready. */
export interface BackendView {
  name: string
  /** Model that requests ask for unless a stage names another. */
  model: string
  /** Requests in flight. */
  inFlight: number
  /** Requests waiting. */
  waiting: number
  /** Requests that may be in flight. */
  windowRequests: number
  health: 'healthy' | 'open' | 'halfOpen' | 'draining'
  capabilities: Capabilities
  /** 0..1, when the backend says. */
  quality?: number
  prices?: Prices
  /** How fast it was lately, under the load that it had; absent before its first answers. */
  speed?: Speed
  /** How long a request that comes now waits, and takes; the runtime gives it. */
  pace?: QueuePace
}

/** What a stage needs of a backend. Checked for explicit mappings before a run, for others when they are made. */
export interface StageRequirements {
  /** Model that the stage insists on. */
  model?: string
  tools: boolean
  jsonSchema: boolean
  /** Tokens of the answer that the stage asks for. */
  maxTokens?: number
}

/** What a mapper is asked. */
export interface MappingRequest<Input = unknown, Results = unknown> {
  runId: string
  workflow: string
  stage: string
  /** `workflow/stage`: what history is kept by. */
  stageClass: string
  tenant: string
  input: Input
  /** Results of the stage's declared dependencies. */
  results: Results
  requirements: StageRequirements
  /** Tokens that the answer will have: what answers of the class had, else what the stage asks for. */
  outputTokens: number
  /** All backends of the runtime, in the order they were given. */
  backends: readonly BackendView[]
}

/** The first prompt of the stage that is mapped. */
export interface MappingPrompt {
  messages: readonly Message[]
  /** Estimated tokens, and those of the conversations that it goes on from. */
  tokens: number
  /** Of these, tokens that a backend is believed to have in its KV cache. */
  readonly cachedTokens: (backend: string) => number
}

/** A short call of a model that a mapper makes. */
export interface MapperCall {
  backend: string
  /** The backend's own when absent. */
  model?: string
  messages: readonly Message[]
  params?: InferenceParams
  responseSchema?: { name: string; schema: JsonSchema }
  /** Priority of its sub-queue and within it; default 1,000: a decision goes before the work. */
  priority?: number
}

/** What a mapper may use. */
export interface MappingContext {
  /** Aborted when the stage is not to be mapped any more: its run was stopped, or it took too long. */
  readonly signal: AbortSignal
  /** The runtime's. */
  readonly clock: Clock
  /** From 0 to 1, from the runtime's seed. */
  readonly random: () => number
  /** The prompt that the stage will send. Built when first asked for. Rejects as the stage's prompt builder throws. */
  readonly prompt: () => Promise<MappingPrompt>
  /**
   * Calls a model through its backend's queue. Its time is the stage's, its cost the run's.
   *
   * Rejects with what the backend says, with `ORLA_BUDGET` if it might cost more than the run has left, and with the
   * signal's reason.
   */
  readonly ask: (call: MapperCall) => Promise<ChatResult>
}

/** Where a stage runs, and why. */
export interface MappingDecision {
  /** A backend, or a pool of `RuntimeOptions.pools`. */
  backend: string
  /**
   * Backends that may serve the stage in its place: replicas. It goes to the one of them that has most of its prompt, if
   * that is sooner; while it waits it may be moved there; and when its backend fails they come before its fallbacks.
   */
  among?: readonly string[]
  /** Absent: the stage's own model, else the backend's. */
  model?: string
  /** In words for a person. */
  reason: string
  /** Name of the mapper that decided; default `custom`. What it decides is accounted for under this name. */
  by?: string
  /** What the decision rests on, by name with the unit last. */
  figures?: Readonly<Record<string, number>>
  /** Dollars that the decision cost besides calls by `ask`. */
  costUsd?: number
  /** Whatever a mapper that learns wants to have back in `observe`. */
  features?: readonly number[]
}

/** What came of a decision, for mappers that learn. */
export interface MappingOutcome {
  runId: string
  workflow: string
  stage: string
  stageClass: string
  decision: { backend: string; model: string; reason: string; by: string; features?: readonly number[] }
  state: 'completed' | 'failed' | 'cancelled'
  /** From the stage being mapped to its end, ms. */
  durationMs: number
  /** What its turns cost, dollars; absent where nobody can say. */
  costUsd?: number
  /** What somebody thought of the result, 0..1. */
  rating?: number
}

/** A mapper is one function. It may take its time; the stage waits. */
export interface Mapper<Input = unknown, Results = unknown> {
  (request: MappingRequest<Input, Results>, context: MappingContext): MappingDecision | Promise<MappingDecision>
  /** Hears what came of decisions. Must not throw. */
  observe?(outcome: MappingOutcome): void
}
