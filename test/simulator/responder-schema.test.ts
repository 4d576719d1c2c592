import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { randomStream } from '../../src/clock.ts'
import type { JsonSchema } from '../../src/schema/json.ts'
import { schemaValue } from '../../src/simulator/schema-value.ts'
import { patterned } from '../../src/simulator/schema-text.ts'

const text = 'The invoice of March was charged twice, please refund the second payment to my card.'

function valueOf(schema: JsonSchema, seed = 1, about = text): unknown {
  return schemaValue(schema, { random: randomStream(seed, 'value'), text: about })
}

function accepts(schema: JsonSchema, value: unknown): boolean {
  return z.fromJSONSchema(schema).safeParse(value).success
}

const bounds = (low: number, high: number) =>
  fc
    .tuple(fc.integer({ min: low, max: high }), fc.integer({ min: low, max: high }))
    .map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const)

const { schema: anySchema } = fc.letrec<{ schema: JsonSchema; leaf: JsonSchema }>((tie) => ({
  leaf: fc.oneof(
    fc.constant({ type: 'boolean' }),
    fc.constant({ type: 'null' }),
    fc.constant({ type: 'string' }),
    bounds(0, 40).map(([minLength, maxLength]) => ({ type: 'string', minLength, maxLength })),
    fc.constantFrom('email', 'uri', 'uuid', 'date', 'date-time', 'ipv4').map((format) => ({ type: 'string', format })),
    fc
      .constantFrom('^[A-Z]{3}-\\d+$', '^[a-f0-9]{8}$', '^v\\d\\.\\d$', '^x?y*z+$')
      .map((pattern) => ({ type: 'string', pattern })),
    bounds(-50, 50).map(([minimum, maximum]) => ({ type: 'integer', minimum, maximum })),
    bounds(-50, 50).map(([minimum, maximum]) => ({ type: 'number', minimum, maximum })),
    bounds(-50, 50).map(([from, to]) => ({ type: 'integer', exclusiveMinimum: from, exclusiveMaximum: to + 2 })),
    bounds(-50, 50).map(([from, to]) => ({ type: 'number', exclusiveMinimum: from, exclusiveMaximum: to + 0.5 })),
    fc
      .tuple(fc.integer({ min: 1, max: 9 }), bounds(-50, 50))
      .map(([multipleOf, [minimum, to]]) => ({ type: 'integer', multipleOf, minimum, maximum: to + 10 })),
    fc.constantFrom(
      { type: 'number' },
      { type: 'integer' },
      { type: 'number', minimum: 0.1 },
      { type: 'number', maximum: -3 },
    ),
    fc.constantFrom({ const: 'fixed' }, { const: 7 }, { enum: ['red', 'green', 'blue'] }, { enum: [1, 2, null] }),
    fc.constant({ $ref: '#/$defs/node' }),
  ),
  schema: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    tie('leaf'),
    fc
      .record({ items: tie('schema'), span: bounds(0, 4) })
      .map(({ items, span }) => ({ type: 'array', items, minItems: span[0], maxItems: span[1] })),
    fc.tuple(tie('schema'), tie('schema')).map((prefixItems) => ({ type: 'array', prefixItems, items: false })),
    fc
      .tuple(
        fc.dictionary(fc.stringMatching(/^[a-z_]{1,8}$/), tie('schema'), { maxKeys: 4 }),
        fc.boolean(),
        fc.boolean(),
      )
      .map(([properties, all, closed]) => ({
        type: 'object',
        properties: { ...properties },
        required: Object.keys(properties).filter((_key, i) => all || i % 2 === 0),
        ...(closed ? { additionalProperties: false } : {}),
      })),
    tie('schema').map((additionalProperties) => ({ type: 'object', additionalProperties })),
    fc.array(tie('schema'), { minLength: 1, maxLength: 3 }).map((anyOf) => ({ anyOf })),
    fc.array(tie('schema'), { minLength: 1, maxLength: 3 }).map((branches) => ({
      oneOf: branches.map((value, kind) => ({
        type: 'object',
        properties: { kind: { const: `kind${kind}` }, value },
        required: ['kind', 'value'],
      })),
    })),
    tie('leaf').map((leaf) => ({
      allOf: [
        { type: 'object', properties: { a: leaf }, required: ['a'] },
        { type: 'object', properties: { b: { type: 'string' } }, required: ['b'] },
      ],
    })),
  ),
}))

