// Parsing of options at the public door: zod issues become one OptionsError that lists them all.

import { z } from 'zod'
import { OptionsError, type Issue } from '../errors.ts'
import { limits } from '../limits.ts'
import { nearest } from '../nearest.ts'

/** Path of an issue as a person writes it: `backends.light.windowRequests`, `stages[3].after`. */
export function formatPath(base: string, path: readonly PropertyKey[]): string {
  let text = base
  for (const key of path) {
    if (typeof key === 'number') text += `[${key}]`
    else text += text === '' ? String(key) : `.${String(key)}`
  }
  return text === '' ? '(root)' : text
}

/**
 * zod's issues as ours, with `base` before each path.
 *
 * @param schema - what was parsed with: a key that it does not know gets the nearest one that it does
 */
export function issuesOf(error: z.core.$ZodError, base = '', schema?: z.core.$ZodType): Issue[] {
  return error.issues
    .slice(0, limits.issuesMax)
    .flatMap((issue) => issuesFrom(issue, base, [], schema))
    .slice(0, limits.issuesMax)
}

/** @param above - path of the union that the issue is of a member of */
function issuesFrom(
  issue: z.core.$ZodIssue,
  base: string,
  above: readonly PropertyKey[],
  schema: z.core.$ZodType | undefined,
): Issue[] {
  const { code, message } = issue
  const path = [...above, ...issue.path]
  if (issue.code === 'invalid_union') {
    // Where the value is of the kind of one member only, what is wrong with it says more than that it is none of them.
    const [meant, another] = issue.errors.filter(
      (errors) => !errors.some((each) => each.path.length === 0 && isOfKind(each)),
    )
    if (meant !== undefined && another === undefined) {
      return meant.flatMap((each) => issuesFrom(each, base, path, schema))
    }
  }
  if (issue.code !== 'unrecognized_keys' || schema === undefined) {
    return [{ path: formatPath(base, path), code, message }]
  }
  const known = keysAt(schema, path)
  return issue.keys.map((key) => ({
    path: formatPath(base, [...path, key]),
    code,
    message: `Unrecognized key: "${key}"${hintOf(key, known)}`,
  }))
}

/** Whether an issue says that a value is of another kind, and not what is wrong within it. */
function isOfKind({ code }: z.core.$ZodIssue): boolean {
  return code === 'invalid_type' || code === 'invalid_value' || code === 'custom'
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
  throw new OptionsError(what, issuesOf(parsed.error, '', schema))
}

function hintOf(key: string, known: readonly string[]): string {
  if (known.length === 0) return ''
  const near = nearest(key, known)
  return near === undefined ? `; there are: ${known.join(', ')}` : `; did you mean "${near}"?`
}

/** The keys of the object that a schema has at a path; empty where that is no one object. */
function keysAt(schema: z.core.$ZodType, path: readonly PropertyKey[]): string[] {
  let here: z.core.$ZodType | undefined = inner(schema)
  for (const key of path) {
    if (here instanceof z.ZodObject) here = (here.shape as Record<PropertyKey, z.core.$ZodType>)[key]
    else if (here instanceof z.ZodRecord) here = here.def.valueType
    else if (here instanceof z.ZodArray) here = here.def.element
    else return []
    here = here && inner(here)
  }
  return here instanceof z.ZodObject ? Object.keys(here.shape) : []
}

/** A schema without what only says that its value may be left out; of a union, its object. */
function inner(schema: z.core.$ZodType): z.core.$ZodType {
  let here = schema
  for (;;) {
    if (here instanceof z.ZodUnion) here = here.def.options.find((each) => inner(each) instanceof z.ZodObject) ?? here
    if (here instanceof z.ZodUnion) return here
    const { innerType } = here._zod.def as { innerType?: z.core.$ZodType }
    if (innerType === undefined) return here
    here = innerType
  }
}
