import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { commonPrefix, contextHash, linkHash } from '../../src/prompts/chain.ts'
import { createPromptMeter } from '../../src/prompts/conversation.ts'
import { Digest } from '../../src/prompts/digest.ts'
import { utf8BytesEstimator } from '../../src/prompts/estimator.ts'
import { system, user } from '../../src/schema/message.ts'
import { anyMessages, anyText } from './support.ts'

const chainOf = (messages: Parameters<ReturnType<typeof createPromptMeter>['measure']>[0]) =>
  createPromptMeter(utf8BytesEstimator).measure(messages).chain

describe('digest', () => {
  test('frames texts, so that moving a border changes it', () => {
    expect(new Digest().text('ab').text('c').hex()).not.toBe(new Digest().text('a').text('bc').hex())
    expect(new Digest().text('').hex()).not.toBe(new Digest().hex())
    expect(new Digest().text('a').hex()).not.toBe(new Digest().text('a\u0000').hex())
  })

  test('tells integers beyond 32 bits apart', () => {
    expect(new Digest().integer(1).hex()).not.toBe(new Digest().integer(1 + 2 ** 32).hex())
  })

  test('is 16 hexadecimal digits, equal for equal texts and different for different ones', () => {
    fc.assert(
      fc.property(anyText, anyText, (a, b) => {
        const [of, other] = [new Digest().text(a).hex(), new Digest().text(b).hex()]
        expect(of).toMatch(/^[0-9a-f]{16}$/)
        expect(of === other).toBe(a === b)
      }),
    )
  })

  test('has no collision among 200,000 similar texts, in neither half more than chance allows', () => {
    const whole = new Set<string>()
    const high = new Set<string>()
    const low = new Set<string>()
    const texts = 200_000
    for (let i = 0; i < texts; i++) {
      const hex = new Digest().text(`message ${i}`).hex()
      whole.add(hex)
      high.add(hex.slice(0, 8))
      low.add(hex.slice(8))
    }
    expect(whole.size).toBe(texts)
    // n^2 / 2^33 = 4.7 pairs are expected to collide in each 32-bit half.
    expect(texts - high.size).toBeLessThan(20)
    expect(texts - low.size).toBeLessThan(20)
  })
})

describe('context chain', () => {
  test('has the root before the messages, and the whole prompt last', () => {
    const chain = chainOf([system('be brief'), user('hello')])
    expect(chain.hashes).toHaveLength(3)
    expect(chain.tokens[0]).toBe(0)
    expect(contextHash(chain)).toBe(chain.hashes[2])
  })

  test('a link depends on what came before', () => {
    expect(linkHash('a', 'c')).not.toBe(linkHash('b', 'c'))
  })

  test('finds the common prefix that a comparison message by message finds, and is symmetric', () => {
    fc.assert(
      fc.property(anyMessages, anyMessages, anyMessages, (shared, restA, restB) => {
        const [a, b] = [chainOf([...shared, ...restA]), chainOf([...shared, ...restB])]
        let messages = 0
        const shorter = Math.min(a.hashes.length, b.hashes.length) - 1
        while (messages < shorter && a.hashes[messages + 1] === b.hashes[messages + 1]) messages++
        expect(messages).toBeGreaterThanOrEqual(shared.length)
        expect(commonPrefix(a, b)).toEqual({ messages, tokens: a.tokens[messages] })
        expect(commonPrefix(b, a)).toEqual(commonPrefix(a, b))
        expect(commonPrefix(a, a).messages).toBe(a.hashes.length - 1)
      }),
    )
  })

  test('survives structuredClone and JSON', () => {
    const chain = chainOf([system('be brief'), user('hello')])
    expect(structuredClone(chain)).toEqual(chain)
    expect(JSON.parse(JSON.stringify(chain))).toEqual(chain)
  })
})