const node: JsonSchema = {
  type: 'object',
  properties: {
    name: { type: 'string' },
    children: { type: 'array', items: { $ref: '#/$defs/node' } },
    next: { anyOf: [{ $ref: '#/$defs/node' }, { type: 'null' }] },
  },
  required: ['name', 'children', 'next'],
}

describe('a value for a schema', () => {
  test('matches it, whatever the schema, as zod sees it', () => {
    fc.assert(
      fc.property(anySchema, fc.integer(), (schema, seed) => {
        const whole = { type: 'object', properties: { value: schema }, required: ['value'], $defs: { node } }
        const value = valueOf(whole, seed)
        expect(accepts(whole, value), JSON.stringify(value)).toBe(true)
      }),
      { numRuns: 1_000, seed: 20_261_121 },
    )
  })

  test('is the same for the same chance', () => {
    fc.assert(
      fc.property(anySchema, fc.integer(), (schema, seed) => {
        const whole = { ...schema, $defs: { node } }
        expect(valueOf(whole, seed)).toEqual(valueOf(whole, seed))
      }),
      { numRuns: 200, seed: 20_261_121 },
    )
  })

  test('matches what zod writes of its own types', () => {
    const Ticket = z.object({
      category: z.enum(['billing', 'technical', 'other']),
      urgency: z.int().min(1).max(5),
      score: z.number().min(0).max(1),
      summary: z.string().min(10).max(80),
      email: z.email(),
      when: z.iso.datetime(),
      tags: z.array(z.string().max(12)).min(1).max(3),
      owner: z.string().nullable(),
      note: z.string().optional(),
      limits: z.record(z.string(), z.number()),
      action: z.discriminatedUnion('type', [
        z.object({ type: z.literal('refund'), amount: z.number().positive() }),
        z.object({ type: z.literal('escalate'), team: z.string() }),
      ]),
      pair: z.tuple([z.string(), z.int()]),
      both: z.intersection(z.object({ a: z.boolean() }), z.object({ b: z.boolean() })),
    })
    const schema = z.toJSONSchema(Ticket) as JsonSchema
    for (let seed = 0; seed < 50; seed++) expect(Ticket.parse(valueOf(schema, seed))).toBeDefined()
  })

  test('prefers the choice that the text names', () => {
    const schema = { enum: ['shipping', 'technical_issue', 'refund', 'other'] }
    for (let seed = 0; seed < 20; seed++) {
      expect(valueOf(schema, seed)).toBe('refund')
      expect(valueOf(schema, seed, 'a Technical issue with my phone')).toBe('technical_issue')
    }
    expect(new Set(Array.from({ length: 40 }, (_, seed) => valueOf(schema, seed, 'hello'))).size).toBeGreaterThan(2)
  })

  test('takes words from the text', () => {
    const words = text.replaceAll(/[,.]/g, '')
    for (let seed = 0; seed < 20; seed++) expect(words).toContain(valueOf({ type: 'string' }, seed))
  })

  test.each<[string, JsonSchema, unknown]>([
    ['a schema that nothing matches', { type: 'string', minLength: 5, maxLength: 2 }, null],
    ['a required property that nothing matches', { type: 'object', properties: { a: false }, required: ['a'] }, null],
    ['an optional one that nothing matches', { type: 'object', properties: { a: { type: 'strange' } } }, {}],
    ['a reference to nowhere', { $ref: '#/$defs/none' }, null],
    ['a reference to elsewhere', { $ref: 'https://example.com/schema' }, null],
    ['a recursion without a way out', { type: 'object', properties: { a: { $ref: '#' } }, required: ['a'] }, null],
    ['a reference that names itself', { $ref: '#/$defs/a', $defs: { a: { allOf: [{ $ref: '#/$defs/a' }] } } }, null],
    ['bounds without a number between', { type: 'integer', exclusiveMinimum: 3, exclusiveMaximum: 4 }, null],
    ['too few different items', { type: 'array', items: { const: 1 }, minItems: 2, uniqueItems: true }, null],
    ['branches of which one fits', { anyOf: [false, { const: 1 }] }, 1],
    [
      'joined bounds',
      {
        allOf: [
          { type: 'integer', minimum: 3 },
          { type: 'number', minimum: 5, maximum: 5 },
        ],
      },
      5,
    ],
    ['joined choices', { allOf: [{ enum: ['a', 'b'] }, { enum: ['b', 'c'] }] }, 'b'],
    [
      'joined branches',
      {
        allOf: [
          { anyOf: [{ type: 'string' }, { const: 4 }] },
          { anyOf: [{ type: 'integer', minimum: 4, maximum: 4 }] },
        ],
      },
      4,
    ],
    [
      'joined properties',
      {
        allOf: [
          { properties: { a: { type: 'number' } }, required: ['a'] },
          { properties: { a: { type: 'integer', minimum: 2, maximum: 2 } } },
        ],
      },
      { a: 2 },
    ],
    [
      'joined items',
      {
        allOf: [
          { type: 'array', items: { type: 'integer' }, minItems: 1, maxItems: 1 },
          { items: { minimum: 1, maximum: 1 } },
        ],
      },
      [1],
    ],
    ['an empty branch', { allOf: [true, { const: 2 }] }, 2],
    ['a reference through an escaped name', { $ref: '#/$defs/a~1b', $defs: { 'a/b': { const: 'x' } } }, 'x'],
    ['a reference into a list', { $ref: '#/anyList/1', anyList: [{ const: 1 }, { const: 2 }] }, 2],
    [
      'a property named __proto__',
      JSON.parse('{"type":"object","properties":{"__proto__":{"const":1}},"required":["__proto__"]}') as JsonSchema,
      JSON.parse('{"__proto__":1}'),
    ],
  ])('of %s', (_what, schema, value) => {
    expect(valueOf(schema)).toEqual(value)
  })

  test('of no schema is a text, and of hints without a type what they hint at', () => {
    expect(typeof valueOf({})).toBe('string')
    expect(valueOf({ required: ['a'] })).toHaveProperty('a')
    expect(valueOf({ additionalProperties: { type: 'boolean' } })).toBeTypeOf('object')
    expect(Array.isArray(valueOf({ items: { type: 'null' } }))).toBe(true)
    expect(valueOf({ minimum: 4, maximum: 4 })).toBe(4)
    expect(
      Object.keys(valueOf({ type: 'object', propertyNames: { enum: ['a', 'b', 'c'] }, minProperties: 3 }) as object),
    ).toHaveLength(3)
  })

  test('stays small where a schema is wide and deep', () => {
    const wide = {
      type: 'object',
      properties: Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`p${i}`, { $ref: '#' }])),
    }
    expect(JSON.stringify(valueOf(wide)).length).toBeLessThan(200_000)
  })
})

