// The mapper contract: which backend and model a stage runs on.

import type { Capabilities } from '../schema/capabilities.ts'
import type { Prices } from '../schema/backend.ts'

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
  workflow: string
  stage: string
  input: Input
  /** Results of the stage's declared dependencies. */
  results: Results
  requirements: StageRequirements
  /** All backends of the runtime, in the order they were given. */
  backends: readonly BackendView[]
}

/** Where a stage runs, and why. */
export interface MappingDecision {
  backend: string
  /** Absent: the stage's own model, else the backend's. */
  model?: string
  /** In words for a person. */
  reason: string
}

/** A mapper is one function. It may take its time; the stage waits. */
export type Mapper<Input = unknown, Results = unknown> = (
  request: MappingRequest<Input, Results>,
) => MappingDecision | Promise<MappingDecision>
