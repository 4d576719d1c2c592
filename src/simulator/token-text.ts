// Tokens of text: how many there are, and where one ends and the next begins.
//
// Owns: the tokenizer (its ranks take 80 to 140 ms and 33 MB to load, so they are loaded on first use, once).
// Real models have other vocabularies; for sizes and rhythm a current one (o200k) is close enough.

/** Counts and cuts text. Pure; the same text always gives the same answer. */
export interface TokenText {
  /** Tokens of `text`. Zero for the empty text. */
  count(text: string): number
  /** `text` cut into its tokens: as many pieces as `count` says, together the text. A piece may be empty. */
  pieces(text: string): string[]
}

/**
 * Longest run of text without, or of nothing but, white space that is given to the tokenizer in one piece, characters.
 * Merging is quadratic within such a run: 100,000 letters in a row take 2.2 s, in slices of 512 they take 12 ms.
 */
const runLengthMax = 512
const longRun = new RegExp(`\\S{${runLengthMax + 1}}|\\s{${runLengthMax + 1}}`)
const slices = new RegExp(`\\s{0,${runLengthMax}}\\S{1,${runLengthMax}}|\\s{1,${runLengthMax}}`, 'g')

/** Text such as `<|endoftext|>` is text here: who simulates an engine must not let a prompt break the count. */
const asPlainText = { disallowedSpecial: new Set<string>() }

let loading: Promise<TokenText> | undefined

/** The shared instance; loads the tokenizer when first asked. */
export function loadTokenText(): Promise<TokenText> {
  loading ??= import('gpt-tokenizer/encoding/o200k_base').then(({ countTokens, encode, decode }) => ({
    count(text) {
      if (!longRun.test(text)) return countTokens(text, asPlainText)
      return cut(text).reduce((total, slice) => total + countTokens(slice, asPlainText), 0)
    },
    pieces: (text) => cut(text).flatMap((slice) => piecesOf(slice, encode(slice, asPlainText), decode)),
  }))
  return loading
}

function cut(text: string): string[] {
  return longRun.test(text) ? (text.match(slices) ?? []) : [text]
}

/**
 * The text of each token. A character may be spread over several tokens: then the last one carries it and the others
 * are empty, as engines do that hold back incomplete UTF-8.
 */
function piecesOf(text: string, tokens: number[], decode: (tokens: number[]) => string): string[] {
  const pieces: string[] = []
  let held: number[] = []
  let at = 0
  for (const token of tokens) {
    held.push(token)
    const piece = decode(held)
    if (text.startsWith(piece, at)) {
      pieces.push(piece)
      at += piece.length
      held = []
    } else {
      pieces.push('')
    }
  }
  // Lone surrogates do not survive the tokenizer: what is left of such a text comes with the last token.
  if (at < text.length) pieces[pieces.length - 1] += text.slice(at)
  return pieces
}
