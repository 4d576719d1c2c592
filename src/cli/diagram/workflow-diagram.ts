// A diagram of a workflow's DAG.

import type { Workflow } from '../../index.ts'
import { planOf } from '../view/view-model.ts'
import type { Diagram } from './diagram.ts'

/** Stages with their backends and tools, and what each waits for. */
export function workflowDiagram(workflow: Workflow): Diagram {
  const stages = planOf(workflow)
  return {
    title: `Workflow: ${workflow.name}`,
    kind: 'workflow',
    nodes: stages.map(({ name, after, backend, tools }) => ({
      id: name,
      label: name,
      notes: [
        backend === null ? 'backend: decided by a mapper' : `backend: ${backend}`,
        ...(tools.length === 0 ? [] : [`tools: ${tools.join(', ')}`]),
      ],
      kind: after.length === 0 ? 'initial' : stages.some((other) => other.after.includes(name)) ? 'normal' : 'final',
    })),
    edges: stages.flatMap(({ name, after }) => after.map((from) => ({ from, to: name, label: '' }))),
  }
}
