import { createServer } from 'node:net'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { realClock, virtualClock } from '../../src/clock.ts'
import { CancelledError } from '../../src/errors.ts'
import { openAi } from '../../src/engines/openai.ts'
import { silentLogger } from '../../src/log.ts'
import { delta, fakeEngine, finish, sse, usage } from '../support/fake-engine.ts'
import { ask, connect, recordingSink, rejection } from './driver-kit.ts'

afterEach(() => vi.unstubAllEnvs())

describe('an answer', () => {
  test('streams deltas and resolves with content, finish reason, usage, model and id', async () => {
    await using engine = await fakeEngine((exchange) =>
      exchange.answer(
        delta({ role: 'assistant', content: '' }),
        delta({ content: 'Hel' }),
        delta({ content: 'lo' }),
        finish('stop'),
        usage({ prompt_tokens: 9, completion_tokens: 2, prompt_tokens_details: { cached_tokens: 4 } }),
        '[DONE]',
      ),
    )
    await using driver = await connect(engine.url)
    const sink = recordingSink()
    expect(await ask(driver, sink).result).toEqual({
      content: 'Hello',
      reasoning: '',
      toolCalls: [],
      finishReason: 'stop',
      usage: { promptTokens: 9, completionTokens: 2, cachedTokens: 4 },
      model: 'm',
      responseId: 'chatcmpl-1',
    })
    expect(sink.deltas).toEqual([
      ['content', 'Hel'],
      ['content', 'lo'],
    ])
    const { request } = engine.exchanges[0]!
    expect(request).toMatchObject({
      method: 'POST',
      path: '/v1/chat/completions',
      headers: { 'content-type': 'application/json', 'accept-encoding': 'identity', accept: 'text/event-stream' },
      body: { model: 'm', stream: true, stream_options: { include_usage: true } },
    })
    expect(request.headers).not.toHaveProperty('authorization')
  })

  test('arrives the same in chunks of one byte', async () => {
    const bytes = Buffer.from(
      `: ping\r\n\r\n${sse(delta({ content: 'grün 😀' }))}${sse(finish('stop'))}${sse('[DONE]')}`,
    )
    await using engine = await fakeEngine(async (exchange) => {
      await exchange.stream()
      for (const byte of bytes) await exchange.send(Uint8Array.of(byte))
      await exchange.finish()
    })
    await using driver = await connect(engine.url)
    expect(await ask(driver).result).toMatchObject({ content: 'grün 😀', finishReason: 'stop' })
  })

  test('is complete with a finish reason, a clean end and no [DONE]', async () => {
    await using engine = await fakeEngine((exchange) => exchange.answer(delta({ content: 'x' }), finish('length')))
    await using driver = await connect(engine.url)
    expect(await ask(driver).result).toMatchObject({ content: 'x', finishReason: 'length' })
  })

  test('resolves at [DONE] while the engine holds the socket open, and drops the connection', async () => {
    await using engine = await fakeEngine(async (exchange) => {
      await exchange.stream()
      await exchange.events(delta({ content: 'x' }), finish('stop'), '[DONE]', delta({ content: 'late' }), '[DONE]')
    })
    const clock = virtualClock()
    await using driver = await connect(engine.url, {}, clock)
    const sink = recordingSink()
    expect((await ask(driver, sink).result).content).toBe('x')
    expect(engine.open).toBe(1)
    await clock.runAll()
    await engine.exchanges[0]!.closed
    expect(clock.pendingTimers).toBe(0)
    expect(sink.deltas).toEqual([['content', 'x']])
  })

  test('resolves after a moment where a finish reason came, no [DONE], and the socket is held open', async () => {
    await using engine = await fakeEngine(async (exchange) => {
      await exchange.stream()
      await exchange.send(sse(delta({ content: 'x' })) + sse(finish('stop')))
    })
    const clock = virtualClock()
    await using driver = await connect(engine.url, {}, clock)
    const sink = recordingSink()
    const call = ask(driver, sink)
    await sink.first
    await clock.runAll()
    expect((await call.result).content).toBe('x')
    await engine.exchanges[0]!.closed
  })

  test('is kept when the connection breaks after the finish reason', async () => {
    await using engine = await fakeEngine(async (exchange) => {
      await exchange.stream()
      await exchange.events(delta({ content: 'x' }), finish('stop'))
      exchange.reset()
    })
    await using driver = await connect(engine.url)
    expect((await ask(driver).result).finishReason).toBe('stop')
  })

  test('as one JSON object is accepted when it is complete', async () => {
    await using engine = await fakeEngine((exchange) =>
      exchange.reply(200, {
        model: 'm',
        choices: [{ message: { role: 'assistant', content: 'whole' }, finish_reason: 'stop' }],
        usage: { prompt_tokens: 3, completion_tokens: 1 },
      }),
    )
    await using driver = await connect(engine.url)
    const sink = recordingSink()
    expect(await ask(driver, sink).result).toMatchObject({ content: 'whole', usage: { promptTokens: 3 } })
    expect(sink.deltas).toEqual([['content', 'whole']])
  })
})

