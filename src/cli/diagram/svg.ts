// Diagrams as SVG, laid out by dagre; readable on light and dark ground.

import { graphlib, layout } from '@dagrejs/dagre'
import { wrap } from '../view/line.ts'
import { oneLine } from '../view/sanitize.ts'
import { mergedEdges, type Diagram, type DiagramNode } from './diagram.ts'

const fontSize = 14
const noteSize = 11
/** Width of a character over the font's size: wide enough for common sans-serif fonts, none is loaded. */
const characterRatio = 0.58
const lineRatio = 1.35
const margin = 24
/** Characters of a line of notes. */
const noteColumns = 30

interface Box {
  node: DiagramNode
  notes: string[]
  /** Transitions that lead back here: a line each, because loops of lines are hard to read. */
  loops: string[]
  width: number
  height: number
}

/** A diagram as SVG. The same diagram gives the same bytes. */
export function svg(diagram: Diagram): string {
  const { title } = diagram
  const graph = new graphlib.Graph()
  graph.setGraph({ rankdir: diagram.kind === 'workflow' ? 'LR' : 'TB', nodesep: 48, ranksep: 56, edgesep: 24 })
  const merged = mergedEdges(diagram.edges)
  const boxes = new Map(
    diagram.nodes.map((node) => {
      const loops = merged.filter(({ from, to }) => from === node.id && to === node.id)
      const labels = loops.flatMap((loop) => loop.labels)
      return [node.id, boxOf(node, labels)]
    }),
  )
  for (const [id, { width, height }] of boxes) graph.setNode(id, { width, height })
  const edges = merged.filter(({ from, to }) => from !== to)
  for (const { from, to, labels } of edges) {
    const width = labels.length === 0 ? 0 : Math.max(...labels.map((label) => textWidth(label, noteSize))) + 8
    const height = labels.length * noteSize * lineRatio
    graph.setEdge(from, to, { width, height, labelpos: 'c' })
  }
  layout(graph)
  const bounds = boundsOf(graph, textWidth(title, fontSize))
  const drawnEdges = edges.map(({ from, to, labels }) => {
    const { points, x, y } = graph.edge(from, to) as EdgePlace
    return { path: pathOf(points), label: x === undefined || y === undefined ? '' : textLines(labels, x, y) }
  })
  const drawnNodes = [...boxes].map(([id, box]) => nodeSvg(box, graph.node(id) as Point))
  const size = `width="${bounds.width}" height="${bounds.height}"`
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${bounds.width} ${bounds.height}" ${size} role="img" aria-label="${escapeXml(title)}">`,
    `<title>${escapeXml(title)}</title>`,
    style,
    '<defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto-start-reverse"><path class="head" d="M0 0 10 5 0 10z"/></marker></defs>',
    `<rect class="ground" ${size} rx="8"/>`,
    `<text class="title" x="${margin}" y="${margin + 6}">${escapeXml(title)}</text>`,
    `<g transform="translate(${r(bounds.shiftX)} ${r(bounds.shiftY)})">`,
    ...drawnEdges.map(({ path }) => `<path class="edge" d="${path}" marker-end="url(#arrow)"/>`),
    ...drawnNodes,
    // Labels last: no line runs over them.
    ...drawnEdges.map(({ label }) => label).filter((label) => label !== ''),
    '</g>',
    '</svg>',
  ].join('\n')}\n`
}

interface EdgePlace {
  points: Point[]
  x?: number
  y?: number
  width?: number
}

/** The size of the whole, and how far to move it: edges may run outside of what the layout calls its size. */
function boundsOf(
  graph: graphlib.Graph,
  titleWidth: number,
): { width: number; height: number; shiftX: number; shiftY: number } {
  const xs: number[] = []
  const ys: number[] = []
  for (const id of graph.nodes()) {
    const { x, y, width, height } = graph.node(id) as Point & { width: number; height: number }
    xs.push(x - width / 2, x + width / 2)
    ys.push(y - height / 2, y + height / 2)
  }
  for (const edge of graph.edges()) {
    const { points, x, width = 0 } = graph.edge(edge) as EdgePlace
    for (const point of points) {
      xs.push(point.x)
      ys.push(point.y)
    }
    if (x !== undefined) xs.push(x - width / 2, x + width / 2)
  }
  const left = Math.min(...xs)
  const top = Math.min(...ys)
  const head = margin + fontSize * 2
  return {
    width: Math.ceil(Math.max(Math.max(...xs) - left, titleWidth) + 2 * margin),
    height: Math.ceil(Math.max(...ys) - top + head + margin),
    shiftX: margin - left,
    shiftY: head - top,
  }
}

interface Point {
  x: number
  y: number
}

/** Presentation attributes would do without dark mode; classes can have both. */
const style = `<style>
text { font-family: ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
.ground { fill: #ffffff; }
.title { font-size: ${fontSize}px; font-weight: 600; }
.label { font-size: ${fontSize}px; font-weight: 600; text-anchor: middle; }
.note { font-size: ${noteSize}px; fill: #59636e; text-anchor: middle; }
.event { font-size: ${noteSize}px; fill: #0550ae; text-anchor: middle; paint-order: stroke; stroke: #ffffff; stroke-width: 4px; stroke-linejoin: round; }
.box { fill: #f6f8fa; stroke: #818b98; stroke-width: 1.2; }
.initial .box { fill: #ddf4ff; stroke: #0969da; }
.final .box { stroke-width: 3; }
.any .box { stroke-dasharray: 5 4; }
.box + .label ~ .event { stroke: none; }
.edge { fill: none; stroke: #818b98; stroke-width: 1.3; }
.head { fill: #818b98; }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc; }
.ground { fill: #0d1117; }
.note { fill: #9198a1; }
.event { fill: #79c0ff; stroke: #0d1117; }
.box { fill: #151b23; stroke: #656c76; }
.initial .box { fill: #0c2d6b; stroke: #4493f8; }
.edge { stroke: #656c76; }
.head { fill: #656c76; }
}
</style>`

function boxOf(node: DiagramNode, loops: readonly string[]): Box {
  const notes = node.notes.flatMap((note) => wrap(oneLine(note), noteColumns, 4))
  const shownLoops = loops.map((label) => `↻ ${oneLine(label)}`)
  const small = [...notes, ...shownLoops].map((note) => textWidth(note, noteSize))
  const height = fontSize * lineRatio + small.length * noteSize * lineRatio + 18
  const width = Math.max(textWidth(node.label, fontSize), ...small) + 28
  return { node, notes, loops: shownLoops, width: Math.ceil(width), height: Math.ceil(height) }
}

function nodeSvg({ node, notes, loops, width, height }: Box, { x, y }: Point): string {
  const left = x - width / 2
  const top = y - height / 2
  const firstLine = top + 9 + fontSize
  const rows = [
    ...notes.map((text) => ({ text, className: 'note' })),
    ...loops.map((text) => ({ text, className: 'event' })),
  ].map(({ text, className }, index) => {
    const rowY = firstLine + 4 + (index + 1) * noteSize * lineRatio
    return `<text class="${className}" x="${r(x)}" y="${r(rowY)}">${escapeXml(text)}</text>`
  })
  const box = `<rect class="box" x="${r(left)}" y="${r(top)}" width="${width}" height="${height}" rx="8"/>`
  const label = `<text class="label" x="${r(x)}" y="${r(firstLine)}">${escapeXml(node.label)}</text>`
  return `<g class="${node.kind}">${box}${label}${rows.join('')}</g>`
}

function textLines(labels: readonly string[], x: number, y: number): string {
  const lineHeight = noteSize * lineRatio
  const top = y - ((labels.length - 1) * lineHeight) / 2 + noteSize * 0.35
  return labels
    .map(
      (label, index) => `<text class="event" x="${r(x)}" y="${r(top + index * lineHeight)}">${escapeXml(label)}</text>`,
    )
    .join('\n')
}

/** A smooth line through the points that the layout gives: quadratic curves from middle to middle. */
function pathOf(points: readonly Point[]): string {
  const [first, ...rest] = points
  if (first === undefined) return ''
  const last = rest.at(-1) ?? first
  const curves = rest.slice(0, -1).map((point, index) => {
    const next = rest[index + 1]!
    const end = index === rest.length - 2 ? last : { x: (point.x + next.x) / 2, y: (point.y + next.y) / 2 }
    return `Q${r(point.x)} ${r(point.y)} ${r(end.x)} ${r(end.y)}`
  })
  return `M${r(first.x)} ${r(first.y)} ${curves.length > 0 ? curves.join(' ') : `L${r(last.x)} ${r(last.y)}`}`
}

function textWidth(text: string, size: number): number {
  return text.length * size * characterRatio
}

/** Coordinates with one decimal: smaller files, and no digits that differ between machines. */
function r(value: number): string {
  return String(Math.round(value * 10) / 10)
}

/** Text that XML takes as text, also in attributes. Control characters are gone. */
export function escapeXml(text: string): string {
  return oneLine(text).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
