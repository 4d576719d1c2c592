import { beforeAll, describe, expect, test } from 'vitest'
import { virtualClock, type Clock } from '../../src/clock.ts'
import { CancelledError } from '../../src/errors.ts'
import type { ChatContext } from '../../src/engines/driver.ts'
import { silentLogger } from '../../src/log.ts'
import type { ChatRequest } from '../../src/schema/chat.ts'
import { system, user, type Message } from '../../src/schema/message.ts'
import { loadTokenText } from '../../src/simulator/token-text.ts'
import { createSimulated } from '../../src/simulator/simulated.ts'
import type { SimulatedOptions } from '../../src/simulator/simulated-options.ts'

const simulated = createSimulated(() => {
  throw new Error('no HTTP here')
})
const context: ChatContext = { requestId: 'run-1/answer/1.1', runId: 'run-1' }

function connect(clock: Clock, options: Partial<SimulatedOptions> = {}) {
  return simulated({ model: 'm', ...options }).connect({ backend: 'light', clock, log: silentLogger })
}

function ask(messages: Message[], extra: Partial<ChatRequest> = {}): ChatRequest {
  return { model: 'm', messages, params: {}, ...extra }
}

function collector() {
  const texts = { content: '', reasoning: '', tool: '' }
  return {
    texts,
    delta(channel: 'content' | 'reasoning' | 'tool', text: string) {
      texts[channel] += text
    },
  }
}

beforeAll(() => loadTokenText())

