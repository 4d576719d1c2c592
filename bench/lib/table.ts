// Rows as text that lines up.

import stringWidth from 'string-width'
import type { Row } from './bench.ts'

/** A table with one line a row: numbers to the right, text to the left. Columns are those of the first row. */
export function formatTable(rows: readonly Row[]): string {
  const columns = Object.keys(rows[0] ?? {})
  const widths = columns.map((column) =>
    Math.max(stringWidth(column), ...rows.map((row) => stringWidth(String(row[column] ?? '')))),
  )
  const line = (cells: readonly Row[string][]): string =>
    cells
      .map((cell, i) => {
        const padding = ' '.repeat(Math.max(0, widths[i]! - stringWidth(String(cell))))
        return typeof rows[0]?.[columns[i]!] === 'number' ? `${padding}${cell}` : `${cell}${padding}`
      })
      .join('  ')
      .trimEnd()
  const rule = widths.map((width) => '-'.repeat(width)).join('  ')
  return [line(columns), rule, ...rows.map((row) => line(columns.map((column) => row[column] ?? '')))].join('\n')
}
