import { createServer, type AddressInfo } from 'node:net'
import { describe, expect, test } from 'vitest'
import { connectionError } from '../../src/engines/engine-error.ts'
import { limits } from '../../src/limits.ts'
import { delta, fakeEngine, finish, sse, type FakeExchange } from '../support/fake-engine.ts'
import { ask, connect, recordingSink, rejection } from './driver-kit.ts'

/** Runs one call against `script` and returns its error. */
async function failureOf(script: (exchange: FakeExchange) => Promise<void> | void, expectClosed = false) {
  await using engine = await fakeEngine(script)
  await using driver = await connect(engine.url)
  const sink = recordingSink()
  const error = await rejection(ask(driver, sink).result)
  if (expectClosed) await engine.exchanges[0]!.closed
  return { error, deltas: sink.deltas }
}

describe('a stream without a finish reason is truncated', () => {
  test.each<[string, (exchange: FakeExchange) => Promise<void> | void]>([
    ['at a clean end', (exchange) => exchange.answer(delta({ role: 'assistant', content: '' }))],
    ['at [DONE]', (exchange) => exchange.answer(delta({ role: 'assistant', content: '' }), '[DONE]')],
    ['with an empty body', (exchange) => exchange.answer()],
    [
      'in half an event',
      async (exchange) => {
        await exchange.stream()
        await exchange.send('data: {"choices":[{"delta":{"con')
        await exchange.finish()
      },
    ],
    [
      'in half an event with its line end',
      async (exchange) => {
        await exchange.stream()
        await exchange.send('data: {"choices":[{"delta":\n')
        await exchange.finish()
      },
    ],
    [
      'when the body ends with the connection',
      async (exchange) => {
        await exchange.head(200, { 'content-type': 'text/event-stream', connection: 'close' })
        await exchange.write('data: {"choi')
        exchange.hangUp()
      },
    ],
    [
      'when the connection ends within a chunk',
      async (exchange) => {
        await exchange.stream()
        await exchange.write('ff\r\ndata: {')
        exchange.hangUp()
      },
    ],
    [
      'when the connection is reset',
      async (exchange) => {
        await exchange.stream()
        await exchange.send(': hello\n\n')
        exchange.reset()
      },
    ],
    [
      'when the length promised more',
      async (exchange) => {
        await exchange.head(200, { 'content-type': 'text/event-stream', 'content-length': '1000' })
        await exchange.write(': hello\n\n')
        exchange.hangUp()
      },
    ],
    [
      'when the length promised less',
      async (exchange) => {
        await exchange.head(200, { 'content-type': 'text/event-stream', 'content-length': '5' })
        await exchange.write(sse(finish('stop')))
      },
    ],
    ['in an answer of one JSON object', (exchange) => exchange.reply(200, { choices: [{ message: { content: '' } }] })],
  ])('%s', async (_where, script) => {
    const { error } = await failureOf(script)
    expect(error).toMatchObject({ code: 'ORLA_BACKEND_TRUNCATED', retryable: true, details: { delivered: 0 } })
  })

  test('and not retryable once something was delivered', async () => {
    const { error, deltas } = await failureOf(async (exchange) => {
      await exchange.stream()
      await exchange.events(delta({ content: 'x' }), delta({ content: 'y' }))
      exchange.hangUp()
    })
    expect(error).toMatchObject({ code: 'ORLA_BACKEND_TRUNCATED', retryable: false, details: { delivered: 2 } })
    expect(deltas).toHaveLength(2)
  })
})

