// Mapping of whole workflows, and mappers as plain data.

import { describe, expect, test } from 'vitest'
import { workflow, workflowFromData, type Mapper } from '../../src/index.ts'
import { scripted } from '../support/scripted-backend.ts'
import { testRuntime } from '../support/runtime.ts'

const priced = (usd: number) => ({ inputUsdPerMTok: usd, outputUsdPerMTok: usd })

async function two() {
  const light = scripted((call) => call.answer(call.lastText.includes('digit') ? '1' : 'light', 10), {
    quality: 0.4,
    prices: priced(1),
  })
  const heavy = scripted((call) => call.answer('heavy', 10), { quality: 0.9, prices: priced(10) })
  const runtime = await testRuntime({ light, heavy })
  return runtime
}

describe('a mapping of a whole workflow', () => {
  const heavy: Mapper = () => ({ backend: 'heavy', reason: 'all of it' })

  test('is for the stages that say nothing themselves', async () => {
    const runtime = await two()
    const definition = workflow('w', { mapping: heavy })
      .stage('a', { prompt: () => 'x' })
      .stage('b', { backend: 'light', prompt: () => 'x' })
      .stage('c', { mapping: () => ({ backend: 'light', reason: 'own' }), prompt: () => 'x' })
    const { results } = await runtime.until(runtime.start(definition, undefined).outcome)
    expect(results).toEqual({ a: 'heavy', b: 'light', c: 'light' })
    runtime.audit()
  })

  test('is a function', () => {
    const wrong = workflow('w', { mapping: 7 as never }).stage('a', { prompt: () => 'x' })
    expect(() => wrong.definition).toThrow(/mapping: a mapper is a function/)
    const none = workflow('w').stage('a', { prompt: () => 'x' })
    expect(() => none.definition).toThrow(/here or for the whole workflow/)
  })
})

describe('a mapper as plain data', () => {
  const stage = (mapping: unknown, more: object = {}) => ({
    name: 'w',
    stages: [
      { name: 'first', backend: 'light', prompt: 'x' },
      { name: 's', after: ['first'], mapping, prompt: 'Do it.', ...more },
    ],
  })

  test.each<[string, unknown, string]>([
    ['least-loaded', { use: 'least-loaded', among: ['heavy'] }, 'heavy'],
    ['replicas', { use: 'replicas', among: ['light'] }, 'light'],
    ['accuracy-floor', { use: 'accuracy-floor', floor: 0.8 }, 'heavy'],
    ['one-bit', { use: 'one-bit', router: 'light', light: 'light', heavy: ['heavy'] }, 'heavy'],
    ['score', { use: 'score', router: 'light', at: 2, below: 'light', above: 'heavy' }, 'light'],
    ['threshold', { use: 'threshold', path: 'input.score', at: 3, below: 'light', above: 'heavy' }, 'heavy'],
    ['load-aware', { use: 'load-aware', secondUsd: 0 }, 'light'],
    ['load-aware with a router', { use: 'load-aware', hardness: { router: 'light' } }, 'heavy'],
    [
      'first-of',
      {
        use: 'first-of',
        steps: [
          { use: 'threshold', path: 'input.nothing', at: 3, below: 'light', above: 'light' },
          { use: 'least-loaded', among: ['heavy'] },
        ],
      },
      'heavy',
    ],
  ])('%s maps a stage', async (_, mapping, backend) => {
    const runtime = await two()
    const outcome = await runtime.until(runtime.start(workflowFromData(stage(mapping)), { score: 5 }).outcome)
    expect(outcome.stages['s']).toMatchObject({ state: 'completed', backend })
    runtime.audit()
  })

  test('may be one that the host provides, by its name, and may be for the whole workflow', async () => {
    const runtime = await two()
    const mappers = { ours: (() => ({ backend: 'heavy', reason: 'ours' })) satisfies Mapper }
    const data = { name: 'w', mapping: 'ours', stages: [{ name: 'a', prompt: 'x' }] }
    const outcome = await runtime.until(runtime.start(workflowFromData(data, { mappers }), {}).outcome)
    expect(outcome.results).toEqual({ a: 'heavy' })
    expect(() => workflowFromData(data).definition).toThrow(
      /mapping: there is no mapper "ours"; this host provides none/,
    )
  })

  test.each<[unknown, RegExp]>([
    [{ use: 'magic' }, /stages\.s\.mapping/],
    [{ use: 'accuracy-floor', floor: 2 }, /stages\.s\.mapping/],
    [{ use: 'threshold', path: 'results.nobody', at: 1, below: 'light', above: 'heavy' }, /stages\.s\.mapping\.path/],
  ])('that is wrong says where: %j', (mapping, message) => {
    expect(() => workflowFromData(stage(mapping)).definition).toThrow(message)
  })

  test('names backends that there are, and so do fallbacks', async () => {
    const runtime = await two()
    const verify = (mapping: unknown, more?: object) => () => runtime.verify(workflowFromData(stage(mapping, more)))
    const nested = { use: 'first-of', steps: [{ use: 'least-loaded', among: ['light', 'a'] }] }
    expect(verify(nested)).toThrow(/stages\.s\.mapping\.steps\[0\]\.among\[1\]: there is no backend "a"/)
    expect(verify({ use: 'load-aware', hardness: { router: 'b' } })).toThrow(
      /hardness\.router: there is no backend "b"/,
    )
    expect(verify({ use: 'least-loaded' }, { fallback: ['c'] })).toThrow(/fallback\[0\]: there is no backend "c"/)
  })
})
