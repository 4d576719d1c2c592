// Tables with a header line and commas. Cells of traces are numbers and plain names: there are no quotes.

import type { Line } from '../lines.ts'
import type { FileProblems } from '../problems.ts'

/** Columns of a table; those that are `true` must be there. */
export type Columns<Name extends string> = Readonly<Record<Name, boolean>>

/** One row: a cell for each column that the table has. */
export interface Row<Name extends string> {
  line: number
  cells: Readonly<Partial<Record<Name, string>>>
}

/** Cells of a line. */
function cellsOf(text: string): string[] {
  return text.split(',').map((cell) => cell.trim())
}

/** Rows of a table. A wrong header ends it; a row of another width is noted and left out. */
export async function* readTable<Name extends string>(
  lines: AsyncIterable<Line>,
  columns: Columns<Name>,
  problems: FileProblems,
): AsyncGenerator<Row<Name>> {
  let header: string[] | undefined
  for await (const { number, text } of lines) {
    const cells = cellsOf(text)
    if (header === undefined) {
      header = cells
      if (!checkHeader(header, columns, problems, number)) return
      continue
    }
    if (cells.length !== header.length) {
      const message = `has ${cells.length} cells, the header ${header.length}`
      problems.add({ line: number }, 'row_width', message)
      continue
    }
    const byName: Partial<Record<string, string>> = {}
    header.forEach((name, i) => (byName[name] = cells[i]!))
    yield { line: number, cells: byName as Partial<Record<Name, string>> }
  }
}

/** True if a header line has every column that must be there. */
export function hasColumns(line: string, names: readonly string[]): boolean {
  const header = cellsOf(line)
  return names.every((name) => header.includes(name))
}

function checkHeader(header: string[], columns: Columns<string>, problems: FileProblems, line: number): boolean {
  const known = Object.keys(columns).join(', ')
  const before = problems.count
  header.forEach((name, i) => {
    const place = { line, column: name === '' ? String(i + 1) : name }
    if (!Object.hasOwn(columns, name)) problems.add(place, 'unknown_column', `is not known; there are: ${known}`)
    else if (header.indexOf(name) !== i) problems.add(place, 'duplicate_column', 'is there twice')
  })
  for (const [name, required] of Object.entries(columns)) {
    if (required && !header.includes(name)) problems.add({ line, column: name }, 'missing_column', 'is missing')
  }
  return problems.count === before
}
