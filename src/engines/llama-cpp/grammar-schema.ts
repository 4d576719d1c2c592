// JSON Schema as far as a grammar can hold it.
//
// A grammar makes the model write JSON of the right shape. What it cannot express (patterns, ranges, formats) is left
// out here and checked where every answer is checked; it never makes a request fail.

import type { GbnfJsonSchema } from 'node-llama-cpp'
import type { JsonSchema } from '../../schema/json.ts'

/** A schema under construction: node-llama-cpp's type is read-only and recursive beyond what can be inferred. */
type Loose = Record<string, unknown>

const simpleTypes = new Set(['string', 'number', 'integer', 'boolean', 'null'])
/** Formats that node-llama-cpp has grammars for. */
const formats = new Set(['date-time', 'date', 'time'])
/** Longest repetition written into a grammar: each is written out, and llama.cpp refuses grammars that grow too large. */
const repetitionMax = 256
/** Levels of a schema that are held. */
const depthMax = 16

/** Any JSON value. */
const anyJson: Loose = {
  oneOf: [
    { type: ['string', 'number', 'boolean', 'null'] },
    { type: 'array' },
    { type: 'object', additionalProperties: true },
  ],
}

/**
 * The schema that a grammar is made from.
 *
 * Optional properties become required ones, because grammars here always write all of them. A part that no grammar can
 * hold is any JSON.
 */
export function grammarSchema(schema: JsonSchema): GbnfJsonSchema {
  const definitions = { ...recordOf(schema['definitions']), ...recordOf(schema['$defs']) }
  return convert(schema, definitions, 0) as GbnfJsonSchema
}

function convert(value: unknown, definitions: Loose, depth: number): Loose {
  // Each level of a schema that refers to itself is written out, so it is followed some way and open from there on.
  if (typeof value !== 'object' || value === null || depth > depthMax) return { ...anyJson }
  const schema = value as Loose
  const converted = shape(schema, definitions, depth) ?? { ...anyJson }
  if (typeof schema['description'] === 'string') converted['description'] = schema['description']
  return converted
}

function shape(schema: Loose, definitions: Loose, depth: number): Loose | undefined {
  const reference = schema['$ref']
  if (typeof reference === 'string') {
    const name = /^#\/(?:\$defs|definitions)\/([^/]+)$/.exec(reference)?.[1]
    return name === undefined ? undefined : convert(definitions[name], definitions, depth + 1)
  }
  if ('const' in schema) return isScalar(schema['const']) ? { const: schema['const'] } : undefined
  if (Array.isArray(schema['enum'])) {
    return schema['enum'].length > 0 && schema['enum'].every(isScalar) ? { enum: schema['enum'] } : undefined
  }
  const choices = schema['oneOf'] ?? schema['anyOf']
  if (Array.isArray(choices)) {
    return choices.length === 0 ? undefined : { oneOf: choices.map((each) => convert(each, definitions, depth + 1)) }
  }
  const all: unknown = schema['allOf']
  if (Array.isArray(all) && all.length === 1) return convert(all[0], definitions, depth + 1)
  const { type } = schema
  if (Array.isArray(type)) {
    if (type.every((name) => simpleTypes.has(String(name)))) return { type }
    return shape({ oneOf: type.map((name: unknown) => ({ ...schema, type: name })) }, definitions, depth)
  }
  if (type === 'object' || (type === undefined && 'properties' in schema)) return object(schema, definitions, depth)
  if (type === 'array') return array(schema, definitions, depth)
  if (type === 'string') return text(schema)
  return typeof type === 'string' && simpleTypes.has(type) ? { type } : undefined
}

function object(schema: Loose, definitions: Loose, depth: number): Loose {
  const properties: Loose = {}
  for (const [name, property] of Object.entries(recordOf(schema['properties']))) {
    const converted = convert(property, definitions, depth + 1)
    Object.defineProperty(properties, name, { value: converted, enumerable: true, writable: true, configurable: true })
  }
  const result: Loose = { type: 'object', properties }
  const additional = schema['additionalProperties']
  if (typeof additional === 'object') {
    result['additionalProperties'] = convert(additional, definitions, depth + 1)
  } else if (Object.keys(properties).length === 0 && additional !== false) {
    result['additionalProperties'] = true
  }
  return result
}

function array(schema: Loose, definitions: Loose, depth: number): Loose {
  const result: Loose = { type: 'array' }
  if (typeof schema['items'] === 'object') result['items'] = convert(schema['items'], definitions, depth + 1)
  addBounds(result, schema, 'minItems', 'maxItems')
  return result
}

function text(schema: Loose): Loose {
  const { format } = schema
  if (typeof format === 'string' && formats.has(format)) return { type: 'string', format }
  const result: Loose = { type: 'string' }
  addBounds(result, schema, 'minLength', 'maxLength')
  return result
}

function addBounds(result: Loose, schema: Loose, min: string, max: string): void {
  const least = schema[min]
  const most = schema[max]
  if (typeof least === 'number' && least > 0 && least <= repetitionMax) result[min] = least
  if (typeof most === 'number' && most <= repetitionMax) result[max] = most
}

function isScalar(value: unknown): boolean {
  return value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
}

function recordOf(value: unknown): Loose {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Loose) : {}
}
