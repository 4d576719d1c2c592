// Compiles a workflow: checks everything that can be checked before anything runs, and reports all of it at once.

import type { StandardSchemaV1 } from '@standard-schema/spec'
import { z } from 'zod'
import { messageOf, WorkflowInvalidError, type Issue } from '../errors.ts'
import { isUnsafeKey, stageClassOf } from '../ids.ts'
import { limits } from '../limits.ts'
import type { Mapper } from '../mapping/mapper.ts'
import { InferenceParams, type ToolSpec } from '../schema/chat.ts'
import { issuesOf } from '../schema/options.ts'
import { CascadeSettings, StageSettings } from '../schema/stage.ts'
import { jsonSchemaOf } from '../schema/standard.ts'
import type { Cascade } from './cascade.ts'
import type {
  BoundTool,
  Hint,
  PromptBuilder,
  ResultContext,
  StageContext,
  StageDefinition,
  StageMapping,
  TurnScript,
  WorkflowDefinition,
} from './definition.ts'
import { findCycles } from './graph.ts'
import type { ToolDefinition } from './tool.ts'

/** A stage as it was written, before any check. */
export interface RawStage {
  name: string
  /** Unchecked: the compiler takes nothing in it for granted, unless `checked` is there. */
  options: unknown
  /** The options, complete: whoever made them from plain data has checked them already. */
  checked?: StageOptions
}

/** A workflow as it was written, before any check. */
export interface RawWorkflow {
  name: string
  input: StandardSchemaV1 | undefined
  /** Maps the stages that say nothing themselves. Unchecked, like their options. */
  mapping?: unknown
  stages: readonly RawStage[]
  result: ((context: ResultContext) => unknown) | undefined
}

const isFunction = (value: unknown): boolean => typeof value === 'function'
const isSchema = (value: unknown): boolean =>
  (typeof value === 'object' || typeof value === 'function') && value !== null && '~standard' in value
/** A function, or a template that was compiled from plain data. */
const isPrompt = (value: unknown): boolean =>
  isFunction(value) || (typeof value === 'object' && value !== null && 'messages' in value)
const hint = z.union([z.number(), z.custom<(context: StageContext) => number>(isFunction)])

/** All options of a stage: the plain ones, and those that hold functions. */
const StageOptionsSchema = StageSettings.extend({
  mapping: z.custom<Mapper>(isFunction, 'a mapper is a function').optional(),
  cascade: CascadeSettings.extend({
    accept: z.custom<NonNullable<Cascade['accept']>>(isFunction, 'a check is a function').optional(),
  }).optional(),
  tools: z.record(z.string(), z.unknown()).optional(),
  output: z.custom<StandardSchemaV1>(isSchema, 'not a Standard Schema').optional(),
  prompt: z.custom<PromptBuilder>(isPrompt, 'a prompt builder is a function').optional(),
  script: z.custom<TurnScript>(isFunction, 'a script is a function').optional(),
  priority: z.union([hint, z.strictObject({ stage: hint.optional(), request: hint.optional() })]).optional(),
  when: z.custom<(context: StageContext) => boolean>(isFunction, 'a condition is a function').optional(),
})
/** All options of a stage, complete. */
export type StageOptions = z.output<typeof StageOptionsSchema>

/** What of a tool is plain data. */
const ToolSettings = z.object({
  description: z.string().optional(),
  timeoutMs: z.number().positive().optional(),
  concurrency: z.int().min(1).optional(),
})

/** Stages of a cycle that are named: one may go through all there are. */
const cycleNamesMax = 50

const inferenceKeys = Object.keys(InferenceParams.shape) as (keyof InferenceParams)[]

/**
 * Checks and compiles a workflow. Linear in stages and edges, without recursion.
 *
 * Backends are checked later, by the runtime that has them.
 *
 * @throws {WorkflowInvalidError} `ORLA_WORKFLOW_INVALID` with every problem and its path
 */
