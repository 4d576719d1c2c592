// Tables for the terminal: columns as wide as they need, the least important dropped where the screen is narrow.

import { fit, pad, span, widthOf, type Line, type Role, type Span } from './line.ts'

/** One column. */
export interface Column {
  title: string
  align: 'left' | 'right'
  /** The highest is dropped first; 0 is never dropped. */
  dropRank: number
  cells: readonly { text: string; role?: Role }[]
}

const gap = 2

/** The lines of a table within `width` columns: a heading, then one line for each row. */
export function tableLines(columns: readonly Column[], width: number): Line[] {
  let kept = columns.map((column) => ({
    column,
    columnWidth: Math.max(widthOf(column.title), ...column.cells.map(({ text }) => widthOf(text))),
  }))
  const total = (): number => kept.reduce((sum, { columnWidth }) => sum + columnWidth + gap, -gap)
  while (total() > width) {
    const dropped = kept.reduce((worst, item) => (item.column.dropRank > worst.column.dropRank ? item : worst))
    if (dropped.column.dropRank === 0) break
    kept = kept.filter((item) => item !== dropped)
  }
  const line = (cellOf: (column: Column) => { text: string; role?: Role }): Line => {
    const spans: Span[] = []
    for (const { column, columnWidth } of kept) {
      const { text, role } = cellOf(column)
      if (spans.length > 0) spans.push(span(' '.repeat(gap)))
      spans.push(span(pad(text, columnWidth, column.align), role ?? 'plain'))
    }
    return fit(spans, width)
  }
  const rows = columns[0]?.cells.length ?? 0
  return [
    line(({ title }) => ({ text: title, role: 'quiet' })),
    ...Array.from({ length: rows }, (_, row) => line(({ cells }) => cells[row]!)),
  ]
}
