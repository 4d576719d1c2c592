import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readEngineError } from '../../src/engines/engine-error.ts'
import { ChatStreamReader } from '../../src/engines/openai-stream.ts'
import { delta, finish, sse, usage } from '../support/fake-engine.ts'
import { recordingSink } from './driver-kit.ts'

const scope = { backend: 'light', origin: 'http://engine', secrets: [] }

/** Feeds chunks to a reader and returns all that came out of it. */
function readAll(chunks: readonly Uint8Array[]) {
  const sink = recordingSink()
  const reader = new ChatStreamReader({
    scope,
    sink,
    reasoningFields: ['reasoning', 'reasoning_content'],
    readError: readEngineError,
    firstCallNumber: 1,
  })
  for (const chunk of chunks) reader.push(chunk)
  reader.end()
  return { deltas: sink.deltas, outcome: reader.outcome! }
}

/** What a stream of values becomes; throws its error. */
function read(...values: unknown[]) {
  const { deltas, outcome } = readAll([Buffer.from(values.map(sse).join(''))])
  if (!outcome.ok) throw outcome.error
  return { deltas, result: outcome.result }
}

function tool(fields: Record<string, unknown>): object {
  return delta({ tool_calls: [fields] })
}

describe('chunks', () => {
  const text = fc.string({ unit: 'binary', minLength: 1, maxLength: 12 })
  const event = fc.oneof(
    text.map((content) => JSON.stringify(delta({ content }))),
    text.map((reasoning) => JSON.stringify(delta({ reasoning }))),
    fc
      .tuple(fc.integer({ min: 0, max: 2 }), text)
      .map(([index, args]) => JSON.stringify(tool({ index, function: { name: 'f', arguments: args } }))),
    // A data field on several lines: JSON allows line breaks between its tokens.
    text.map((content) => JSON.stringify(delta({ content }), undefined, 1)),
  )
  const stream = fc.record({
    events: fc.array(event, { maxLength: 6 }),
    lineEnds: fc.array(fc.constantFrom('\n', '\r\n', '\r'), { minLength: 1, maxLength: 5 }),
    noise: fc.array(fc.constantFrom(': ping', ':', 'event: message', 'id: 7', 'retry: 10', 'unknown: x'), {
      maxLength: 4,
    }),
    bom: fc.boolean(),
    done: fc.boolean(),
    lastLineEnd: fc.boolean(),
  })

  function bytesOf(spec: typeof stream extends fc.Arbitrary<infer Spec> ? Spec : never): Uint8Array {
    let line = 0
    const end = (): string => spec.lineEnds[line++ % spec.lineEnds.length]!
    const all = [...spec.events, JSON.stringify(finish('stop')), JSON.stringify(usage({ prompt_tokens: 3 }))]
    if (spec.done) all.push('[DONE]')
    let out = spec.bom ? '\uFEFF' : ''
    all.forEach((data, i) => {
      const noise = spec.noise[i]
      if (noise !== undefined) out += noise + end()
      for (const part of data.split('\n')) out += `data: ${part}${end()}`
      if (i === all.length - 1 && !spec.lastLineEnd) return
      // CR and LF side by side are one line end, not an empty line.
      const empty = end()
      out += out.endsWith('\r') && empty === '\n' ? '\r' : empty
    })
    return new TextEncoder().encode(out)
  }

  test('cut anywhere give the same deltas and the same result', () => {
    fc.assert(
      fc.property(stream, fc.array(fc.nat(), { maxLength: 40 }), fc.boolean(), (spec, cuts, byByte) => {
        const bytes = bytesOf(spec)
        const whole = readAll([bytes])
        expect(whole.outcome.ok).toBe(true)
        const places = byByte
          ? Array.from({ length: bytes.length }, (_, i) => i)
          : cuts.map((cut) => cut % (bytes.length + 1)).toSorted((a, b) => a - b)
        const chunks: Uint8Array[] = []
        let from = 0
        for (const place of [...places, bytes.length]) {
          chunks.push(bytes.subarray(from, place))
          from = place
        }
        expect(readAll(chunks)).toEqual(whole)
      }),
      { numRuns: 2_500, seed: 1 },
    )
  })

  test('cut short anywhere never give a success that the whole does not hold', () => {
    const bytes = Buffer.from([delta({ content: 'grün' }), delta({ content: ' 😀' })].map(sse).join(''))
    for (let length = 0; length <= bytes.length; length++) {
      const { outcome } = readAll([bytes.subarray(0, length)])
      expect(outcome).toMatchObject({ ok: false, error: { code: 'ORLA_BACKEND_TRUNCATED' } })
    }
  })

  test('of any bytes never throw', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 8 }), (chunks) => {
        expect(readAll(chunks).outcome.ok).toBe(false)
      }),
      { numRuns: 2_000, seed: 2 },
    )
  })

  test('of any JSON events never throw anything', () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue(), { maxLength: 5 }), (values) => {
        readAll([Buffer.from([...values, { choices: values }, { choices: [{ delta: values[0] }] }].map(sse).join(''))])
      }),
      { numRuns: 1_000, seed: 3 },
    )
  })

  test.each(['', '\n', '\r', '\r\n', '\n\n'])('whose last event ends with %j hold it', (ending) => {
    const last = { ...finish('stop'), usage: { prompt_tokens: 3 } }
    const { outcome } = readAll([Buffer.from(`data: ${JSON.stringify(last)}${ending}`)])
    expect(outcome).toMatchObject({ ok: true, result: { finishReason: 'stop', usage: { promptTokens: 3 } } })
  })

  test('after [DONE] are not read', () => {
    const { deltas, result } = read(finish('stop'), '[DONE]', delta({ content: 'late' }), { error: 'late' }, '[DONE]')
    expect(deltas).toEqual([])
    expect(result.content).toBe('')
  })

  test('with invalid UTF-8 are read with replacement characters', () => {
    const bytes = Buffer.concat([
      Buffer.from('data: {"choices":[{"delta":{"content":"a'),
      Uint8Array.of(0xff),
      Buffer.from('b"},"finish_reason":"stop"}]}\n\n'),
    ])
    expect(readAll([bytes]).outcome).toMatchObject({ ok: true, result: { content: 'a\uFFFDb' } })
  })
})

