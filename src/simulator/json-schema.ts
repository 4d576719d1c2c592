// JSON Schema, the little that is needed to write values: references, intersections, bounds.

import type { JsonSchema } from '../schema/json.ts'

/** A schema as it may stand inside another. */
export type AnySchema = JsonSchema | boolean

/** True for plain objects: what a schema, or a map of schemas, looks like. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** `value` as a schema; what is not one allows anything. */
export function asSchema(value: unknown): AnySchema {
  return isObject(value) || typeof value === 'boolean' ? value : true
}

/** The schema that a local reference (`#/$defs/node`) names, or undefined. */
export function resolveReference(root: JsonSchema, reference: string): AnySchema | undefined {
  if (reference === '#') return root
  if (!reference.startsWith('#/')) return undefined
  let at: unknown = root
  for (const step of reference.slice(2).split('/')) {
    const key = decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~')
    if (Array.isArray(at)) at = at[Number(key)]
    else if (isObject(at) && Object.hasOwn(at, key)) at = at[key]
    else return undefined
  }
  return isObject(at) || typeof at === 'boolean' ? at : undefined
}

const lowerBounds = ['minimum', 'exclusiveMinimum', 'minLength', 'minItems', 'minProperties']
const upperBounds = ['maximum', 'exclusiveMaximum', 'maxLength', 'maxItems', 'maxProperties']

/** A schema that allows about what both allow. Keywords that cannot be joined keep the left one's value. */
export function intersect(left: AnySchema, right: AnySchema): AnySchema {
  if (left === false || right === false) return false
  if (left === true) return right
  if (right === true) return left
  const both: JsonSchema = { ...right, ...left }
  for (const key of Object.keys(right)) {
    if (!Object.hasOwn(left, key)) continue
    const joined = joinKeyword(key, left[key], right[key])
    if (joined !== undefined) both[key] = joined
  }
  return both
}

function joinKeyword(key: string, left: unknown, right: unknown): unknown {
  if (lowerBounds.includes(key)) return Math.max(Number(left), Number(right))
  if (upperBounds.includes(key)) return Math.min(Number(left), Number(right))
  switch (key) {
    case 'properties':
    case '$defs':
      return joinProperties(left, right)
    case 'required':
      return [...new Set([...asArray(left), ...asArray(right)])]
    case 'enum':
      return asArray(left).filter((value) => asArray(right).some((other) => sameJson(value, other)))
    case 'type': {
      const types = new Set(asArray(right))
      // Integers are numbers: the narrower one stays.
      if (types.has('number')) types.add('integer')
      const common = asArray(left).filter((type) => types.has(type) || (type === 'number' && types.has('integer')))
      return common.includes('number') && !asArray(right).includes('number') ? ['integer'] : common
    }
    case 'items':
      return intersect(asSchema(left), asSchema(right))
    case 'additionalProperties':
      return intersect(asSchema(left), asSchema(right))
    case 'uniqueItems':
      return left === true || right === true
    case 'anyOf':
    case 'oneOf':
    case 'allOf':
      // Both lists count: every pair is a branch, or for allOf every member.
      if (key === 'allOf') return [...asArray(left), ...asArray(right)]
      return asArray(left).flatMap((one) => asArray(right).map((other) => intersect(asSchema(one), asSchema(other))))
    default:
      return undefined
  }
}

function joinProperties(left: unknown, right: unknown): unknown {
  if (!isObject(left) || !isObject(right)) return left
  const both: Record<string, unknown> = { ...right, ...left }
  for (const key of Object.keys(right)) {
    if (Object.hasOwn(left, key)) both[key] = intersect(asSchema(left[key]), asSchema(right[key]))
  }
  return both
}

/** `value` as a list: absent is empty, a single value is a list of one. */
export function asArray(value: unknown): unknown[] {
  if (value === undefined) return []
  return Array.isArray(value) ? (value as unknown[]) : [value]
}

/** True if both are the same JSON. */
export function sameJson(left: unknown, right: unknown): boolean {
  return left === right || JSON.stringify(left) === JSON.stringify(right)
}
