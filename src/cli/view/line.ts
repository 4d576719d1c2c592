// Lines of the terminal view as data: pieces of text with a role. What a role looks like is decided later.

import stringWidth from 'string-width'

/** What a piece of text is, for its look. */
export type Role = 'plain' | 'strong' | 'quiet' | 'accent' | 'ok' | 'busy' | 'waiting' | 'bad'

/** A piece of a line. */
export interface Span {
  text: string
  role: Role
}

/** One line of the screen, without its end. */
export type Line = readonly Span[]

/** A piece of text with a role. */
export function span(text: string, role: Role = 'plain'): Span {
  return { text, role }
}

/** Columns that a text takes in a terminal. */
export function widthOf(text: string): number {
  return stringWidth(text)
}

/** Columns that a line takes in a terminal. */
export function lineWidth(line: Line): number {
  return line.reduce((total, { text }) => total + widthOf(text), 0)
}

const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' })

/** The longest beginning of `text` that takes at most `width` columns. Characters are never halved. */
function takeColumns(text: string, width: number): string {
  if (text.length <= width && widthOf(text) <= width) return text
  let taken = 0
  let end = 0
  for (const { segment, index } of graphemes.segment(text)) {
    const columns = widthOf(segment)
    if (taken + columns > width) break
    taken += columns
    end = index + segment.length
  }
  return text.slice(0, end)
}

/** `text` in at most `width` columns; what was cut is marked by an ellipsis. */
export function truncate(text: string, width: number): string {
  // A huge text is cut before it is measured: a column holds few code units.
  const bounded = text.length > width * 16 + 64 ? text.slice(0, width * 16 + 64) : text
  if (bounded === text && widthOf(text) <= width) return text
  if (width <= 0) return ''
  return `${takeColumns(bounded, width - 1)}…`
}

/** `text` in exactly `width` columns: cut, or filled with spaces on the other side. */
export function pad(text: string, width: number, align: 'left' | 'right' = 'left'): string {
  const cut = truncate(text, width)
  const fill = ' '.repeat(Math.max(0, width - widthOf(cut)))
  return align === 'left' ? cut + fill : fill + cut
}

/** Breaks a text into lines of at most `width` columns, at spaces where possible, and keeps the first `linesMax`. */
export function wrap(text: string, width: number, linesMax = Number.POSITIVE_INFINITY): string[] {
  const lines: string[] = []
  const columns = Math.max(1, width)
  for (const paragraph of text.split('\n')) {
    let rest = paragraph
    do {
      if (lines.length === linesMax) {
        const last = lines.at(-1)!
        lines[lines.length - 1] = widthOf(last) < columns ? `${last}…` : `${takeColumns(last, columns - 1)}…`
        return lines
      }
      let head = takeColumns(rest.slice(0, columns * 16), columns)
      const tooWide = head === '' && rest !== ''
      if (tooWide) head = graphemes.segment(rest).containing(0)!.segment
      else if (head.length < rest.length && rest[head.length] !== ' ') {
        const space = head.lastIndexOf(' ')
        if (space > 0) head = head.slice(0, space)
      }
      // A character wider than the line is shown by one that is not.
      lines.push(tooWide ? '?' : head.trimEnd())
      rest = rest.slice(head.length).trimStart()
    } while (rest !== '')
  }
  return lines
}

/** A line cut to `width` columns. */
export function fit(line: Line, width: number): Line {
  if (lineWidth(line) <= width) return line
  const result: Span[] = []
  let left = width
  for (const { text, role } of line) {
    const columns = widthOf(text)
    // The piece that reaches the edge carries the ellipsis.
    if (columns >= left) {
      result.push(span(columns === left ? truncate(`${text}…`, left) : truncate(text, left), role))
      break
    }
    result.push(span(text, role))
    left -= columns
  }
  return result
}
