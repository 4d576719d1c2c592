// Values that match a JSON Schema: what a model under guided decoding writes, with words of the prompt where they fit.

import type { Random } from '../clock.ts'
import type { JsonSchema, JsonValue } from '../schema/json.ts'
import { asArray, asSchema, intersect, isObject, resolveReference, sameJson, type AnySchema } from './json-schema.ts'
import { formatted, patterned, phrase, textLengthMax } from './schema-text.ts'

/** Depth from which optional parts are left out and the plainest branch is taken, so that recursion ends. */
const plainDepth = 4
/** Depth that no value reaches: the schema recurses without a way out. */
const depthMax = 40
/** Parts of one value. Wide recursive schemas would grow without it. */
const partsMax = 5_000

/** What a value is made from. */
export interface ValueSource {
  random: Random
  /** Text whose words are used: choices that it names are preferred. */
  text: string
}

/**
 * A plausible value that matches `schema`.
 *
 * Understands type, enum, const, properties, required, additionalProperties, propertyNames, items, prefixItems,
 * anyOf, oneOf, allOf, local $ref, nullable, bounds of all kinds, common formats and simple patterns. `not`, `if` and
 * references to other documents are not looked at. Of a schema that nothing matches, the value is null.
 */
export function schemaValue(schema: JsonSchema, source: ValueSource): JsonValue {
  const writer = new ValueWriter(schema, source)
  return writer.write(schema, 0, '') ?? null
}

/** Writes one value. `undefined` means: nothing matches here, or the way out of a recursion was not found. */
class ValueWriter {
  readonly #root: JsonSchema
  readonly #random: Random
  readonly #text: string
  #parts = 0

  constructor(root: JsonSchema, { random, text }: ValueSource) {
    this.#root = root
    this.#random = random
    this.#text = text
  }