export function compileWorkflow(raw: RawWorkflow): WorkflowDefinition {
  const issues: Issue[] = []
  const report = (path: string, code: string, message: string): void => {
    if (issues.length < limits.issuesMax) issues.push({ path, code, message })
  }

  checkName(raw.name, 'name', 'workflow', report)
  if (raw.stages.length === 0) report('stages', 'no_stages', 'a workflow needs at least one stage')
  if (raw.stages.length > limits.stagesMax) {
    report('stages', 'too_many_stages', `${raw.stages.length} stages; at most ${limits.stagesMax} are allowed`)
    throw new WorkflowInvalidError(String(raw.name), issues)
  }

  const indexOf = new Map<string, number>()
  raw.stages.forEach((stage, index) => {
    if (!checkName(stage.name, `stages[${index}].name`, 'stage', report)) return
    const first = indexOf.get(stage.name)
    if (first === undefined) indexOf.set(stage.name, index)
    else report(`stages[${index}].name`, 'duplicate_stage', `stage "${stage.name}" exists already as stages[${first}]`)
  })

  if (raw.mapping !== undefined && !isFunction(raw.mapping)) report('mapping', 'custom', 'a mapper is a function')
  const parsed = raw.stages.map((stage, index) => parseStage(stage, index, indexOf, raw.mapping, report))
  const after = parsed.map((stage) => stage?.after ?? [])
  for (const cycle of findCycles(after)) {
    const names = cycle.slice(0, cycleNamesMax).map((index) => raw.stages[index]!.name)
    const rest = cycle.length > names.length ? [`${cycle.length - names.length} more`] : []
    const circle = [...names, ...rest, names[0]].join(' -> ')
    report(`stages.${names[0]}.after`, 'cycle', `stages wait for each other: ${circle}`)
  }
  if (issues.length > 0) throw new WorkflowInvalidError(String(raw.name), issues)

  const dependents: number[][] = raw.stages.map(() => [])
  after.forEach((dependencies, index) => dependencies.forEach((dependency) => dependents[dependency]!.push(index)))
  const stages = parsed.map((stage, index) => {
    const { options, tools, jsonSchema } = stage!
    return toDefinition(
      raw,
      index,
      options,
      after[index]!,
      dependents[index]!,
      tools,
      jsonSchema,
      (dependent) => parsed[dependent]!.options.context === 'append',
    )
  })
  return Object.freeze({
    name: raw.name,
    input: raw.input,
    stages: Object.freeze(stages),
    byName: new Map(stages.map((stage) => [stage.name, stage])),
    roots: stages.filter((stage) => stage.after.length === 0).map((stage) => stage.index),
    result: raw.result ?? ((context: StageContext) => ({ ...context.results })),
  })
}

function listOf(names: string | readonly string[] | undefined): readonly string[] {
  return names === undefined ? [] : typeof names === 'string' ? [names] : names
}

type Report = (path: string, code: string, message: string) => void

function checkName(name: unknown, path: string, what: string, report: Report): boolean {
  if (typeof name !== 'string' || name === '') {
    report(path, 'name_missing', `a ${what} needs a name`)
    return false
  }
  if (name.length > limits.nameLengthMax) {
    report(
      path,
      'name_too_long',
      `a ${what} name has at most ${limits.nameLengthMax} characters, this has ${name.length}`,
    )
    return false
  }
  if (isUnsafeKey(name)) {
    report(path, 'unsafe_key', `"${name}" would reach into an object's prototype; choose another name`)
    return false
  }
  if (!/^[\p{L}\p{N}_.:-]+$/u.test(name)) {
    report(path, 'name_characters', `${JSON.stringify(name)}: use letters, digits and . _ : - only`)
    return false
  }
  return true
}

interface ParsedStage {
  options: StageOptions
  after: number[]
  tools: ReadonlyMap<string, BoundTool>
  jsonSchema: Record<string, unknown> | undefined
}

