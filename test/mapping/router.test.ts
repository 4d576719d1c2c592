// Mappers that ask a model: one bit, and a score from 1 to 5.

import { describe, expect, test } from 'vitest'
import {
  createRuntime,
  loadAware,
  modelBit,
  modelScore,
  oneBit,
  simulated,
  threshold,
  workflow,
  type Mapper,
  type OneBitOptions,
} from '../../src/index.ts'
import { scripted, type Script } from '../support/scripted-backend.ts'
import { testRuntime } from '../support/runtime.ts'

const prices = { inputUsdPerMTok: 100, outputUsdPerMTok: 100 }

/** A router that calls complex what has a `?`, and two backends. */
async function routed(script: Script = (call) => call.answer(call.lastText.includes('?') ? '1' : '0', 50)) {
  const router = scripted(script, { prices })
  const light = scripted((call) => call.answer('light', 100))
  const heavy = scripted((call) => call.answer('heavy', 100))
  const runtime = await testRuntime({ router, light, heavy })
  const run = async (mapping: Mapper, input: string, stage = 's') => {
    const definition = workflow('w').stage(stage, { mapping, prompt: () => input })
    const outcome = await runtime.until(runtime.start(definition, input).outcome)
    const { backend, mapping: facts } = outcome.stages[stage]!
    return { backend, facts, outcome }
  }
  return { runtime, router, light, heavy, run }
}

const bit = (options: Partial<OneBitOptions> = {}) =>
  oneBit({ router: 'router', light: 'light', heavy: 'heavy', ...options })

describe('one bit', () => {
  test('sends simple stages to the light backend and complex ones to the heavy one, and says so', async () => {
    const { run, router, runtime } = await routed()
    const simple = await run(bit(), 'Add one and one.')
    const complex = await run(bit(), 'Why is this slow?')
    expect([simple.backend, complex.backend]).toEqual(['light', 'heavy'])
    expect(simple.facts).toMatchObject({ by: 'one-bit', reason: expect.stringContaining('simple') as string })
    expect(complex.facts).toMatchObject({ decisionMs: 50, figures: { complex: 1 } })
    // The question has one token of answer under a schema, and its cost is the run's.
    expect(router.calls[0]!.request).toMatchObject({
      params: { maxTokens: 1, temperature: 0 },
      responseSchema: { schema: { enum: [0, 1] } },
    })
    expect(complex.outcome.costUsd).toBeGreaterThan(0)
    runtime.audit()
  })

  test.each([
    ['says nothing usable', (call) => call.answer('maybe', 50), /said "maybe"/],
    ['fails', (call) => call.fail(new Error('down') as never), /driver failed|down/],
  ] satisfies [string, Script, RegExp][])(
    'that %s is taken for complex, or for what one wants',
    async (_, script, why) => {
      const { run } = await routed(script)
      const { backend, facts } = await run(bit(), 'x')
      expect(backend).toBe('heavy')
      expect(facts?.reason).toMatch(why)
      expect((await run(bit({ unsure: 'simple' }), 'x')).backend).toBe('light')
    },
  )

  test('is asked once for the same question, once for a template, or every time', async () => {
    const { run, router } = await routed()
    const [question, template, never] = [bit(), bit({ cache: 'template' }), bit({ cache: 'none' })]
    const asked = async (mapping: Mapper, inputs: string[]): Promise<number> => {
      const before = router.calls.length
      for (const input of inputs) await run(mapping, input)
      return router.calls.length - before
    }
    expect(await asked(question, ['a', 'b', 'a', 'b'])).toBe(2)
    expect(await asked(template, ['a', 'b', 'c?'])).toBe(1)
    expect(await asked(never, ['a', 'a'])).toBe(2)
    const small = bit({ cacheMax: 1 })
    expect(await asked(small, ['a', 'b', 'a'])).toBe(3)
    expect((await run(question, 'a')).facts?.reason).toContain('as before')
  })

  test('reads the beginning and the end of a long prompt, or what it is told to judge by', async () => {
    const { run, router } = await routed()
    await run(bit({ aboutCharsMax: 20, criteria: 'C' }), `begin${'x'.repeat(1_000)}end?`)
    expect(router.calls[0]!.lastText.split('\n\n')[1]).toBe('C')
    expect(router.calls[0]!.lastText).toMatch(/\n\nbeginxxxxx\n\[\.\.\.\]\nxxxxxxend\?$/)
    await run(bit({ about: ({ input }) => `judge ${String(input).length}` }), 'abc')
    expect(router.calls[1]!.lastText).toMatch(/judge 3$/)
    expect(() => bit({ cacheMax: 0 })).toThrow(/cacheMax/)
    expect(() => bit({ aboutCharsMax: 0 })).toThrow(/aboutCharsMax/)
  })
})

describe('a score by a model', () => {
  const mapping = (unsure?: number) =>
    threshold({
      score: modelScore({ router: 'router', ...(unsure !== undefined && { unsure }) }),
      at: 4,
      below: 'light',
      above: 'heavy',
    })

  test('decides by a threshold', async () => {
    const { run } = await routed((call) => call.answer(call.lastText.endsWith('?') ? '4' : '3', 50))
    expect((await run(mapping(), 'x')).backend).toBe('light')
    const hard = await run(mapping(), 'x?')
    expect(hard).toMatchObject({ backend: 'heavy', facts: { by: 'threshold', figures: { score: 4 } } })
  })

  test('that cannot be had is the hardest, or what one wants', async () => {
    const { run } = await routed((call) => call.answer('six'))
    const hardest = await run(mapping(), 'x')
    expect(hardest).toMatchObject({ backend: 'heavy', facts: { figures: { score: 5 } } })
    expect(hardest.facts?.reason).toContain('six')
    expect((await run(mapping(1), 'x')).backend).toBe('light')
    const { run: failing } = await routed((call) => call.fail(new Error('down') as never))
    expect((await failing(mapping(), 'x')).backend).toBe('heavy')
  })
})

test('routers decide over real sockets as well, with a model that answers under a schema', async () => {
  await using runtime = await createRuntime({
    backends: {
      light: simulated({ model: 'small', engine: 'instant', quality: 0.5 }),
      heavy: simulated({ model: 'big', engine: 'instant', quality: 0.9 }),
    },
  })
  const router = { router: 'light' } as const
  const mappers: Mapper[] = [
    oneBit({ ...router, light: 'light', heavy: 'heavy' }),
    threshold({ score: modelScore(router), at: 3, below: 'light', above: 'heavy' }),
    loadAware({ hardness: modelBit(router) }),
  ]
  for (const mapping of mappers) {
    const definition = workflow('w').stage('s', { mapping, prompt: () => 'Say something.' })
    const { state, stages } = await runtime.start(definition, undefined).outcome
    expect(state).toBe('completed')
    expect(stages['s']?.mapping?.reason).not.toContain('taken for complex: ')
  }
})
