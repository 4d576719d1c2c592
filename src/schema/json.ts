// JSON values, and checks on those that come from outside.

import { limits } from '../limits.ts'

/** Any JSON value. */
export type JsonValue = null | boolean | number | string | JsonValue[] | { [key: string]: JsonValue }

/** A JSON Schema (draft 2020-12), as plain data. */
export type JsonSchema = Record<string, unknown>

/** Text parsed as JSON, or why it is not acceptable. Never throws. */
export type ParsedJson = { ok: true; value: unknown } | { ok: false; message: string }

/**
 * Parses JSON that came from outside: a model, an engine, a file.
 *
 * Nesting beyond {@link limits.jsonDepthMax} is refused, because JSON.parse accepts depths that every later step
 * (stringify, clone, validation) dies of.
 */
export function parseJson(text: string): ParsedJson {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    return { ok: false, message: error instanceof Error ? error.message : 'not JSON' }
  }
  return jsonDepthExceeds(value, limits.jsonDepthMax)
    ? { ok: false, message: `nested deeper than ${limits.jsonDepthMax} levels` }
    : { ok: true, value }
}

/** True if `value` nests deeper than `depthMax`. Iterative: depth cannot overflow the stack. */
export function jsonDepthExceeds(value: unknown, depthMax: number): boolean {
  let level: unknown[] = [value]
  for (let depth = 0; level.length > 0; depth++) {
    const next: unknown[] = []
    for (const item of level) {
      if (typeof item !== 'object' || item === null) continue
      if (depth >= depthMax) return true
      for (const child of Array.isArray(item) ? item : Object.values(item)) next.push(child)
    }
    level = next
  }
  return false
}
