// Workflows that are plain data: the same stages, the same checks, no code.

import type { StandardSchemaV1 } from '@standard-schema/spec'
import { messageOf, WorkflowInvalidError, type Issue } from '../errors.ts'
import { limits } from '../limits.ts'
import type { Mapper } from '../mapping/mapper.ts'
import { readPath } from '../prompts/render.ts'
import { compilePath, compilePrompt, type CompiledPrompt, type Placeholder } from '../prompts/template.ts'
import { jsonDepthExceeds } from '../schema/json.ts'
import type { MappingData } from '../schema/mapping.ts'
import { issuesOf } from '../schema/options.ts'
import { schemaFromJson } from '../schema/standard.ts'
import { StageData, WorkflowData, type ConditionData, type HintData } from '../schema/workflow.ts'
import { compileWorkflow, type RawStage, type StageOptions } from './compile.ts'
import type { Workflow } from './builder.ts'
import type { StageContext, WorkflowDefinition } from './definition.ts'
import { mapperFromData, type MapperSet } from './mapping-data.ts'
import { mappingReferences, stageReferences } from './references.ts'
import type { ToolSet } from './tool.ts'

type Report = (issues: readonly Issue[]) => void
type Reader = (context: StageContext) => unknown

/**
 * A workflow from plain data.
 *
 * Nothing is checked yet: as with the builder, `definition` throws {@link WorkflowInvalidError} with every problem and
 * its path, and a runtime adds what it knows about backends.
 *
 * @param data - unchecked: parsed JSON, as it came in
 * @param options.tools - tools that stages may name
 * @param options.mappers - mappers that stages, or the whole workflow, may name
 */
export function workflowFromData(data: unknown, options: { tools?: ToolSet; mappers?: MapperSet } = {}): Workflow {
  const host: Host = { tools: options.tools ?? {}, mappers: options.mappers ?? {} }
  let definition: WorkflowDefinition | undefined
  return {
    name: nameOf(data),
    get definition() {
      definition ??= compileData(data, host)
      return definition
    },
    get backendReferences() {
      const stages = stagesOf(data).flatMap((stage, index) => {
        const { name } = (stage ?? {}) as { name?: unknown }
        return stageReferences(stage, typeof name === 'string' ? `stages.${name}` : `stages[${index}]`)
      })
      return [...stages, ...mappingReferences((data as { mapping?: unknown } | null | undefined)?.mapping, 'mapping')]
    },
  }
}

/** What the host of a workflow provides to it. */
interface Host {
  tools: ToolSet
  mappers: MapperSet
}

function compileData(data: unknown, host: Host): WorkflowDefinition {
  const name = nameOf(data)
  if (jsonDepthExceeds(data, limits.jsonDepthMax)) {
    const message = `nested deeper than ${limits.jsonDepthMax} levels`
    throw new WorkflowInvalidError(name, [{ path: '(root)', code: 'too_deep', message }])
  }
  const issues: Issue[] = []
  const report: Report = (found) => {
    for (const issue of found) if (issues.length < limits.issuesMax) issues.push(issue)
  }
  const outer = WorkflowData.safeParse(data)
  if (!outer.success) report(issuesOf(outer.error))
  const found = stagesOf(data)
  const stages = found.map((stage, index) => toRawStage(stage, index, host, report))
  const input = outer.data?.input === undefined ? undefined : schemaOf(outer.data.input, 'input', report)
  const names = stages.map((stage) => stage.name)
  // It may look at the input only: a stage sees the results that it waits for.
  const mapping = outer.data?.mapping && mapperOf(outer.data.mapping, 'mapping', [], host, report)
  const result = outer.data?.output === undefined ? undefined : compileOutput(outer.data.output, names, report)
  let definition: WorkflowDefinition | undefined
  try {
    if (found.length > 0 || outer.success) definition = compileWorkflow({ name, input, mapping, stages, result })
  } catch (error) {
    if (!(error instanceof WorkflowInvalidError)) throw error
    report(error.issues)
  }
  if (definition === undefined || issues.length > 0) throw new WorkflowInvalidError(name, issues)
  return definition
}

function stagesOf(data: unknown): unknown[] {
  const stages: unknown = typeof data === 'object' && data !== null ? (data as { stages?: unknown }).stages : undefined
  return Array.isArray(stages) ? stages : []
}

function nameOf(data: unknown): string {
  const name: unknown = typeof data === 'object' && data !== null ? (data as { name?: unknown }).name : undefined
  return typeof name === 'string' ? name.slice(0, limits.nameLengthMax) : '(unnamed)'
}

function schemaOf(jsonSchema: Record<string, unknown>, path: string, report: Report): StandardSchemaV1 | undefined {
  try {
    return schemaFromJson(jsonSchema)
  } catch (error) {
    report([{ path, code: 'json_schema', message: `this JSON Schema cannot be used: ${messageOf(error)}` }])
    return undefined
  }
}

