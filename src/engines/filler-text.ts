// Text for tokens of which only the place in a stream is known.

import type { TokenSpan } from '../schema/message.ts'

/** Short English words that byte-pair vocabularies hold whole, each with the space before it. */
const words = (
  'the of and to in is you that it he was for on are as with his they at be this have from or one had by word but not ' +
  'what all were we when your can said there use an each which she do how their if will up other about out many then ' +
  'them these so some her would make like him into time has look two more write go see number no way could people my ' +
  'than first water been call who oil its now find long down day did get come made may part over new sound take only ' +
  'little work know place year live me back give most very after thing our just name good sentence man think say great ' +
  'where help'
)
  .split(' ')
  .map((word) => ` ${word}`)

/** 32-bit FNV-1a of the stream's name. */
function hashOf(stream: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < stream.length; i++) hash = Math.imul(hash ^ stream.charCodeAt(i), 0x01000193)
  return hash
}

/** Spreads (stream, position) over all bits (the finalizer of MurmurHash3). */
function mix(seed: number, position: number): number {
  let hash = seed ^ Math.imul(position + 1, 0x9e3779b1)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/**
 * Filler text for a span: one word, and so about one token, for each position. A word depends on (stream, position)
 * only, so two spans have the same text exactly as far as they name the same positions of the same stream.
 *
 * @returns text of `to - from` words, each with a space before it
 */
export function fillerText(span: TokenSpan): string {
  const seed = hashOf(span.stream)
  let text = ''
  for (let position = span.from; position < span.to; position++) {
    text += words[mix(seed, position) % words.length]!
  }
  return text
}