describe('content', () => {
  test('of hostile characters comes through unchanged', () => {
    const content = '\u0000\ud800 </script> \u001b[31m \u202e e' + '\u0301'.repeat(1_000)
    expect(read(delta({ content }), finish('stop')).result.content).toBe(content)
  })

  test('as a list of parts is their text', () => {
    const parts = [{ type: 'text', text: 'a' }, { type: 'image' }, null, { type: 'text', text: 'b' }]
    expect(read(delta({ content: parts }), finish('stop')).result.content).toBe('ab')
  })

  test('empty or null is no delta', () => {
    const { deltas } = read(delta({ content: '' }), delta({ content: null, reasoning_content: null }), finish('stop'))
    expect(deltas).toEqual([])
  })

  test('of other choices is left out', () => {
    const second = { choices: [{ index: 1, delta: { content: 'no' }, finish_reason: 'stop' }, null] }
    expect(read(second, delta({ content: 'yes' }), finish('stop')).result.content).toBe('yes')
  })

  test('of a choice without an index counts', () => {
    expect(read({ choices: [{ delta: { content: 'x' }, finish_reason: 'stop' }] }).result.content).toBe('x')
  })

  test('repeated as a whole message at the end counts once', () => {
    const last = { choices: [{ index: 0, message: { content: 'ab' }, finish_reason: 'stop' }] }
    expect(read(delta({ content: 'ab' }), last).result.content).toBe('ab')
  })

  test('that is refused is kept apart', () => {
    const { result } = read(delta({ refusal: 'I ' }), delta({ refusal: 'cannot' }), finish('stop'))
    expect(result).toMatchObject({ content: '', refusal: 'I cannot' })
  })
})

describe('thinking', () => {
  test.each(['reasoning', 'reasoning_content'])('is read from %s', (field) => {
    const { deltas, result } = read(delta({ [field]: 'hm' }), delta({ content: 'x' }), finish('stop'))
    expect(result).toMatchObject({ reasoning: 'hm', content: 'x' })
    expect(deltas[0]).toEqual(['reasoning', 'hm'])
  })

  test('in both fields counts once', () => {
    expect(read(delta({ reasoning: 'hm', reasoning_content: 'hm' }), finish('stop')).result.reasoning).toBe('hm')
  })
})

