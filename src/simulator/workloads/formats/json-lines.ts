// Files of one JSON object a line.

import { parseJson } from '../../../schema/json.ts'
import type { Line } from '../lines.ts'
import type { FileProblems } from '../problems.ts'

/** One line as an object. */
export interface JsonLine {
  line: number
  object: Readonly<Record<string, unknown>>
}

/** A line as an object, or why it is none. */
export function parseObject(text: string): { object: Record<string, unknown> } | { problem: string } {
  const parsed = parseJson(text)
  if (!parsed.ok) return { problem: `is not JSON: ${parsed.message}` }
  if (typeof parsed.value === 'object' && parsed.value !== null && !Array.isArray(parsed.value)) {
    return { object: parsed.value as Record<string, unknown> }
  }
  return { problem: 'is JSON, but not an object' }
}

/**
 * Lines as objects. Lines that are none are noted and left out, and so are lines with keys that are not in `known`.
 */
export async function* readObjects(
  lines: AsyncIterable<Line>,
  known: readonly string[],
  problems: FileProblems,
): AsyncGenerator<JsonLine> {
  const keys = new Set(known)
  for await (const { number: line, text } of lines) {
    const parsed = parseObject(text)
    if ('problem' in parsed) {
      problems.add({ line }, 'not_an_object', parsed.problem)
      continue
    }
    const unknown = Object.keys(parsed.object).filter((key) => !keys.has(key))
    for (const key of unknown) {
      const column = key.slice(0, 60)
      problems.add({ line, column }, 'unknown_column', `is not known; there are: ${known.join(', ')}`)
    }
    if (unknown.length === 0) yield { line, object: parsed.object }
  }
}
