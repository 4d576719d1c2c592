// A diagram of an XState machine, read off its definition.

import type { backendMachine, stageMachine, workflowMachine } from '../../index.ts'
import type { Diagram, DiagramEdge, DiagramNode } from './diagram.ts'

/** The machines that can be drawn. */
export type DrawnMachine = typeof workflowMachine | typeof stageMachine | typeof backendMachine

/** What is read of a node of a machine. */
interface StateLike {
  key: string
  path: readonly string[]
  type: string
  description?: string | undefined
  states: Readonly<Record<string, StateLike>>
  initial?: { target?: readonly { path: readonly string[] }[] | undefined } | undefined
  after: readonly { delay: unknown; eventType: string }[]
  transitions: ReadonlyMap<string, readonly TransitionLike[]>
  /** Transitions without event; absent without any. */
  always?: readonly TransitionLike[] | undefined
}

interface TransitionLike {
  eventType: string
  target?: readonly { path: readonly string[] }[] | undefined
  guard?: unknown
  reenter: boolean
}

/** Stands for every state that has not ended, where a transition leaves from all of them. */
const anyState = 'any'

/** Reads states, transitions, guards, delays and descriptions off a machine. Nested states follow their parents. */
export function machineDiagram(machine: DrawnMachine): Diagram {
  const root = machine.root as unknown as StateLike
  const nodes: DiagramNode[] = []
  const edges: DiagramEdge[] = []
  const first = (root.initial?.target ?? []).map(idOf)
  const visit = (state: StateLike): void => {
    const kind = first.includes(idOf(state)) ? 'initial' : state.type === 'final' ? 'final' : 'normal'
    const notes = state.description === undefined ? [] : [state.description]
    nodes.push({ id: idOf(state), label: state.path.join('.'), notes, kind })
    for (const target of state.initial?.target ?? []) {
      edges.push({ from: idOf(state), to: idOf(target), label: 'initial' })
    }
    edges.push(...edgesOf(state, idOf(state)))
    for (const child of Object.values(state.states)) visit(child)
  }
  for (const state of Object.values(root.states)) visit(state)
  const fromAny = edgesOf(root, anyState)
  if (fromAny.length > 0) {
    nodes.push({ id: anyState, label: 'any state', notes: [], kind: 'any' })
    edges.push(...fromAny)
  }
  return { title: `Lifecycle: ${machine.id}`, kind: 'machine', nodes, edges }
}

function idOf({ path }: { path: readonly string[] }): string {
  return path.join('_')
}

function edgesOf(state: StateLike, from: string): DiagramEdge[] {
  const delays = new Map(state.after.map(({ eventType, delay }) => [eventType, String(delay)]))
  return [...[...state.transitions.values()].flat(), ...(state.always ?? [])].flatMap((transition) => {
    const delay = delays.get(transition.eventType)
    const event = delay === undefined ? eventName(transition.eventType) : `after ${delay}`
    const guard = guardName(transition.guard)
    const label = guard === undefined ? event : `${event} [${guard}]`
    // Without a target the event is heard and the state stays.
    const targets = transition.target === undefined ? [from] : transition.target.map(idOf)
    return targets.map((to) => ({ from, to, label }))
  })
}

function eventName(type: string): string {
  return type === '' ? 'always' : type
}

/** Name of a guard; an unnamed function's own expression, if it is short. */
function guardName(guard: unknown): string | undefined {
  if (guard === undefined) return undefined
  if (typeof guard === 'string') return guard
  if (typeof guard === 'function') return /=>\s*([^{}\n]{1,60})$/.exec(guard.toString())?.[1]?.trim() ?? 'guarded'
  return typeof guard === 'object' && guard !== null && 'type' in guard ? String(guard.type) : 'guarded'
}
