// Any split of any valid stream gives the same events. ORLA_SSE_CASES says how many; npm run test:sse runs a million.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { randomStream } from '../../src/clock.ts'
import { readEngineError } from '../../src/engines/engine-error.ts'
import { ChatStreamReader } from '../../src/engines/openai-stream.ts'
import { recordingSink } from '../engines/driver-kit.ts'
import { delta, finish, usage } from '../support/fake-engine.ts'

const cases = Number(process.env['ORLA_SSE_CASES'] ?? 5_000)
/** Splits of each stream. */
const splits = 100

/** All that comes out of a stream, as text. */
function read(chunks: readonly Uint8Array[]): string {
  const sink = recordingSink()
  const reader = new ChatStreamReader({
    scope: { backend: 'b', origin: 'http://engine', secrets: [] },
    sink,
    reasoningFields: ['reasoning', 'reasoning_content'],
    readError: readEngineError,
    firstCallNumber: 1,
  })
  for (const chunk of chunks) reader.push(chunk)
  reader.end()
  const { outcome } = reader
  return JSON.stringify([sink.deltas, outcome?.ok === true ? outcome.result : outcome?.error.code])
}

const text = fc.string({ unit: 'binary', minLength: 1, maxLength: 10 })
const event = fc.oneof(
  text.map((content) => JSON.stringify(delta({ content }))),
  text.map((content) => JSON.stringify(delta({ content }), undefined, 1)),
  text.map((reasoning) => JSON.stringify(delta({ reasoning }))),
  text.map((piece) => JSON.stringify(delta({ tool_calls: [{ index: 0, function: { name: 'f', arguments: piece } }] }))),
)
const stream = fc
  .record({
    events: fc.array(event, { maxLength: 4 }),
    ends: fc.array(fc.constantFrom('\n', '\r\n', '\r'), { minLength: 5, maxLength: 6 }),
    noise: fc.array(fc.constantFrom('', ': ping', 'event: message', 'id: 7', 'retry: 10', 'unknown'), { maxLength: 4 }),
    bom: fc.boolean(),
  })
  .map(({ events, ends, noise, bom }) => {
    const all = [...events, JSON.stringify(finish('stop')), JSON.stringify(usage({ prompt_tokens: 3 })), '[DONE]']
    const parts = all.map((data, i) => {
      // One kind of line end for each event: CR and LF side by side would be one.
      const end = ends[i % ends.length]!
      const before = noise[i] === undefined || noise[i] === '' ? '' : noise[i] + end
      return `${before}${data.replaceAll(/^/gm, 'data: ').replaceAll('\n', end)}${end}${end}`
    })
    return new TextEncoder().encode((bom ? '\uFEFF' : '') + parts.join(''))
  })

test(`${cases} splits of valid streams give the events of the whole`, () => {
  let seen = 0
  const random = randomStream(7, 'splits')
  fc.assert(
    fc.property(stream, (bytes) => {
      const whole = read([bytes])
      for (let split = 0; split < splits && seen < cases; split++, seen++) {
        const chunks: Uint8Array[] = []
        // From single bytes to almost all at once.
        const step = 1 + Math.floor(random() ** 3 * bytes.length)
        for (let from = 0; from < bytes.length;) {
          const to = from + 1 + Math.floor(random() * step)
          chunks.push(bytes.subarray(from, to))
          from = to
        }
        const parts = read(chunks)
        if (parts !== whole) expect(parts).toBe(whole)
      }
    }),
    { numRuns: Math.ceil(cases / splits), seed: 7 },
  )
  expect(seen).toBe(cases)
}, 1_200_000)
