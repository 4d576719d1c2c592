// A compiled workflow: what runs. Immutable and shared by all its runs.

import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { Mapper, StageRequirements } from '../mapping/mapper.ts'
import type { CompiledPrompt } from '../prompts/template.ts'
import type { InferenceParams, ToolSpec } from '../schema/chat.ts'
import type { JsonSchema } from '../schema/json.ts'
import type { Message } from '../schema/message.ts'
import type { Cascade } from './cascade.ts'
import type { StageReport } from './report.ts'
import type { ToolDefinition } from './tool.ts'

/** What user functions of a stage get: the run's input, and results of declared dependencies only. */
export interface StageContext {
  readonly input: unknown
  /** Result by stage name. A skipped dependency's is undefined. */
  readonly results: Readonly<Record<string, unknown>>
}

/** What the function that makes a run's result gets: everything the run leaves behind. */
export interface ResultContext extends StageContext {
  readonly runId: string
  /** How each stage went, by name. Its tool calls tell what it did, where its result only says so. */
  readonly stages: Readonly<Record<string, StageReport>>
}

/** Where a stage runs. */
export type StageMapping = { kind: 'explicit'; backend: string } | { kind: 'mapper'; mapper: Mapper }

/** A number, or a function of the results. */
export type Hint = number | ((context: StageContext) => number)

/** What the memory manager is told about a stage's KV cache. */
export type CacheHint = 'preserve' | 'flush' | 'auto'

/** A tool, and how the model sees it. */
export interface BoundTool {
  readonly spec: ToolSpec
  readonly definition: ToolDefinition
}

/** Builds a prompt: a function that returns text (one user message) or messages, or a compiled template. */
export type PromptBuilder = ((context: StageContext) => string | readonly Message[]) | CompiledPrompt

/** One turn of a scripted stage. */
export interface ScriptedTurn {
  /** The whole prompt. */
  messages: readonly Message[]
  /** Tokens that the engine is to generate, exactly. */
  outputTokens: number
  /** Milliseconds to wait before the turn is ready: a tool ran, or a person thought. */
  waitMs: number
  /** What is waited for, for the transition feed: a tool's name, `user`. */
  waitFor: string
}

/**
 * A stage whose turns are known beforehand: recorded and published workloads replay as such stages. It is asked for
 * turn 1, 2, ... until it returns undefined.
 */
export type TurnScript = (context: StageContext, turn: number) => ScriptedTurn | undefined

/** One stage, complete: no optional knob is left undecided. */
export interface StageDefinition {
  readonly index: number
  readonly name: string
  /** `workflow/stage`: names its sub-queue. */
  readonly stageClass: string
  /** Indexes of the stages it waits for. */
  readonly after: readonly number[]
  /** Indexes of the stages that wait for it. */
  readonly dependents: readonly number[]
  readonly mapping: StageMapping
  readonly requirements: StageRequirements
  /** Backends to go to when the mapped one cannot serve a turn, best first. */
  readonly fallback: readonly string[]
  /** Who makes its answer again when it is not good enough. */
  readonly cascade: Cascade | undefined
  readonly params: InferenceParams
  readonly tools: ReadonlyMap<string, BoundTool>
  /** The tools as the model sees them; undefined without tools. */
  readonly toolSpecs: readonly ToolSpec[] | undefined
  readonly output: { readonly schema: StandardSchemaV1; readonly jsonSchema: JsonSchema } | undefined
  readonly prompt: PromptBuilder | undefined
  /** Takes the place of `prompt`, tools and output schema. */
  readonly script: TurnScript | undefined
  /** `append`: the conversations of the parents come first; `results`: only what `prompt` returns. */
  readonly context: 'results' | 'append'
  /** True if some dependent appends this stage's conversation, so that it must be kept. */
  readonly keepsConversation: boolean
  readonly stagePriority: Hint
  readonly requestPriority: Hint
  readonly cache: CacheHint
  /** Not taken: the stage is skipped. */
  readonly when: ((context: StageContext) => boolean) | undefined
  readonly turnsMax: number
  readonly repairTurns: number
  readonly parallelToolCalls: number
  /** What an answer cut by the token limit means. */
  readonly truncation: 'accept' | 'fail'
  readonly attempts: number
  readonly backoffMs: number
  /** Overrides of the backend's deadlines, ms. */
  readonly timeouts: { readonly firstTokenMs?: number; readonly idleMs?: number; readonly totalMs?: number }
  /** Milliseconds for the stage as a whole, tools and waits included. */
  readonly stageTimeoutMs: number | undefined
}

/** One workflow, compiled. */
export interface WorkflowDefinition {
  readonly name: string
  readonly input: StandardSchemaV1 | undefined
  readonly stages: readonly StageDefinition[]
  readonly byName: ReadonlyMap<string, StageDefinition>
  /** Indexes of the stages that wait for nothing. */
  readonly roots: readonly number[]
  /** Makes the run's result. */
  readonly result: (context: ResultContext) => unknown
}
