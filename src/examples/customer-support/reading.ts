// Reading a ticket: what it is about, and the facts in it. Rules over its text; no ticket is known beforehand.

import { categories, type Category, type Classification } from './schemas.ts'
import { escalationSignals, signals } from './signals.ts'

/** What a ticket says, as far as rules can tell. */
export interface Reading {
  classification: Classification
  /** What it is about, in words that policies use, with weights; those of the category first. */
  topics: { topic: string; weight: number }[]
  /** How long ago it happened, days; undefined if the ticket does not say. */
  ageDays: number | undefined
  /** How long it lasted, minutes; undefined if the ticket does not say. */
  lastedMinutes: number | undefined
  /** Amounts as written. */
  amounts: string[]
}

/** A second department counts from this share of the first one's weight, and from this weight. */
const secondShare = 0.5
const secondWeight = 4

/** Reads a ticket. */
export function readTicket(text: string): Reading {
  const plain = plainOf(text)
  const weights = new Map<Category, number>(categories.map((category) => [category, 0]))
  const topicWeights = new Map<string, { category: Category; weight: number }>()
  for (const { pattern, category, weight, topic } of signals) {
    if (!speaks(plain, pattern)) continue
    weights.set(category, weights.get(category)! + weight)
    if (topic === undefined) continue
    const known = topicWeights.get(topic)
    topicWeights.set(topic, { category, weight: weight + (known?.weight ?? 0) })
  }
  const ranked = [...weights].toSorted(([, a], [, b]) => b - a)
  const [category, weight] = ranked[0]!
  const reason = escalationReason(plain, ranked)
  const issue = keySentence(text, category)
  const classification: Classification = {
    category: weight === 0 ? 'general' : category,
    product: productOf(text),
    key_issue: issue,
    customer_request: requestOf(text) ?? issue,
    needs_escalation: reason !== undefined,
    ...(reason !== undefined && { escalation_reason: reason }),
  }
  return {
    classification,
    topics: [...topicWeights]
      .toSorted(
        ([, a], [, b]) => Number(b.category === category) - Number(a.category === category) || b.weight - a.weight,
      )
      .map(([topic, { weight: topicWeight }]) => ({ topic, weight: topicWeight })),
    ageDays: ageOf(plain),
    lastedMinutes: durationOf(plain),
    amounts: amountsOf(text),
  }
}

const sum = String.raw`\d{1,12}(?:[.,]\d{2,3}){0,4}`
const amount = new RegExp(String.raw`[$€£]\s?${sum}|(?<![\d.,])${sum}\s?(?:€|£|USD|EUR|dollars|euros)`, 'g')

/** Amounts of money as written, in order, each once. */
export function amountsOf(text: string): string[] {
  return [...new Set(text.match(amount))]
}

/** Words that turn down what follows: "not about a refund". "I have not received the refund" is about one. */
const denial =
  /\b(?:(?:do not|don't|did not|didn't|not) (?:want|need|ask|request|look)\w*|not (?:about|a|an|for)|no need|without|instead of|rather than|kein\w*)\b(?:\W+\w+){0,5}\W*$/

/** Characters before a word that may deny it. */
const denialReach = 80

/** True if a pattern occurs where it is not denied. */
function speaks(plain: string, pattern: RegExp): boolean {
  for (const { index } of plain.matchAll(new RegExp(pattern, 'g'))) {
    const before = plain.slice(Math.max(0, index - denialReach), index)
    if (!denial.test(before.split(/[.!?;:]|, but\b/).at(-1)!)) return true
  }
  return false
}

function escalationReason(plain: string, ranked: readonly [Category, number][]): string | undefined {
  const reasons = escalationSignals.filter(({ pattern }) => pattern.test(plain)).map(({ reason }) => reason)
  const [first, second] = ranked.filter(([category]) => category !== 'general')
  if (second !== undefined && second[1] >= secondWeight && second[1] >= first![1] * secondShare) {
    reasons.push(`it concerns several departments: ${first![0]} and ${second[0]}`)
  }
  if (ranked[0]![1] === 0) reasons.push('it is unclear what the customer needs')
  return reasons.length === 0 ? undefined : reasons.join('; ')
}

/** Sentences and lines. The point in a date such as "12. Oktober" ends none. */
function sentences(text: string): string[] {
  return text
    .split(/(?<=[.!?])(?!(?<=\s\d{1,2}\.)\s(?:Jan|Feb|Mär|Apr|Mai|Jun|Jul|Aug|Sep|Okt|Nov|Dez))\s+|\n+/)
    .map((sentence) => sentence.trim())
    .filter((sentence) => sentence !== '')
}

