// Flags of `replay` and `sim`: text from the command line, checked.

import { CommandError, unknownName } from '../exit-code.ts'

/** Bounds of a number. */
interface Bounds {
  min?: number
  max?: number
  /** Whole numbers only. */
  whole?: boolean
  /** The smallest value is not taken itself. */
  above?: boolean
}

/**
 * A number, or undefined where the flag was not given.
 *
 * @throws {CommandError} with exit code 2
 */
export function numberFlag(flag: string, text: string | undefined, bounds: Bounds = {}): number | undefined {
  if (text === undefined) return undefined
  const { min = 0, max = Infinity, whole = false, above = false } = bounds
  const value = /^\d+(?:\.\d+)?$/.test(text.trim()) ? Number(text) : NaN
  const inRange = value <= max && (above ? value > min : value >= min)
  if (inRange && (!whole || Number.isSafeInteger(value))) return value
  const kind = whole ? 'a whole number' : 'a number'
  const range = `${above ? 'above' : 'of at least'} ${min}${max === Infinity ? '' : ` and at most ${max}`}`
  throw new CommandError(`${flag} ${JSON.stringify(text)}: ${kind} ${range} is needed`)
}

/**
 * One of `names`, or undefined where the flag was not given.
 *
 * @throws {CommandError} with exit code 2 and the list
 */
export function nameFlag<Name extends string>(
  flag: string,
  text: string | undefined,
  names: readonly Name[],
): Name | undefined {
  if (text === undefined) return undefined
  const found = names.find((name) => name === text)
  if (found === undefined) throw unknownName(flag, text, names)
  return found
}