describe('an error inside a 200', () => {
  test.each<[string, unknown, object]>([
    ['nested with a status', { error: { message: 'full', code: 503 } }, { retryable: true, details: { status: 503 } }],
    ['nested with a status as text', { error: { message: 'slow down', code: '429' } }, { retryable: true }],
    ['nested with a fatal status', { error: { message: 'no', code: 400 } }, { retryable: false }],
    ['nested with a fatal type', { error: { message: 'no', type: 'invalid_request_error' } }, { retryable: false }],
    ['nested with a passing type', { error: { message: 'oops', type: 'server_error' } }, { retryable: true }],
    ['nested and empty', { error: {} }, { retryable: true }],
    ['flat', { object: 'error', message: 'oops', code: 500 }, { retryable: true, details: { status: 500 } }],
    ['as text', { error: 'oops' }, { retryable: true }],
    ['as a finish reason', finish('error'), { retryable: true }],
  ])('%s is an error', async (_form, event, expected) => {
    const { error } = await failureOf((exchange) => exchange.answer(event, '[DONE]'))
    expect(error).toMatchObject({ code: 'ORLA_BACKEND_HTTP', ...expected })
    const whole = await failureOf((exchange) => exchange.reply(200, event as object))
    expect(whole.error).toMatchObject({ code: 'ORLA_BACKEND_HTTP', ...expected })
  })

  test('as an event of type error is an error whatever its data', async () => {
    const { error } = await failureOf(async (exchange) => {
      await exchange.stream()
      await exchange.send('event: error\ndata: {"message":"overloaded","type":"overloaded_error"}\n\n')
      await exchange.finish()
    })
    expect(error).toMatchObject({ code: 'ORLA_BACKEND_HTTP', retryable: true })
    expect(error.message).toContain('overloaded')
  })

  test('after a delta is not retryable', async () => {
    const { error } = await failureOf((exchange) =>
      exchange.answer(delta({ content: 'x' }), { error: { message: 'oops', code: 500 } }),
    )
    expect(error).toMatchObject({ retryable: false, details: { delivered: 1, status: 500 } })
  })

  test('after the finish reason is still an error', async () => {
    const { error } = await failureOf((exchange) => exchange.answer(finish('stop'), { error: { message: 'oops' } }))
    expect(error.code).toBe('ORLA_BACKEND_HTTP')
  })

  test('about the context is a context error', async () => {
    const { error } = await failureOf((exchange) =>
      exchange.answer({ error: { message: 'too long', code: 'context_length_exceeded' } }),
    )
    expect(error).toMatchObject({ code: 'ORLA_CONTEXT_LENGTH', retryable: false })
  })
})

describe('what is not the wire', () => {
  test.each<[string, (exchange: FakeExchange) => Promise<void> | void]>([
    [
      'a web page',
      (exchange) => exchange.reply(200, '<html>login</html>', { 'content-type': 'text/html; charset=utf-8' }),
    ],
    ['a compressed body', (exchange) => exchange.reply(200, 'x', { 'content-encoding': 'gzip, gzip' })],
    ['an event that is not JSON', (exchange) => exchange.answer('{oops')],
    ['an event that is not an object', (exchange) => exchange.answer('null')],
    ['JSON without choices', (exchange) => exchange.reply(200, { hello: 'world' })],
    ['half a JSON object', (exchange) => exchange.reply(200, '{"choices":[')],
    [
      'a tool call without a name',
      (exchange) =>
        exchange.answer(delta({ tool_calls: [{ index: 0, function: { arguments: '{}' } }] }), finish('tool_calls')),
    ],
    ['tool calls that never came', (exchange) => exchange.answer(finish('tool_calls'))],
    ['a tool call that is a number', (exchange) => exchange.answer(delta({ tool_calls: [7] }), finish('tool_calls'))],
  ])('%s is a protocol error', async (_what, script) => {
    const { error } = await failureOf(script)
    expect(error).toMatchObject({ code: 'ORLA_BACKEND_PROTOCOL', retryable: false })
  })

  test('a malformed event is reported with its place', async () => {
    const { error } = await failureOf((exchange) => exchange.answer(delta({ content: 'x' }), '{oops'))
    const bytes = (sse(delta({ content: 'x' })) + sse('{oops')).length
    expect(error.details).toMatchObject({ bytesRead: bytes, delivered: 1 })
  })

  test('a line without end is cut at its limit and the connection closed', async () => {
    const { error } = await failureOf(async (exchange) => {
      await exchange.stream()
      const chunk = 'x'.repeat(64 * 1024)
      await exchange.send('data: ')
      for (let sent = 0; sent < limits.sseLineBytesMax; sent += chunk.length) await exchange.send(chunk)
    }, true)
    expect(error.code).toBe('ORLA_BACKEND_PROTOCOL')
    expect(error.message).toContain(String(limits.sseLineBytesMax))
  })

  test('an answer without end is cut at its limit and the connection closed', async () => {
    const { error } = await failureOf(async (exchange) => {
      await exchange.stream()
      const chunk = `: ${'x'.repeat(512 * 1024)}\n`
      for (let sent = 0; sent <= limits.responseBytesMax; sent += chunk.length) await exchange.send(chunk)
    }, true)
    expect(error.code).toBe('ORLA_BACKEND_PROTOCOL')
    expect(error.message).toContain(String(limits.responseBytesMax))
  })

  test.each<[string, string]>([
    ['a status line of garbage', 'SSH-2.0-OpenSSH_9.9\r\n\r\n'],
    ['a header of 40 kB', `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(40_000)}\r\n\r\n`],
  ])('%s is a protocol error of the connection, which another try may not meet', async (_what, bytes) => {
    const { error } = await failureOf((exchange) => exchange.write(bytes))
    expect(error).toMatchObject({ code: 'ORLA_BACKEND_PROTOCOL', retryable: true })
  })

  test('informational responses before the answer are skipped', async () => {
    await using engine = await fakeEngine(async (exchange) => {
      for (let i = 0; i < 20; i++) await exchange.head(103, { 'content-type': 'text/html' })
      await exchange.answer(finish('stop'), '[DONE]')
    })
    await using driver = await connect(engine.url)
    expect((await ask(driver).result).finishReason).toBe('stop')
  })

  test.each(['HTTP/1.1 100 -\r\n\r\n', 'HTTP/1.1 101 -\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n'])(
    'an unasked %j is an unreachable engine',
    async (bytes) => {
      const { error } = await failureOf((exchange) => exchange.write(bytes))
      expect(error).toMatchObject({ code: 'ORLA_BACKEND_UNREACHABLE', retryable: true })
    },
  )
})

