// Workflow definitions in use
//
// Owns: which definitions have live runs, under which id messages name them, the actors of their tools, and what was
// verified against the backends.
// Does not own: the runs, or what a tool does (its actor).
// Invariants
//   D1. A definition is kept while runs of it are live, and forgotten with the last.
//   D2. A tool object has one actor, whatever stages and runs use it: its limits hold over all of them. The actor stops
//       with the last definition that used it.

import { startActor } from '../actors/logic.ts'
import type { ToolMessage } from '../actors/messages.ts'
import { SupervisedActor } from '../actors/supervised.ts'
import { toolLogic, type ToolInput, type ToolState } from '../actors/tool.ts'
import type { Supervisor } from '../actors/supervisor.ts'
import { assert, MappingError, WorkflowInvalidError, type Issue } from './errors.ts'
import { limits } from './limits.ts'
import { verifyMapping } from './mapping/verify.ts'
import type { Backends } from './runtime-backends.ts'
import type { Pools } from './runtime-pools.ts'
import type { Workflow } from './workflow/builder.ts'
import type { StageDefinition, WorkflowDefinition } from './workflow/definition.ts'
import type { ToolDefinition } from './workflow/tool.ts'

type ToolActor = SupervisedActor<ToolState, ToolMessage>

interface LiveDefinition {
  definition: WorkflowDefinition
  runs: number
  /** Tools of it that have an actor. */
  tools: Set<ToolDefinition>
}

/** What definitions need from the runtime around them. */
export interface DefinitionsInput extends Pick<ToolInput, 'clock' | 'log' | 'post'> {
  backends: Backends
  pools: Pools
  supervisor: Supervisor
  /** The tool as its actor calls it, where it runs on another thread. */
  proxyOf?: ((workflow: string, stage: string, tool: string, definition: ToolDefinition) => ToolDefinition) | undefined
}

/** The workflow definitions of one runtime. */
export class Definitions {
  readonly #input: DefinitionsInput
  readonly #live = new Map<string, LiveDefinition>()
  readonly #ids = new WeakMap<WorkflowDefinition, string>()
  /** Generation of the backends against which a workflow was verified. */
  readonly #known = new WeakMap<Workflow, { definition: WorkflowDefinition; generation: number }>()
  readonly #tools = new Map<ToolDefinition, { actor: ToolActor; users: number }>()
  #count = 0
  #toolCount = 0

  constructor(input: DefinitionsInput) {
    this.#input = input
  }

  /**
   * The definition of a workflow, verified against the backends.
   *
   * @throws {WorkflowInvalidError} `ORLA_WORKFLOW_INVALID` with every problem, unknown backends among them
   * @throws {MappingError} `ORLA_MAPPING_INCOMPATIBLE` when a backend cannot serve a stage mapped to it
   */
  of(workflow: Workflow): WorkflowDefinition {
    const { backends } = this.#input
    const known = this.#known.get(workflow)
    if (known?.generation === backends.generation) return known.definition
    const definition = this.#check(workflow)
    this.#known.set(workflow, { definition, generation: backends.generation })
    return definition
  }

  #check(workflow: Workflow): WorkflowDefinition {
    const { backends, pools } = this.#input
    const unknown: Issue[] = workflow.backendReferences
      // A pool is a place to run, not one of several to fall back to.
      .filter(
        ({ path, backend }) => !backends.has(backend) && !(Object.hasOwn(pools, backend) && path.endsWith('.backend')),
      )
      .slice(0, limits.issuesMax)
      .map(({ path, backend }) => ({
        path,
        code: 'unknown_backend',
        message: `there is no backend "${backend}"; there are: ${[...backends.names.filter((name) => backends.has(name)), ...Object.keys(pools)].join(', ')}`,
      }))
    let definition: WorkflowDefinition
    try {
      definition = workflow.definition
    } catch (error) {
      if (error instanceof WorkflowInvalidError && unknown.length > 0) {
        throw new WorkflowInvalidError(workflow.name, [...error.issues, ...unknown])
      }
      throw error
    }
    if (unknown.length > 0) throw new WorkflowInvalidError(workflow.name, unknown)
    this.#verify(definition)
    return definition
  }

  /** Holds a definition for a run. Returns its id. */
  keep(definition: WorkflowDefinition): string {
    let id = this.#ids.get(definition)
    if (id === undefined) this.#ids.set(definition, (id = `${definition.name}#${++this.#count}`))
    const live = this.#live.get(id)
    if (live === undefined) this.#live.set(id, { definition, runs: 1, tools: new Set() })
    else live.runs++
    return id
  }

  /** Lets go of it for a run that is over. */
  letGo(id: string): void {
    const live = this.#live.get(id)
    if (live === undefined || --live.runs > 0) return
    this.#live.delete(id)
    for (const definition of live.tools) {
      const tool = this.#tools.get(definition)!
      if (--tool.users > 0) continue
      this.#tools.delete(definition)
      tool.actor.remove()
    }
  }

  /** Whether live runs use it. */
  has(id: string): boolean {
    return this.#live.has(id)
  }

  /** A definition that live runs use. */
  get(id: string): WorkflowDefinition {
    const live = this.#live.get(id)
    assert(live !== undefined, 'a message names a definition that no live run has', { definitionId: id })
    return live.definition
  }

  /** A stage of a definition that live runs use. */
  stage(id: string, name: string): StageDefinition {
    const stage = this.#live.get(id)?.definition.byName.get(name)
    assert(stage !== undefined, 'a message names a stage that no live run has', { definitionId: id, stage: name })
    return stage
  }

  /** The actor of a tool, started when it is first needed. */
  tool(id: string, stage: string, name: string): ToolActor {
    const { definition } = this.stage(id, stage).tools.get(name)!
    let tool = this.#tools.get(definition)
    if (tool === undefined) {
      const { clock, log, post, supervisor, proxyOf } = this.#input
      const called = proxyOf?.(this.get(id).name, stage, name, definition) ?? definition
      const actor = new SupervisedActor<ToolState, ToolMessage>(supervisor, `${name}#${++this.#toolCount}`, () =>
        startActor(toolLogic, { name, definition: called, clock, log, post }),
      )
      this.#tools.set(definition, (tool = { actor, users: 0 }))
    }
    const { tools } = this.#live.get(id)!
    if (!tools.has(definition)) {
      tools.add(definition)
      tool.users++
    }
    return tool.actor
  }

  #verify(definition: WorkflowDefinition): void {
    const { backends } = this.#input
    const views = new Map(backends.views().map((view) => [view.name, view]))
    const issues: Issue[] = []
    for (const { name, mapping, requirements, fallback, cascade } of definition.stages) {
      if (mapping.kind === 'explicit') {
        const members = views.has(mapping.backend) ? [mapping.backend] : (this.#input.pools[mapping.backend] ?? [])
        for (const member of members) {
          const view = views.get(member)
          // A member may have been removed since.
          if (view !== undefined) issues.push(...verifyMapping(requirements, view, `stages.${name}`))
        }
      }
      fallback.forEach((backend, i) => {
        issues.push(...verifyMapping(requirements, views.get(backend)!, `stages.${name}.fallback[${i}]`))
      })
      cascade?.to.forEach((backend, i) => {
        issues.push(...verifyMapping(requirements, views.get(backend)!, `stages.${name}.cascade.to[${i}]`))
      })
      if (issues.length >= limits.issuesMax) break
    }
    if (issues.length > 0) {
      const what = `workflow "${definition.name}" cannot run on these backends`
      throw new MappingError('ORLA_MAPPING_INCOMPATIBLE', what, issues)
    }
  }
}
