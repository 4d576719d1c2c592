// Values of a workload file, checked one by one.

import { limits } from '../../../limits.ts'
import type { FileProblems, Place } from '../problems.ts'

/** What a value is checked against. */
interface CheckOptions {
  problems: FileProblems
  place: Place
  /** Largest value. */
  max?: number
  /** Whole numbers only. */
  whole?: boolean
}

/** Longest time that a file may give, ms: about 30 years. */
export const timeMsMax = 1e12

/** What a value looks like in a message. */
function shown(value: unknown): string {
  const text = typeof value === 'string' ? JSON.stringify(value) : String(JSON.stringify(value))
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}

/** A number of at least 0, or a problem and undefined. */
export function numberFrom(
  value: unknown,
  { problems, place, max = Infinity, whole = false }: CheckOptions,
): number | undefined {
  const number = typeof value === 'string' && /^-?\d+(?:\.\d+)?(?:e[+-]?\d+)?$/i.test(value) ? Number(value) : value
  const what = whole ? 'a whole number' : 'a number'
  if (value === undefined || value === null || value === '') {
    problems.add(place, 'missing', `is missing; ${what} of at least 0 is needed`)
  } else if (typeof number !== 'number' || !Number.isFinite(number) || (whole && !Number.isInteger(number))) {
    problems.add(place, 'not_a_number', `is ${shown(value)}, not ${what}`)
  } else if (number < 0) {
    problems.add(place, 'negative', `is ${shown(value)}; it must be at least 0`)
  } else if (number > max) {
    problems.add(place, 'too_large', `is ${shown(value)}; at most ${max} is taken`)
  } else {
    return number
  }
  return undefined
}

/** A count of tokens, or a problem and undefined. */
export function tokensFrom(value: unknown, problems: FileProblems, place: Place): number | undefined {
  return numberFrom(value, { problems, place, max: limits.workloadTokensMax, whole: true })
}

/** A text that is not empty and not long, or a problem and undefined. */
export function nameFrom(value: unknown, problems: FileProblems, place: Place): string | undefined {
  if (typeof value === 'string' && value !== '' && value.length <= limits.nameLengthMax) return value
  if (typeof value === 'number' && Number.isFinite(value)) return String(value)
  const message = `is ${shown(value)}; a text of 1 to ${limits.nameLengthMax} characters is needed`
  problems.add(place, value === undefined ? 'missing' : 'not_a_name', message)
  return undefined
}
