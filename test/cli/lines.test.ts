import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { dagLines, type DagStage } from '../../src/cli/view/dag.ts'
import { compactJson, count, duration, percent } from '../../src/cli/view/format.ts'
import { fit, lineWidth, pad, span, truncate, widthOf, wrap, type Line } from '../../src/cli/view/line.ts'
import { tableLines } from '../../src/cli/view/table.ts'
import { canRedraw, hasUnicode, wantsColor } from '../../src/cli/view/terminal.ts'
import { paint, toAscii } from '../../src/cli/view/theme.ts'

const plain = { color: false, unicode: true }
const show = (lines: readonly Line[]): string[] => lines.map((line) => paint(line, plain))
const text = fc.string({ unit: 'grapheme', maxLength: 80 })

describe('line', () => {
  test('cut, padded and wrapped text keeps to its columns, wide characters included', () => {
    fc.assert(
      fc.property(text, fc.integer({ min: 2, max: 40 }), (given, width) => {
        expect(widthOf(truncate(given, width))).toBeLessThanOrEqual(width)
        expect(widthOf(pad(given, width))).toBe(width)
        for (const line of wrap(given, width)) expect(widthOf(line)).toBeLessThanOrEqual(width)
        expect(lineWidth(fit([span(given), span(given, 'ok')], width))).toBeLessThanOrEqual(width)
      }),
      { numRuns: 500 },
    )
  })

  test('wrapping loses nothing but spaces, and breaks at spaces', () => {
    expect(wrap('the quick brown fox', 10)).toEqual(['the quick', 'brown fox'])
    expect(wrap('a\n\nb', 10)).toEqual(['a', '', 'b'])
    expect(wrap('abcdefghij', 4)).toEqual(['abcd', 'efgh', 'ij'])
    expect(wrap('日本語', 1)).toEqual(['?', '?', '?'])
    fc.assert(
      fc.property(fc.stringMatching(/^[a-z ]{0,80}$/), fc.integer({ min: 3, max: 20 }), (given, width) => {
        expect(wrap(given, width).join('').replaceAll(' ', '')).toBe(given.replaceAll(' ', ''))
      }),
    )
  })

  test('what is cut is marked', () => {
    expect(truncate('abcdef', 4)).toBe('abc…')
    expect(truncate('日本語', 4)).toBe('日…')
    expect(truncate('abc', 0)).toBe('')
    expect(pad('ab', 4, 'right')).toBe('  ab')
    expect(wrap('one two three', 5, 2)).toEqual(['one', 'two…'])
    expect(show([fit([span('abc'), span('def')], 3)])).toEqual(['ab…'])
    expect(truncate('x'.repeat(1_000_000), 3)).toBe('xx…')
  })

  test('a line in ASCII is as wide, and only ASCII', () => {
    expect(paint([span('✓ Größe → “x”… 日 █░')], { color: false, unicode: false })).toBe('+ Gro?e > "x"~ ? #.')
    fc.assert(
      fc.property(text, (given) => {
        expect(toAscii([span(given)])[0]!.text).toMatch(/^[\n -~]*$/)
      }),
    )
  })

  test('colours are 16-colour codes that end with each piece, and spaces at the end go', () => {
    const line = [span('a', 'ok'), span('b'), span(' ', 'bad')]
    expect(paint(line, { color: true, unicode: true })).toBe('\u001b[32ma\u001b[0mb')
  })
})

describe('numbers', () => {
  test('durations, counts and shares as people read them', () => {
    expect([0, 940, 999.6, 1_240, 59_994, 125_000].map(duration)).toEqual([
      '0 ms',
      '940 ms',
      '1.00 s',
      '1.24 s',
      '59.99 s',
      '2 min 05 s',
    ])
    expect([count(1234), count(null), count(undefined)]).toEqual(['1,234', '-', '-'])
    expect([percent(1, 4), percent(1, 0)]).toEqual(['25 %', ''])
    const circular: unknown[] = []
    circular.push(circular)
    expect([compactJson({ a: 1 }), compactJson(undefined), typeof compactJson(circular)]).toEqual([
      '{"a":1}',
      'null',
      'string',
    ])
  })
})

