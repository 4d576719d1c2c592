import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { OptionsError } from '../../src/errors.ts'
import { commonPrefix } from '../../src/prompts/chain.ts'
import { createPromptMeter, frameTokens, messageChars } from '../../src/prompts/conversation.ts'
import { utf8BytesEstimator } from '../../src/prompts/estimator.ts'
import { createTextMemo } from '../../src/prompts/text-memo.ts'
import type { ToolSpec } from '../../src/schema/chat.ts'
import { assistant, system, user, type Message } from '../../src/schema/message.ts'
import { anyMessages, countingEstimator } from './support.ts'

const tool = (name: string): ToolSpec => ({ name, description: 'reads', parameters: { type: 'object' } })

describe('prompt meter', () => {
  test('M1: a growing conversation counts each message once', () => {
    const estimator = countingEstimator()
    const meter = createPromptMeter(estimator)
    const conversation: Message[] = []
    for (let i = 0; i < 50; i++) {
      conversation.push(user(`message number ${i}`))
      meter.measure(conversation)
    }
    expect(estimator.calls).toBe(50)
    meter.measure(conversation.toReversed())
    expect(estimator.calls).toBe(50)
  })

  test('counts a text that every run repeats once', () => {
    const estimator = countingEstimator()
    const meter = createPromptMeter(estimator)
    for (let run = 0; run < 20; run++) meter.measure([system('the same instruction for everyone'), user(`run ${run}`)])
    expect(estimator.calls).toBe(21)
  })

  test('counts tools once and makes them the root of the chain', () => {
    const estimator = countingEstimator()
    const meter = createPromptMeter(estimator)
    const [read, write] = [tool('read'), tool('write')]
    const messages = [user('hello')]
    const plain = meter.measure(messages)
    const both = meter.measure(messages, [read, write])
    const callsAfter = estimator.calls
    const swapped = meter.measure(messages, [write, read])
    expect(estimator.calls).toBe(callsAfter)
    expect(both.tokens).toBe(swapped.tokens)
    expect(both.tokens).toBeGreaterThan(plain.tokens)
    expect(both.chain.tokens[0]).toBe(both.tokens - plain.tokens)
    expect(commonPrefix(both.chain, swapped.chain)).toEqual({ messages: 0, tokens: 0 })
    expect(commonPrefix(both.chain, plain.chain)).toEqual({ messages: 0, tokens: 0 })
    expect(meter.measure(messages, []).chain).toEqual(plain.chain)
    expect(meter.measure(messages, [tool('read'), tool('write')])).toEqual(both)
  })

  test('M2: the measure of a concatenation is the sum', () => {
    fc.assert(
      fc.property(anyMessages, anyMessages, (a, b) => {
        const meter = createPromptMeter(utf8BytesEstimator)
        expect(meter.measure([...a, ...b]).tokens).toBe(meter.measure(a).tokens + meter.measure(b).tokens)
      }),
    )
  })

  test('M3: the chain of a prefix is a prefix, and memory does not change a chain', () => {
    fc.assert(
      fc.property(anyMessages, fc.nat(8), (messages, cut) => {
        const meter = createPromptMeter(utf8BytesEstimator)
        const whole = meter.measure(messages)
        const prefix = meter.measure(messages.slice(0, cut))
        expect(prefix.chain.hashes).toEqual(whole.chain.hashes.slice(0, prefix.chain.hashes.length))
        expect(prefix.chain.tokens).toEqual(whole.chain.tokens.slice(0, prefix.chain.tokens.length))
        expect(whole.chain.tokens.at(-1)).toBe(whole.tokens)
        expect(createPromptMeter(utf8BytesEstimator).measure(structuredClone(messages))).toEqual(whole)
      }),
    )
  })

  test('M3: a message behind another prefix gets another chain, also when it was chained before', () => {
    fc.assert(
      fc.property(anyMessages, anyMessages, (a, b) => {
        const meter = createPromptMeter(utf8BytesEstimator)
        meter.measure([...a, ...b])
        expect(meter.measure([...b, ...a])).toEqual(createPromptMeter(utf8BytesEstimator).measure([...b, ...a]))
      }),
    )
  })

  test('a chain depends on role, content, tool calls and tool ids', () => {
    const call = { id: 'call_1', name: 'read', arguments: '{}' }
    const variants: Message[] = [
      user('x'),
      system('x'),
      assistant('x'),
      user('y'),
      { role: 'tool', content: 'x', toolCallId: 'call_1' },
      { role: 'tool', content: 'x', toolCallId: 'call_2' },
      { role: 'assistant', content: 'x', toolCalls: [call] },
      { role: 'assistant', content: 'x', toolCalls: [{ ...call, arguments: '{"a":1}' }] },
      { role: 'assistant', content: 'x', toolCalls: [{ ...call, id: 'call_2' }] },
      { role: 'assistant', content: 'x', toolCalls: [call, call] },
    ]
    const meter = createPromptMeter(utf8BytesEstimator)
    const hashes = variants.map((message) => meter.measure([message]).chain.hashes[1])
    expect(new Set(hashes).size).toBe(variants.length)
  })

  test('counts a span by its length and identifies it by stream and positions', () => {
    const estimator = countingEstimator()
    const meter = createPromptMeter(estimator)
    const at = (stream: string, from: number, to: number): Message => ({
      role: 'user',
      content: '',
      span: { stream, from, to },
    })
    const first = meter.measure([at('s', 100, 350)])
    expect(first.tokens).toBe(250)
    expect(estimator.calls).toBe(0)
    expect(meter.measure([{ role: 'assistant', content: '', span: { stream: 's', from: 100, to: 350 } }])).toEqual(
      first,
    )
    for (const other of [at('t', 100, 350), at('s', 101, 350), at('s', 100, 351)]) {
      expect(meter.measure([other]).chain.hashes[1]).not.toBe(first.chain.hashes[1])
    }
  })

  test('counts names and arguments of tool calls, and a frame for each', () => {
    const meter = createPromptMeter(countingEstimator())
    const toolCalls = [{ id: 'call_1', name: 'read', arguments: 'two words' }]
    expect(meter.measure([{ role: 'assistant', content: 'three words here', toolCalls }]).tokens).toBe(
      6 + 2 * frameTokens,
    )
    expect(messageChars({ role: 'assistant', content: 'abc', toolCalls })).toBe(3 + 4 + 9)
  })

  test('names the messages it would have to count', () => {
    const meter = createPromptMeter(utf8BytesEstimator)
    const [known, fresh, again] = [system('known'), user('fresh'), user('known')]
    const span: Message = { role: 'user', content: '', span: { stream: 's', from: 0, to: 9 } }
    meter.measure([known])
    expect(meter.unseen([known, fresh, fresh, again, span])).toEqual([fresh])
    expect(meter.knows('known')).toBe(true)
    expect(meter.knows('fresh')).toBe(false)
  })

  test('takes over what was measured elsewhere', () => {
    const estimator = countingEstimator()
    const meter = createPromptMeter(estimator)
    const elsewhere = createPromptMeter(countingEstimator())
    const message = user('measured on another thread')
    const { chain, tokens } = elsewhere.measure([message])
    meter.adopt(message, { tokens, hash: '0123456789abcdef' })
    meter.adopt(message, { tokens: 999, hash: 'ffffffffffffffff' })
    meter.adoptText('a text of its own', 7)
    expect(meter.measure([message]).tokens).toBe(tokens)
    expect(meter.measure([message]).chain.hashes[0]).toBe(chain.hashes[0])
    expect(meter.measure([user('measured on another thread')]).tokens).toBe(tokens)
    expect(meter.count('a text of its own')).toBe(7)
    expect(estimator.calls).toBe(0)
  })

  test('refuses an estimator that returns something else than a count', () => {
    for (const bad of [Number.NaN, -1, Infinity]) {
      const meter = createPromptMeter({ name: 'bad', count: () => bad })
      expect(() => meter.measure([user('x')])).toThrow(OptionsError)
    }
    expect(createPromptMeter({ name: 'fraction', count: () => 1.2 }).count('x')).toBe(2)
  })
})

describe('text memo', () => {
  test('T1: never holds more than two generations, nor a text longer than one', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ maxLength: 400 }), { maxLength: 60 }), (texts) => {
        const memo = createTextMemo(300)
        for (const text of texts) {
          memo.set(text, text.length)
          expect(memo.chars).toBeLessThanOrEqual(600)
          expect([undefined, text.length]).toContain(memo.get(text))
        }
        memo.set('x'.repeat(301), 1)
        expect(memo.get('x'.repeat(301))).toBeUndefined()
      }),
    )
  })

  test('T2: keeps a text that is used, and forgets one that is not', () => {
    const memo = createTextMemo(1_000)
    memo.set('used', 1)
    memo.set('unused', 2)
    for (let i = 0; i < 200; i++) {
      memo.set(`other ${i}`, i)
      expect(memo.get('used')).toBe(1)
    }
    expect(memo.get('unused')).toBeUndefined()
  })
})