describe('a connection that fails before the response', () => {
  test.each<[string, (exchange: FakeExchange) => void]>([
    ['by a reset', (exchange) => exchange.reset()],
    ['by a polite end', (exchange) => exchange.hangUp()],
  ])('%s leaves the engine unreachable, for now', async (_how, script) => {
    const { error } = await failureOf(script)
    expect(error).toMatchObject({ code: 'ORLA_BACKEND_UNREACHABLE', retryable: true })
    expect(error.message).toContain('closed the connection before it answered')
  })

  test('because nothing listens says so', async () => {
    const engine = await fakeEngine(() => {})
    await engine.close()
    await using driver = await connect(engine.url)
    expect(await rejection(ask(driver).result)).toMatchObject({
      code: 'ORLA_BACKEND_UNREACHABLE',
      retryable: true,
      details: { backend: 'light', code: 'ECONNREFUSED' },
    })
  })

  test('because it does not speak TLS says so', async () => {
    const server = createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => socket.end('HTTP/1.1 400 -\r\n\r\n'))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    await using driver = await connect(`https://127.0.0.1:${(server.address() as AddressInfo).port}`)
    const error = await rejection(ask(driver).result)
    expect(error).toMatchObject({ code: 'ORLA_BACKEND_UNREACHABLE', retryable: true })
    expect(error.message).toContain('TLS')
    await new Promise((resolve) => server.close(resolve))
  })

  test('because the handshake takes too long is a connect timeout', async () => {
    await using engine = await fakeEngine(() => {})
    await using driver = await connect(engine.url.replace('http:', 'https:'), { timeouts: { connectMs: 20 } })
    expect(await rejection(ask(driver).result)).toMatchObject({
      code: 'ORLA_BACKEND_TIMEOUT',
      retryable: true,
      details: { timeout: 'connect', limitMs: 20 },
    })
  })

  test.each([
    ['EHOSTUNREACH', 'ORLA_BACKEND_UNREACHABLE', 'Check the network'],
    ['UND_ERR_CLOSED', 'ORLA_CLOSED', 'was closed'],
  ])('with %s becomes %s', (code, expected, words) => {
    const scope = { backend: 'light', origin: 'http://engine', secrets: [] }
    const error = connectionError(scope, Object.assign(new Error('no'), { code }), 5_000)
    expect(error.code).toBe(expected)
    expect(error.message).toContain(words)
  })

  test('because the name does not resolve says so', async () => {
    await using driver = await connect('http://no-such-host.invalid')
    const error = await rejection(ask(driver).result)
    expect(error).toMatchObject({ code: 'ORLA_BACKEND_UNREACHABLE', retryable: true })
    expect(error.message).toContain('does not resolve')
  })
})

