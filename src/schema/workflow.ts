// A workflow as plain data: what clients submit as JSON, and what files hold.

import { z } from 'zod'
import { limits } from '../limits.ts'
import { MappingData } from './mapping.ts'
import { StageSettings } from './stage.ts'

const jsonSchema = z.record(z.string(), z.unknown())
const path = z.string().min(1).max(1_000)
const scalar = z.union([z.string(), z.number(), z.boolean(), z.null()])

/** A condition on the input or on results. Exactly one form. */
export type ConditionData =
  | { path: string; equals: string | number | boolean | null }
  | { path: string; notEquals: string | number | boolean | null }
  | { path: string; in: (string | number | boolean | null)[] }
  | { path: string; exists: boolean }
  | { path: string; atLeast: number }
  | { path: string; atMost: number }
  | { all: ConditionData[] }
  | { any: ConditionData[] }
  | { not: ConditionData }

/** A condition on the input or on results. Exactly one form. */
export const ConditionData: z.ZodType<ConditionData> = z.lazy(() =>
  z.union([
    z.strictObject({ path, equals: scalar }),
    z.strictObject({ path, notEquals: scalar }),
    z.strictObject({ path, in: z.array(scalar).min(1).max(1_000) }),
    z.strictObject({ path, exists: z.boolean() }),
    z.strictObject({ path, atLeast: z.number() }),
    z.strictObject({ path, atMost: z.number() }),
    z.strictObject({ all: z.array(ConditionData).min(1).max(100) }),
    z.strictObject({ any: z.array(ConditionData).min(1).max(100) }),
    z.strictObject({ not: ConditionData }),
  ]),
)

/** A number, or one that depends on a result: the entry of `values` for the text at `path`, else `otherwise`. */
export const HintData = z.union([
  z.number(),
  z.strictObject({ path, values: z.record(z.string(), z.number()), otherwise: z.number() }),
])
/** A number, or one that depends on a result. */
export type HintData = z.infer<typeof HintData>

/** A stage as plain data. */
export const StageData = StageSettings.extend({
  name: z.string(),
  /** One text (a user message), or messages; `{{ input.x }}` and `{{ results.stage.x }}` are filled in. */
  prompt: z.union([
    z.string().min(1),
    z.array(z.strictObject({ role: z.enum(['system', 'user', 'assistant']), content: z.string() })).min(1),
  ]),
  /** JSON Schema of the final answer. */
  output: jsonSchema.optional(),
  /** Names of tools that the host provides. */
  tools: z.array(z.string()).max(limits.toolsPerStageMax).optional(),
  when: ConditionData.optional(),
  /** Decides where it runs. Either this or `backend`, unless the workflow has one. */
  mapping: MappingData.optional(),
  priority: z
    .union([HintData, z.strictObject({ stage: HintData.optional(), request: HintData.optional() })])
    .optional(),
})

/** A workflow as plain data. */
export const WorkflowData = z.strictObject({
  name: z.string(),
  /** JSON Schema of the input. */
  input: jsonSchema.optional(),
  /** Maps the stages that say nothing themselves. */
  mapping: MappingData.optional(),
  /** Each is a {@link StageData}; they are checked one by one, so that one mistake does not hide the others. */
  stages: z.array(z.unknown()).max(limits.stagesMax),
  /** The run's result: one path, or an object of paths. All results by name when absent. */
  output: z.union([path, z.record(z.string(), path)]).optional(),
})
/** A workflow as plain data, as it is written. */
export type WorkflowData = Omit<z.input<typeof WorkflowData>, 'stages'> & { stages: z.input<typeof StageData>[] }
