// Text from outside, made safe for a terminal: no control character of any kind reaches it.

/* oxlint-disable no-control-regex -- control characters are what this file is about */

/** Escape sequences as a whole, so that no parameters of theirs are left standing: OSC and its kin, CSI, the rest. */
const escapes =
  /(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?|\x1b[ -/]*[0-~]?/g

/**
 * What has no glyph and acts on those that have: C0 and C1 controls, bidirectional overrides and isolates, zero-width
 * characters, tags (all of Cf), halves of surrogate pairs, and letters that are drawn as nothing.
 */
const invisible = /[\p{Cc}\p{Cf}\p{Cs}\u115f\u1160\u17b4\u17b5\u2065\u2800\u3164\uffa0\ufff0-\ufff8]/gu

/** More marks than this on one letter run over the lines above and below. */
const marks = /(\p{M}{3})\p{M}+/gu

/**
 * Text without anything that a terminal obeys or that hides from the eye. Lines stay lines; a tab becomes a space.
 * What is left is printable characters and `\n`.
 */
export function sanitize(text: string): string {
  const lines = text.replace(escapes, '').replace(/\r\n?|[\u0085\u2028\u2029]/g, '\n')
  return lines
    .split('\n')
    .map((line) => line.replace(/\t/g, ' ').replace(invisible, '').replace(marks, '$1'))
    .join('\n')
}

/** Text from outside on one line: sanitized, with runs of white space as single spaces. */
export function oneLine(text: string): string {
  return sanitize(text).replace(/\s+/g, ' ').trim()
}

/** JSON text with every invisible character escaped: equal when parsed, and harmless when printed. */
export function printableJson(value: unknown): string {
  return JSON.stringify(value).replace(/[\u007f-\u009f\p{Cf}\p{Zl}\p{Zp}]/gu, (character) =>
    Array.from({ length: character.length }, (_, i) => {
      const unit = character.charCodeAt(i).toString(16).padStart(4, '0')
      return `\\u${unit}`
    }).join(''),
  )
}