describe('connections', () => {
  test('one socket serves sequential calls', async () => {
    await using engine = await fakeEngine((exchange) => exchange.reply(200, sse(finish('stop')) + sse('[DONE]')))
    const clock = virtualClock()
    await using driver = await connect(engine.url, {}, clock)
    for (let i = 0; i < 5; i++) {
      await ask(driver).result
      // undici hands a socket back one turn of the loop after the body has ended.
      await new Promise((resolve) => void setImmediate(() => setImmediate(resolve)))
    }
    expect(engine.exchanges).toHaveLength(5)
    expect(engine.connections).toBe(1)
    expect(clock.pendingTimers).toBe(0)
  })

  test('200 concurrent calls over 32 sockets all finish with their own answers', async () => {
    await using engine = await fakeEngine(async (exchange) => {
      const { messages } = exchange.request.body as { messages: [{ content: string }] }
      await exchange.answer(delta({ content: messages[0].content }), finish('stop'), '[DONE]')
    })
    await using driver = await connect(engine.url, { connections: 32 })
    const results = await Promise.all(
      Array.from({ length: 200 }, async (_, i) => {
        const request = { model: 'm', messages: [{ role: 'user', content: `n${i}` } as const], params: {} }
        return await ask(driver, recordingSink(), request).result
      }),
    )
    expect(results.map((result) => result.content)).toEqual(Array.from({ length: 200 }, (_, i) => `n${i}`))
    expect(engine.connections).toBeLessThanOrEqual(32)
  })

  test('a probe gets through while streams fill every socket', async () => {
    await using engine = await fakeEngine(async (exchange) => {
      if (exchange.request.method === 'GET') await exchange.reply(200, { data: [{ id: 'm' }] })
      else {
        await exchange.stream()
        await exchange.events(delta({ content: 'x' }))
      }
    })
    await using driver = await connect(engine.url, { connections: 1 })
    const sink = recordingSink()
    const call = ask(driver, sink)
    call.result.catch(() => {})
    await sink.first
    expect(await driver.probe(5_000)).toMatchObject({ state: 'ready' })
  })
})

describe('cancel', () => {
  test('within a stream closes the socket, rejects with the reason and delivers nothing more', async () => {
    await using engine = await fakeEngine(async (exchange) => {
      await exchange.stream()
      await exchange.events(delta({ content: 'x' }))
    })
    await using driver = await connect(engine.url)
    const sink = recordingSink()
    const call = ask(driver, sink)
    await sink.first
    const reason = new CancelledError('caller', 'enough')
    call.cancel(reason)
    expect(await rejection(call.result)).toBe(reason)
    await engine.exchanges[0]!.closed
    expect(sink.deltas).toHaveLength(1)
  })

  test('before the response closes the socket', async () => {
    const received = Promise.withResolvers<void>()
    await using engine = await fakeEngine(() => received.resolve())
    await using driver = await connect(engine.url)
    const call = ask(driver)
    await received.promise
    call.cancel(new CancelledError('caller', 'enough'))
    expect((await rejection(call.result)).code).toBe('ORLA_CANCELLED')
    await engine.exchanges[0]!.closed
  })

  test('of a request that waits for a socket takes it back unsent', async () => {
    const release = Promise.withResolvers<void>()
    await using engine = await fakeEngine(async (exchange) => {
      await exchange.stream()
      await exchange.events(delta({ content: 'x' }))
      await release.promise
      await exchange.events(finish('stop'), '[DONE]')
      await exchange.finish()
    })
    await using driver = await connect(engine.url, { connections: 1 })
    const sink = recordingSink()
    const running = ask(driver, sink)
    await sink.first
    const waiting = ask(driver)
    waiting.cancel(new CancelledError('caller', 'enough'))
    expect((await rejection(waiting.result)).code).toBe('ORLA_CANCELLED')
    release.resolve()
    await running.result
    await ask(driver).result
    expect(engine.exchanges).toHaveLength(2)
  })

  test('from within a delta stops the rest of the same packet', async () => {
    await using engine = await fakeEngine(async (exchange) => {
      await exchange.stream()
      await exchange.send(sse(delta({ content: 'a' })) + sse(delta({ content: 'b' })) + sse(finish('stop')))
    })
    await using driver = await connect(engine.url)
    const texts: string[] = []
    const call = ask(driver, {
      delta(_channel, text) {
        texts.push(text)
        call.cancel(new CancelledError('caller', 'enough'))
      },
    })
    expect((await rejection(call.result)).code).toBe('ORLA_CANCELLED')
    expect(texts).toEqual(['a'])
  })

  test('after the result does nothing', async () => {
    await using engine = await fakeEngine((exchange) => exchange.answer(finish('stop'), '[DONE]'))
    await using driver = await connect(engine.url)
    const call = ask(driver)
    await call.result
    call.cancel(new CancelledError('caller', 'late'))
    expect((await call.result).finishReason).toBe('stop')
  })
})