describe('an error status', () => {
  const statuses: [number, boolean][] = [
    [400, false],
    [401, false],
    [402, false],
    [403, false],
    [404, false],
    [405, false],
    [408, true],
    [409, true],
    [418, false],
    [422, false],
    [425, true],
    [429, true],
    [500, true],
    [501, false],
    [502, true],
    [503, true],
    [504, true],
    [505, false],
    [529, true],
  ]
  test.each(statuses)('%i is retryable: %s', async (status, retryable) => {
    const { error } = await failureOf((exchange) => exchange.reply(status, { error: { message: 'engine says' } }))
    expect(error).toMatchObject({ code: 'ORLA_BACKEND_HTTP', retryable, details: { backend: 'light', status } })
    expect(error.message).toContain('engine says')
  })

  test.each<[string, string | object]>([
    ['nested', { error: { message: 'engine says', type: 'T', param: null, code: 'C' } }],
    ['flat', { object: 'error', message: 'engine says', type: 'T', code: 'C' }],
    ['text in JSON', { error: 'engine says' }],
    ['plain text', 'engine says'],
  ])('is read when it is %s', async (form, body) => {
    const { error } = await failureOf((exchange) => exchange.reply(500, body))
    expect(error.message).toContain('500: engine says')
    if (form === 'nested' || form === 'flat') {
      expect(error.details).toMatchObject({ engineType: 'T', engineCode: 'C' })
    }
  })

  test.each([
    "This model's maximum context length is 4096 tokens. However, you requested 10 output tokens",
    "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
    "Requested token count exceeds the model's maximum context length of 4096 tokens.",
    'the prompt is longer than the context length currently available to the model',
    'the request exceeds the available context size',
    'litellm.ContextWindowExceededError: ...',
    'prompt is too long: 210000 tokens > 200000 maximum',
  ])('400 with %j is a context error', async (message) => {
    const { error } = await failureOf((exchange) => exchange.reply(400, { error: { message } }))
    expect(error).toMatchObject({ code: 'ORLA_CONTEXT_LENGTH', retryable: false, details: { status: 400 } })
  })

  test.each(['exceed_context_size_error', 'context_length_exceeded'])('type %s is a context error', async (type) => {
    const { error } = await failureOf((exchange) => exchange.reply(400, { error: { message: 'no', type } }))
    expect(error.code).toBe('ORLA_CONTEXT_LENGTH')
  })

  test.each<[string, Record<string, string>, number | undefined]>([
    ['seconds', { 'retry-after': '7' }, 7_000],
    ['milliseconds', { 'retry-after-ms': '1500', 'retry-after': '9' }, 1_500],
    ['a negative number', { 'retry-after': '-5' }, 0],
    ['a year', { 'retry-after': '31536000' }, limits.retryBackoffMsMax],
    ['more than a timer holds', { 'retry-after-ms': '99999999999999' }, limits.retryBackoffMsMax],
    ['a date gone by', { 'retry-after': 'Wed, 21 Oct 2015 07:28:00 GMT' }, 0],
    ['a date far away', { 'retry-after': 'Wed, 21 Oct 2099 07:28:00 GMT' }, limits.retryBackoffMsMax],
    ['NaN', { 'retry-after': 'NaN' }, undefined],
    ['nothing', {}, undefined],
  ])('with Retry-After %s says how long to wait', async (_form, headers, waitMs) => {
    const { error } = await failureOf((exchange) => exchange.reply(429, 'slow down', headers))
    expect(error.details?.['retryAfterMs']).toBe(waitMs)
  })

  test.each([301, 302, 307, 308])('%i is refused, not followed', async (status) => {
    const { error } = await failureOf(
      (exchange) => exchange.reply(status, '', { location: 'http://169.254.169.254/latest' }),
      true,
    )
    expect(error).toMatchObject({ code: 'ORLA_BACKEND_HTTP', retryable: false, details: { status } })
    expect(error.message).toContain('redirect refused to http://169.254.169.254/latest')
  })

  test('with a body without end is read up to a bound', async () => {
    const { error } = await failureOf(async (exchange) => {
      await exchange.head(500, { 'transfer-encoding': 'chunked' })
      for (let sent = 0; sent <= limits.errorBodyBytesMax; sent += 8192) await exchange.send('y'.repeat(8192))
    }, true)
    expect(error.details).toMatchObject({ status: 500 })
    expect(error.message.length).toBeLessThan(2_200)
  })

  test('is known by its status although its body is cut', async () => {
    const { error } = await failureOf(async (exchange) => {
      await exchange.head(503, { 'content-length': '1000' })
      await exchange.write('the queue is full')
      exchange.hangUp()
    })
    expect(error).toMatchObject({ code: 'ORLA_BACKEND_HTTP', retryable: true, details: { status: 503 } })
    expect(error.message).toContain('the queue is full')
  })

  test('204 is no answer', async () => {
    const { error } = await failureOf((exchange) => exchange.head(204))
    expect(error).toMatchObject({ code: 'ORLA_BACKEND_TRUNCATED', retryable: true })
  })
})
