// Tools: functions that a model may call.

import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { InferOutput } from '../schema/standard.ts'

/** What a tool is told besides its arguments. */
export interface ToolContext {
  runId: string
  stage: string
  callId: string
  /** The same for every attempt at the same call, unique among all others: for effects that must not happen twice. */
  idempotencyKey: string
  /** Aborted when the run is cancelled or the tool's time is up. */
  signal: AbortSignal
}

/** A tool as a stage offers it. Made by {@link tool}. */
export interface ToolDefinition<Arguments = unknown> {
  readonly description: string
  readonly input: StandardSchemaV1<unknown, Arguments>
  /** Milliseconds one call may take. */
  readonly timeoutMs?: number | undefined
  /** Calls that may run at once, over all runs. */
  readonly concurrency?: number | undefined
  /** True if calling it twice does no harm: a run that called it may be started again when its thread ended. */
  readonly repeatable?: boolean | undefined
  /** Method syntax: tools with different arguments go into one set. */
  run(args: Arguments, context: ToolContext): unknown
}

/** The tools of a stage by name. The name is what the model calls. */
export type ToolSet = Readonly<Record<string, ToolDefinition>>

/**
 * Defines a tool. The type of `run`'s arguments comes from `input`.
 *
 * `run` returns text, or anything JSON can hold; it may be async. What it throws is answered to the model as an error,
 * it does not fail the stage.
 *
 * @param definition.timeoutMs - milliseconds one call may take, default 60,000
 * @param definition.concurrency - calls that may run at once over all runs, default unbounded; one that was told to stop
 *   (its run was cancelled, or its time is up) and goes on keeps its place, for half a minute at most
 * @param definition.repeatable - calling it twice does no harm: it only reads, or heeds `idempotencyKey`; default false
 */
export function tool<S extends StandardSchemaV1>(definition: {
  description: string
  input: S
  timeoutMs?: number
  concurrency?: number
  repeatable?: boolean
  run(args: InferOutput<S>, context: ToolContext): unknown
}): ToolDefinition<InferOutput<S>> {
  return definition as ToolDefinition<InferOutput<S>>
}
