import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ChatStreamReader } from '../../src/engines/openai-stream.ts'
import { ChunkTemplate } from '../../src/engines/chunk-template.ts'

const text = fc.oneof(
  fc.constantFrom(' word', 'content', '"', '\\', '\\n', '"}', '\n', '\u0001', ' naïve', '🙂', ''),
  fc.string({ maxLength: 6 }),
)

/** Chunks as engines send them, of which some are alike and some are not. */
const chunk = fc.record({
  id: fc.constantFrom('c-1', ' word'),
  model: fc.constantFrom('m', '"content":"'),
  created: fc.constantFrom(1, 2),
  content: text,
  role: fc.constantFrom('assistant', undefined),
  reasoning: fc.constantFrom('', null, undefined, 'thinks'),
  refusal: fc.constantFrom(null, undefined, undefined, 'no'),
  finish: fc.constantFrom(null, null, null, null, undefined, 'stop'),
  usage: fc.constantFrom(null, undefined, undefined, { prompt_tokens: 3 }),
  spaced: fc.boolean(),
})
type Chunk = typeof chunk extends fc.Arbitrary<infer T> ? T : never

/** An answer: most chunks are like the first but for their text. */
const answer = fc
  .tuple(
    chunk,
    fc.array(
      fc.oneof(
        { weight: 5, arbitrary: text.map((content): Partial<Chunk> => ({ content })) },
        { weight: 1, arbitrary: chunk },
      ),
      { maxLength: 8 },
    ),
  )
  .map(([first, others]) => [first, ...others.map((other): Chunk => ({ ...first, ...other }))])

function jsonOf({ id, model, created, content, role, reasoning, refusal, finish, usage, spaced }: Chunk): string {
  const delta = { role, content, reasoning_content: reasoning, refusal }
  const value = { id, model, created, choices: [{ index: 0, delta, finish_reason: finish }], usage }
  const json = JSON.stringify(value)
  return spaced ? json.replaceAll('":', '": ') : json
}

describe('a chunk that is like another but for its text', () => {
  test('has the text that JSON.parse finds in it, whatever was learned', () => {
    fc.assert(
      fc.property(answer, (chunks) => {
        const template = new ChunkTemplate()
        for (const each of chunks) {
          const data = jsonOf(each)
          const found = template.match(data)
          if (found !== undefined) {
            const read = JSON.parse(data) as { choices: { delta: { content: unknown } }[] }
            expect(read.choices[0]!.delta.content).toBe(found)
          } else if (each.content !== '') template.learn(data, each.content)
        }
      }),
      { numRuns: 500 },
    )
  })

  test('makes no difference to an answer: one chunk at a time, learned or not, gives the same', () => {
    const read = (chunks: readonly Chunk[], between: string): unknown => {
      const deltas: [channel: string, text: string][] = []
      const reader = new ChatStreamReader({
        scope: { backend: 'b', origin: 'http://engine', secrets: [] },
        sink: { delta: (channel, piece) => void deltas.push([channel, piece]) },
        reasoningFields: ['reasoning_content'],
        readError: () => undefined,
        firstCallNumber: 1,
      })
      for (const each of chunks) reader.push(new TextEncoder().encode(`${between}data: ${jsonOf(each)}\n\n`))
      reader.end()
      const { outcome } = reader
      return { deltas, outcome: outcome?.ok === true ? outcome.result : outcome?.error.code }
    }
    fc.assert(
      // An event with a name of its own is read in full, always.
      fc.property(answer, (chunks) => {
        expect(read(chunks, '')).toEqual(read(chunks, 'event: message\n'))
      }),
      { numRuns: 500 },
    )
  })

  test('is found among chunks of one answer, and not looked for without end where every chunk has something of its own', () => {
    const template = new ChunkTemplate()
    const data = (content: string, id = 'c'): string =>
      JSON.stringify({ id, choices: [{ index: 0, delta: { content }, finish_reason: null }] })
    template.learn(data('one'), 'one')
    expect(template.match(data(' two'))).toBe(' two')
    expect(template.match(data('thr"ee'))).toBeUndefined()
    expect(template.match(data('four', 'd'))).toBeUndefined()
    for (const id of ['d', 'e', 'f']) template.learn(data('x', id), 'x')
    expect(template.match(data('y', 'f'))).toBe('y')
    template.learn(data('x', 'g'), 'x')
    expect(template.match(data('y', 'g'))).toBeUndefined()
    expect(template.match(data('y', 'f'))).toBe('y')
  })
})
