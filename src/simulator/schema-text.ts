// Strings for values of a JSON Schema: words of a prompt, common formats, simple patterns.

import type { Random } from '../clock.ts'
import { fillerWords } from './filler.ts'

/** Characters of a prompt that are looked at for words. */
const wordsFromCharsMax = 4_000

/** Longest text that is written because a schema asks for it, characters. */
export const textLengthMax = 100_000

/** Words that say nothing about a text. */
const commonWords = new Set(
  (
    'about above after again also because been before being between both could does doing down each from further have ' +
    'having here into just like made make more most must only other over same should some such than that their them ' +
    'then there these they this those through under until very want were what when where which while will with would ' +
    'your please hello thanks thank dear regards'
  ).split(' '),
)

/** The words that a text is about, in order, each once, at most 64. Letters and digits only. */
export function keywords(text: string): string[] {
  const words = text.slice(0, wordsFromCharsMax).match(/[a-zA-Z][a-zA-Z0-9]{3,23}/g) ?? []
  const telling = words.filter((word) => !commonWords.has(word.toLowerCase()))
  return [...new Set(telling)].slice(0, 64)
}

/** `wordsMin` to `wordsMax` words: a piece of `text`, and filler where it has too few. Letters, digits and spaces only. */
export function phrase(random: Random, text: string, wordsMin: number, wordsMax: number): string {
  const count = wordsMin + Math.floor(random() * (wordsMax - wordsMin + 1))
  const known = text.slice(0, wordsFromCharsMax).match(/[a-zA-Z0-9]+/g) ?? []
  const from = Math.floor(random() * Math.max(1, known.length - count + 1))
  const taken = known.slice(from, from + count)
  return [...taken, ...fillerWords(Math.floor(random() * 1_000), count - taken.length)].join(' ')
}

/** A string of a JSON Schema format, or undefined where the format is not known. */
export function formatted(format: string, random: Random): string | undefined {
  const digits = (count: number): string => drawn('0123456789', count, random)
  const hex = (count: number): string => drawn('0123456789abcdef', count, random)
  const below = (end: number): number => Math.floor(random() * end)
  const two = (value: number): string => String(value).padStart(2, '0')
  const date = (): string => `20${two(20 + below(8))}-${two(1 + below(12))}-${two(1 + below(28))}`
  const time = (): string => `${two(below(24))}:${two(below(60))}:${two(below(60))}`
  const name = (): string => drawn('abcdefghijklmnoprstuvw', 6, random)
  switch (format) {
    case 'email':
      return `${name()}@example.com`
    case 'uri':
    case 'url':
      return `https://example.com/${name()}`
    case 'hostname':
      return `${name()}.example.com`
    case 'uuid':
      return `${hex(8)}-${hex(4)}-4${hex(3)}-a${hex(3)}-${hex(12)}`
    case 'date':
      return date()
    case 'time':
      return `${time()}Z`
    case 'date-time':
      return `${date()}T${time()}Z`
    case 'duration':
      return `PT${1 + below(59)}M`
    case 'ipv4':
      return `192.0.2.${below(256)}`
    case 'ipv6':
      return `2001:db8::${hex(3)}a`
    case 'e164':
      return `+1${digits(10).replace(/^0/, '2')}`
    default:
      return undefined
  }
}

function drawn(alphabet: string, count: number, random: Random): string {
  return Array.from({ length: count }, () => alphabet[Math.floor(random() * alphabet.length)]).join('')
}

const classes: Record<string, string> = {
  '\\d': '0123456789',
  '\\w': 'abcdefghijklmnopqrstuvwxyz0123456789_',
  '\\s': ' ',
}

/** One part of a simple pattern: a class, an escape or a character, and how often. */
const partOfPattern = /\[(?<set>(?!\^)(?:\\.|[^\]\\])+)\]|(?<escape>\\.)|(?<any>\.)|(?<literal>[^\\^$.|?*+()[\]{}])/y
const timesOfPart = /\{(?<from>\d+)(?<range>,(?<to>\d*))?\}|(?<sign>[*+?])/y

/**
 * A string that matches a simple pattern: a sequence of literals, escapes and character classes, each with an optional
 * quantifier. Undefined for patterns with groups, alternatives or look-arounds, and where the lengths do not allow one.
 */
export function patterned(pattern: string, random: Random, lengthMin: number, lengthMax: number): string | undefined {
  const end = pattern.endsWith('$') && !pattern.endsWith('\\$') ? pattern.length - 1 : pattern.length
  const parts: { alphabet: string; from: number; to: number }[] = []
  for (let at = pattern.startsWith('^') ? 1 : 0; at < end;) {
    partOfPattern.lastIndex = at
    const part = partOfPattern.exec(pattern)
    if (part === null) return undefined
    at += part[0].length
    timesOfPart.lastIndex = at
    const times = timesOfPart.exec(pattern)
    at += times?.[0].length ?? 0
    const alphabet = alphabetOf(part.groups ?? {})
    if (alphabet === '') return undefined
    parts.push({ alphabet, ...repeats(times?.groups) })
  }
  const least = parts.reduce((sum, part) => sum + part.from, 0)
  if (least > Math.min(lengthMax, textLengthMax)) return undefined
  // What is missing to the least length goes where the pattern leaves room.
  let missing = lengthMin - least
  let text = ''
  for (const { alphabet, from, to } of parts) {
    const extra = Math.max(0, Math.min(to - from, missing))
    missing -= extra
    text += drawn(alphabet, from + extra, random)
  }
  return missing > 0 || text.length > lengthMax ? undefined : text
}

function alphabetOf(groups: Record<string, string | undefined>): string {
  const { set, escape, any, literal } = groups
  if (literal !== undefined) return literal
  if (any !== undefined) return 'abcdefghijklmnopqrstuvwxyz'
  if (escape !== undefined) return escaped(escape)
  let alphabet = ''
  for (const [, first, last, single] of (set ?? '').matchAll(/([^\\])-([^\\])|(\\.|[^\\])/g)) {
    if (single !== undefined) {
      const more = escaped(single)
      if (more === '') return ''
      alphabet += more
      continue
    }
    const from = first?.codePointAt(0) ?? 0
    for (let code = from; code <= (last?.codePointAt(0) ?? 0) && code - from < 128; code++) {
      alphabet += String.fromCodePoint(code)
    }
  }
  return alphabet
}

/** The characters of an escape or of a plain character; none for escapes that are not understood. */
function escaped(text: string): string {
  return classes[text] ?? (/^\\[a-zA-Z0-9]$/.test(text) ? '' : text.slice(-1))
}

function repeats(groups: Record<string, string | undefined> | undefined): { from: number; to: number } {
  if (groups === undefined) return { from: 1, to: 1 }
  const { from, range, to, sign } = groups
  if (sign !== undefined) return { '*': { from: 0, to: 64 }, '+': { from: 1, to: 64 }, '?': { from: 0, to: 1 } }[sign]!
  const least = Number(from)
  if (range === undefined) return { from: least, to: least }
  return { from: least, to: to === undefined || to === '' ? least + 64 : Number(to) }
}
