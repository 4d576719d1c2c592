import { describe, expect, test } from 'vitest'
import { virtualClock, type Clock } from '../../src/clock.ts'
import { BackendError, CancelledError, type OrlaError } from '../../src/errors.ts'
import type { ChatCall, ChatSink, Driver } from '../../src/engines/driver.ts'
import { guardedChat, type GuardOptions } from '../../src/engines/guard.ts'
import type { ChatResult } from '../../src/schema/chat.ts'
import { hello, recordingSink, rejection } from './driver-kit.ts'

const answer: ChatResult = { content: 'x', reasoning: '', toolCalls: [], finishReason: 'stop', usage: {} }

/** A driver whose one call the test plays by hand. */
function puppet() {
  const { promise, resolve, reject } = Promise.withResolvers<ChatResult>()
  promise.catch(() => {})
  const cancelled: OrlaError[] = []
  let sink: ChatSink | undefined
  const driver: Driver = {
    capabilities: {
      engine: 'puppet',
      tools: true,
      jsonSchema: true,
      cachedTokens: 'never',
      sharedPrefix: false,
      kv: { flushAll: 'none', releaseSession: 'none', isolate: 'none', retain: 'none' },
    },
    probe: async () => ({ state: 'ready', capabilities: driver.capabilities }),
    chat(_request, _context, given): ChatCall {
      sink = given
      return { result: promise, cancel: (reason) => void cancelled.push(reason) }
    },
    close: async () => {},
  }
  return { driver, resolve, reject, cancelled, say: (text: string) => sink!.delta('content', text) }
}

function guard(
  driver: Driver,
  clock: Clock,
  sink: ChatSink = recordingSink(),
  more: Partial<GuardOptions> = {},
): ChatCall {
  const timeouts = { firstTokenMs: 1_000, idleMs: 100, totalMs: 5_000 }
  return guardedChat(driver, hello, { requestId: 'r', runId: 'run' }, sink, {
    clock,
    timeouts,
    backend: 'light',
    ...more,
  })
}

describe('deadlines', () => {
  test('the first token must come in time', async () => {
    const clock = virtualClock()
    const { driver, cancelled } = puppet()
    const failed = rejection(guard(driver, clock).result)
    await clock.advance(999)
    expect(cancelled).toEqual([])
    await clock.advance(1)
    const error = await failed
    expect(error).toMatchObject({
      code: 'ORLA_BACKEND_TIMEOUT',
      retryable: true,
      details: { timeout: 'firstToken', limitMs: 1_000, backend: 'light' },
    })
    expect(cancelled).toEqual([error])
    expect(clock.pendingTimers).toBe(0)
  })

  test('each further token must follow in time, and every token gives new time', async () => {
    const clock = virtualClock()
    const { driver, say } = puppet()
    const failed = rejection(guard(driver, clock).result)
    for (let i = 0; i < 20; i++) {
      await clock.advance(90)
      say('x')
    }
    await clock.advance(99)
    expect(clock.pendingTimers).toBe(1)
    await clock.advance(1)
    expect((await failed).details).toMatchObject({ timeout: 'idle', limitMs: 100 })
    expect(clock.nowMs()).toBe(20 * 90 + 100)
  })

  test('silence after an early first token is noticed before the first-token deadline', async () => {
    const clock = virtualClock()
    const { driver, say } = puppet()
    const failed = rejection(guard(driver, clock).result)
    await clock.advance(10)
    say('x')
    await clock.advance(100)
    expect(clock.pendingTimers).toBe(0)
    expect((await failed).details).toMatchObject({ timeout: 'idle' })
  })

  test('the whole must end in time although tokens keep coming', async () => {
    const clock = virtualClock()
    const { driver, say } = puppet()
    const failed = rejection(guard(driver, clock).result)
    for (let i = 0; i < 99; i++) {
      await clock.advance(50)
      say('x')
    }
    await clock.advance(50)
    expect((await failed).details).toMatchObject({ timeout: 'total', limitMs: 5_000 })
    expect(clock.pendingTimers).toBe(0)
  })

  test('the total deadline wins where it is the shortest', async () => {
    const clock = virtualClock()
    const { driver } = puppet()
    const timeouts = { firstTokenMs: 1_000, idleMs: 100, totalMs: 10 }
    const failed = rejection(guard(driver, clock, recordingSink(), { timeouts }).result)
    await clock.advance(10)
    expect((await failed).details).toMatchObject({ timeout: 'total' })
  })

  test('thousands of tokens arm the timer a few times, never two at once', async () => {
    const clock = virtualClock()
    let armed = 0
    const counting: Clock = {
      ...clock,
      setTimer: (ms, callback) => (armed++, clock.setTimer(ms, callback)),
    }
    const { driver, say, resolve } = puppet()
    const call = guard(driver, counting)
    for (let i = 0; i < 4_000; i++) {
      await clock.advance(1)
      say('x')
      expect(clock.pendingTimers).toBeLessThanOrEqual(1)
    }
    resolve(answer)
    expect(await call.result).toBe(answer)
    expect(clock.pendingTimers).toBe(0)
    // One for the first token, one for the first idle time, and one whenever an armed one fires too early.
    expect(armed).toBeLessThanOrEqual(2 + 4_000 / 99)
  })
})

