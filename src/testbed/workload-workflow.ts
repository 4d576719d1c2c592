// Runs of a workload as workflows: a step is a stage whose turns are known beforehand.

import type { Mapper } from '../mapping/mapper.ts'
import type { RunPlayer } from '../simulator/workloads/run-player.ts'
import type { WorkloadStep } from '../simulator/workloads/workload.ts'
import type { Workflow } from '../workflow/builder.ts'
import { compileWorkflow } from '../workflow/compile.ts'
import type { ScriptedTurn, StageContext, WorkflowDefinition } from '../workflow/definition.ts'

/** What every stage of a workload has. */
export interface WorkloadStageOptions {
  /** Where it runs: a backend, or what decides. */
  backend: string | Mapper<RunPlayer>
  /** Milliseconds from grant to first token, between tokens, and of a request as a whole. */
  timeoutMs: number
}

/** Workflows that are kept: runs of one shape share one. Workloads of DAGs may have a shape for each run. */
const shapesMax = 256

/**
 * Makes workflows for runs. The input of a run is its player.
 *
 * @param name - name of all these workflows, and so the first part of their stage classes
 */
export function workloadWorkflows(
  name: string,
  options: WorkloadStageOptions,
): (steps: readonly WorkloadStep[]) => Workflow<RunPlayer, undefined> {
  const known = new Map<string, Workflow<RunPlayer, undefined>>()
  return (steps) => {
    const shape = JSON.stringify(steps.map((step) => [step.name, step.after]))
    let workflow = known.get(shape)
    if (workflow === undefined) {
      const { backend } = options
      const backendReferences =
        typeof backend === 'string' ? [{ path: `stages.${steps[0]!.name}.backend`, backend }] : []
      workflow = { name, backendReferences, definition: compile(name, steps, options) }
      if (known.size >= shapesMax) known.clear()
      known.set(shape, workflow)
    }
    return workflow
  }
}

function compile(
  name: string,
  steps: readonly WorkloadStep[],
  { backend, timeoutMs }: WorkloadStageOptions,
): WorkflowDefinition {
  return compileWorkflow({
    name,
    input: undefined,
    stages: steps.map((step, index) => ({
      name: step.name,
      options: {
        ...(typeof backend === 'string' ? { backend } : { mapping: backend as Mapper }),
        ...(step.after.length > 0 && { after: [...step.after] }),
        timeouts: { firstTokenMs: timeoutMs, idleMs: timeoutMs, totalMs: timeoutMs },
        // A step without a turn that fits is skipped, and so is what depends on nothing else.
        when: ({ input }: StageContext): boolean => (input as RunPlayer).begins(index),
        script: ({ input }: StageContext, turn: number): ScriptedTurn | undefined =>
          (input as RunPlayer).turn(index, turn),
      },
    })),
    result: () => undefined,
  })
}
