// Token estimators: how many tokens a text is, before an engine has seen it.
//
// No estimator knows every model's vocabulary, and none has to: what it gets wrong by a constant factor is learned from
// the usage that engines report (correction.ts).

import { createWordCounter } from './word-counter.ts'

/** Counts tokens. Pure: equal texts have equal counts. */
export interface TokenEstimator {
  /** Name for people and traces: `o200k_base`, `utf8-bytes`. */
  readonly name: string
  /** Tokens of `text`, an integer of at least 0. Never throws, whatever the text; synchronous. */
  count(text: string): number
}

/** Estimators that any thread can load by name. */
export type EstimatorName = 'o200k_base' | 'utf8-bytes'

/**
 * One token for every four bytes of UTF-8, rounded up. Costs 1 ns a character and loads nothing.
 *
 * Compared with o200k_base it is about 10 % high on mixed prose and code and up to 45 % high on a single plain text;
 * usage reported by engines corrects the bias.
 */
export const utf8BytesEstimator: TokenEstimator = {
  name: 'utf8-bytes',
  count(text) {
    let bytes = 0
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i)
      // Each half of a surrogate pair counts two of the pair's four bytes.
      bytes += unit < 0x80 ? 1 : unit < 0x800 || (unit >= 0xd800 && unit <= 0xdfff) ? 2 : 3
    }
    return Math.ceil(bytes / 4)
  },
}

/**
 * Longest run of characters of one class (letters, spaces, punctuation) that goes to the tokenizer in one piece.
 *
 * Byte pair merging is quadratic in the length of such a run: 16 kB of letters without a space take 50 ms, 1 MB would
 * stop the thread for minutes. Up to 256 characters a run costs no more a character than ordinary words do (measured).
 * A cut changes a count by a token at most.
 */
const runCharsMax = 256

/** Merged pieces that the tokenizer may remember. Its own default of 100,000 can grow to hundreds of megabytes. */
const mergeCachePieces = 16_384

/** Class of each ASCII character; a run is a stretch of one class. Digits (2) are counted in threes and never long. */
const asciiClass = new Uint8Array(128)
for (let unit = 0; unit < 128; unit++) {
  const character = String.fromCharCode(unit)
  asciiClass[unit] = /[a-z]/i.test(character) ? 1 : /\d/.test(character) ? 2 : /\s/.test(character) ? 3 : 4
}

/** Counts piecewise, so that no run is longer than {@link runCharsMax}. Text without such runs is counted whole. */
function countInPieces(text: string, count: (piece: string) => number): number {
  let total = 0
  let pieceStart = 0
  let run = 0
  let runClass = 0
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    // Beyond ASCII the class is not worth a table: such a character prolongs whatever run it stands in.
    const unitClass = unit < 128 ? asciiClass[unit]! : 0
    if (unitClass === 0 || unitClass === runClass) run++
    else {
      runClass = unitClass
      run = 1
    }
    if (run < runCharsMax || runClass === 2) continue
    // Not between the halves of a surrogate pair.
    if (unit >= 0xd800 && unit <= 0xdbff) continue
    total += count(text.slice(pieceStart, i + 1))
    pieceStart = i + 1
    run = 0
    runClass = 0
  }
  return total + (pieceStart === 0 ? count(text) : count(text.slice(pieceStart)))
}

/** Text is text: the names of special tokens in it are counted as the characters they are. */
const asOrdinaryText = { allowedSpecial: new Set<string>(), disallowedSpecial: new Set<string>() }

async function loadO200k(): Promise<TokenEstimator> {
  const encoding = await import('gpt-tokenizer/encoding/o200k_base')
  const { countTokens } = encoding
  encoding.setMergeCacheSize(mergeCachePieces)
  const count = (piece: string): number => countTokens(piece, asOrdinaryText)
  const counter = createWordCounter((part) => countInPieces(part, count))
  const estimator: TokenEstimator = { name: 'o200k_base', count: counter }
  names.set(estimator, 'o200k_base')
  return estimator
}

let o200k: Promise<TokenEstimator> | undefined

/** By identity: somebody else's estimator may have the same name. */
const names = new WeakMap<TokenEstimator, EstimatorName>([[utf8BytesEstimator, 'utf8-bytes']])

/** The name by which another thread can load the same estimator; undefined for one that cannot follow there. */
export function loadableName(estimator: TokenEstimator): EstimatorName | undefined {
  return names.get(estimator)
}

/**
 * Loads an estimator by name, once per thread.
 *
 * `o200k_base` is gpt-tokenizer's, asked for each word once (word-counter.ts). It reads its vocabulary on the first call:
 * 140 to 370 ms and 33 MB. It is imported here and nowhere else, so that what never counts never pays. Loading is awaited
 * before a runtime starts rather than hidden behind a cheaper stand-in: counts must not depend on when a file was read.
 */
export function loadEstimator(name: EstimatorName): Promise<TokenEstimator> {
  if (name === 'utf8-bytes') return Promise.resolve(utf8BytesEstimator)
  o200k ??= loadO200k()
  return o200k
}