describe('the outcome', () => {
  test('is the result of the driver, and its deltas pass through', async () => {
    const clock = virtualClock()
    const { driver, say, resolve } = puppet()
    const sink = recordingSink()
    const call = guard(driver, clock, sink)
    say('a')
    resolve(answer)
    expect(await call.result).toBe(answer)
    say('late')
    call.cancel(new CancelledError('caller', 'late'))
    expect(sink.deltas).toEqual([['content', 'a']])
  })

  test('is the error of the driver, unchanged', async () => {
    const { driver, reject } = puppet()
    const error = new BackendError('ORLA_BACKEND_TRUNCATED', 'cut', { retryable: true })
    const call = guard(driver, virtualClock())
    reject(error)
    expect(await rejection(call.result)).toBe(error)
  })

  test('is the reason of a cancel at once, although the driver never settles', async () => {
    const clock = virtualClock()
    const { driver, cancelled, say, resolve } = puppet()
    const sink = recordingSink()
    const call = guard(driver, clock, sink)
    const reason = new CancelledError('sibling', 'another stage failed')
    call.cancel(reason)
    call.cancel(new CancelledError('caller', 'again'))
    expect(await rejection(call.result)).toBe(reason)
    expect(cancelled).toEqual([reason])
    expect(clock.pendingTimers).toBe(0)
    say('late')
    resolve(answer)
    expect(sink.deltas).toEqual([])
  })

  test('of an answer beyond its length is a protocol error', async () => {
    const { driver, say, cancelled } = puppet()
    const sink = recordingSink()
    const call = guard(driver, virtualClock(), sink, { responseCharsMax: 5 })
    say('12345')
    say('6')
    expect(await rejection(call.result)).toMatchObject({ code: 'ORLA_BACKEND_PROTOCOL', retryable: false })
    expect(cancelled).toHaveLength(1)
    expect(sink.deltas).toHaveLength(1)
  })
})

describe('a driver or a receiver that breaks its contract', () => {
  const broken = (chat: Driver['chat']): Driver => ({ ...puppet().driver, chat })

  test.each<[string, Driver['chat']]>([
    [
      'throws',
      () => {
        throw new TypeError('oops')
      },
    ],
    ['rejects with another error', () => ({ result: Promise.reject(new TypeError('oops')), cancel() {} })],
    // oxlint-disable-next-line prefer-promise-reject-errors
    ['rejects with no error at all', () => ({ result: Promise.reject('oops'), cancel() {} })],
  ])('that %s is contained as a protocol error', async (_how, chat) => {
    const clock = virtualClock()
    const error = await rejection(guard(broken(chat), clock).result)
    expect(error.code).toBe('ORLA_BACKEND_PROTOCOL')
    expect(error.message).toContain('oops')
    expect(clock.pendingTimers).toBe(0)
  })

  test('that throws an OrlaError is taken at its word', async () => {
    const thrown = new CancelledError('shutdown', 'closed')
    const call = guard(
      broken(() => {
        throw thrown
      }),
      virtualClock(),
    )
    expect(await rejection(call.result)).toBe(thrown)
  })

  test.each([undefined, null, {}, 'done'])('that resolves with %j has no success', async (value) => {
    const call = guard(
      broken(() => ({ result: Promise.resolve<unknown>(value) as Promise<ChatResult>, cancel() {} })),
      virtualClock(),
    )
    expect((await rejection(call.result)).code).toBe('ORLA_BACKEND_PROTOCOL')
  })

  test.each<[string, object, RegExp]>([
    ['tool calls', { toolCalls: undefined }, /toolCalls: is no list/],
    ['a tool call', { toolCalls: [{ id: '1', name: 'n', arguments: {} }] }, /toolCalls\[0\]: id, name and arguments/],
    ['a usage', { usage: undefined }, /usage: is no object/],
    ['counts', { usage: { promptTokens: -1, completionTokens: NaN } }, /promptTokens[^]*completionTokens/],
    ['text', { content: null, reasoning: 1 }, /content: is no text; reasoning: is no text/],
    ['a known reason', { finishReason: 'toString' }, /finishReason: is none of stop/],
    [
      'fields that can be read',
      {
        get usage() {
          throw new Error('locked')
        },
      },
      /cannot be read: locked/,
    ],
  ])('that resolves without %s has no success', async (_what, fields, message) => {
    const value = Object.defineProperties({ ...answer }, Object.getOwnPropertyDescriptors(fields))
    const call = guard(
      broken(() => ({ result: Promise.resolve(value), cancel() {} })),
      virtualClock(),
    )
    expect(await rejection(call.result)).toMatchObject({
      code: 'ORLA_BACKEND_PROTOCOL',
      retryable: false,
      message: expect.stringMatching(message),
    })
  })

  test('that throws from cancel does not disturb the outcome', async () => {
    const call = guard(
      broken(() => ({
        result: new Promise(() => {}),
        cancel() {
          throw new TypeError('oops')
        },
      })),
      virtualClock(),
    )
    const reason = new CancelledError('caller', 'enough')
    call.cancel(reason)
    expect(await rejection(call.result)).toBe(reason)
  })

  test('that delivers too much before it returns is cancelled once it has', async () => {
    const cancelled: OrlaError[] = []
    const call = guard(
      broken((_request, _context, sink) => {
        sink.delta('content', 'too long')
        return { result: new Promise(() => {}), cancel: (reason) => void cancelled.push(reason) }
      }),
      virtualClock(),
      recordingSink(),
      { responseCharsMax: 3 },
    )
    expect(cancelled).toEqual([await rejection(call.result)])
  })

  test('a receiver that throws ends the call instead of the process', async () => {
    const { driver, say, cancelled } = puppet()
    const call = guard(driver, virtualClock(), {
      delta() {
        throw new TypeError('oops')
      },
    })
    say('x')
    expect(await rejection(call.result)).toMatchObject({ code: 'ORLA_INVARIANT' })
    expect(cancelled).toHaveLength(1)
  })
})
