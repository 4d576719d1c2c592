import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { oneLine, printableJson, sanitize } from '../../src/cli/view/sanitize.ts'

/** Text in which what a terminal obeys is as likely as letters. */
const hostile = fc
  .array(
    fc.oneof(
      fc.string({ unit: 'binary', maxLength: 4 }),
      fc.constantFrom(
        '\u001b[',
        '\u001b]0;',
        '\u009b',
        '\u009d',
        '\u0007',
        '\u001b\\',
        '\u001bP',
        '31m',
        '2J',
        '\r',
        '\n',
        '\t',
        '\u202e',
        '\u2066',
        '\u200b',
        '\u200d',
        '\ufeff',
        '\u00ad',
        '\u2028',
        '\ud800',
        '\u{e0041}',
        'e\u0301',
      ),
      fc.string({ maxLength: 8 }),
    ),
    { maxLength: 30 },
  )
  .map((parts) => parts.join(''))

describe('sanitize', () => {
  test('leaves nothing that a terminal obeys or that hides, whatever the text', () => {
    fc.assert(
      fc.property(hostile, (text) => {
        const safe = sanitize(text)
        expect(safe).not.toMatch(/[^\n\P{Cc}]|\p{Cf}|\p{Cs}|\p{Zl}|\p{Zp}/u)
        expect(safe.isWellFormed()).toBe(true)
      }),
      { numRuns: 2_000 },
    )
  })

  test('is done after one pass, and keeps ordinary text as it is', () => {
    fc.assert(
      fc.property(hostile, (text) => {
        expect(sanitize(sanitize(text))).toBe(sanitize(text))
      }),
    )
    const ordinary = 'Größe: 5 € — naïve “quotes”, 日本語, \n[31m] as text'
    expect(sanitize(ordinary)).toBe(ordinary)
  })

  test('removes sequences with their parameters, ended or not', () => {
    expect(sanitize('a\u001b[31mred\u001b[0m b')).toBe('ared b')
    expect(sanitize('\u001b]0;title\u0007x\u001b]8;;http://a\u001b\\y')).toBe('xy')
    expect(sanitize('a\u009b2Jb')).toBe('ab')
    expect(sanitize('\u001b[38;5')).toBe('')
    expect(sanitize('a\r\nb\rc\u2028d\te')).toBe('a\nb\nc\nd e')
    expect(sanitize('abc\u202etxt.exe')).toBe('abctxt.exe')
    expect(sanitize(`Z${'\u0300'.repeat(50)}`)).toBe(`Z${'\u0300'.repeat(3)}`)
  })

  test('one line is one line', () => {
    expect(oneLine('  a\n\n b\t\u001b[1mc ')).toBe('a b c')
    fc.assert(
      fc.property(hostile, (text) => {
        expect(oneLine(text)).not.toContain('\n')
      }),
    )
  })

  test('printable JSON parses to the same and holds no raw control character', () => {
    fc.assert(
      fc.property(fc.record({ a: hostile, b: fc.array(fc.integer()) }), (value) => {
        const json = printableJson(value)
        expect(json).not.toMatch(/\p{Cc}|\p{Cf}|\p{Zl}|\p{Zp}/u)
        expect(JSON.parse(json)).toEqual(JSON.parse(JSON.stringify(value)))
      }),
    )
  })
})