describe('driver in process', () => {
  test('answers on the virtual clock, in the time its speed says', async () => {
    const clock = virtualClock()
    const engine = { overheadMs: 10, prefillMsPerToken: 1, decodeMsPerToken: 5 }
    const driver = await connect(clock, { engine, responder: () => ({ content: 'one two three four' }) })
    const sink = collector()
    const result = await clock.run(driver.chat(ask([user('hello')]), context, sink).result)
    expect(result.content).toBe('one two three four')
    expect(sink.texts.content).toBe(result.content)
    expect(result.finishReason).toBe('stop')
    expect(result.usage).toEqual({ promptTokens: 5, cachedTokens: 0, completionTokens: 4 })
    expect(clock.nowMs()).toBeCloseTo(10 + 5 * 1 + 3 * 5)
  })

  test('runs faster by its time factor', async () => {
    const clock = virtualClock()
    const driver = await connect(clock, {
      speed: 10,
      engine: { overheadMs: 100, prefillMsPerToken: 0, decodeMsPerToken: 0 },
    })
    await clock.run(driver.chat(ask([user('hello')]), context, collector()).result)
    expect(clock.nowMs()).toBeCloseTo(10)
  })

  test('finds the conversation so far in its cache, answer included', async () => {
    const clock = virtualClock()
    const driver = await connect(clock)
    const messages: Message[] = [system('You are terse.'), user('Where is my parcel, please?')]
    const first = await clock.run(driver.chat(ask(messages), context, collector()).result)
    messages.push({ role: 'assistant', content: first.content }, user('And the other one?'))
    const second = await clock.run(driver.chat(ask(messages), context, collector()).result)
    const { promptTokens, completionTokens } = first.usage
    expect(second.usage.cachedTokens).toBe(promptTokens! + completionTokens!)
    const again = await clock.run(driver.chat(ask(messages), context, collector()).result)
    expect(again.usage.cachedTokens).toBe(again.usage.promptTokens! - 1)
  })

  test('continues the stream of a span', async () => {
    const clock = virtualClock()
    const driver = await connect(clock)
    const params = { maxTokens: 50, ignoreEos: true }
    const turn = (to: number) => ask([{ role: 'user', content: '', span: { stream: 's', from: 0, to } }], { params })
    const first = await clock.run(driver.chat(turn(1_000), context, collector()).result)
    expect(first.usage).toEqual({ promptTokens: 1_000, cachedTokens: 0, completionTokens: 50 })
    const second = await clock.run(driver.chat(turn(1_200), context, collector()).result)
    expect(second.usage).toEqual({ promptTokens: 1_200, cachedTokens: 1_050, completionTokens: 50 })
  })

  test('cancels at once and delivers nothing more', async () => {
    const clock = virtualClock()
    const driver = await connect(clock)
    const sink = collector()
    const call = driver.chat(ask([user('hello')]), context, sink)
    const failed = expect(call.result).rejects.toMatchObject({ code: 'ORLA_CANCELLED' })
    await clock.advance(1)
    call.cancel(new CancelledError('caller', 'enough'))
    await failed
    await clock.runAll()
    expect(sink.texts.content).toBe('')
    expect(clock.nowMs()).toBe(1)
  })

  test('delivers no part after the sink cancelled in the middle of several', async () => {
    const clock = virtualClock()
    const responder = () => ({ reasoning: 'hm', content: 'yes' })
    const driver = await connect(clock, { engine: 'instant', responder })
    const heard: string[] = []
    const call = driver.chat(ask([user('hello')]), context, {
      delta(channel) {
        heard.push(channel)
        call.cancel(new CancelledError('caller', 'enough'))
      },
    })
    const failed = expect(call.result).rejects.toMatchObject({ code: 'ORLA_CANCELLED' })
    await clock.runAll()
    await failed
    expect(heard).toEqual(['reasoning'])
  })

  test('closing cancels what is under way and refuses what comes', async () => {
    const clock = virtualClock()
    const driver = await connect(clock)
    const call = driver.chat(ask([user('hello')]), context, collector())
    const failed = expect(call.result).rejects.toMatchObject({ code: 'ORLA_CANCELLED', details: { by: 'shutdown' } })
    await driver.close()
    await failed
    const late = driver.chat(ask([user('hello')]), context, collector())
    await expect(late.result).rejects.toMatchObject({ code: 'ORLA_CLOSED' })
  })

  test.each([
    [ask([user('word '.repeat(600))]), {}, { code: 'ORLA_CONTEXT_LENGTH', retryable: false }],
    [ask([user('hi')], { params: { maxTokens: 510 } }), {}, { code: 'ORLA_CONTEXT_LENGTH', retryable: false }],
    [ask([user('word '.repeat(300))]), { engine: { kvTokensMax: 100 } }, { code: 'ORLA_CONTEXT_LENGTH' }],
    [
      { ...ask([user('hi')]), model: 'other' },
      {},
      { code: 'ORLA_BACKEND_HTTP', retryable: false, details: { status: 404 } },
    ],
    [
      ask([user('hi')]),
      { responder: () => ({ error: { status: 503, message: 'overloaded' } }) },
      { code: 'ORLA_BACKEND_HTTP', retryable: true, details: { status: 503, type: 'ServiceUnavailableError' } },
    ],
    [
      ask([user('hi')]),
      {
        responder: () => {
          throw new Error('oops')
        },
      },
      { code: 'ORLA_BACKEND_HTTP', retryable: true, details: { status: 500 } },
    ],
  ])('fails as an engine does: case %#', async (request, options, error) => {
    const clock = virtualClock()
    const driver = await connect(clock, { contextLength: 512, ...options })
    const { result } = driver.chat(request, context, collector())
    await expect(result).rejects.toMatchObject(error)
  })

  test('separates the caches of different salts', async () => {
    const clock = virtualClock()
    const driver = await connect(clock)
    const request = ask([user('a longer question about many things')])
    const cached = async (salt: string) =>
      (await clock.run(driver.chat(request, { ...context, salt, priority: 1 }, collector()).result)).usage.cachedTokens
    expect(await cached('a')).toBe(0)
    expect(await cached('b')).toBe(0)
    expect(await cached('a')).toBeGreaterThan(0)
  })

  test('says what it can do', async () => {
    const driver = await connect(virtualClock(), { engine: { requestsMax: 7 } })
    const found = await driver.probe(1_000)
    expect(found).toMatchObject({
      state: 'ready',
      capabilities: { engine: 'simulated', models: ['m'], contextLength: 32_768, concurrencyMax: 7, tools: true },
    })
  })

  test('takes a module as engine', async () => {
    const module = new URL('./embedded-engine.ts', import.meta.url)
    const driver = await connect(virtualClock(), { engine: { module, options: { kvTokensMax: 9 } } })
    const { result } = driver.chat(ask([user('more words than nine tokens can hold')]), context, collector())
    await expect(result).rejects.toMatchObject({ code: 'ORLA_CONTEXT_LENGTH', message: /context length is 9 tokens/ })
  })

  test('takes a function as engine', async () => {
    const clock = virtualClock()
    const driver = await connect(clock, {
      engine: () => ({
        submit(_request, listener) {
          listener.started(0)
          listener.tokens(1)
          listener.finished({ outcome: 'completed' })
          return () => {}
        },
        flush: () => true,
        stats: () => {
          throw new Error('unused')
        },
      }),
      responder: () => ({}),
    })
    const result = await driver.chat(ask([user('hi')]), context, collector()).result
    expect(result).toMatchObject({ content: '', finishReason: 'stop', usage: { completionTokens: 1 } })
  })
})