  write(given: AnySchema, depth: number, name: string): JsonValue | undefined {
    if (given === false || depth > depthMax || ++this.#parts > partsMax) return undefined
    if (given === true) return phrase(this.#random, this.#text, 1, 4)
    if (typeof given['$ref'] === 'string') {
      const { $ref, ...rest } = given
      const target = resolveReference(this.#root, $ref)
      return target === undefined ? undefined : this.write(intersect(rest, target), depth + 1, name)
    }
    if (given['allOf'] !== undefined) {
      const { allOf, ...rest } = given
      const joined = asArray(allOf).reduce(
        (sum: AnySchema, part) => intersect(sum, this.#resolved(asSchema(part))),
        rest,
      )
      return this.write(joined, depth + 1, name)
    }
    const branches = given['anyOf'] ?? given['oneOf']
    if (branches !== undefined) {
      const { anyOf: _anyOf, oneOf: _oneOf, ...rest } = given
      return this.#writeBranch(rest, asArray(branches), depth, name)
    }
    if (Object.hasOwn(given, 'const')) return given['const'] as JsonValue
    if (Array.isArray(given['enum'])) return this.#choose(given['enum'] as JsonValue[])
    return this.#writeTyped(given, depth, name)
  }

  /** A reference replaced by what it names, so that it can be joined with others. */
  #resolved(schema: AnySchema): AnySchema {
    for (let hops = 0, at = schema; hops < depthMax; hops++) {
      if (typeof at === 'boolean' || typeof at['$ref'] !== 'string') return at
      const { $ref, ...rest } = at
      at = intersect(rest, resolveReference(this.#root, $ref) ?? false)
    }
    return false
  }

  #writeBranch(rest: JsonSchema, branches: unknown[], depth: number, name: string): JsonValue | undefined {
    const order = branches.map((branch) => {
      const schema = asSchema(branch)
      // Null is rare where there is something to say, and the way out when it has become deep.
      const isNull = isObject(schema) && schema['type'] === 'null'
      const weight = depth < plainDepth ? Number(isNull) : complexity(schema)
      return { schema, weight, draw: this.#random() }
    })
    order.sort((a, b) => a.weight - b.weight || a.draw - b.draw)
    for (const { schema } of order) {
      const value = this.write(intersect(rest, this.#resolved(schema)), depth + 1, name)
      if (value !== undefined) return value
    }
    return undefined
  }

  #writeTyped(schema: JsonSchema, depth: number, name: string): JsonValue | undefined {
    const types = asArray(schema['type'])
    const type = types.find((one) => one !== 'null') ?? types[0] ?? guessType(schema)
    switch (type) {
      case 'object':
        return this.#writeObject(schema, depth)
      case 'array':
        return this.#writeArray(schema, depth, name)
      case 'string':
        return this.#writeString(schema, name)
      case 'integer':
      case 'number':
        return this.#writeNumber(schema, type === 'integer')
      case 'boolean':
        return this.#random() < 0.5
      case 'null':
        return null
      default:
        return undefined
    }
  }

  #writeObject(schema: JsonSchema, depth: number): JsonValue | undefined {
    const properties = isObject(schema['properties']) ? schema['properties'] : {}
    const required = new Set(asArray(schema['required']).map(String))
    const object: { [key: string]: JsonValue } = {}
    const set = (key: string, value: JsonValue): void => {
      // Not an assignment: a property named __proto__ is data like any other.
      Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true })
    }
    for (const [key, part] of Object.entries(properties)) {
      if (!required.has(key) && depth >= plainDepth) continue
      const value = this.write(asSchema(part), depth + 1, key)
      if (value !== undefined) set(key, value)
      else if (required.has(key)) return undefined
    }
    const others = schema['additionalProperties']
    for (const key of required) {
      if (Object.hasOwn(object, key)) continue
      const value = this.write(asSchema(others), depth + 1, key)
      if (value === undefined) return undefined
      set(key, value)
    }
    const isRecord = isObject(others) && Object.keys(properties).length === 0 && depth < plainDepth
    const keysMin = Math.max(bound(schema, 'minProperties', 0), isRecord ? 2 : 0)
    const keysMax = bound(schema, 'maxProperties', Infinity)
    for (let tries = 0; Object.keys(object).length < Math.min(keysMin, keysMax) && tries < 4 * keysMin; tries++) {
      const key = this.write(
        intersect({ type: 'string', maxLength: 24 }, asSchema(schema['propertyNames'])),
        depth + 1,
        '',
      )
      if (typeof key !== 'string') break
      const value = this.write(asSchema(others), depth + 1, key)
      if (value !== undefined) set(key, value)
    }
    return Object.keys(object).length < bound(schema, 'minProperties', 0) ? undefined : object
  }

  #writeArray(schema: JsonSchema, depth: number, name: string): JsonValue | undefined {
    const first = asArray(schema['prefixItems'])
    const array: JsonValue[] = []
    for (const part of first) {
      const value = this.write(asSchema(part), depth + 1, name)
      if (value === undefined) return undefined
      array.push(value)
    }
    const lengthMin = bound(schema, 'minItems', 0)
    const lengthMax = bound(schema, 'maxItems', Infinity)
    const usual = schema['items'] === undefined || depth >= plainDepth ? 0 : 1 + Math.floor(this.#random() * 3)
    const length = Math.min(Math.max(first.length === 0 ? usual : 0, lengthMin), lengthMax)
    for (let tries = 0; array.length < length && tries < 8 * length + 8; tries++) {
      const value = this.write(asSchema(schema['items']), depth + 1, name)
      if (value === undefined) break
      if (schema['uniqueItems'] === true && array.some((other) => sameJson(other, value))) continue
      array.push(value)
    }
    return array.length < lengthMin ? undefined : array
  }

  #writeString(schema: JsonSchema, name: string): string | undefined {
    const lengthMin = bound(schema, 'minLength', 0)
    const lengthMax = bound(schema, 'maxLength', Infinity)
    if (lengthMin > Math.min(lengthMax, textLengthMax)) return undefined
    const format = typeof schema['format'] === 'string' ? schema['format'] : ''
    const special = formatted(format, this.#random)
    if (special !== undefined) return special
    if (typeof schema['pattern'] === 'string') {
      const value = patterned(schema['pattern'], this.#random, lengthMin, lengthMax)
      if (value !== undefined) return value
    }
    // Names ask for a word, texts for a sentence.
    const short = /(^|_)(id|name|key|code|type|label|tag|team|category|status)s?$/i.test(name)
    let text = phrase(this.#random, this.#text, short ? 1 : 4, short ? 2 : 9)
    while (text.length < lengthMin) text += ` ${phrase(this.#random, this.#text, 2, 6)}`
    return text.slice(0, lengthMax)
  }

  #writeNumber(schema: JsonSchema, integer: boolean): number | undefined {
    const step = Number(schema['multipleOf'] ?? 0)
    const unit = step > 0 ? step : integer ? 1 : 0.01
    const lowest = Math.max(bound(schema, 'minimum', -Infinity), bound(schema, 'exclusiveMinimum', -Infinity))
    const highest = Math.min(bound(schema, 'maximum', Infinity), bound(schema, 'exclusiveMaximum', Infinity))
    // Without bounds a small positive number; JSON Schemas of integers carry the safe range as bounds.
    const from = lowest > -1e9 ? lowest : highest < 1 ? highest - 100 : Math.min(1, highest)
    const to = highest < 1e9 ? highest : from + 100
    const inside = (value: number): boolean =>
      value >= lowest &&
      value <= highest &&
      value !== schema['exclusiveMinimum'] &&
      value !== schema['exclusiveMaximum']
    const stepsFrom = Math.ceil(from / unit)
    const stepsTo = Math.floor(to / unit)
    for (let tries = 0; tries < 8 && stepsFrom <= stepsTo; tries++) {
      const steps = stepsFrom + Math.floor(this.#random() * (stepsTo - stepsFrom + 1))
      // Hundredths come out as people write them; multiples stay products, as validators compute them.
      const value = step > 0 || integer ? steps * unit : Number((steps / 100).toFixed(2))
      if (inside(value)) return value
    }
    const between = from + (to - from) * (0.25 + this.#random() / 2)
    if (!integer && step <= 0) return inside(between) ? between : inside(from) ? from : undefined
    for (let steps = stepsFrom; steps <= stepsTo && steps < stepsFrom + 3; steps++) {
      if (inside(steps * unit)) return steps * unit
    }
    return undefined
  }

  /** One of `values`: one that the text names, if it names any, else any. */
  #choose(values: readonly JsonValue[]): JsonValue | undefined {
    const text = normalized(this.#text)
    const named = values.filter((value) => typeof value === 'string' && text.includes(` ${normalized(value).trim()} `))
    const pool = named.length > 0 ? named : values
    return pool[Math.floor(this.#random() * pool.length)]
  }
}

function normalized(text: string): string {
  return ` ${text
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}]+/gu, ' ')
    .trim()} `
}

function bound(schema: JsonSchema, key: string, absent: number): number {
  const value = schema[key]
  return typeof value === 'number' && !Number.isNaN(value) ? value : absent
}

function guessType(schema: JsonSchema): string {
  if (schema['properties'] !== undefined || schema['required'] !== undefined) return 'object'
  if (schema['additionalProperties'] !== undefined) return 'object'
  if (schema['items'] !== undefined || schema['prefixItems'] !== undefined) return 'array'
  if (schema['minimum'] !== undefined || schema['maximum'] !== undefined) return 'number'
  return 'string'
}

/** How far a schema leads: leaves before containers, containers before references. */
function complexity(schema: AnySchema): number {
  if (typeof schema === 'boolean') return 0
  if (schema['$ref'] !== undefined) return 3
  const type = asArray(schema['type'])[0] ?? guessType(schema)
  return type === 'object' || type === 'array' ? 2 : 1
}
