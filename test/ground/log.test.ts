import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { OrlaError } from '../../src/errors.ts'
import { createLogger, redact, silentLogger } from '../../src/log.ts'

/** Secrets without the characters of the mark that replaces them. */
const secret = fc.string({
  minLength: 6,
  maxLength: 20,
  unit: fc.constantFrom(...Array.from('bfgXYZ019-_/?&=%"\\ é😀\n')),
})

describe('redact', () => {
  test('leaves no secret in any text, plain or URL-encoded, also where secrets overlap', () => {
    fc.assert(
      fc.property(fc.array(secret, { minLength: 1, maxLength: 4 }), fc.array(fc.nat(3)), (secrets, picks) => {
        const all = [...secrets, `${secrets[0]!}-longer`, secrets[0]!.slice(0, 7).toWellFormed()]
        const words = picks.flatMap((i) => [all[i % all.length]!, encodeURIComponent(all[i % all.length]!)])
        const text = redact(words.join(''), all)
        for (const value of all) {
          if (value.length < 6) continue
          expect(text).not.toContain(value)
          expect(text).not.toContain(encodeURIComponent(value))
        }
      }),
    )
    expect(redact('key abcdef-longer', ['abcdef', 'abcdef-longer'])).toBe('key [redacted]')
  })

  test('leaves short secrets and text without secrets alone', () => {
    expect(redact('a word of five: hello', ['hello'])).toBe('a word of five: hello')
    expect(redact('nothing here', ['sk-123456'])).toBe('nothing here')
  })

  test('takes secrets that cannot be URL-encoded', () => {
    expect(redact('x \ud800aaaaaa y', ['\ud800aaaaaa'])).toBe('x [redacted] y')
  })
})

describe('logger', () => {
  function capture(secrets: string[]): { lines: string[]; log: ReturnType<typeof createLogger> } {
    const lines: string[] = []
    return { lines, log: createLogger({ level: 'debug', secrets, write: (line) => void lines.push(line) }) }
  }

  test('writes JSON lines without secrets, in values, keys, messages and URLs', () => {
    const { lines, log } = capture(['sk-secret/value'])
    log.info({ url: 'http://h/?key=sk-secret%2Fvalue', 'sk-secret/value': 1 }, 'sent sk-secret/value')
    log.debug({ headers: { authorization: 'Bearer x' }, apiKey: 'k', authorization: 'Bearer y' }, 'paths')
    expect(lines.join('')).not.toContain('sk-secret')
    expect(lines.join('')).not.toContain('Bearer')
    for (const line of lines) expect(() => JSON.parse(line) as unknown).not.toThrow()
  })

  test('finds a secret whose characters JSON escapes', () => {
    const value = 'pass"word\\with\nall'
    const { lines, log } = capture([value])
    log.warn({ value }, `it is ${value}`)
    expect(lines[0]).not.toContain('pass')
    expect(JSON.parse(lines[0]!)).toMatchObject({ value: '[redacted]', msg: 'it is [redacted]' })
  })

  test('shows what an error says, whatever its class', () => {
    const { lines, log } = capture([])
    log.error({ error: new TypeError('plain trouble') }, 'failed')
    log.error({ error: new OrlaError('ORLA_TOOL', 'our trouble') }, 'failed')
    expect(lines[0]).toContain('plain trouble')
    expect(lines[1]).toContain('our trouble')
    expect(lines[1]).toContain('ORLA_TOOL')
  })

  test('the silent logger says nothing', () => {
    for (const level of ['debug', 'info', 'warn', 'error'] as const)
      expect(silentLogger[level]({}, 'x')).toBeUndefined()
  })
})