function parseStage(
  stage: RawStage,
  index: number,
  indexOf: ReadonlyMap<string, number>,
  mapping: unknown,
  report: Report,
): ParsedStage | undefined {
  const path = indexOf.get(stage.name) === index ? `stages.${stage.name}` : `stages[${index}]`
  const options = stage.checked ?? parseStageOptions(stage.options, path, report)
  if (options === undefined) return undefined
  const after: number[] = []
  const seen = new Set<string>()
  options.after?.forEach((name, i) => {
    const dependency = indexOf.get(name)
    if (dependency === undefined) {
      report(`${path}.after[${i}]`, 'unknown_stage', `there is no stage "${name}"${suggest(name, indexOf)}`)
    } else if (seen.has(name)) {
      report(`${path}.after[${i}]`, 'duplicate_dependency', `"${name}" is listed twice`)
    } else {
      after.push(dependency)
    }
    seen.add(name)
  })
  if (options.backend === undefined && options.mapping === undefined && mapping === undefined) {
    const message = 'name a `backend`, or give a `mapping` that chooses one, here or for the whole workflow'
    report(`${path}.backend`, 'no_backend', message)
  }
  if (options.backend !== undefined && options.mapping !== undefined) {
    report(`${path}.mapping`, 'backend_and_mapping', 'give `backend` or `mapping`, not both')
  }
  listOf(options.cascade?.to).forEach((name, i, all) => {
    if (name !== options.backend && all.indexOf(name) === i) return
    report(`${path}.cascade.to[${i}]`, 'duplicate_cascade', `"${name}" is where the stage begins, or listed twice`)
  })
  options.fallback?.forEach((name, i, all) => {
    if (name !== options.backend && all.indexOf(name) === i) return
    report(`${path}.fallback[${i}]`, 'duplicate_fallback', `"${name}" is where the stage runs already, or listed twice`)
  })
  if (options.prompt === undefined && options.script === undefined) {
    report(`${path}.prompt`, 'missing_builder', 'a stage needs a `prompt` that builds its messages')
  }
  if (options.context === 'append' && after.length === 0) {
    report(`${path}.context`, 'nothing_to_append', '`append` needs a stage in `after` whose conversation it continues')
  }
  const tools = bindTools(options.tools, path, report)
  return { options, after, tools, jsonSchema: outputSchema(options.output, path, report) }
}

function parseStageOptions(options: unknown, path: string, report: Report): StageOptions | undefined {
  const result = StageOptionsSchema.safeParse(options)
  if (result.success) return result.data
  for (const issue of issuesOf(result.error, path)) report(issue.path, issue.code, issue.message)
  return undefined
}

/** Names are compared only where a person could have mistyped one: large generated graphs need no suggestions. */
function suggest(name: string, indexOf: ReadonlyMap<string, number>): string {
  if (indexOf.size > 200) return ''
  const lower = name.toLowerCase()
  for (const known of indexOf.keys()) {
    const other = known.toLowerCase()
    if (other === lower || other.includes(lower) || lower.includes(other)) return `; did you mean "${known}"?`
  }
  return `; there are: ${[...indexOf.keys()].slice(0, 12).join(', ')}`
}

