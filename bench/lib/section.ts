// Figures in a page: each bench has a section between two marks, which a run of it replaces.

import type { BenchReport, Row } from './bench.ts'
import type { BenchEnv } from './env.ts'

/** A table in Markdown. Columns are those of the first row; numbers stand to the right. */
function markdownTable(rows: readonly Row[]): string {
  const columns = Object.keys(rows[0] ?? {})
  const line = (cells: readonly (Row[string] | undefined)[]): string =>
    `| ${cells.map((cell) => String(cell ?? '')).join(' | ')} |`
  return [
    line(columns),
    line(columns.map((column) => (typeof rows[0]?.[column] === 'number' ? '--:' : '---'))),
    ...rows.map((row) => line(columns.map((column) => row[column]))),
  ].join('\n')
}

/** What a bench found, as a section of a page. */
export function sectionOf(env: BenchEnv, quick: boolean, { rows, notes, settings, versions }: BenchReport): string {
  const list = (facts: Readonly<Record<string, unknown>> = {}): string =>
    Object.entries(facts)
      .map(([name, value]) => `${name} ${String(value)}`)
      .join(', ')
  const where = `Node ${env.node.slice(1)}, ${env.cores} x ${env.cpu}, load average ${env.loadAverage}, commit ${env.commit.slice(0, 12)}, ${env.date.slice(0, 10)}`
  const lines = [
    `${quick ? '**Quick run: rough figures.** ' : ''}${where}.`,
    ...(settings === undefined ? [] : [`Settings: ${list(settings)}.`]),
    ...(versions === undefined || Object.keys(versions).length === 0 ? [] : [`Versions: ${list(versions)}.`]),
  ]
  return `${lines.join(' ')}\n\n${markdownTable(rows)}\n\n${notes.map((note) => `- ${note}`).join('\n')}`
}

/**
 * The page with another section for one bench: what stands between `<!-- bench:name -->` and `<!-- /bench:name -->`.
 *
 * @throws {Error} for a page without these marks
 */
export function withSection(page: string, name: string, section: string): string {
  const [begin, end] = [`<!-- bench:${name} -->`, `<!-- /bench:${name} -->`]
  const from = page.indexOf(begin)
  const to = page.indexOf(end, from)
  if (from < 0 || to < 0) throw new Error(`the page has no section for ${name}: add the lines ${begin} and ${end}`)
  return `${page.slice(0, from + begin.length)}\n\n${section}\n\n${page.slice(to)}`
}