describe('the finish reason', () => {
  test.each([
    ['stop', 'stop', undefined],
    ['length', 'length', undefined],
    ['content_filter', 'content_filter', undefined],
    ['abort', 'other', 'abort'],
    ['repetition', 'other', 'repetition'],
  ])('%s becomes %s', (wire, finishReason, finishDetail) => {
    const { result } = read(finish(wire))
    expect(result.finishReason).toBe(finishReason)
    expect(result.finishDetail).toBe(finishDetail)
  })

  test('stop over tool calls becomes tool_calls', () => {
    const { result } = read(tool({ index: 0, id: 'a', function: { name: 'f', arguments: '{}' } }), finish('stop'))
    expect(result).toMatchObject({ finishReason: 'tool_calls', finishDetail: 'stop' })
  })

  test('function_call becomes tool_calls, with the one call it had', () => {
    const { result } = read(
      delta({ function_call: { name: 'f', arguments: '{"a"' } }),
      delta({ function_call: { arguments: ':1}' } }),
      finish('function_call'),
    )
    expect(result).toMatchObject({ finishReason: 'tool_calls', finishDetail: 'function_call' })
    expect(result.toolCalls).toEqual([{ id: 'call_1', name: 'f', arguments: '{"a":1}' }])
  })
})

describe('usage', () => {
  test.each<[string, unknown, object]>([
    [
      'complete',
      {
        prompt_tokens: 9,
        completion_tokens: 5,
        prompt_tokens_details: { cached_tokens: 8 },
        completion_tokens_details: { reasoning_tokens: 2 },
      },
      { promptTokens: 9, completionTokens: 5, cachedTokens: 8, reasoningTokens: 2 },
    ],
    ["in DeepSeek's words", { prompt_tokens: 9, prompt_cache_hit_tokens: 8 }, { promptTokens: 9, cachedTokens: 8 }],
    [
      "in SGLang's words",
      { prompt_tokens: 9, reasoning_tokens: 1, prompt_tokens_details: null },
      { promptTokens: 9, reasoningTokens: 1 },
    ],
    [
      'of zero',
      { prompt_tokens: 9, prompt_tokens_details: { cached_tokens: 0 } },
      { promptTokens: 9, cachedTokens: 0 },
    ],
    [
      'that cannot be',
      { prompt_tokens: -1, completion_tokens: 'many', prompt_tokens_details: { cached_tokens: 0.5 } },
      {},
    ],
    [
      'with more cached than there is',
      { prompt_tokens: 9, prompt_tokens_details: { cached_tokens: 10 } },
      { promptTokens: 9 },
    ],
    ['absent', null, {}],
  ])('%s is read as far as it is one', (_form, fields, expected) => {
    expect(read(finish('stop'), { choices: [], usage: fields }).result.usage).toEqual(expected)
    expect(read({ ...finish('stop'), usage: fields }).result.usage).toEqual(expected)
  })

  test('that grows with the stream ends with the last word', () => {
    const growing = delta({ content: 'x' }, { usage: { prompt_tokens: 9, completion_tokens: 1 } })
    expect(read(growing, finish('stop'), usage({ completion_tokens: 2 })).result.usage).toEqual({
      promptTokens: 9,
      completionTokens: 2,
    })
  })
})

