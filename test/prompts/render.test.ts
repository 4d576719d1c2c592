import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { StageError } from '../../src/errors.ts'
import { buildMessage, fillPrompt, type TemplateValues } from '../../src/prompts/render.ts'
import { compilePrompt } from '../../src/prompts/template.ts'
import { anyText } from './support.ts'

const render = (text: string, values: Partial<TemplateValues>): string => {
  const compiled = compilePrompt(text, { path: 'stages.reply.prompt', stages: ['classify', 'skipped'] })
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.issues))
  return fillPrompt(compiled.prompt, { input: {}, results: {}, ...values }).map(buildMessage)[0]!.content
}
const failure = (text: string, values: Partial<TemplateValues>): StageError => {
  try {
    render(text, values)
  } catch (error) {
    if (error instanceof StageError) return error
  }
  throw new Error('it did not fail')
}

describe('rendering', () => {
  test('writes text as it is, scalars as JSON does, and the rest as JSON', () => {
    const input = { text: 'a "b"', number: 1.5, yes: true, none: null, list: [1, 'x'], object: { a: { b: 2 } } }
    expect(render('{{ input.text }}|{{input.number}}|{{input.yes}}|{{input.none}}', { input })).toBe(
      'a "b"|1.5|true|null',
    )
    expect(render('{{ input.list }}|{{ input.list[1] }}|{{ input.object }}', { input })).toBe('[1,"x"]|x|{"a":{"b":2}}')
    expect(render('{{ input }}', { input: 'whole' })).toBe('whole')
  })

  test('writes two braces for an escaped pair, and leaves single ones alone', () => {
    expect(render('{"a":{"b":1}} \\{{ input.x }} {x}', {})).toBe('{"a":{"b":1}} {{ input.x }} {x}')
  })

  test('writes nothing for a skipped stage, also below it', () => {
    expect(render('[{{ results.skipped }}{{ results.skipped.a.b }}]', { results: { skipped: undefined } })).toBe('[]')
    expect(render('[{{ results.skipped.a }}]', {})).toBe('[]')
  })

  test('says what is missing, where, and what is there', () => {
    const error = failure('one\n  {{ input.customer.mail }}', { input: { customer: { name: 'Ada', id: 7 } } })
    expect(error.code).toBe('ORLA_STAGE_BUILDER')
    expect(error.message).toBe(
      'stages.reply.prompt: {{ input.customer.mail }} at line 2, column 3: input.customer has no "mail" (it has name, id)',
    )
    expect(error.details).toEqual({
      path: 'stages.reply.prompt',
      placeholder: '{{ input.customer.mail }}',
      line: 2,
      column: 3,
    })
    expect(failure('{{ input.a }}', { input: undefined }).message).toContain('input is missing and has no "a"')
    expect(failure('{{ input }}', { input: undefined }).message).toContain('there is no input')
    expect(failure('{{ input.a.b }}', { input: { a: null } }).message).toContain('input.a is null')
    expect(failure('{{ input.a.length }}', { input: { a: 'text' } }).message).toContain('input.a is a string')
    expect(failure('{{ input.a[3] }}', { input: { a: [1] } }).message).toContain('it has 1 items')
    expect(failure('{{ results.classify.a }}', { results: { classify: {} } }).message).toContain('it is empty')
  })

  test('reads own properties only', () => {
    class Ticket {
      own = 'visible'
      get inherited(): string {
        return 'hidden'
      }
    }
    const input = Object.assign(Object.create({ fromPrototype: 'hidden' }) as object, { ticket: new Ticket() })
    expect(render('{{ input.ticket.own }}', { input })).toBe('visible')
    expect(failure('{{ input.ticket.inherited }}', { input }).message).toContain('has no "inherited"')
    expect(failure('{{ input.fromPrototype }}', { input }).message).toContain('has no "fromPrototype"')
    expect(failure('{{ input.isPrototypeOf }}', { input: {} }).code).toBe('ORLA_STAGE_BUILDER')
  })

  test('refuses what has no JSON form', () => {
    const cycle: Record<string, unknown> = {}
    cycle['self'] = cycle
    expect(failure('{{ input }}', { input: cycle }).message).toContain('circular')
    expect(failure('{{ input.f }}', { input: { f: () => 1 } }).message).toContain('a function cannot be written')
    expect(failure('{{ input.s }}', { input: { s: Symbol('x') } }).message).toContain('a symbol cannot be written')
    expect(failure('{{ input.u }}', { input: { u: { toJSON: () => undefined } } }).message).toContain('no JSON form')
    expect(render('{{ input.big }}', { input: { big: 10n } })).toBe('10')
  })

  test('refuses to grow without bound', () => {
    const input = 'x'.repeat(4 * 1024 * 1024)
    const error = failure('{{ input }}'.repeat(9), { input })
    expect(error.message).toContain('longer than 33554432 characters')
  })

  test('never evaluates what a value contains', () => {
    const hostile = fc.oneof(
      anyText,
      fc.constantFrom('{{ input.secret }}', '\\{{', '}}', '${process.exit()}', '{{ results.classify }}'),
    )
    fc.assert(
      fc.property(hostile, hostile, (a, b) => {
        expect(
          render('<{{ input.a }}|{{ results.classify.b }}>', {
            input: { a, secret: 's' },
            results: { classify: { b } },
          }),
        ).toBe(`<${a}|${b}>`)
      }),
    )
  })
})
