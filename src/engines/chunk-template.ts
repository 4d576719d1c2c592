// Chunks of an answer that differ in their text alone
//
// Owns: what the last chunk looked like around its text.
// Invariants
//   C1. A text is only given for a chunk that JSON.parse would read as the chunk learned from, with that text in place of
//       its own.
//   C2. An answer whose chunks differ in more than their text costs a few attempts to learn, and no more.
// An engine sends the same 150 characters around each token. Comparing them is cheaper than reading them as JSON and
// looking at every field: a whole stage whose answer has 50 chunks costs 155 us of CPU instead of 168 (medians of ten
// rounds each, taken in turn, over loopback HTTP on Node 24).

/** Attempts to learn from one answer. Some engines put a random text beside each token. */
const attemptsMax = 4

/** Characters that stand for others within a JSON string, or must not be there. */
// oxlint-disable-next-line no-control-regex
const special = /["\\\u0000-\u001f]/

/** A text that no chunk holds, to find out what a text in its place would be. */
const probe = '<orla: the text of a chunk>'

/** What surrounds the text of a chunk. */
export class ChunkTemplate {
  #before = ''
  #after = ''
  #attempts = 0

  /** The text of a chunk that is, but for it, the one learned from; undefined for any other chunk. */
  match(data: string): string | undefined {
    const before = this.#before
    const after = this.#after
    const end = data.length - after.length
    if (before === '' || end < before.length || !data.startsWith(before) || !data.endsWith(after)) return undefined
    const text = data.slice(before.length, end)
    return special.test(text) ? undefined : text
  }

  /**
   * Learns from a chunk that was read in full and gave this text. One that does more than give text is not learned from:
   * what else it does would be left out when it comes again.
   */
  learn(data: string, text: string): void {
    if (this.#attempts >= attemptsMax || special.test(text)) return
    this.#attempts++
    this.#before = ''
    const place = /"content"\s*:\s*"/.exec(data)
    if (place === null) return
    const begin = place.index + place[0].length
    const end = begin + text.length
    if (!data.startsWith(text, begin) || data[end] !== '"') return
    const before = data.slice(0, begin)
    const after = data.slice(end)
    if (!givesTextOnly(parsed(before + probe + after))) return
    this.#before = before
    this.#after = after
  }
}

/** Whether reading a chunk again does nothing but give its text. */
function givesTextOnly(chunk: unknown): boolean {
  const { choices, usage } = (chunk ?? {}) as { choices?: unknown; usage?: unknown }
  if (!Array.isArray(choices) || choices.length !== 1 || (usage ?? null) !== null) return false
  const { delta, finish_reason: finish } = (choices[0] ?? {}) as { delta?: unknown; finish_reason?: unknown }
  if (typeof delta !== 'object' || delta === null || (finish ?? null) !== null) return false
  const { content, role: _role, ...rest } = delta as Record<string, unknown>
  return content === probe && Object.values(rest).every((value) => value === null || value === '')
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    return undefined
  }
}
