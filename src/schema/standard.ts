// Schemas as users give them: any library that speaks Standard Schema, or JSON Schema as plain data.

import type { StandardSchemaV1 } from '@standard-schema/spec'
import { z } from 'zod'
import { messageOf, type Issue } from '../errors.ts'
import type { JsonSchema } from './json.ts'
import { formatPath } from './options.ts'

/** Type of the values that a schema lets through. */
export type InferOutput<S> = S extends StandardSchemaV1<infer _Input, infer Output> ? Output : never

/** Type of the values that a schema accepts. */
export type InferInput<S> = S extends StandardSchemaV1<infer Input, infer _Output> ? Input : never

/** A value that was checked: as the schema returned it, or what is wrong with it. */
export type Checked = { ok: true; value: unknown } | { ok: false; issues: Issue[] }

/**
 * Checks a value. A schema that checks asynchronously gives a promise; most do not.
 *
 * @param base - what to call the value in issue paths: `input`, `output`, `arguments`
 */
export function check(schema: StandardSchemaV1, value: unknown, base: string): Checked | Promise<Checked> {
  let result: StandardSchemaV1.Result<unknown> | Promise<StandardSchemaV1.Result<unknown>>
  try {
    result = schema['~standard'].validate(value)
  } catch (error) {
    return failed(base, error)
  }
  return result instanceof Promise
    ? result.then(
        (settled) => toChecked(settled, base),
        (error: unknown) => failed(base, error),
      )
    : toChecked(result, base)
}

function failed(base: string, error: unknown): Checked {
  return { ok: false, issues: [{ path: base, code: 'schema_threw', message: `the schema threw: ${messageOf(error)}` }] }
}

function toChecked(result: StandardSchemaV1.Result<unknown>, base: string): Checked {
  if (result.issues === undefined) return { ok: true, value: result.value }
  const issues = result.issues.map((issue) => ({
    path: formatPath(
      base,
      (issue.path ?? []).map((segment) => (typeof segment === 'object' ? segment.key : segment)),
    ),
    code: 'schema',
    message: issue.message,
  }))
  return { ok: false, issues }
}

/**
 * The JSON Schema of the values that a schema accepts, for engines and for people.
 *
 * Needs a library that also implements Standard JSON Schema (zod 4.2 and later do).
 *
 * @throws {Error} when the library cannot say; the caller turns that into an issue with a path
 */
export function jsonSchemaOf(schema: StandardSchemaV1): JsonSchema {
  const standard: { vendor: string; jsonSchema?: { input(options: { target: string }): JsonSchema } } =
    schema['~standard']
  if (standard.jsonSchema === undefined) {
    throw new Error(
      `schemas of "${standard.vendor}" cannot be turned into JSON Schema; use a library with Standard JSON Schema (zod 4.2+), or wrap one with withJsonSchema(schema, jsonSchema)`,
    )
  }
  const { $schema: _dialect, ...rest } = standard.jsonSchema.input({ target: 'draft-2020-12' })
  return rest
}

/** Gives a JSON Schema to a schema whose library cannot make one. */
export function withJsonSchema<S extends StandardSchemaV1>(schema: S, jsonSchema: JsonSchema): S {
  const standard = { ...schema['~standard'], jsonSchema: { input: () => jsonSchema, output: () => jsonSchema } }
  return { ...schema, '~standard': standard }
}

/**
 * A Standard Schema made from JSON Schema: workflows that are plain data bring theirs this way.
 *
 * @throws {Error} for JSON Schema that cannot be understood
 */
export function schemaFromJson(jsonSchema: JsonSchema): StandardSchemaV1 {
  const schema = z.fromJSONSchema(jsonSchema)
  return withJsonSchema(schema, jsonSchema)
}
