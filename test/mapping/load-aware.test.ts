// The mapper that weighs money, time, cache and quality.

import { describe, expect, test } from 'vitest'
import { loadAware, workflow, type LoadAwareOptions, type Mapper } from '../../src/index.ts'
import type { BackendView, MappingRequest } from '../../src/mapping/mapper.ts'
import { mappingContext } from '../support/mapping.ts'
import { scripted } from '../support/scripted-backend.ts'
import { testRuntime } from '../support/runtime.ts'

const speed = { msPerPromptToken: 1, msPerOutputToken: 10, serviceMs: 2_000 }
const price = (usdPerMTok: number) => ({ inputUsdPerMTok: usdPerMTok, outputUsdPerMTok: usdPerMTok })

function view(name: string, changes: Partial<BackendView> = {}): BackendView {
  return {
    name,
    model: 'm',
    inFlight: 0,
    waiting: 0,
    windowRequests: 10,
    health: 'healthy',
    capabilities: { engine: 'e', tools: true, jsonSchema: true } as BackendView['capabilities'],
    speed,
    ...changes,
  }
}

/** What is chosen for a prompt of 1,000 tokens and an answer of 100. */
async function chosen(
  options: LoadAwareOptions,
  backends: BackendView[],
  cached: Record<string, number> = {},
): Promise<{ backend: string; figures: Readonly<Record<string, number>> }> {
  const request = {
    stage: 's',
    requirements: { tools: false, jsonSchema: false },
    outputTokens: 100,
    backends,
  } as unknown as MappingRequest
  const prompt = { messages: [], tokens: 1_000, cachedTokens: (name: string) => cached[name] ?? 0 }
  const decision = await loadAware(options)(request, mappingContext({ prompt: () => Promise.resolve(prompt) }))
  return { backend: decision.backend, figures: decision.figures! }
}

describe('a load-aware mapper', () => {
  test('goes where the queue is shorter, at the pace of the backend', async () => {
    const queue = { pace: { waitMs: 4_200 } }
    expect((await chosen({}, [view('a', queue), view('b')])).backend).toBe('b')
    expect((await chosen({}, [view('a', queue)])).figures).toMatchObject({
      waitMs: 4_200,
      prefillMs: 1_000,
      decodeMs: 1_000,
    })
  })

  test('stays where the prompt is cached, until the queue there costs more than computing it again', async () => {
    const at = (waitMs: number) => chosen({}, [view('a', { pace: { waitMs } }), view('b')], { a: 900 })
    expect((await at(0)).backend).toBe('a')
    expect((await at(800)).backend).toBe('a')
    expect((await at(1_000)).backend).toBe('b')
  })

  test('takes the cheap one when a second is worth little, the fast one when it is worth much', async () => {
    const backends = [view('cheap', { speed: { ...speed, msPerOutputToken: 50 } }), view('fast', { prices: price(10) })]
    // The fast one costs one cent more and saves four seconds.
    expect((await chosen({ secondUsd: 0.001 }, backends)).backend).toBe('cheap')
    expect((await chosen({ secondUsd: 0.01 }, backends)).backend).toBe('fast')
    expect((await chosen({ secondUsd: 0 }, backends)).backend).toBe('cheap')
    expect(() => loadAware({ secondUsd: -1 })).toThrow(/at least 0/)
  })

  test('weighs the chance that an answer has to be made again', async () => {
    const backends = [
      view('light', { prices: price(1), quality: 0.3 }),
      view('heavy', { prices: price(10), quality: 1 }),
    ]
    expect((await chosen({ hardness: () => 1 }, backends)).backend).toBe('light')
    expect((await chosen({ hardness: () => 1, risk: ({ name }) => Number(name === 'light') }, backends)).backend).toBe(
      'heavy',
    )
    expect((await chosen({ risk: () => NaN }, backends)).backend).toBe('light')
  })

  test('asks how hard a stage is only where that decides', async () => {
    let asked = 0
    const options = {
      hardness: () => ++asked,
      risk: ({ name }: BackendView, hardness: number) => (name === 'light' ? hardness : 0),
    }
    const light = view('light', { prices: price(1) })
    const heavy = view('heavy', { prices: price(10) })
    expect((await chosen(options, [light, heavy])).backend).toBe('heavy')
    expect(asked).toBe(1)
    // The light one is so full that nobody goes there.
    const full = view('light', { prices: price(1), pace: { waitMs: 200_000 } })
    expect((await chosen(options, [full, heavy])).backend).toBe('heavy')
    expect(asked).toBe(1)
  })

  test('takes a backend that has not answered yet for as fast as the others are on average', async () => {
    const { speed: _, ...unknown } = view('new')
    expect((await chosen({}, [view('a', { pace: { waitMs: 400 } }), unknown])).backend).toBe('new')
    expect((await chosen({}, [unknown])).figures).toMatchObject({ prefillMs: 100, decodeMs: 1_000 })
  })
})

test('in a runtime it spreads a burst by what backends take, learned from their answers', async () => {
  const usage = { promptTokens: 100, completionTokens: 10, cachedTokens: 0 }
  const backend = (serviceMs: number) =>
    scripted((call) => call.answer({ content: 'x', usage }, serviceMs), { windowRequests: 2 })
  const backends = { fast: backend(100), slow: backend(300) }
  const runtime = await testRuntime(backends)
  const mapping: Mapper = loadAware({ secondUsd: 1 })
  const definition = workflow('w').stage('s', { mapping, prompt: () => 'x'.repeat(400) })
  const burst = async (): Promise<number> => {
    const before = backends.fast.calls.length
    const runs: Promise<unknown>[] = []
    for (let i = 0; i < 40; i++) {
      runs.push(runtime.start(definition, i).outcome)
      await runtime.settle()
    }
    await runtime.until(Promise.all(runs))
    return backends.fast.calls.length - before
  }
  await burst()
  // Three to one, as their speeds are.
  expect(await burst()).toBeGreaterThanOrEqual(28)
  expect(backends.slow.calls.length).toBeGreaterThan(10)
  runtime.audit()
})