function bindTools(
  tools: Record<string, unknown> | undefined,
  path: string,
  report: Report,
): ReadonlyMap<string, BoundTool> {
  const bound = new Map<string, BoundTool>()
  const entries = Object.entries(tools ?? {})
  if (entries.length > limits.toolsPerStageMax) {
    report(`${path}.tools`, 'too_many_tools', `${entries.length} tools; at most ${limits.toolsPerStageMax} are allowed`)
    return bound
  }
  for (const [name, value] of entries) {
    const at = `${path}.tools.${name}`
    if (!checkName(name, at, 'tool', report)) continue
    const definition = value as Partial<ToolDefinition> | null
    if (typeof definition !== 'object' || definition === null || typeof definition.run !== 'function') {
      report(at, 'not_a_tool', 'a tool is made by tool({ description, input, run })')
      continue
    }
    const settings = ToolSettings.safeParse(definition)
    if (!settings.success) {
      for (const issue of issuesOf(settings.error, at)) report(issue.path, issue.code, issue.message)
    }
    if (!isSchema(definition.input)) {
      report(`${at}.input`, 'not_a_schema', 'a tool needs a Standard Schema of its arguments')
      continue
    }
    try {
      const spec: ToolSpec = {
        name,
        description: definition.description ?? '',
        parameters: jsonSchemaOf(definition.input as StandardSchemaV1),
      }
      bound.set(name, { spec, definition: definition as ToolDefinition })
    } catch (error) {
      report(`${at}.input`, 'no_json_schema', messageOf(error))
    }
  }
  return bound
}

function outputSchema(
  output: StandardSchemaV1 | undefined,
  path: string,
  report: Report,
): Record<string, unknown> | undefined {
  if (output === undefined) return undefined
  try {
    return jsonSchemaOf(output)
  } catch (error) {
    report(`${path}.output`, 'no_json_schema', messageOf(error))
    return undefined
  }
}

function toDefinition(
  raw: RawWorkflow,
  index: number,
  options: StageOptions,
  after: readonly number[],
  dependents: readonly number[],
  tools: ReadonlyMap<string, BoundTool>,
  jsonSchema: Record<string, unknown> | undefined,
  appends: (dependent: number) => boolean,
): StageDefinition {
  const name = raw.stages[index]!.name
  const priority = options.priority
  const [stagePriority, requestPriority]: [Hint, Hint] =
    typeof priority === 'object' ? [priority.stage ?? 0, priority.request ?? 0] : [priority ?? 0, priority ?? 0]
  const mapping: StageMapping =
    options.mapping === undefined
      ? options.backend === undefined
        ? { kind: 'mapper', mapper: raw.mapping as Mapper }
        : { kind: 'explicit', backend: options.backend }
      : { kind: 'mapper', mapper: options.mapping }
  const { stageMs, ...timeouts } = options.timeouts
  return Object.freeze({
    index,
    name,
    stageClass: stageClassOf(raw.name, name),
    after,
    dependents,
    mapping,
    requirements: {
      ...(options.model !== undefined && { model: options.model }),
      ...(options.maxTokens !== undefined && { maxTokens: options.maxTokens }),
      tools: tools.size > 0,
      jsonSchema: jsonSchema !== undefined,
    },
    fallback: options.fallback ?? [],
    cascade: options.cascade && { to: listOf(options.cascade.to), accept: options.cascade.accept },
    params: pickDefined(options, inferenceKeys),
    tools,
    toolSpecs: tools.size === 0 ? undefined : [...tools.values()].map((bound) => bound.spec),
    output: jsonSchema === undefined ? undefined : { schema: options.output!, jsonSchema },
    prompt: options.prompt,
    script: options.script,
    context: options.context,
    keepsConversation: dependents.some(appends),
    stagePriority,
    requestPriority,
    cache: options.cache,
    when: options.when,
    turnsMax: options.turnsMax,
    repairTurns: options.repairTurns,
    parallelToolCalls: options.parallelToolCalls,
    truncation: options.truncation,
    attempts: options.retry.attempts,
    backoffMs: options.retry.backoffMs,
    timeouts: pickDefined(timeouts, ['firstTokenMs', 'idleMs', 'totalMs']),
    stageTimeoutMs: stageMs,
  })
}

type Defined<T, Key extends keyof T> = { [K in Key]?: Exclude<T[K], undefined> }

function pickDefined<T extends object, Key extends keyof T>(from: T, keys: readonly Key[]): Defined<T, Key> {
  const picked: Defined<T, Key> = {}
  for (const key of keys) if (from[key] !== undefined) picked[key] = from[key] as Exclude<T[Key], undefined>
  return picked
}