function cut(sentence: string): string {
  return sentence.length <= 240 ? sentence : `${sentence.slice(0, 239)}…`
}

/** The sentence that speaks loudest for the category; facts make it louder. */
function keySentence(text: string, category: Category): string {
  const own = signals.filter((signal) => signal.category === category)
  let best = { sentence: text.trim(), weight: 0 }
  for (const sentence of sentences(text)) {
    const plain = plainOf(sentence)
    const said = own.reduce((sum, signal) => sum + (speaks(plain, signal.pattern) ? signal.weight : 0), 0)
    const facts = Number(amountsOf(sentence).length > 0) + 2 * Number(ageOf(plain) !== undefined)
    if (said > 0 && said + facts > best.weight) best = { sentence, weight: said + facts }
  }
  return cut(best.sentence)
}

/** Text as patterns expect it. */
function plainOf(text: string): string {
  return text.toLowerCase().replaceAll('’', "'")
}

function requestOf(text: string): string | undefined {
  const asks =
    /\b(please|could you|can you|i want|i would like|i'd like|would like|we need|i need|bitte|por favor|s'il vous plaît)\b/i
  const all = sentences(text)
  const found = all.find((sentence) => asks.test(sentence)) ?? all.find((sentence) => sentence.endsWith('?'))
  return found === undefined ? undefined : cut(found)
}

function productOf(text: string): string {
  const plan = /\b(\p{Lu}[\p{L}\d]*)[ -](plan|subscription|tier|edition|app|abo|tarif)\b/iu.exec(text)
  if (plan !== null && /^\p{Lu}/u.test(plan[1]!)) return plan[0]
  const order = /\border\s+(?:no\.?\s*|number\s*)?#?[A-Z]*-?\d{3,}/i.exec(text)
  return order?.[0] ?? 'not stated'
}

const numberWords = [
  'zero',
  'one',
  'two',
  'three',
  'four',
  'five',
  'six',
  'seven',
  'eight',
  'nine',
  'ten',
  'eleven',
  'twelve',
]
const number = `(\\d+|an?|${numberWords.join('|')})`

function valueOf(word: string): number {
  if (/^\d+$/.test(word)) return Number(word)
  return word === 'a' || word === 'an' ? 1 : numberWords.indexOf(word)
}

const daysIn: Readonly<Record<string, number>> = { day: 1, week: 7, month: 30, year: 365 }

/** Days since what the ticket speaks of: "45 days ago", or the span from its first to its last date. */
function ageOf(plain: string): number | undefined {
  const ages = [...plain.matchAll(new RegExp(`\\b${number} (day|week|month|year)s? ago\\b`, 'g'))].map(
    ([, count, unit]) => valueOf(count!) * daysIn[unit!]!,
  )
  if (ages.length > 0) return Math.max(...ages)
  const days = datesOf(plain)
  // A charge and the day after it tell how far they are apart, a single date tells nothing without a calendar.
  return days.length < 2 ? undefined : Math.max(...days) - Math.min(...days)
}

const months = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']

/** Dates as days of a year; "oct 3 and 5" are two. */
function datesOf(plain: string): number[] {
  const days: number[] = []
  const name = `(${months.join('|')})[a-z]*`
  for (const [, month, first, second] of plain.matchAll(
    new RegExp(`\\b${name}\\.? (\\d{1,2})(?:st|nd|rd|th)?(?: and (\\d{1,2})\\b)?`, 'g'),
  )) {
    days.push(dayOf(months.indexOf(month!), Number(first)))
    if (second !== undefined) days.push(dayOf(months.indexOf(month!), Number(second)))
  }
  for (const [, month, day] of plain.matchAll(/\b\d{4}-(\d{2})-(\d{2})\b/g))
    days.push(dayOf(Number(month) - 1, Number(day)))
  return days
}

function dayOf(month: number, day: number): number {
  return Math.round(month * 30.4) + day
}

/** "down for 2 hours", "for 10 minutes": minutes. */
function durationOf(plain: string): number | undefined {
  const match = new RegExp(`\\b(?:for|lasted|about|took) (?:about |over |almost )?${number} (minute|hour)s?\\b`).exec(
    plain,
  )
  return match === null ? undefined : valueOf(match[1]!) * (match[2] === 'hour' ? 60 : 1)
}