describe('close', () => {
  test('cancels what runs and refuses what comes', async () => {
    await using engine = await fakeEngine(async (exchange) => {
      await exchange.stream()
      await exchange.events(delta({ content: 'x' }))
    })
    const driver = await connect(engine.url)
    const sink = recordingSink()
    const call = ask(driver, sink)
    const failed = rejection(call.result)
    await sink.first
    await driver.close()
    await driver.close()
    expect(await failed).toMatchObject({ code: 'ORLA_CANCELLED', details: { by: 'shutdown' } })
    expect((await rejection(ask(driver).result)).code).toBe('ORLA_CLOSED')
    expect(await driver.probe(100)).toMatchObject({ state: 'unreachable', error: { code: 'ORLA_CLOSED' } })
    await engine.exchanges[0]!.closed
  })
})

test('close lets go of a connection that is held open after its answer', async () => {
  await using engine = await fakeEngine(async (exchange) => {
    await exchange.stream()
    await exchange.events(finish('stop'), '[DONE]')
  })
  const clock = virtualClock()
  const driver = await connect(engine.url, {}, clock)
  await ask(driver).result
  expect(clock.pendingTimers).toBe(1)
  await driver.close()
  await engine.exchanges[0]!.closed
  expect(clock.pendingTimers).toBe(0)
})

describe('a request that cannot be written', () => {
  test('rejects instead of throwing', async () => {
    await using driver = await connect('http://127.0.0.1:9')
    const tools = [{ name: 't', description: '', parameters: { type: 1n } }]
    const error = await rejection(ask(driver, recordingSink(), { model: 'm', messages: [], tools, params: {} }).result)
    expect(error).toMatchObject({ code: 'ORLA_BACKEND_PROTOCOL', retryable: false })
  })
})

describe('the API key', () => {
  test('goes into the request and nowhere else', async () => {
    vi.stubEnv('ORLA_TEST_KEY', 'canary-0123456789')
    await using engine = await fakeEngine((exchange) =>
      exchange.reply(401, { error: { message: `Incorrect API key: ${exchange.request.headers['authorization']}` } }),
    )
    const definition = openAi({
      url: engine.url,
      model: 'm',
      apiKeyEnv: 'ORLA_TEST_KEY',
      headers: { 'x-key': 'Token abcdef-secret' },
    })
    expect(JSON.stringify(definition)).not.toMatch(/canary|abcdef-secret/)
    await using driver = await connect(engine.url, {
      apiKeyEnv: 'ORLA_TEST_KEY',
      headers: { 'x-key': 'Token abcdef-secret' },
    })
    const error = await rejection(ask(driver).result)
    expect(engine.exchanges[0]!.request.headers).toMatchObject({
      authorization: 'Bearer canary-0123456789',
      'x-key': 'Token abcdef-secret',
    })
    expect(error.message).toContain('apiKeyEnv')
    expect(JSON.stringify(error)).toContain('[redacted]')
    expect(JSON.stringify(error)).not.toContain('canary')
  })

  test.each(['', 'with space', 'line\nbreak'])('that is unusable (%j) fails the connect', async (key) => {
    vi.stubEnv('ORLA_TEST_KEY', key)
    const definition = openAi({ url: 'http://127.0.0.1:9', model: 'm', apiKeyEnv: 'ORLA_TEST_KEY' })
    const environment = { backend: 'light', clock: realClock(), log: silentLogger }
    const error = await rejection(definition.connect(environment))
    expect(error).toMatchObject({ code: 'ORLA_OPTIONS' })
    expect(error.message).toContain('ORLA_TEST_KEY')
    if (key !== '') expect(error.message).not.toContain(key)
  })
})

