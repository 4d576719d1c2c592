// The shape of a request's text in numbers, for mappers that learn.
//
// Shape, not meaning: what a cheap look at the text says of how much there is to do. Each figure is squashed to 0..1 by
// x / (x + k), where k is about what an ordinary question has, or by a logarithm where sizes range widely.

import type { FeatureSource } from './features.ts'

/** Names of the features of {@link promptShape}, in their order. */
export const promptShapeNames = [
  'characters',
  'words',
  'wordsPerSentence',
  'sentences',
  'lines',
  'wordLength',
  'numbers',
  'largestNumber',
  'decimals',
  'fractions',
  'percents',
  'amounts',
  'questions',
  'commas',
  'symbols',
  'conditions',
  'comparisons',
  'repetitions',
] as const

/** Characters that are looked at; the rest counts towards the length only. */
const charsRead = 20_000
/** Levels of objects and arrays in which text is looked for. */
const depthMax = 8

/**
 * Eighteen figures from 0 to 1 about the text of a request: its input and the results it depends on, whatever strings are
 * in them. {@link promptShapeNames} names them. Words that it knows (conditions, comparisons, repetitions) are English;
 * in other languages those three are 0. Looks at the first 20,000 characters; O(characters).
 */
export function promptShape({ input, results }: FeatureSource): number[] {
  const text = textOf(input, results)
  const read = text.length > charsRead ? text.slice(0, charsRead) : text
  const lower = read.toLowerCase()
  const words = read.match(/[\p{L}']+/gu) ?? []
  const numbers = read.match(/\d[\d,]*(?:\.\d+)?/g) ?? []
  const largest = numbers.reduce((most, each) => Math.max(most, Number(each.replaceAll(',', ''))), 0)
  const sentences = count(read, /[.!?](?=\s|$)/g)
  const letters = words.reduce((sum, word) => sum + word.length, 0)
  return [
    Math.min(1, Math.log1p(text.length) / Math.log1p(100_000)),
    squash(words.length, 50),
    squash(words.length / Math.max(1, sentences), 20),
    squash(sentences, 4),
    squash(count(read, /\n/g), 3),
    words.length === 0 ? 0 : squash(letters / words.length, 5),
    squash(numbers.length, 4),
    Math.min(1, Math.log1p(largest) / Math.log1p(1e9)),
    squash(count(read, /\d\.\d/g), 1),
    squash(count(lower, /\d\/\d|\b(?:half|third|quarter)/g), 1),
    squash(count(lower, /%|\bpercent/g), 1),
    squash(count(read, /\p{Sc}/gu), 1),
    squash(count(read, /\?/g), 1),
    squash(count(read, /,/g), 3),
    squash(count(read, /[{}[\]();=<>`_]/g), 10),
    squash(count(lower, /\b(?:if|then|when|after|before|until|while|unless)\b/g), 2),
    squash(count(lower, /\b(?:more|less|fewer|than|most|least)\b/g), 2),
    squash(count(lower, /\b(?:each|every|per|all|twice|double|triple|times)\b/g), 2),
  ]
}

function squash(value: number, ordinary: number): number {
  return value / (value + ordinary)
}

function count(text: string, pattern: RegExp): number {
  return text.match(pattern)?.length ?? 0
}

/** All strings and numbers of some values, a line each. */
export function textOf(...values: readonly unknown[]): string {
  const parts: string[] = []
  const collect = (each: unknown, depth: number): void => {
    if (typeof each === 'string') parts.push(each)
    else if (typeof each === 'number') parts.push(String(each))
    else if (typeof each === 'object' && each !== null && depth < depthMax) {
      for (const inner of Object.values(each)) collect(inner, depth + 1)
    }
  }
  collect(values, 0)
  return parts.join('\n')
}
