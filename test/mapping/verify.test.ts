import { describe, expect, test } from 'vitest'
import type { BackendView, StageRequirements } from '../../src/mapping/mapper.ts'
import { verifyMapping } from '../../src/mapping/verify.ts'
import type { Capabilities } from '../../src/schema/capabilities.ts'

const capabilities: Capabilities = {
  engine: 'test',
  models: ['m1', 'm2'],
  contextLength: 1_000,
  tools: true,
  jsonSchema: true,
  cachedTokens: 'always',
  sharedPrefix: true,
  kv: { flushAll: 'none', releaseSession: 'none', isolate: 'none', retain: 'none' },
}

const view = (changes: Partial<Capabilities> = {}): BackendView => ({
  name: 'main',
  model: 'm1',
  inFlight: 0,
  waiting: 0,
  windowRequests: 1,
  health: 'healthy',
  capabilities: { ...capabilities, ...changes },
})

const needs = (changes: Partial<StageRequirements> = {}): StageRequirements => ({
  tools: false,
  jsonSchema: false,
  ...changes,
})

function without(...keys: (keyof Capabilities)[]): BackendView {
  const kept = Object.entries(capabilities).filter(([key]) => !keys.includes(key as keyof Capabilities))
  return { ...view(), capabilities: Object.fromEntries(kept) as unknown as Capabilities }
}

describe('what stands against a mapping', () => {
  test.each<[what: string, requirements: StageRequirements, backend: BackendView, expected: [string, string][]]>([
    ['nothing, when all is served', needs({ model: 'm2', tools: true, jsonSchema: true, maxTokens: 999 }), view(), []],
    ['a model that is not served', needs({ model: 'm3' }), view(), [['s.model', 'model_not_served']]],
    ['a backend whose own model is gone', needs(), view({ models: [] }), [['s.model', 'model_not_served']]],
    ['tools that it does not take', needs({ tools: true }), view({ tools: false }), [['s.tools', 'tools_unsupported']]],
    [
      'a schema that it does not take',
      needs({ jsonSchema: true }),
      view({ jsonSchema: false }),
      [['s.output', 'json_schema_unsupported']],
    ],
    ['an answer as long as the context', needs({ maxTokens: 1_000 }), view(), [['s.maxTokens', 'exceeds_context']]],
    [
      'nothing, when it is not known',
      needs({ model: 'any', maxTokens: 10_000 }),
      without('models', 'contextLength'),
      [],
    ],
  ])('%s', (_what, requirements, backend, expected) => {
    expect(verifyMapping(requirements, backend, 's').map(({ path, code }) => [path, code])).toEqual(expected)
  })

  test('everything at once, in words that name what is there', () => {
    const issues = verifyMapping(
      needs({ model: 'm9', tools: true, jsonSchema: true, maxTokens: 2_000 }),
      view({ tools: false, jsonSchema: false }),
      's',
    )
    expect(issues).toHaveLength(4)
    expect(issues[0]!.message).toContain('it serves: m1, m2')
    expect(verifyMapping(needs(), view({ models: [] }), 's')[0]!.message).toContain('none')
  })
})
