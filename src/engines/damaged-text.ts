// Finds out whether bytes were damaged, from what a decoder made of them
//
// Owns: how many replacement characters were written as such, and how many were read.
// Invariants
//   U1. What it finds does not depend on how the bytes were cut into chunks.
//   U2. Text without a replacement character costs one search in it; nothing is copied.

const replacement = '\uFFFD'

/** A decoder writes U+FFFD for bytes that are no UTF-8. Models may write it too: then its own bytes are there. */
export class DamagedText {
  #read = 0
  #written = 0
  /** Bytes of a written U+FFFD (EF BF BD) matched so far. */
  #matched = 0

  /** True if there were bytes that are no UTF-8. Final once all text was seen. */
  get found(): boolean {
    return this.#read > this.#written
  }

  /**
   * Sees the next bytes, and the text that the decoder made of them and of what it held back.
   *
   * @param chunk - empty at the end
   */
  see(chunk: Uint8Array, text: string): void {
    for (let at = text.indexOf(replacement); at !== -1; at = text.indexOf(replacement, at + 1)) this.#read++
    // 0xEF begins it and the other characters from U+F000 on, full-width marks among them: other chunks are left alone.
    if (this.#matched === 0 && !chunk.includes(0xef)) return
    for (const byte of chunk) {
      if (byte === 0xef) this.#matched = 1
      else if (this.#matched === 1 && byte === 0xbf) this.#matched = 2
      else if (this.#matched === 2 && byte === 0xbd) {
        this.#matched = 0
        this.#written++
      } else this.#matched = 0
    }
  }
}
