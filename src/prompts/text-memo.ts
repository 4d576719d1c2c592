// Counts of texts that come again
//
// Owns: a bounded memory from text to tokens, so that an instruction that every run repeats is counted once.
// Does not own: counts of messages (conversation.ts keeps those by identity, without looking at text).
// Invariants
//   T1. The texts kept never exceed 2 * charsMax characters together; a text longer than charsMax is not kept.
//   T2. A text used at least once while charsMax other characters were added is still there.

/** A bounded memory from text to its tokens. */
export interface TextMemo {
  /** Tokens of `text`, if it is remembered. Costs one look at every character the first time a string is asked for. */
  get(text: string): number | undefined
  set(text: string, tokens: number): void
  /** Characters of the texts kept now. */
  readonly chars: number
}

/** An entry costs memory besides its text: about this many characters' worth. */
const entryChars = 64

/**
 * Two generations: texts enter the young one; when it is full, it becomes the old one, and what the old one held and
 * nobody asked for is forgotten. Constant time, no list to keep in order.
 *
 * @param charsMax - size of a generation, characters
 */
export function createTextMemo(charsMax: number): TextMemo {
  let young = new Map<string, number>()
  let old = new Map<string, number>()
  let youngChars = 0
  let oldChars = 0

  const set = (text: string, tokens: number): void => {
    const chars = text.length + entryChars
    if (chars > charsMax || young.has(text)) return
    if (youngChars + chars > charsMax) {
      old = young
      oldChars = youngChars
      young = new Map()
      youngChars = 0
    }
    young.set(text, tokens)
    youngChars += chars
  }

  return {
    get(text) {
      const recent = young.get(text)
      if (recent !== undefined) return recent
      const tokens = old.get(text)
      if (tokens !== undefined) set(text, tokens)
      return tokens
    },
    set,
    get chars() {
      return youngChars + oldChars
    },
  }
}
