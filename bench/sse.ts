// Cost of reading an answer: bytes of an event stream in, deltas and a result out.
//
// Beside it, in the same run and over the same chunks, stand its parts: decoding the bytes, the parser of events alone,
// and that parser with the JSON of each event read and thrown away, which any client has to pay.

import { createParser } from 'eventsource-parser'
import { readEngineError } from '../src/engines/engine-error.ts'
import { ChatStreamReader } from '../src/engines/openai-stream.ts'
import type { Bench, BenchReport, Row } from './lib/bench.ts'
import { measureUsPerOp, round, spreadOf } from './lib/measure.ts'

/** A stream of `events` deltas as vLLM writes them, cut into chunks of `chunkBytes`. */
function chunksOf(events: number, chunkBytes: number): Uint8Array[] {
  const head = { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1_790_000_000, model: 'qwen3-8b' }
  const event = (delta: object, reason: string | null): string =>
    `data: ${JSON.stringify({ ...head, choices: [{ index: 0, delta, logprobs: null, finish_reason: reason }] })}\n\n`
  const body = Array.from({ length: events }, (_, i) => event({ content: ` word${i % 100}` }, null)).join('')
  const bytes = new TextEncoder().encode(`${body}${event({}, 'stop')}data: [DONE]\n\n`)
  return Array.from({ length: Math.ceil(bytes.length / chunkBytes) }, (_, i) =>
    bytes.subarray(i * chunkBytes, (i + 1) * chunkBytes),
  )
}

type Reader = { push(chunk: Uint8Array): void; end(): void }

function parserAlone(onData: (data: string) => void): Reader {
  const decoder = new TextDecoder()
  const parser = createParser({ onEvent: ({ data }) => onData(data) })
  return { push: (chunk) => parser.feed(decoder.decode(chunk, { stream: true })), end: () => parser.feed('\n\n') }
}

const readers: Record<string, () => Reader> = {
  'decode only': () => {
    const decoder = new TextDecoder()
    return { push: (chunk) => void decoder.decode(chunk, { stream: true }), end() {} }
  },
  'eventsource-parser': () => parserAlone(() => {}),
  'eventsource-parser + JSON.parse': () =>
    parserAlone((data) => void (data === '[DONE]' ? data : (JSON.parse(data) as unknown))),
  'orla: deltas and result': () =>
    new ChatStreamReader({
      scope: { backend: 'b', origin: 'http://engine', secrets: [] },
      sink: { delta() {} },
      reasoningFields: ['reasoning', 'reasoning_content'],
      readError: readEngineError,
      firstCallNumber: 1,
    }),
}

/** The bench. */
export const bench: Bench = {
  run({ quick }): BenchReport {
    const events = quick ? 2_000 : 50_000
    const rows: Row[] = []
    for (const chunkBytes of [256, 4_096, 65_536]) {
      const chunks = chunksOf(events, chunkBytes)
      const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
      for (const [reader, make] of Object.entries(readers)) {
        const timing = measureUsPerOp(
          make,
          (subject) => {
            for (const chunk of chunks) subject.push(chunk)
            subject.end()
          },
          { operations: events },
        )
        rows.push({
          chunkBytes,
          reader,
          usPerEvent: round(timing.median),
          spread: spreadOf(timing),
          mbPerS: round(bytes / events / timing.median),
        })
      }
    }
    return {
      rows,
      notes: [
        'One operation is one event of some 190 bytes. The reader of events is eventsource-parser itself: what orla adds is ' +
          'the difference to its row with JSON.parse.',
      ],
    }
  },
}
