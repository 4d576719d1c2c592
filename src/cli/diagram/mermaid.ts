// Diagrams as Mermaid: what GitHub and editors draw from Markdown.

import { oneLine } from '../view/sanitize.ts'
import { mergedEdges, type Diagram } from './diagram.ts'

/** A diagram as Mermaid: `stateDiagram-v2` for machines, `flowchart` for workflows. Ends with a newline. */
export function mermaid(diagram: Diagram): string {
  const lines = diagram.kind === 'machine' ? stateLines(diagram) : flowLines(diagram)
  return `${lines.join('\n')}\n`
}

function stateLines({ title, nodes, edges }: Diagram): string[] {
  const ids = idsOf(nodes)
  return [
    'stateDiagram-v2',
    `  %% ${oneLine(title)}`,
    ...nodes.map(({ id, label }) => `  state "${stateText(label)}" as ${ids.get(id)!}`),
    ...nodes.filter(({ kind }) => kind === 'initial').map(({ id }) => `  [*] --> ${ids.get(id)!}`),
    ...mergedEdges(edges).map(
      ({ from, to, labels }) => `  ${ids.get(from)!} --> ${ids.get(to)!}${labelText(labels.map(stateText))}`,
    ),
    ...nodes.filter(({ kind }) => kind === 'final').map(({ id }) => `  ${ids.get(id)!} --> [*]`),
    ...nodes.flatMap(({ id, notes }) => notes.map((note) => `  note right of ${ids.get(id)!} : ${stateText(note)}`)),
  ]
}

function labelText(labels: readonly string[]): string {
  return labels.length === 0 ? '' : ` : ${labels.join('<br/>')}`
}

function flowLines({ nodes, edges }: Diagram): string[] {
  const ids = idsOf(nodes)
  return [
    'flowchart LR',
    ...nodes.map(({ id, label, notes }) => {
      const text = [`<b>${flowText(label)}</b>`, ...notes.map(flowText)].join('<br/>')
      return `  ${ids.get(id)!}["${text}"]`
    }),
    ...edges.map(({ from, to }) => `  ${ids.get(from)!} --> ${ids.get(to)!}`),
  ]
}

/** Ids that Mermaid takes as they are: some words mean something to it. */
function idsOf(nodes: Diagram['nodes']): Map<string, string> {
  return new Map(nodes.map(({ id }, index) => [id, /^[A-Za-z]\w*$/.test(id) ? `s_${id}` : `s${index}`]))
}

/** Text of a state diagram: its grammar gives a meaning to `:`, `;`, `#`, quotes and brackets in some places. */
function stateText(text: string): string {
  return oneLine(text).replace(/[":;#<>{}%]/g, (character) => `#${character.charCodeAt(0)};`)
}

function flowText(text: string): string {
  return oneLine(text).replace(/["#<>&]/g, (character) => `#${character.charCodeAt(0)};`)
}
