// Parsing of options at the public door: zod issues become one OptionsError that lists them all.

import type { z } from 'zod'
import { OptionsError, type Issue } from '../errors.ts'
import { limits } from '../limits.ts'

/** Path of an issue as a person writes it: `backends.light.windowRequests`, `stages[3].after`. */
export function formatPath(base: string, path: readonly PropertyKey[]): string {
  let text = base
  for (const key of path) {
    if (typeof key === 'number') text += `[${key}]`
    else text += text === '' ? String(key) : `.${String(key)}`
  }
  return text === '' ? '(root)' : text
}

/** zod's issues as ours, with `base` before each path. */
export function issuesOf(error: z.core.$ZodError, base = ''): Issue[] {
  return error.issues.slice(0, limits.issuesMax).map((issue) => ({
    path: formatPath(base, issue.path),
    code: issue.code,
    message: issue.message,
  }))
}

/**
 * Parses options once; everything below sees the complete form.
 *
 * @param what - whose options they are, for the message: `options of backend "light"`
 * @throws {OptionsError} `ORLA_OPTIONS` with every issue and its path
 */
export function parseOptions<Schema extends z.ZodType>(schema: Schema, value: unknown, what: string): z.output<Schema> {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  throw new OptionsError(what, issuesOf(parsed.error))
}
