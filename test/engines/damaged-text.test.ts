import fc from 'fast-check'
import { expect, test } from 'vitest'
import { DamagedText } from '../../src/engines/damaged-text.ts'

/** What it finds in bytes that come in chunks of the given sizes. */
function findIn(bytes: Uint8Array, sizes: readonly number[]): boolean {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  const damage = new DamagedText()
  let at = 0
  for (const size of [...sizes, bytes.length]) {
    const chunk = bytes.subarray(at, at + size)
    at += chunk.length
    damage.see(chunk, decoder.decode(chunk, { stream: true }))
  }
  damage.see(new Uint8Array(), decoder.decode())
  return damage.found
}

function isUtf8(bytes: Uint8Array): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    return true
  } catch {
    return false
  }
}

// Bytes that make such cases likely: starts of sequences, their middles, and U+FFFD as it is written.
const bytesOf = fc
  .array(
    fc.oneof(
      fc.constantFrom([0xef, 0xbf, 0xbd], [0xef], [0xbf], [0xbd], [0xef, 0xbf], [0xe2, 0x82], [0xf0, 0x9f], [0x41]),
      fc.string({ unit: 'grapheme', maxLength: 3 }).map((text) => [...new TextEncoder().encode(text)]),
    ),
    { maxLength: 20 },
  )
  .map((parts) => Uint8Array.from(parts.flat()))

test('damage is found exactly where bytes are no UTF-8, however they are cut', () => {
  fc.assert(
    fc.property(bytesOf, fc.array(fc.nat({ max: 5 })), (bytes, sizes) => {
      expect(findIn(bytes, sizes)).toBe(!isUtf8(bytes))
    }),
    { numRuns: 2_000 },
  )
})
