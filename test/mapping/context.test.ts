// What a mapper may use, in a whole runtime: calls of models through their queues, the prompt, the signal, the clock.

import { describe, expect, test } from 'vitest'
import { leastLoaded, workflow, type Mapper, type MappingPrompt } from '../../src/index.ts'
import { limits } from '../../src/limits.ts'
import { user } from '../../src/schema/message.ts'
import { scripted } from '../support/scripted-backend.ts'
import { testRuntime } from '../support/runtime.ts'

const prices = { inputUsdPerMTok: 1_000, outputUsdPerMTok: 1_000 }

/** A mapper that asks `router` and goes where it says. */
const asking: Mapper = async (_request, { ask }) => {
  const { content } = await ask({ backend: 'router', messages: [user('Where?')], params: { maxTokens: 1 } })
  return { backend: content, reason: 'the router says so', by: 'router', figures: { sure: 1 } }
}

const answering = (text: string) => (call: { answer(text: string, afterMs: number): void }) => call.answer(text, 100)

describe('a call of a mapper', () => {
  test('takes its time and its money inside the run', async () => {
    const router = scripted(answering('heavy'), { prices })
    const heavy = scripted(answering('done'), { prices })
    const runtime = await testRuntime({ router, heavy })
    const definition = workflow('w').stage('s', { mapping: asking, prompt: () => 'x' })
    const outcome = await runtime.until(runtime.start(definition, undefined).outcome)
    // Ten tokens of prompt and five of answer, each time.
    expect(outcome).toMatchObject({ state: 'completed', durationMs: 200, costUsd: 0.03 })
    expect(outcome.stages['s']).toMatchObject({
      backend: 'heavy',
      mapping: { by: 'router', decisionMs: 100, costUsd: 0.015, figures: { sure: 1 } },
    })
    expect(runtime.transitions().find(({ type }) => type === 'stage.mapped')).toMatchObject({
      mapping: { by: 'router', decisionMs: 100, costUsd: 0.015 },
    })
    runtime.audit()
  })

  test('waits for a slot like everything else, and goes before work of lower priority', async () => {
    const router = scripted((call) => call.answer('router', 100), { windowRequests: 1 })
    const runtime = await testRuntime({ router }, { scheduling: { router: { stage: 'priority' } } })
    const plain = workflow('plain').stage('s', { backend: 'router', prompt: () => 'x' })
    const mapped = workflow('w').stage('s', { mapping: asking, prompt: () => 'y' })
    const runs = [plain, plain, mapped].map((each) => runtime.start(each, undefined).outcome)
    await runtime.until(Promise.all(runs))
    expect(router.calls.map(({ lastText }) => lastText)).toEqual(['x', 'Where?', 'x', 'y'])
    expect(router.openMax).toBe(1)
    runtime.audit()
  })

  test.each(['waits', 'runs'])('that %s when its run is cancelled leaves no slot behind', async (where) => {
    const router = scripted(() => {}, { windowRequests: 1 })
    const runtime = await testRuntime({ router })
    const plain = workflow('plain').stage('s', { backend: 'router', prompt: () => 'x' })
    const mapped = workflow('w').stage('s', { mapping: asking, prompt: () => 'y' })
    const before = where === 'waits' ? [runtime.start(plain, undefined)] : []
    const run = runtime.start(mapped, undefined)
    await runtime.settle()
    run.cancel()
    expect(await runtime.until(run.outcome)).toMatchObject({ state: 'cancelled' })
    expect(router.open).toHaveLength(before.length)
    for (const call of router.open) call.answer('x')
    await runtime.until(Promise.all(before.map(({ outcome }) => outcome)))
    runtime.audit()
  })

  test('that the run cannot pay is not made', async () => {
    const router = scripted(answering('heavy'), { prices })
    const heavy = scripted(answering('done'))
    const runtime = await testRuntime({ router, heavy })
    const definition = workflow('w').stage('s', { mapping: asking, prompt: () => 'x' })
    const outcome = await runtime.until(runtime.start(definition, undefined, { budgetUsd: 0.001 }).outcome)
    expect(outcome.error?.message).toContain('threw')
    expect(JSON.stringify(outcome.error)).toContain('are left')
    expect(router.calls).toHaveLength(0)
  })

  test('to a backend that there is not, or that is draining, fails the mapper', async () => {
    const runtime = await testRuntime({ main: scripted(answering('x')), router: scripted(answering('main')) })
    const definition = workflow('w').stage('s', { mapping: asking, prompt: () => 'x' })
    runtime.drain('router')
    const draining = await runtime.until(runtime.start(definition, undefined).outcome)
    expect(JSON.stringify(draining.error)).toContain('draining')
    const nowhere: Mapper = (_request, { ask }) => ask({ backend: 'none', messages: [] }) as never
    const unknown = workflow('u').stage('s', { mapping: nowhere, prompt: () => 'x' })
    const outcome = await runtime.until(runtime.start(unknown, undefined).outcome)
    expect(JSON.stringify(outcome.error)).toContain('which is no backend')
    runtime.audit()
  })
})

