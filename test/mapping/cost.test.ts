import { describe, expect, test } from 'vitest'
import { costUsd } from '../../src/mapping/cost.ts'
import { workflow } from '../../src/workflow/builder.ts'
import { scripted } from '../support/scripted-backend.ts'
import { testRuntime } from '../support/runtime.ts'

const prices = { inputUsdPerMTok: 1, cachedInputUsdPerMTok: 0.1, outputUsdPerMTok: 10 }

test('cached tokens have their own price, and what is not known has no cost', () => {
  const usage = { promptTokens: 1_000, cachedTokens: 400, completionTokens: 100 }
  expect(costUsd(usage, prices)).toBeCloseTo((600 + 40 + 1_000) / 1e6, 12)
  expect(costUsd(usage, { inputUsdPerMTok: 1, outputUsdPerMTok: 10 })).toBeCloseTo((1_000 + 1_000) / 1e6, 12)
  expect(costUsd(usage, undefined)).toBeUndefined()
  expect(costUsd({ promptTokens: 10 }, prices)).toBeUndefined()
})

describe('in the runtime', () => {
  const usage = { promptTokens: 1_000, cachedTokens: 0, completionTokens: 100 }
  const each = (1_000 + 1_000) / 1e6

  test('turns, stages and runs say what they cost, where their backend has prices', async () => {
    const runtime = await testRuntime({
      paid: scripted((call) => call.answer({ content: 'x', usage }), { prices }),
      free: scripted((call) => call.answer({ content: 'x', usage })),
    })
    const definition = workflow('w')
      .stage('a', { backend: 'paid', prompt: () => 'a' })
      .stage('b', { backend: 'free', after: ['a'], prompt: () => 'b' })
      .stage('c', { backend: 'paid', after: ['b'], prompt: () => 'c' })
    const outcome = await runtime.until(runtime.start(definition, undefined).outcome)
    expect(outcome.costUsd).toBeCloseTo(2 * each, 12)
    expect(outcome.stages['a']!.costUsd).toBeCloseTo(each, 12)
    expect(outcome.stages['b']).not.toHaveProperty('costUsd')
    const costs = runtime.transitions().flatMap((each) => (each.type === 'stage.released' ? [each.costUsd] : []))
    expect(costs).toEqual([outcome.stages['a']!.costUsd, undefined, outcome.stages['c']!.costUsd])
    runtime.audit()
  })

  test('a run that fails has spent what its answers cost', async () => {
    const runtime = await testRuntime({ paid: scripted((call) => call.answer({ content: 'x', usage }), { prices }) })
    const definition = workflow('w')
      .stage('a', { backend: 'paid', prompt: () => 'a' })
      .stage('b', {
        backend: 'paid',
        after: ['a'],
        prompt: () => {
          throw new Error('broken')
        },
      })
    const outcome = await runtime.until(runtime.start(definition, undefined).outcome)
    expect(outcome).toMatchObject({ state: 'failed' })
    expect(outcome.costUsd).toBeCloseTo(each, 12)
  })
})
