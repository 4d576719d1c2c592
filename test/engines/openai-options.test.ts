import { describe, expect, test } from 'vitest'
import { OptionsError } from '../../src/errors.ts'
import { parseEngineUrl } from '../../src/engines/engine-url.ts'
import { openAi } from '../../src/engines/openai.ts'
import type { OpenAiOptions } from '../../src/engines/openai-options.ts'

/** The issues of options that must not pass. */
function issuesOf(options: unknown): { path: string; message: string }[] {
  try {
    openAi(options as OpenAiOptions)
  } catch (error) {
    if (error instanceof OptionsError) return error.issues.map(({ path, message }) => ({ path, message }))
    throw error
  }
  throw new Error('accepted')
}

describe('an engine URL', () => {
  test.each([
    ['http://localhost:8000', 'http://localhost:8000', '', '/v1'],
    ['http://localhost:8000/', 'http://localhost:8000', '', '/v1'],
    ['http://localhost:8000/v1', 'http://localhost:8000', '', '/v1'],
    ['http://localhost:8000/v1/', 'http://localhost:8000', '', '/v1'],
    ['http://localhost:8000/v1/chat/completions', 'http://localhost:8000', '', '/v1'],
    ['https://host/gateway', 'https://host', '/gateway', '/gateway/v1'],
    ['https://host/gateway/v1', 'https://host', '/gateway', '/gateway/v1'],
    ['https://host/v1beta/openai', 'https://host', '', '/v1beta/openai'],
    ['https://host/api/paas/v4', 'https://host', '/api/paas', '/api/paas/v4'],
    ['http://[::1]:8080', 'http://[::1]:8080', '', '/v1'],
  ])('%s is understood', (text, origin, rootPath, apiPath) => {
    expect(parseEngineUrl(text)).toEqual({ ok: true, url: { origin, rootPath, apiPath } })
  })

  test.each([
    '',
    'localhost',
    'http://',
    'localhost:8000',
    'ftp://host',
    'unix:/run/x.sock',
    'http://h?key=1',
    'http://h#x',
  ])('%j is refused', (url) => {
    expect(issuesOf({ url, model: 'm' })).toEqual([{ path: 'url', message: expect.any(String) }])
  })

  test('with a password is refused without repeating it', () => {
    const issues = issuesOf({ url: 'ftp://user:hunter22@host?x#y', model: 'm' })
    expect(issues).toHaveLength(4)
    expect(JSON.stringify(issues)).not.toContain('hunter22')
  })
})

describe('options', () => {
  test('are completed with defaults, and only common settings are shown', () => {
    const definition = openAi({ url: 'http://localhost:8000', model: 'm', headers: { 'x-a': 'b' } })
    expect(definition.engine).toBe('openai')
    expect(definition.settings).toMatchObject({ model: 'm', windowRequests: 16 })
    expect(Object.keys(definition.settings)).not.toContain('headers')
    expect(Object.isFrozen(definition)).toBe(true)
  })

  test('list all their problems at once', () => {
    const issues = issuesOf({
      url: 'ftp://host',
      model: '',
      apiKeyEnv: 'sk-live-0123456789',
      headers: { 'bad name': 'x', host: 'x', 'x-ok': 'line\r\nbreak' },
      connections: 0,
      maxTokensField: 'tokens',
      windowRequests: 0.5,
      surprise: 1,
    })
    const paths = issues.map((issue) => issue.path)
    for (const path of [
      'url',
      'model',
      'apiKeyEnv',
      'headers.x-ok',
      'connections',
      'maxTokensField',
      'windowRequests',
    ]) {
      expect(paths).toContain(path)
    }
    expect(paths.filter((path) => path.startsWith('headers.'))).toHaveLength(3)
    expect(JSON.stringify(issues)).toContain('surprise')
    expect(JSON.stringify(issues)).not.toContain('sk-live')
  })

  test('take an authorization header or a key, not both', () => {
    const both = { url: 'http://h', model: 'm', apiKeyEnv: 'KEY', headers: { Authorization: 'Bearer x' } }
    expect(issuesOf(both)).toEqual([{ path: 'headers.authorization', message: expect.stringContaining('apiKeyEnv') }])
  })
})