describe('table', () => {
  test('drops the least important columns where the screen is narrow', () => {
    const column = (title: string, dropRank: number) => ({
      title,
      dropRank,
      align: 'left' as const,
      cells: [{ text: 'value' }],
    })
    const columns = [column('name', 0), column('most', 1), column('least', 2)]
    expect(show(tableLines(columns, 40))).toEqual(['name   most   least', 'value  value  value'])
    expect(show(tableLines(columns, 14))).toEqual(['name   most', 'value  value'])
    expect(show(tableLines(columns, 4))).toEqual(['nam…', 'val…'])
  })
})

describe('DAG', () => {
  const stage = (name: string, ...after: string[]): DagStage => ({ name, after, state: 'pending' })

  test('draws a diamond with its dependencies as lines, implied ones left out', () => {
    const lines = show(dagLines([stage('a'), stage('b', 'a'), stage('c', 'a'), stage('d', 'a', 'b', 'c')], 80))
    expect(lines).toEqual(['○ a pending ─┬─ ○ b pending ─┬─ ○ d pending', '             └─ ○ c pending ─┘'])
  })

  test('passes an edge by the layers that it skips', () => {
    const lines = show(dagLines([stage('a'), stage('b'), stage('c', 'b'), stage('d', 'a', 'c')], 80))
    expect(lines).toEqual(['○ a pending ─────────────────┬─ ○ d pending', '○ b pending ─── ○ c pending ─┘'])
  })

  test('leaves labels out where it is narrow, then becomes a list', () => {
    const stages = [stage('alpha'), stage('beta', 'alpha')]
    expect(show(dagLines(stages, 30))).toEqual(['○ alpha ─── ○ beta'])
    expect(show(dagLines(stages, 12))).toEqual(['○ alpha pending', '○ beta pending ← alpha'])
    const many = Array.from({ length: 60 }, (_, index) => stage(`s${index}`, ...(index > 0 ? [`s${index - 1}`] : [])))
    expect(dagLines(many, 10_000)).toHaveLength(60)
  })

  test('any DAG is drawn with each stage once', () => {
    const dag = fc
      .array(fc.array(fc.nat(8), { maxLength: 4 }), { minLength: 1, maxLength: 9 })
      .map((rows) =>
        rows.map((after, index) =>
          stage(`n${index}`, ...new Set(after.filter((at) => at < index).map((at) => `n${at}`))),
        ),
      )
    fc.assert(
      fc.property(dag, (stages) => {
        const drawn = show(dagLines(stages, 10_000)).join('\n')
        for (const { name } of stages) expect(drawn.split(new RegExp(`${name}\\b`)).length).toBe(2)
      }),
    )
  })
})

describe('terminal', () => {
  test('colours: flag, NO_COLOR, FORCE_COLOR, TERM and the stream decide in this order', () => {
    const tty = { isTty: true, noColor: false }
    expect(wantsColor({}, tty)).toBe(true)
    expect(wantsColor({}, { ...tty, isTty: false })).toBe(false)
    expect(wantsColor({ FORCE_COLOR: '1' }, { ...tty, noColor: true })).toBe(false)
    expect(wantsColor({ NO_COLOR: '1', FORCE_COLOR: '1' }, tty)).toBe(false)
    expect(wantsColor({ NO_COLOR: '' }, tty)).toBe(true)
    expect(wantsColor({ FORCE_COLOR: '1' }, { ...tty, isTty: false })).toBe(true)
    expect(wantsColor({ FORCE_COLOR: '0' }, tty)).toBe(false)
    expect(wantsColor({ TERM: 'dumb' }, tty)).toBe(false)
  })

  test('Unicode follows the locale, redrawing the terminal', () => {
    expect(hasUnicode({ LANG: 'de_DE.UTF-8' }, 'linux')).toBe(true)
    expect(hasUnicode({ LC_ALL: 'C', LANG: 'de_DE.UTF-8' }, 'linux')).toBe(false)
    expect(hasUnicode({}, 'linux')).toBe(false)
    expect(hasUnicode({}, 'win32')).toBe(true)
    expect([canRedraw({}, true), canRedraw({}, false), canRedraw({ TERM: 'dumb' }, true)]).toEqual([true, false, false])
  })
})
