// The stock mappers: what they choose, and that the runtime goes by it.

import { describe, expect, test } from 'vitest'
import { MappingError } from '../../src/errors.ts'
import {
  accuracyFloor,
  createRuntime,
  firstOf,
  leastLoaded,
  simulated,
  threshold,
  user,
  workflow,
} from '../../src/index.ts'
import type { Mapper, MappingRequest } from '../../src/mapping/mapper.ts'
import type { BackendOptions } from '../../src/schema/backend.ts'
import { mappingContext } from '../support/mapping.ts'
import { scripted } from '../support/scripted-backend.ts'
import { testRuntime } from '../support/runtime.ts'

const small = { quality: 0.3, prices: { inputUsdPerMTok: 0.1, outputUsdPerMTok: 0.4 } }
const middle = { quality: 0.6, prices: { inputUsdPerMTok: 0.5, outputUsdPerMTok: 1.5 } }
const large = { quality: 0.9, prices: { inputUsdPerMTok: 3, outputUsdPerMTok: 15 } }

/** Three backends of three sizes, and where a stage with such a mapper runs. */
async function mapped(
  mapper: Mapper,
  options: Partial<Record<'small' | 'middle' | 'large', Partial<BackendOptions>>> = {},
) {
  const answer = (call: { answer(text: string, afterMs: number): void }): void => call.answer('x', 100)
  const runtime = await testRuntime({
    small: scripted(answer, { ...small, ...options.small }),
    middle: scripted(answer, { ...middle, ...options.middle }),
    large: scripted(answer, { ...large, ...options.large }),
  })
  const run = async () => {
    const definition = workflow('w').stage('s', { mapping: mapper, prompt: () => 'x', retry: { attempts: 1 } })
    const outcome = await runtime.until(runtime.start(definition, undefined).outcome)
    const reason = runtime.transitions(outcome.runId).find(({ type }) => type === 'stage.mapped')?.reason
    return { backend: outcome.stages['s']!.backend, reason, error: outcome.error }
  }
  return { runtime, run }
}

describe('an accuracy floor', () => {
  test.each([
    [0.2, 'small'],
    [0.6, 'middle'],
    [0.61, 'large'],
  ])('of %d takes the cheapest backend that is good enough: %s', async (floor, backend) => {
    const { run } = await mapped(accuracyFloor({ floor }))
    expect(await run()).toMatchObject({ backend, reason: expect.stringContaining('cheapest') as string })
  })

  test('that none reaches is a wish or a condition', async () => {
    const wish = await mapped(accuracyFloor({ floor: 0.95 }))
    expect(await wish.run()).toMatchObject({
      backend: 'large',
      reason: expect.stringContaining('below 0.95') as string,
    })
    const condition = await mapped(accuracyFloor({ floor: 0.95, mode: 'strict' }))
    expect((await condition.run()).error).toMatchObject({ code: 'ORLA_MAPPING_FAILED' })
  })

  test('must be a quality', () => {
    expect(() => accuracyFloor({ floor: 1.5 })).toThrow(/from 0 to 1/)
  })

  test('leaves out what cannot serve the stage, and what is not well', async () => {
    const { runtime, run } = await mapped(accuracyFloor({ floor: 0.2 }))
    runtime.drain('small')
    expect((await run()).backend).toBe('middle')
    const { run: named } = await mapped(accuracyFloor({ floor: 0, among: ['nowhere'] }))
    expect((await named()).error?.message).toContain('none of nowhere is a backend')
  })
})

describe('a threshold', () => {
  test('sends what scores below it to the light backend, and the rest to the heavy one', async () => {
    const lengths = threshold({
      score: ({ input }) => String(input).length,
      at: 5,
      below: 'small',
      above: ['middle', 'large'],
    })
    const runtime = await testRuntime({
      small: scripted((call) => call.answer('x')),
      middle: scripted((call) => call.answer('x')),
      large: scripted((call) => call.answer('x')),
    })
    const definition = workflow('w').stage('s', { mapping: lengths, prompt: () => 'x' })
    const at = async (input: string) =>
      (await runtime.until(runtime.start(definition, input).outcome)).stages['s']!.backend
    expect([await at('abc'), await at('abcdef')]).toEqual(['small', 'middle'])
  })

  test('without a score fails, or leaves it to the next mapper', async () => {
    const unsure = threshold({ score: () => Promise.resolve(NaN), at: 1, below: 'small', above: 'large' })
    expect((await (await mapped(unsure)).run()).error?.code).toBe('ORLA_MAPPING_FAILED')
    const { run } = await mapped(firstOf(unsure, accuracyFloor({ floor: 0.6 })))
    expect(await run()).toMatchObject({ backend: 'middle', reason: expect.stringContaining('step 1 failed') as string })
  })
})

test('the least loaded of replicas takes the next run, so that they fill alike', async () => {
  const backends = Object.fromEntries(
    ['a', 'b', 'c'].map((name) => [name, scripted((call) => call.answer('x', 100), { windowRequests: 4 })] as const),
  )
  const runtime = await testRuntime(backends)
  const definition = workflow('w').stage('s', { mapping: leastLoaded(), prompt: () => 'x' })
  const runs: Promise<unknown>[] = []
  for (let i = 0; i < 9; i++) {
    runs.push(runtime.start(definition, i).outcome)
    await runtime.settle()
  }
  expect(runtime.backends().map(({ inFlight }) => inFlight)).toEqual([3, 3, 3])
  runtime.drain('b')
  runs.push(runtime.start(definition, 9).outcome)
  await runtime.settle()
  expect(runtime.backends().map(({ inFlight }) => inFlight)).toEqual([4, 3, 3])
  await runtime.until(Promise.all(runs))
  runtime.audit()
})

describe('mappers one after the other', () => {
  const request = { stage: 's', backends: [] } as unknown as MappingRequest

  test('leave the decision to the first that makes one', async () => {
    const decide = firstOf(
      () => undefined,
      () => ({ backend: 'b', reason: 'because' }),
      () => expect.fail('asked without need'),
    )
    expect(await decide(request, mappingContext())).toEqual({ backend: 'b', reason: 'because (step 1 left it)' })
  })

  test('fail with what each of them said if none decides', async () => {
    const undecided = firstOf(
      () => undefined,
      () => Promise.reject(new Error('no idea')),
    )
    await expect(undecided(request, mappingContext())).rejects.toThrow(MappingError)
    await expect(undecided(request, mappingContext())).rejects.toThrow(/step 1 left it[^]*step 2 failed: no idea/)
    expect(() => firstOf()).toThrow(/at least one/)
  })
})

test('a mapper decides over real sockets as well', async () => {
  await using runtime = await createRuntime({
    backends: {
      light: simulated({ model: 'small', engine: 'instant', quality: 0.4 }),
      heavy: simulated({ model: 'big', engine: 'instant', quality: 0.9 }),
    },
  })
  const definition = workflow('w').stage('s', {
    mapping: accuracyFloor({ floor: 0.8 }),
    prompt: () => [user('Hello.')],
  })
  const { stages } = await runtime.start(definition, undefined).outcome
  expect(stages['s']).toMatchObject({ state: 'completed', backend: 'heavy', model: 'big' })
})