/** A stage that was checked and compiled; of one with problems, what the graph needs, so that both are reported. */
function toRawStage(data: unknown, index: number, host: Host, report: Report): RawStage {
  const { name: given, after } = (data ?? {}) as { name?: unknown; after?: unknown }
  const name = typeof given === 'string' ? given : `stages[${index}]`
  const path = typeof given === 'string' ? `stages.${given}` : name
  const parsed = StageData.safeParse(data)
  if (!parsed.success) {
    report(issuesOf(parsed.error, path))
    const names = Array.isArray(after) ? after.filter((each): each is string => typeof each === 'string') : []
    return { name, options: { after: names, backend: 'unknown', prompt: noPrompt } }
  }
  const { name: _, prompt, output, tools: toolNames, when, priority, mapping, cascade, ...settings } = parsed.data
  const scope = (option: string): Scope => ({ path: `${path}.${option}`, stages: settings.after ?? [] })
  const compiled = compilePrompt(prompt, scope('prompt'))
  if (!compiled.ok) report(compiled.issues)
  const checked: StageOptions = { ...settings, prompt: compiled.ok ? compiled.prompt : noPrompt }
  if (cascade !== undefined) checked.cascade = cascade
  if (mapping !== undefined) checked.mapping = mapperOf(mapping, `${path}.mapping`, settings.after ?? [], host, report)
  if (output !== undefined) checked.output = schemaOf(output, `${path}.output`, report)
  if (toolNames !== undefined) checked.tools = pickTools(toolNames, host.tools, `${path}.tools`, report)
  if (when !== undefined) checked.when = compileCondition(when, scope('when'), report)
  if (typeof priority === 'number' || (typeof priority === 'object' && 'path' in priority)) {
    checked.priority = compileHint(priority, scope('priority'), report)
  } else if (priority !== undefined) {
    const { stage, request } = priority
    checked.priority = {
      ...(stage !== undefined && { stage: compileHint(stage, scope('priority.stage'), report) }),
      ...(request !== undefined && { request: compileHint(request, scope('priority.request'), report) }),
    }
  }
  return { name, options: undefined, checked }
}

function mapperOf(
  mapping: MappingData,
  path: string,
  stages: readonly string[],
  { mappers }: Host,
  report: Report,
): Mapper {
  const read = (at: string, where: string): Reader => reader(at, { path: where, stages }, report)
  return mapperFromData(mapping, { path, mappers, reader: read, report }) ?? noMapper
}

/** Keeps the compiler from reporting a missing mapping where a wrong one was reported. */
const noMapper: Mapper = () => ({ backend: '', reason: '' })

/** Keeps the compiler from reporting a missing prompt where a wrong one was reported. */
const noPrompt: CompiledPrompt = { messages: [] }

function pickTools(names: readonly string[], tools: ToolSet, path: string, report: Report): ToolSet {
  const picked: Record<string, ToolSet[string]> = {}
  names.forEach((name, i) => {
    if (Object.hasOwn(tools, name)) {
      picked[name] = tools[name]!
      return
    }
    const known = Object.keys(tools)
    const message = `there is no tool "${name}"; ${known.length === 0 ? 'this host provides none' : `there are: ${known.slice(0, 20).join(', ')}`}`
    report([{ path: `${path}[${i}]`, code: 'unknown_tool', message }])
  })
  return picked
}

interface Scope {
  path: string
  stages: readonly string[]
}

function reader(path: string, scope: Scope, report: Report): Reader {
  const compiled = compilePath(path, scope)
  if (!compiled.ok) {
    report(compiled.issues)
    return () => undefined
  }
  const placeholder: Placeholder = compiled.placeholder
  return (context) => readPath(placeholder, context)
}

function compileCondition(condition: ConditionData, scope: Scope, report: Report): (context: StageContext) => boolean {
  if ('all' in condition) {
    const parts = condition.all.map((part) => compileCondition(part, scope, report))
    return (context) => parts.every((part) => part(context))
  }
  if ('any' in condition) {
    const parts = condition.any.map((part) => compileCondition(part, scope, report))
    return (context) => parts.some((part) => part(context))
  }
  if ('not' in condition) {
    const part = compileCondition(condition.not, scope, report)
    return (context) => !part(context)
  }
  const read = reader(condition.path, scope, report)
  if ('equals' in condition) return (context) => read(context) === condition.equals
  if ('notEquals' in condition) return (context) => read(context) !== condition.notEquals
  if ('in' in condition) return (context) => condition.in.includes(read(context) as string)
  if ('exists' in condition) return (context) => (read(context) !== undefined) === condition.exists
  const compare = (context: StageContext, holds: (value: number) => boolean): boolean => {
    const value = read(context)
    return typeof value === 'number' && holds(value)
  }
  return 'atLeast' in condition
    ? (context) => compare(context, (value) => value >= condition.atLeast)
    : (context) => compare(context, (value) => value <= condition.atMost)
}

function compileHint(hint: HintData, scope: Scope, report: Report): number | ((context: StageContext) => number) {
  if (typeof hint === 'number') return hint
  const read = reader(hint.path, scope, report)
  return (context) => {
    const key = String(read(context))
    return Object.hasOwn(hint.values, key) ? hint.values[key]! : hint.otherwise
  }
}

function compileOutput(
  output: string | Record<string, string>,
  stages: readonly string[],
  report: Report,
): (context: StageContext) => unknown {
  const scope = (path: string): Scope => ({ path, stages })
  if (typeof output === 'string') return reader(output, scope('output'), report)
  const readers = Object.entries(output).map(
    ([key, path]) => [key, reader(path, scope(`output.${key}`), report)] as const,
  )
  return (context) => Object.fromEntries(readers.map(([key, read]) => [key, read(context)]))
}
