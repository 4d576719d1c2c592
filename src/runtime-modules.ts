// The module that runtimes with runner threads get their workflows and backends from
//
// Functions do not cross threads: every thread imports the module by itself, and messages name what it exports.

import { z } from 'zod'
import type { BackendDefinition } from './engines/backend-definition.ts'
import { messageOf, OptionsError, type Issue } from './errors.ts'
import type { RuntimeOptions, ThreadsOptions } from './runtime-api.ts'
import { limits } from './limits.ts'
import { parseOptions } from './schema/options.ts'
import type { Workflow } from './workflow/builder.ts'

/** What a module exports. */
export interface WorkflowModule {
  workflows: ReadonlyMap<string, Workflow>
  backends: Readonly<Record<string, BackendDefinition>>
}

const Threads = z.strictObject({
  count: z.int().min(1).max(limits.runnersMax),
  heapMb: z.int().min(16).max(1_048_576).optional(),
  restartsMax: z.int().min(0).max(1_000_000).default(limits.runnerRestartsMax),
  withinMs: z.number().positive().default(limits.runnerRestartsWithinMs),
})

/** Threads as a runtime uses them. */
export type ThreadsPlan = z.output<typeof Threads>

/**
 * The plan of runner threads; undefined without them.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` with every option that cannot be used with threads, and what to do instead
 */
export function threadsPlan(options: RuntimeOptions): ThreadsPlan | undefined {
  const { threads, workflows } = options
  if (threads === undefined || threads === 0) {
    if (workflows === undefined) return undefined
    const message = '`workflows` is the module of runner threads; give `threads` too, or start workflows directly'
    throw new OptionsError('runtime options', [{ path: 'workflows', code: 'without_threads', message }])
  }
  const given: ThreadsOptions = typeof threads === 'number' ? { count: threads } : threads
  const plan = parseOptions(Threads, given, 'option `threads`')
  const issues: Issue[] = []
  const refuse = (path: string, message: string): void => void issues.push({ path, code: 'not_with_threads', message })
  if (!(workflows instanceof URL)) {
    refuse('workflows', 'closures do not cross threads: give new URL("./workflows.ts", import.meta.url), a module')
  }
  if (options.backends !== undefined) {
    refuse('backends', 'drivers are made on every thread: export `backends` from the module that `workflows` names')
  }
  if (options.clock?.virtual === true) refuse('clock', 'virtual time is of one thread: leave `threads` out')
  if (options.estimator !== undefined) refuse('estimator', 'a function does not cross threads: leave it out')
  if (options.delivery !== undefined) refuse('delivery', 'it plays threads where there are none')
  if (options.memory?.prewarm !== undefined && options.memory.prewarm !== false) {
    refuse('memory.prewarm', 'prompts are built on the runners, which do not foresee them: leave it out')
  }
  if (issues.length > 0) throw new OptionsError('runtime options', issues)
  return plan
}

/**
 * Imports a module on this thread: its workflows are all exports that are one, by their names; its backends are its
 * export `backends`.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` if it cannot be loaded, exports no workflow, or two of one name
 */
export async function loadModule(url: string): Promise<WorkflowModule> {
  const complain = (code: string, message: string): never => {
    throw new OptionsError('module of workflows', [{ path: url, code, message }])
  }
  let exported: Record<string, unknown>
  try {
    exported = (await import(/* @vite-ignore */ url)) as Record<string, unknown>
  } catch (error) {
    return complain('cannot_load', `it cannot be imported: ${messageOf(error)}`)
  }
  const workflows = new Map<string, Workflow>()
  for (const value of new Set(Object.values(exported))) {
    if (!isWorkflow(value)) continue
    if (workflows.has(value.name)) complain('duplicate_workflow', `it exports two workflows named "${value.name}"`)
    workflows.set(value.name, value)
  }
  if (workflows.size === 0) complain('no_workflows', 'it exports no workflow: export const x = workflow(...)...')
  const { backends } = exported
  if (typeof backends !== 'object' || backends === null) {
    complain('no_backends', 'it exports no `backends`: export const backends = { name: openAi({ ... }) }')
  }
  return { workflows, backends: backends as Record<string, BackendDefinition> }
}

function isWorkflow(value: unknown): value is Workflow {
  return typeof value === 'object' && value !== null && 'backendReferences' in value && 'definition' in value
}

/**
 * The module's workflow that a caller means.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` if it exports none of that name, or another with that name
 */
export function workflowOf(module: WorkflowModule, asked: Workflow | string): Workflow {
  const name = typeof asked === 'string' ? asked : asked.name
  const found = module.workflows.get(name)
  const complain = (code: string, message: string): never => {
    throw new OptionsError('workflow', [{ path: 'workflow', code, message }])
  }
  if (found === undefined) {
    const names = [...module.workflows.keys()].join(', ')
    return complain(
      'not_exported',
      `closures do not cross threads: export the workflow "${name}" from the module that \`workflows\` names; it exports: ${names}`,
    )
  }
  // The same module may have been loaded twice, so that its objects are others; its stages are the same then.
  if (typeof asked !== 'string' && asked !== found) {
    const stages = (workflow: Workflow): string => workflow.definition.stages.map((stage) => stage.name).join()
    if (stages(asked) !== stages(found)) complain('not_exported', `the module exports another workflow named "${name}"`)
  }
  return found
}
