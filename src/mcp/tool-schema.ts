// Input schemas of MCP tools: the model sees the server's JSON Schema as it is, arguments are checked as far as is safe.
//
// The check here saves a round trip and gives the model a readable answer; the server checks again and has the last
// word. So it may be weaker than the schema, never stronger:
// - `pattern` and `patternProperties` are left to the server: a regular expression of a stranger can be made to run for
//   hours, and it would run in this process.
// - `format` is left to the server: JSON Schema makes it a remark, and libraries disagree on what a URI is.
// - `maxLength` is left to the server: it counts code points, JavaScript counts UTF-16 units.
// - `default` is left to the server: arguments arrive there as the model wrote them.
// - JSON Schema that cannot be turned into a check (`not`, `if`, remote references ...) is offered as it is; then
//   arguments must be an object that has the required members, and that is all.

import type { StandardSchemaV1 } from '@standard-schema/spec'
import { limits } from '../limits.ts'
import { jsonDepthExceeds, type JsonSchema } from '../schema/json.ts'
import { schemaFromJson, withJsonSchema } from '../schema/standard.ts'

/** Keywords whose value is one schema. */
const single = new Set(['items', 'additionalProperties', 'contains', 'propertyNames', 'additionalItems'])
/** Keywords whose value is a list of schemas. */
const listed = new Set(['anyOf', 'allOf', 'prefixItems'])
/** Keywords whose value is schemas by name. */
const named = new Set(['properties', '$defs', 'definitions'])
/** Keywords that are not checked here. */
const leftToServer = new Set([
  'pattern',
  'patternProperties',
  'format',
  'default',
  'maxLength',
  'contentEncoding',
  'contentMediaType',
])

/** What is wrong with a tool's input schema; undefined when it can be offered. */
export function schemaProblem(schema: unknown): string | undefined {
  if (!isObject(schema)) return 'its input schema is not an object'
  if (schema['type'] !== 'object') return 'its input schema does not describe an object'
  if (jsonDepthExceeds(schema, limits.jsonDepthMax)) {
    return `its input schema nests deeper than ${limits.jsonDepthMax} levels`
  }
  const chars = JSON.stringify(schema).length
  return chars <= limits.mcpSchemaCharsMax
    ? undefined
    : `its input schema has ${chars} characters, at most ${limits.mcpSchemaCharsMax} are offered to a model`
}

/**
 * The Standard Schema of a tool's arguments. Values that pass are handed on unchanged.
 *
 * @param schema - one that {@link schemaProblem} has nothing against
 */
export function toolInputSchema(schema: JsonSchema): StandardSchemaV1<unknown, unknown> {
  const inner = checkerOf(schema)
  const outer: StandardSchemaV1<unknown, unknown> = {
    '~standard': {
      version: 1,
      vendor: 'orla-mcp',
      validate(value) {
        const result = inner['~standard'].validate(value)
        return result instanceof Promise || result.issues !== undefined ? result : { value }
      },
    },
  }
  return withJsonSchema(outer, schema)
}

function checkerOf(schema: JsonSchema): StandardSchemaV1 {
  try {
    return schemaFromJson(weakened(schema))
  } catch {
    const required = Array.isArray(schema['required'])
      ? schema['required'].filter((key) => typeof key === 'string')
      : []
    return schemaFromJson({
      type: 'object',
      properties: Object.fromEntries(required.map((key) => [key, {}])),
      required,
    })
  }
}

/** A copy without what the server alone checks. Recursion is bounded: {@link schemaProblem} looked at the depth. */
function weakened(schema: JsonSchema): JsonSchema {
  const entries = Object.entries(schema).flatMap(([key, value]): [string, unknown][] => {
    if (leftToServer.has(key)) return []
    // Without the patterns, members that they describe look additional.
    if (key === 'additionalProperties' && 'patternProperties' in schema) return []
    if (single.has(key)) return [[key, weakenedIfSchema(value)]]
    if (listed.has(key) && Array.isArray(value)) return [[key, value.map(weakenedIfSchema)]]
    // Of weakened forms, several may fit where exactly one did.
    if (key === 'oneOf' && Array.isArray(value))
      return 'anyOf' in schema ? [] : [['anyOf', value.map(weakenedIfSchema)]]
    if (!named.has(key) || !isObject(value)) return [[key, value]]
    return [[key, Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, weakenedIfSchema(inner)]))]]
  })
  return Object.fromEntries(entries)
}

function weakenedIfSchema(value: unknown): unknown {
  return isObject(value) ? weakened(value) : value
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
