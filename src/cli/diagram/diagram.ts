// A diagram as data: what every format is made from.

/** One state or stage. */
export interface DiagramNode {
  id: string
  label: string
  /** Smaller lines below the label. */
  notes: string[]
  /** `initial` is entered first; in `final` it ends; `any` stands for every state that has not ended. */
  kind: 'normal' | 'initial' | 'final' | 'any'
}

/** One transition or dependency. */
export interface DiagramEdge {
  from: string
  to: string
  /** Empty for a mere dependency. */
  label: string
}

/** A diagram. */
export interface Diagram {
  title: string
  kind: 'machine' | 'workflow'
  nodes: DiagramNode[]
  edges: DiagramEdge[]
}

/** Edges between the same two nodes as one, with all their labels. */
export function mergedEdges(edges: readonly DiagramEdge[]): { from: string; to: string; labels: string[] }[] {
  const merged = new Map<string, { from: string; to: string; labels: string[] }>()
  for (const { from, to, label } of edges) {
    const key = JSON.stringify([from, to])
    const known = merged.get(key)
    if (known === undefined) merged.set(key, { from, to, labels: label === '' ? [] : [label] })
    else if (label !== '') known.labels.push(label)
  }
  return [...merged.values()]
}
