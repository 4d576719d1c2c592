import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import * as errors from '../../src/errors.ts'
import {
  OrlaError,
  errorFromFacts,
  messageOf,
  toOrlaError,
  type ErrorFacts,
  type ErrorOptions,
} from '../../src/errors.ts'

const samples: OrlaError[] = [
  new errors.OptionsError('options', [{ path: 'a.b', code: 'x', message: 'wrong' }]),
  new errors.InputError('w', [{ path: 'input', code: 'schema', message: 'wrong' }]),
  new errors.WorkflowInvalidError('w', [{ path: 'stages', code: 'no_stages', message: 'none' }]),
  new errors.MappingError('ORLA_MAPPING_FAILED', 'm', [], new TypeError('inner')),
  new errors.RejectedError('ORLA_QUEUE_FULL', 'full', { depth: 3 }),
  new errors.BackendError('ORLA_BACKEND_HTTP', 'x', {
    retryable: true,
    details: { status: 503 },
    cause: new OrlaError('ORLA_TOOL', 'deep', { cause: new RangeError('deepest') }),
  }),
  ...(['connect', 'firstToken', 'idle', 'total'] as const).map((kind) => new errors.BackendTimeoutError('b', kind, 5)),
  new errors.StageError('ORLA_STAGE_OUTPUT', 'x'),
  new errors.CancelledError('deadline', 'late'),
  new errors.CancelledError('caller', 'bye'),
  new errors.InvariantError('broken', { a: 1 }),
]

describe('errors as plain data', () => {
  test.each(samples.map((error) => [error.name, error.code, error] as const))(
    '%s %s survives structuredClone and JSON, there and back',
    (name, code, error) => {
      const facts = error.toJSON()
      expect(structuredClone(facts)).toEqual(facts)
      expect(JSON.parse(JSON.stringify(error))).toEqual(facts)
      const back = errorFromFacts(JSON.parse(JSON.stringify(facts)) as ErrorFacts)
      expect(back).toBeInstanceOf(OrlaError)
      expect([back.name, back.code, back.message, back.retryable]).toEqual([name, code, error.message, error.retryable])
      expect(back.toJSON()).toEqual(facts)
    },
  )

  test('details of any kind survive structuredClone and JSON', () => {
    fc.assert(
      fc.property(
        fc.object({ withBigInt: true, withDate: true, withMap: true, withNullPrototype: true, withTypedArray: true }),
        (details) => {
          const facts = new OrlaError('ORLA_TOOL', 'x', {
            details: { ...details, fn: () => 1, symbol: Symbol('s') },
          }).toJSON()
          expect(() => structuredClone(facts)).not.toThrow()
          const text = JSON.stringify(facts)
          expect(errorFromFacts(JSON.parse(text) as ErrorFacts).code).toBe('ORLA_TOOL')
        },
      ),
    )
  })

  test('causes that go round in a circle, or very deep, end', () => {
    const options: ErrorOptions = {}
    const circle = new OrlaError('ORLA_TOOL', 'round', options)
    Object.defineProperty(circle, 'cause', { value: circle })
    expect(() => JSON.stringify(circle.toJSON())).not.toThrow()
    let deep = new OrlaError('ORLA_TOOL', 'bottom')
    for (let i = 0; i < 20_000; i++) deep = new OrlaError('ORLA_TOOL', 'on top', { cause: deep })
    expect(() => JSON.stringify(deep.toJSON())).not.toThrow()
  })

  test('lists twenty issues in the message, counts the rest, and carries all', () => {
    const issues = Array.from({ length: 25 }, (_, i) => ({ path: `p${i}`, code: 'c', message: `m${i}` }))
    const error = new errors.OptionsError('options', issues)
    expect(error.message).toContain('p19: m19 [c]')
    expect(error.message).not.toContain('p20')
    expect(error.message).toContain('... and 5 more')
    expect(error.issues).toHaveLength(25)
  })
})

describe('recognition', () => {
  test('instanceof OrlaError knows errors of another copy of the package', async () => {
    vi.resetModules()
    const other = await import('../../src/errors.ts')
    const foreign = new other.StageError('ORLA_STAGE_OUTPUT', 'x')
    expect(other.OrlaError).not.toBe(OrlaError)
    expect(foreign).toBeInstanceOf(OrlaError)
    expect(toOrlaError(foreign, 'ORLA_INVARIANT', 'x')).toBe(foreign)
    // Classes are told apart by prototype; across copies, match on the code.
    expect(foreign).not.toBeInstanceOf(errors.StageError)
    expect(new errors.BackendError('ORLA_BACKEND_HTTP', 'x')).not.toBeInstanceOf(errors.StageError)
  })

  test.each([null, undefined, 0, 'text', {}, [], new Error('x'), () => {}])('%s is no OrlaError', (value) => {
    expect(value instanceof OrlaError).toBe(false)
    const wrapped = toOrlaError(value, 'ORLA_TOOL', 'the tool failed')
    expect([wrapped.code, wrapped.cause]).toEqual(['ORLA_TOOL', value])
    expect(wrapped.message).toMatch(/^the tool failed: /)
  })

  test('messageOf gives text for any value and never throws', () => {
    const hostile: unknown[] = [
      Object.create(null),
      {
        toString: () => {
          throw new Error('no')
        },
      },
      new Proxy(
        {},
        {
          getPrototypeOf: () => {
            throw new Error('no')
          },
        },
      ),
      Object.defineProperty(new Error('x'), 'message', {
        get: () => {
          throw new Error('no')
        },
      }),
      Object.defineProperty(new Error('x'), 'message', { value: { not: 'text' } }),
      Symbol('s'),
      10n,
    ]
    for (const value of hostile) expect(typeof messageOf(value)).toBe('string')
    fc.assert(fc.property(fc.anything(), (value) => typeof messageOf(value) === 'string'))
  })

  test('assert throws an invariant error that asks for a report', () => {
    expect(() => errors.assert(true, 'x')).not.toThrow()
    expect(() => errors.assert(false, 'window is negative', { size: -1 })).toThrow(
      expect.objectContaining({
        code: 'ORLA_INVARIANT',
        details: { size: -1 },
        message: expect.stringContaining('report'),
      }),
    )
  })
})
