// A DAG as text: layers from left to right, boxes left out, edges as lines.
//
//   ✓ classify completed ─┬─ ● policy_check inferring ─── ○ reply pending
//                         └─ ◆ route_ticket tooling

import type { StageState } from '../../index.ts'
import { lineWidth, span, type Line, type Span } from './line.ts'
import { stageLook } from './theme.ts'

/** A stage of the picture. */
export interface DagStage {
  name: string
  after: readonly string[]
  state: StageState
}

/** Larger ones are listed, not drawn: nobody follows the lines. */
const drawnStagesMax = 40

/** A stage, or the place where an edge passes a layer by. */
interface Cell {
  stage: DagStage | undefined
  layer: number
  row: number
  /** Cells of the layer before. */
  from: Cell[]
}

/** The lines of the DAG within `width` columns; with state labels if they fit, else without, else as a list. */
export function dagLines(stages: readonly DagStage[], width: number): Line[] {
  if (stages.length <= drawnStagesMax) {
    const layers = layout(stages)
    for (const labels of [true, false]) {
      const lines = draw(layers, labels)
      if (lines.every((line) => lineWidth(line) <= width)) return lines
    }
  }
  return stages.map((stage) => {
    const after = stage.after.length === 0 ? '' : ` ← ${stage.after.join(', ')}`
    return [...stageSpans(stage, true), span(after, 'quiet')]
  })
}

function stageSpans({ name, state }: DagStage, labels: boolean): Span[] {
  const { glyph, role } = stageLook(state)
  return [span(`${glyph} `, role), span(name, 'strong'), ...(labels ? [span(` ${state}`, role)] : [])]
}

function layout(stages: readonly DagStage[]): Cell[][] {
  const byName = new Map(stages.map((stage) => [stage.name, stage]))
  const ancestors = new Map<string, Set<string>>()
  const layerOf = new Map<string, number>()
  // Stages come in an order in which each follows what it waits for.
  for (const { name, after } of stages) {
    const above = new Set<string>(after.flatMap((parent) => [parent, ...(ancestors.get(parent) ?? [])]))
    ancestors.set(name, above)
    layerOf.set(name, Math.max(-1, ...after.map((parent) => layerOf.get(parent) ?? -1)) + 1)
  }
  const layers: Cell[][] = []
  const cells = new Map<string, Cell>()
  const place = (stage: DagStage | undefined, layer: number, from: Cell[]): Cell => {
    const cell: Cell = { stage, layer, row: 0, from }
    ;(layers[layer] ??= []).push(cell)
    return cell
  }
  for (const stage of stages) {
    const layer = layerOf.get(stage.name)!
    // An edge that another path implies is left out: the line is there already.
    const parents = stage.after.filter(
      (parent) => byName.has(parent) && !stage.after.some((other) => ancestors.get(other)?.has(parent) === true),
    )
    const from = parents.map((parent) => {
      let cell = cells.get(parent)!
      while (cell.layer < layer - 1) cell = place(undefined, cell.layer + 1, [cell])
      return cell
    })
    cells.set(stage.name, place(stage, layer, from))
  }
  for (const layer of layers) {
    const middle = ({ from }: Cell): number =>
      from.length === 0 ? 0 : from.reduce((sum, { row }) => sum + row, 0) / from.length
    layer.sort((a, b) => middle(a) - middle(b))
    let row = 0
    for (const cell of layer) {
      // As high as its first parent at least, so that chains stay straight.
      row = Math.max(row, cell.from.length === 1 ? cell.from[0]!.row : 0)
      cell.row = row++
    }
  }
  return layers
}

/** Joints by which of left, right, up and down they join: bits 1, 2, 4, 8. */
const joints = [' ', '─', '─', '─', '│', '┘', '└', '┴', '│', '┐', '┌', '┬', '│', '┤', '├', '┼']

function draw(layers: readonly Cell[][], labels: boolean): Line[] {
  const rows = 1 + Math.max(0, ...layers.flat().map(({ row }) => row))
  const lines: Span[][] = Array.from({ length: rows }, () => [])
  layers.forEach((layer, index) => {
    const cells = new Map(layer.map((cell) => [cell.row, cell]))
    const spans = new Map(layer.map((cell) => [cell.row, cellSpans(cell, labels)]))
    const width = Math.max(...[...spans.values()].map(lineWidth))
    const next = layers[index + 1]
    const passesNext = new Set(next?.filter(({ stage }) => stage === undefined).map(({ row }) => row))
    const bits = jointsBetween(next ?? [], rows)
    lines.forEach((line, row) => {
      const cell = spans.get(row) ?? []
      line.push(...cell)
      if (next === undefined) return
      const joint = bits[row]!
      const rest = width - lineWidth(cell)
      const fill = (joint & 1) === 0 ? ' '.repeat(rest + 2) : `${'─'.repeat(rest + 2)}`
      // A stage's name keeps a space to the line; an edge that passes by goes straight on.
      const before = cells.get(row)?.stage === undefined ? fill : ` ${fill.slice(1)}`
      const after = (joint & 2) === 0 ? '  ' : passesNext.has(row) ? '──' : '─ '
      line.push(span(`${before}${joints[joint]!}${after}`, 'quiet'))
    })
  })
  return lines
}

function cellSpans({ stage }: Cell, labels: boolean): Span[] {
  return stage === undefined ? [span('──', 'quiet')] : stageSpans(stage, labels)
}

/** For each row, which ways the line between two layers goes there. */
function jointsBetween(next: readonly Cell[], rows: number): number[] {
  const bits = Array.from({ length: rows }, () => 0)
  for (const { row: to, from } of next) {
    for (const { row } of from) {
      bits[row]! |= 1
      bits[to]! |= 2
      for (let at = Math.min(row, to); at < Math.max(row, to); at++) {
        bits[at]! |= 8
        bits[at + 1]! |= 4
      }
    }
  }
  return bits
}