test('the prompt that a mapper sees is the one that the stage sends, with what backends have cached of it', async () => {
  const told: (Pick<MappingPrompt, 'messages' | 'tokens'> & { cached: number[] })[] = []
  const looking: Mapper = async (request, context) => {
    const { messages, tokens, cachedTokens } = await context.prompt()
    told.push({ messages, tokens, cached: [cachedTokens('a'), cachedTokens('b')] })
    return leastLoaded({ among: ['a'] })(request, context)
  }
  const long = 'word '.repeat(400)
  const a = scripted((call) => call.answer({ content: 'x', usage: { promptTokens: 400, completionTokens: 5 } }, 10))
  const runtime = await testRuntime({ a, b: scripted() })
  const definition = workflow('w')
    .stage('first', { mapping: looking, prompt: () => long })
    .stage('again', { mapping: looking, after: ['first'], prompt: () => long })
    .stage('then', { mapping: looking, after: ['again'], context: 'append', prompt: () => 'and?' })
  const { state } = await runtime.until(runtime.start(definition, undefined).outcome)
  expect(state).toBe('completed')
  const [first, again, then] = told
  expect(first!.messages).toEqual([user(long)])
  expect(first!.tokens).toBeGreaterThan(300)
  expect(first!.cached).toEqual([0, 0])
  expect(again!.cached).toEqual([again!.tokens, 0])
  // What the run has at `a` is what it goes on from.
  expect(then!.tokens).toBeGreaterThan(405)
  expect(then!.cached).toEqual([405, 0])
})

test('a mapper that never answers fails its stage in the end, and keeps no place', async () => {
  const runtime = await testRuntime({ main: scripted() })
  const hang = workflow('hang').stage('s', { mapping: () => new Promise(() => {}), prompt: () => 'x' })
  const outcome = await runtime.until(runtime.start(hang, undefined).outcome)
  expect(outcome).toMatchObject({ state: 'failed', durationMs: limits.mappingMsMax })
  expect(outcome.error?.message).toContain('did not answer within')
  runtime.audit()
})

test('a mapper knows how fast backends were', async () => {
  const fast = scripted((call) => call.answer({ content: 'x', usage: { promptTokens: 100, completionTokens: 10 } }, 50))
  const slow = scripted((call) =>
    call.answer({ content: 'x', usage: { promptTokens: 100, completionTokens: 10 } }, 500),
  )
  const runtime = await testRuntime({ fast, slow, idle: scripted() })
  for (const backend of ['fast', 'slow']) {
    const definition = workflow('warm').stage('s', { backend, prompt: () => 'x' })
    for (let i = 0; i < 20; i++) await runtime.until(runtime.start(definition, i).outcome)
  }
  let seen: Record<string, number | undefined> = {}
  const look: Mapper = ({ backends }) => {
    seen = Object.fromEntries(backends.map(({ name, speed }) => [name, speed?.serviceMs]))
    return { backend: 'fast', reason: 'r' }
  }
  await runtime.until(runtime.start(workflow('w').stage('s', { mapping: look, prompt: () => 'x' }), 0).outcome)
  expect(seen['fast']).toBeCloseTo(50)
  expect(seen['slow']).toBeCloseTo(500)
  expect(seen['idle']).toBeUndefined()
})
