// Options of a stage that are plain data. The builder and workflows submitted as JSON share them.

import { z } from 'zod'
import { limits } from '../limits.ts'
import { InferenceParams } from './chat.ts'

/** How often a turn may be tried when it failed and nothing was delivered. */
const Retry = z.strictObject({
  /** Attempts of one turn, the first included. */
  attempts: z.int().min(1).max(20).default(limits.attemptsDefault),
  /** First pause, ms; doubles each time, with full jitter. */
  backoffMs: z.number().min(0).max(limits.retryBackoffMsMax).default(limits.retryBackoffMsDefault),
})

/** Deadlines of a stage, ms. Those of one inference override the backend's. */
const StageTimeouts = z.strictObject({
  firstTokenMs: z.number().positive().optional(),
  idleMs: z.number().positive().optional(),
  totalMs: z.number().positive().optional(),
  /** For the stage as a whole, tools and waits included. */
  stageMs: z.number().positive().optional(),
})

const name = z.string().min(1).max(limits.nameLengthMax)

/** What of a cascade is plain data. */
export const CascadeSettings = z.strictObject({
  /** Backends after the first. */
  to: z.union([name, z.array(name).min(1).max(limits.fallbacksMax)]),
})

/** Options of a stage that are plain data. */
export const StageSettings = z.strictObject({
  ...InferenceParams.shape,
  /** Stages it waits for. */
  after: z.array(name).optional(),
  /** Backend it runs on. Either this or `mapping`. */
  backend: name.optional(),
  /** Backends to go to, in this order, when the one it runs on cannot serve a turn. */
  fallback: z.array(name).max(limits.fallbacksMax).optional(),
  /** Backends that make its answer again, in this order, when it is not good enough: see `Cascade`. */
  cascade: CascadeSettings.optional(),
  /** Model it insists on; the backend's own when absent. */
  model: z.string().min(1).max(256).optional(),
  /** `append` puts the parents' conversations before the prompt; `results` (default) only what the prompt builds. */
  context: z.enum(['results', 'append']).default('results'),
  /** What to do with the stage's KV cache when it ends: keep, let go, or let the memory manager decide (default). */
  cache: z.enum(['preserve', 'flush', 'auto']).default('auto'),
  /** Turns that a stage with tools may take. Reaching it is an error. */
  turnsMax: z.int().min(1).max(limits.turnsMax).default(limits.turnsDefault),
  /** Turns spent on repairing an answer that does not match the output schema. */
  repairTurns: z.int().min(0).max(16).default(limits.repairTurnsDefault),
  /** Tool calls of one turn that run at once. */
  parallelToolCalls: z.int().min(1).max(limits.toolCallsPerTurnMax).default(limits.parallelToolCallsDefault),
  /** An answer cut by the token limit is accepted and marked (default), or fails the stage. */
  truncation: z.enum(['accept', 'fail']).default('accept'),
  retry: Retry.prefault({}),
  timeouts: StageTimeouts.prefault({}),
})
/** Options of a stage that are plain data, complete. */
export type StageSettings = z.output<typeof StageSettings>
/** Options of a stage that are plain data, as a user writes them. */
export type StageSettingsInput = z.input<typeof StageSettings>
