// JSON Schemas as far as grammars go.

import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { grammarSchema } from '../../../src/engines/llama-cpp/grammar-schema.ts'

const anyJson = grammarSchema({})

describe('a schema', () => {
  test('keeps shapes, choices, constants, bounds and descriptions', () => {
    const schema = z.object({
      kind: z.enum(['a', 'b']).describe('which'),
      tag: z.literal('x'),
      list: z.array(z.number()).min(1).max(3),
      maybe: z.string().nullable(),
      text: z.string().min(2).max(5),
      at: z.iso.date(),
      either: z.union([z.boolean(), z.object({ deep: z.int() })]),
    })
    expect(grammarSchema(z.toJSONSchema(schema))).toEqual({
      type: 'object',
      properties: {
        kind: { enum: ['a', 'b'], description: 'which' },
        tag: { const: 'x' },
        list: { type: 'array', items: { type: 'number' }, minItems: 1, maxItems: 3 },
        maybe: { type: ['string', 'null'] },
        text: { type: 'string', minLength: 2, maxLength: 5 },
        at: { type: 'string', format: 'date' },
        either: { oneOf: [{ type: 'boolean' }, { type: 'object', properties: { deep: { type: 'integer' } } }] },
      },
    })
  })

  test('is followed through references, and is open where it refers to itself without end', () => {
    const schema = {
      $ref: '#/$defs/node',
      $defs: { node: { type: 'object', properties: { next: { $ref: '#/$defs/node' } } } },
    }
    let node = grammarSchema(schema) as { properties?: { next: unknown } }
    let depth = 0
    while (node.properties !== undefined) {
      node = node.properties.next as typeof node
      depth++
    }
    expect(depth).toBeLessThan(20)
    expect(node).toEqual(anyJson)
    expect(grammarSchema({ definitions: { a: { type: 'null' } }, $ref: '#/definitions/a' })).toEqual({ type: 'null' })
  })

  test('with several types is a choice of them', () => {
    expect(grammarSchema({ type: ['string', 'null'] })).toEqual({ type: ['string', 'null'] })
    expect(grammarSchema({ type: ['array', 'null'], items: { type: 'string' } })).toEqual({
      oneOf: [{ type: 'array', items: { type: 'string' } }, { type: 'null' }],
    })
    expect(grammarSchema({ allOf: [{ type: 'boolean' }] })).toEqual({ type: 'boolean' })
  })

  test('may leave the names of properties open', () => {
    expect(grammarSchema({ type: 'object', additionalProperties: { type: 'number' } })).toEqual({
      type: 'object',
      properties: {},
      additionalProperties: { type: 'number' },
    })
    expect(grammarSchema({ type: 'object' })).toMatchObject({ additionalProperties: true })
    expect(grammarSchema({ type: 'object', additionalProperties: false })).toEqual({ type: 'object', properties: {} })
  })

  test.each([
    { enum: [] },
    { enum: [{}] },
    { const: [] },
    { oneOf: [] },
    { $ref: 'https://example.com/schema' },
    { $ref: '#/$defs/missing' },
    { allOf: [{}, {}] },
    { not: {} },
    { type: 'unheard-of' },
  ])('that no grammar can hold is any JSON: %j', (schema) => {
    expect(grammarSchema(schema)).toEqual(anyJson)
  })

  test('leaves out bounds that would make a grammar of thousands of rules', () => {
    expect(grammarSchema({ type: 'string', maxLength: 1_000_000, minLength: -1 })).toEqual({ type: 'string' })
  })

  test('does not reach into prototypes', () => {
    const schema = JSON.parse('{"type":"object","properties":{"__proto__":{"type":"string"}}}') as Record<
      string,
      unknown
    >
    const { properties } = grammarSchema(schema) as { properties: object }
    expect(Object.getPrototypeOf(properties)).toBe(Object.prototype)
    expect(Object.keys(properties)).toEqual(['__proto__'])
  })
})
