import fc from 'fast-check'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { createWordCounter } from '../../src/prompts/word-counter.ts'

const { countTokens } = await import('gpt-tokenizer/encoding/o200k_base')
const ordinary = { allowedSpecial: new Set<string>(), disallowedSpecial: new Set<string>() }
const whole = (text: string): number => countTokens(text, ordinary)

/** Pieces that the pattern treats in different ways, and neighbours that change what they are. */
const letters = [
  "'s",
  "'S",
  "'ll",
  "'Ve",
  "'rE",
  "'lx",
  "'",
  "it's",
  "WE'RE",
  'x',
  'X',
  'camelCase',
  'HTMLParser',
  'aB',
]
const spaces = ['\n', '\r\n', '\n\n', '\t', '\v', ' ', '  ', '   ', '\u00a0', '\u2028']
const others = [
  '1',
  '12',
  '1234567',
  '/',
  '//',
  '.',
  '...',
  '!?',
  '_',
  '{\n',
  '}\n/',
  '(a',
  '<|im_start|>',
  '\u0000',
  '\u001f',
]
const foreign = [
  '²',
  'Ⅷ',
  'é',
  'É',
  'ñandú',
  '漢字',
  '🙂',
  'ſ',
  '\ud800',
  "é's",
  "a'é",
  "'ſ",
  'ﬁ',
  '١٢',
  ' é',
  '.\u00a0',
]
const piece = fc.oneof(
  fc.constantFrom(...letters, ...spaces, ...others, ...foreign),
  fc.string({ maxLength: 12 }),
  fc.string({ unit: 'binary', maxLength: 6 }),
)
const anyText = fc.array(piece, { maxLength: 20 }).map((pieces) => pieces.join(''))

describe('word counter', () => {
  test('W1: counts any text as the tokenizer does, also the second time', () => {
    const count = createWordCounter(whole)
    fc.assert(
      fc.property(anyText, (text) => {
        expect(count(text)).toBe(whole(text))
        expect(count(text)).toBe(whole(text))
      }),
      { numRuns: 3_000 },
    )
  })

  test('W1: counts the prose and code of this repository as the tokenizer does', () => {
    const count = createWordCounter(whole)
    for (const file of [
      'README.md',
      'ARCHITECTURE.md',
      'CHANGELOG.md',
      'src/prompts/word-counter.ts',
      'package.json',
    ]) {
      const text = readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8')
      expect(count(text), file).toBe(whole(text))
    }
  })

  test('asks for a word once', () => {
    const asked: string[] = []
    const count = createWordCounter((part) => (asked.push(part), 1))
    expect(count("the queue, the turn: it's the queue\n")).toBe(10)
    expect(asked).toEqual(['the', ' queue', ',', ' the', ' turn', ':', " it's", '\n'])
    expect(count(' turn the')).toBe(2)
    expect(asked).toHaveLength(8)
  })

  test('W2: gives what touches another alphabet to the tokenizer, up to a space where every word ends', () => {
    const asked: string[] = []
    const count = createWordCounter((part) => (asked.push(part), 1))
    count('plain naïve\u00a0 text, plain')
    expect(asked).toEqual(['plain', ' naïve\u00a0 text,', ' plain'])
  })

  test('W3: forgets when it remembers too much, and counts on', () => {
    let asked = 0
    const count = createWordCounter(() => (asked++, 1))
    for (let i = 0; i < 33_000; i++)
      count(`w${String.fromCharCode(97 + (i % 26))}${i.toString(2).replaceAll('0', 'x').replaceAll('1', 'y')}`)
    expect(asked).toBe(33_000)
    expect(count('wa')).toBe(1)
  })
})