describe('probe', () => {
  test('finds models and the context length of the configured one', async () => {
    await using engine = await fakeEngine((exchange) =>
      exchange.reply(200, { data: [{ id: 'other', max_model_len: 1 }, { id: 'm', max_model_len: 8192 }, {}, null] }),
    )
    await using driver = await connect(`${engine.url}/gateway/v1/`)
    expect(await driver.probe(5_000)).toEqual({
      state: 'ready',
      capabilities: { ...driver.capabilities, models: ['other', 'm'], contextLength: 8192 },
    })
    expect(engine.exchanges[0]!.request.path).toBe('/gateway/v1/models')
  })

  test('keeps a context length that was configured', async () => {
    await using engine = await fakeEngine((exchange) =>
      exchange.reply(200, { data: [{ id: 'm', max_model_len: 8192 }] }),
    )
    await using driver = await connect(engine.url, { contextLength: 4096, tools: false, jsonSchema: false })
    expect(await driver.probe(5_000)).toMatchObject({
      state: 'ready',
      capabilities: { contextLength: 4096, tools: false, jsonSchema: false },
    })
  })

  test.each([404, 405, 501])('answers ready without models where the engine has no list (%i)', async (status) => {
    await using engine = await fakeEngine((exchange) => exchange.reply(status, 'no such thing'))
    await using driver = await connect(engine.url)
    const probed = await driver.probe(5_000)
    expect(probed).toEqual({ state: 'ready', capabilities: driver.capabilities })
  })

  test('says what to check where the key is refused', async () => {
    await using engine = await fakeEngine((exchange) => exchange.reply(401, { error: 'Unauthorized' }))
    await using driver = await connect(engine.url)
    const probed = await driver.probe(5_000)
    expect(probed).toMatchObject({
      state: 'unreachable',
      error: { code: 'ORLA_BACKEND_HTTP', retryable: false, details: { status: 401 } },
    })
    expect(probed.state === 'unreachable' && probed.error.message).toMatch(/Unauthorized.*apiKeyEnv/)
  })

  test('does not follow a redirect', async () => {
    await using engine = await fakeEngine((exchange) => exchange.reply(307, '', { location: 'http://elsewhere/' }))
    await using driver = await connect(engine.url)
    expect(await driver.probe(5_000)).toMatchObject({ state: 'unreachable', error: { details: { status: 307 } } })
    expect(engine.exchanges).toHaveLength(1)
  })

  test('says what to start where nothing listens', async () => {
    const engine = await fakeEngine(() => {})
    await engine.close()
    await using driver = await connect(engine.url)
    const probed = await driver.probe(5_000)
    expect(probed).toMatchObject({ state: 'unreachable', error: { code: 'ORLA_BACKEND_UNREACHABLE', retryable: true } })
    expect(probed.state === 'unreachable' && probed.error.message).toContain(`nothing listens at ${engine.url}`)
  })

  test.each([
    ['a web page', '<html>', 'ORLA_BACKEND_PROTOCOL'],
    ['JSON without a list', { ok: true }, 'ORLA_BACKEND_PROTOCOL'],
  ])('does not take %s for a list of models', async (_what, body, code) => {
    await using engine = await fakeEngine((exchange) => exchange.reply(200, body))
    await using driver = await connect(engine.url)
    expect(await driver.probe(5_000)).toMatchObject({ state: 'unreachable', error: { code } })
  })

  test('ends at its deadline and closes the socket', async () => {
    await using engine = await fakeEngine(() => {})
    await using driver = await connect(engine.url)
    expect(await driver.probe(50)).toMatchObject({ state: 'unreachable', error: { code: 'ORLA_BACKEND_TIMEOUT' } })
    await engine.exchanges[0]!.closed
  })

  test('refuses a list that never ends', async () => {
    await using engine = await fakeEngine(async (exchange) => {
      await exchange.stream()
      const chunk = ' '.repeat(1024 * 1024)
      for (let i = 0; i < 9; i++) await exchange.send(chunk)
    })
    await using driver = await connect(engine.url)
    expect(await driver.probe(10_000)).toMatchObject({ state: 'unreachable', error: { code: 'ORLA_BACKEND_PROTOCOL' } })
  })

  test('reports an answer that is cut', async () => {
    await using engine = await fakeEngine(async (exchange) => {
      await exchange.head(200, { 'content-length': '100' })
      await exchange.write('{"data"')
      exchange.hangUp()
    })
    await using driver = await connect(engine.url)
    expect(await driver.probe(5_000)).toMatchObject({ state: 'unreachable', error: { code: 'ORLA_BACKEND_TRUNCATED' } })
  })
})

test('a server that accepts connections only to break them is unreachable', async () => {
  const server = createServer((socket) => socket.destroy())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await using driver = await connect(`http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`)
  expect(await rejection(ask(driver).result)).toMatchObject({ code: 'ORLA_BACKEND_UNREACHABLE', retryable: true })
  await new Promise((resolve) => server.close(resolve))
})
