import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { loadEstimator, utf8BytesEstimator } from '../../src/prompts/estimator.ts'
import { anyText } from './support.ts'

const prose =
  'Customers whose invoice was paid twice receive the difference within five working days, unless the account has been closed. '
const code = 'for (let index = 0; index < items.length; index++) {\n  total += items[index].price * 1.19\n}\n'

describe('o200k_base', () => {
  test('counts what the published vocabulary counts', async () => {
    const o200k = await loadEstimator('o200k_base')
    expect(o200k.count('')).toBe(0)
    expect(o200k.count('hello world')).toBe(2)
    expect(o200k.count('Hello, 世界!')).toBe(4)
  })

  test('counts names of special tokens as ordinary text', async () => {
    const o200k = await loadEstimator('o200k_base')
    for (const special of ['<|endoftext|>', '<|im_start|>', '<|endofprompt|>', '<|fim_prefix|>']) {
      expect(o200k.count(special)).toBeGreaterThan(1)
      expect(o200k.count(`before ${special} after`)).toBeGreaterThan(3)
    }
  })

  test('never throws and returns whole counts for any text', async () => {
    const o200k = await loadEstimator('o200k_base')
    fc.assert(
      fc.property(anyText, (text) => {
        const tokens = o200k.count(text)
        expect(Number.isInteger(tokens)).toBe(true)
        expect(tokens).toBeGreaterThanOrEqual(text === '' ? 0 : 1)
      }),
    )
    expect(o200k.count('\ud800')).toBeGreaterThan(0)
  })

  test('counts long runs in pieces, within a token a piece of the whole', async () => {
    const o200k = await loadEstimator('o200k_base')
    const { countTokens } = await import('gpt-tokenizer/encoding/o200k_base')
    for (const run of [
      ' '.repeat(3_000),
      'a'.repeat(3_000),
      '='.repeat(3_000),
      '🙂'.repeat(1_000),
      '漢字仮名'.repeat(700),
    ]) {
      const whole = countTokens(run)
      expect(Math.abs(o200k.count(run) - whole)).toBeLessThanOrEqual(Math.ceil(run.length / 256))
    }
  })

  test('never gives the tokenizer a run of more than 256 characters, and does not cut a surrogate pair', async () => {
    const o200k = await loadEstimator('o200k_base')
    const { countTokens } = await import('gpt-tokenizer/encoding/o200k_base')
    const run = 'international'.repeat(24)
    expect(countTokens(run.slice(0, 256)) + countTokens(run.slice(256))).not.toBe(countTokens(run))
    expect(o200k.count(run)).toBe(countTokens(run.slice(0, 256)) + countTokens(run.slice(256)))
    const pairs = `a${'🙂'.repeat(200)}`
    expect(o200k.count(pairs)).toBe(countTokens(pairs.slice(0, 257)) + countTokens(pairs.slice(257)))
  })

  test('counts text without long runs exactly', async () => {
    const o200k = await loadEstimator('o200k_base')
    const { countTokens } = await import('gpt-tokenizer/encoding/o200k_base')
    for (const text of [prose.repeat(40), code.repeat(40), '1234567890'.repeat(200)]) {
      expect(o200k.count(text)).toBe(countTokens(text))
    }
  })

  test('is loaded once', async () => {
    expect(await loadEstimator('o200k_base')).toBe(await loadEstimator('o200k_base'))
  })
})

describe('utf8-bytes', () => {
  test('counts a token for every four bytes', async () => {
    expect(await loadEstimator('utf8-bytes')).toBe(utf8BytesEstimator)
    fc.assert(
      fc.property(anyText, (text) => {
        // Lone surrogates become three bytes in the encoder; this estimator counts two for each.
        fc.pre(text.isWellFormed())
        expect(utf8BytesEstimator.count(text)).toBe(Math.ceil(new TextEncoder().encode(text).length / 4))
      }),
    )
  })

  test('stays within half of o200k_base on prose, code and Chinese', async () => {
    const o200k = await loadEstimator('o200k_base')
    for (const text of [prose, code, '客户的发票被重复支付，差额将在五个工作日内退还，除非账户已经关闭。']) {
      const ratio = utf8BytesEstimator.count(text) / o200k.count(text)
      expect(ratio).toBeGreaterThan(0.7)
      expect(ratio).toBeLessThan(1.5)
    }
  })
})