describe('tool calls', () => {
  test('merge by index, interleaved, with id and name on the first piece only', () => {
    const { deltas, result } = read(
      tool({ index: 1, id: 'b', type: 'function', function: { name: 'g', arguments: '' } }),
      tool({ index: 0, id: 'a', type: 'function', function: { name: 'f', arguments: '{"x"' } }),
      tool({ index: 1, id: null, function: { name: null, arguments: '{}' } }),
      tool({ index: 0, function: { arguments: ':1}' } }),
      finish('tool_calls'),
    )
    expect(result.toolCalls).toEqual([
      { id: 'a', name: 'f', arguments: '{"x":1}' },
      { id: 'b', name: 'g', arguments: '{}' },
    ])
    expect(deltas).toEqual([
      ['tool', '{"x"'],
      ['tool', '{}'],
      ['tool', ':1}'],
    ])
  })

  test('without an index merge by id, and without either continue the last', () => {
    const { result } = read(
      tool({ id: 'a', function: { name: 'f', arguments: '{' } }),
      tool({ id: 'b', function: { name: 'g', arguments: '[' } }),
      tool({ id: 'a', function: { arguments: '}' } }),
      tool({ function: { arguments: ']' } }),
      tool({ function: { name: 'h', arguments: '{}' } }),
      finish('tool_calls'),
    )
    expect(result.toolCalls).toEqual([
      { id: 'a', name: 'f', arguments: '{}' },
      { id: 'b', name: 'g', arguments: '[]' },
      { id: 'call_1', name: 'h', arguments: '{}' },
    ])
  })

  test('that all claim index 0 are told apart by id and name', () => {
    const { result } = read(
      tool({ index: 0, id: 'a', function: { name: 'f', arguments: '{"x":1}' } }),
      tool({ index: 0, id: 'b', function: { name: 'f', arguments: '{"x"' } }),
      tool({ index: 0, id: 'b', function: { name: 'f', arguments: ':2}' } }),
      finish('tool_calls'),
    )
    expect(result.toolCalls).toEqual([
      { id: 'a', name: 'f', arguments: '{"x":1}' },
      { id: 'b', name: 'f', arguments: '{"x":2}' },
    ])
  })

  test('that all claim index 0 may go back and forth', () => {
    const { result } = read(
      tool({ index: 0, id: 'a', function: { name: 'f', arguments: '{' } }),
      tool({ index: 0, id: 'b', function: { name: 'g', arguments: '[' } }),
      tool({ index: 0, id: 'a', function: { name: 'f', arguments: '}' } }),
      tool({ index: 0, id: 'b', function: { arguments: ']' } }),
      finish('tool_calls'),
    )
    expect(result.toolCalls).toEqual([
      { id: 'a', name: 'f', arguments: '{}' },
      { id: 'b', name: 'g', arguments: '[]' },
    ])
  })

  test('with a new id on each piece stay one call', () => {
    const { result } = read(
      tool({ index: 0, id: 'a', function: { name: 'f', arguments: '{' } }),
      tool({ index: 0, id: 'z', function: { arguments: '}' } }),
      finish('tool_calls'),
    )
    expect(result.toolCalls).toEqual([{ id: 'a', name: 'f', arguments: '{}' }])
  })

  test('with one id for two calls get one made up', () => {
    const { result } = read(
      tool({ index: 0, id: 'call_1', function: { name: 'f', arguments: '{}' } }),
      tool({ index: 1, id: 'call_1', function: { name: 'g', arguments: '{}' } }),
      finish('tool_calls'),
    )
    expect(result.toolCalls.map((call) => call.id)).toEqual(['call_1', 'call_2'])
  })

  test('with gaps in their numbers close up in order', () => {
    const { result } = read(
      tool({ index: 5, id: 'b', function: { name: 'g', arguments: '{}' } }),
      tool({ index: 2, id: 'a', function: { name: 'f', arguments: '{}' } }),
      finish('tool_calls'),
    )
    expect(result.toolCalls.map((call) => call.name)).toEqual(['f', 'g'])
  })

  test('with an object for arguments get it as text', () => {
    const { deltas, result } = read(
      tool({ index: 0, id: 'a', function: { name: 'f', arguments: { x: 1 } } }),
      finish('tool_calls'),
    )
    expect(result.toolCalls[0]!.arguments).toBe('{"x":1}')
    expect(deltas).toEqual([['tool', '{"x":1}']])
  })

  test('with arguments that are invalid, cut or missing keep them as they are', () => {
    const { result } = read(
      tool({ index: 0, id: 'a', function: { name: 'f', arguments: '{"x":' } }),
      tool({ index: 1, id: 'b', function: { name: 'g' } }),
      finish('length'),
    )
    expect(result).toMatchObject({ finishReason: 'length', toolCalls: [{ arguments: '{"x":' }, { arguments: '' }] })
  })

  test.each([
    ['nested too deep', JSON.parse('['.repeat(10_000) + ']'.repeat(10_000))],
    ['a number', 7],
  ])('with arguments that are %s are refused', (_what, args) => {
    expect(() => read(tool({ index: 0, function: { name: 'f', arguments: 0 } }), finish('stop'))).toThrow(/arguments/)
    const raw = `{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":${typeof args === 'number' ? 7 : '['.repeat(10_000) + ']'.repeat(10_000)}}}]}}]}`
    expect(() => read(raw, finish('stop'))).toThrow(/neither text nor an object/)
  })
})