describe('a text for a pattern', () => {
  test.each([
    '^[A-Z]{3}-\\d{2,4}$',
    '[a-c]?[x-z]+',
    '^\\w+@\\w+\\.de$',
    '^.{5}$',
    '^[\\d\\-.]+$',
    'a{3}',
    '^#[0-9a-fA-F]{6}$',
  ])('%s', (pattern) => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        expect(patterned(pattern, randomStream(seed, 'p'), 0, 100)).toMatch(new RegExp(pattern))
      }),
      { numRuns: 50, seed: 20_261_121 },
    )
  })

  test('obeys lengths where it has room, and gives up where it has none', () => {
    const random = randomStream(1, 'p')
    expect(patterned('^a+$', random, 10, 20)).toBe('aaaaaaaaaa')
    expect(patterned('^a{3}$', random, 10, 20)).toBeUndefined()
    expect(patterned('^a{30}$', random, 0, 20)).toBeUndefined()
    expect(patterned('^a{999999999}$', random, 0, Infinity)).toBeUndefined()
    expect(valueOf({ type: 'string', minLength: 1e9 })).toBe(null)
  })

  test.each(['(a|b)', '^a|b$', '(?=x)y', '\\bword', '[^a]', '\\p{L}', '[\\n]'])('is not tried for %s', (pattern) => {
    expect(patterned(pattern, randomStream(1, 'p'), 0, 100)).toBeUndefined()
  })
})
