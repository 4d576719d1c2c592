// Failover: a turn that its backend does not serve goes on elsewhere, in the open.

import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { BackendError, RejectedError } from '../../src/errors.ts'
import { tool } from '../../src/workflow/tool.ts'
import { workflow, type Workflow } from '../../src/workflow/builder.ts'
import { rejection, testRuntime } from '../support/runtime.ts'
import { scripted } from '../support/scripted-backend.ts'

const broken = new BackendError('ORLA_BACKEND_UNREACHABLE', 'no connection', { retryable: true })

const stage = (options: { fallback?: string[]; attempts?: number; model?: string } = {}): Workflow =>
  workflow('w').stage('s', {
    backend: 'main',
    prompt: () => 'hello',
    retry: { attempts: options.attempts ?? 1 },
    ...(options.fallback && { fallback: options.fallback }),
    ...(options.model && { model: options.model }),
  })

describe('failover', () => {
  test('moves to the stage’s fallback at once, and says why', async () => {
    const main = scripted((call) => call.fail(broken, 10))
    const spare = scripted((call) => call.answer('from the spare'), { model: 'small' })
    const runtime = await testRuntime({ main, spare })
    const run = runtime.start(stage({ fallback: ['spare'] }), undefined)
    const outcome = await runtime.until(run.outcome)
    expect(outcome).toMatchObject({ state: 'completed', result: { s: 'from the spare' }, durationMs: 10 })
    expect(outcome.stages['s']).toMatchObject({ backend: 'spare', model: 'small' })
    expect(spare.calls[0]!.request.model).toBe('small')
    expect(runtime.transitions().find(({ type }) => type === 'stage.retrying')).toMatchObject({
      backend: 'spare',
      failedOverFrom: 'main',
      delayMs: 0,
      attempt: 2,
      reason: 'goes on at "spare": no connection',
    })
    runtime.audit()
  })

  test('tries the replicas of the backend before the fallbacks of the stage', async () => {
    const [main, replica, spare] = [scripted(), scripted(), scripted()]
    main.script = replica.script = (call) => call.fail(broken)
    spare.script = (call) => call.answer('third')
    const runtime = await testRuntime({ main, spare, replica }, { failover: { main: ['replica'] } })
    const outcome = await runtime.until(runtime.start(stage({ fallback: ['spare'] }), undefined).outcome)
    expect(outcome.result).toEqual({ s: 'third' })
    expect([main, replica, spare].map(({ calls }) => calls.length)).toEqual([1, 1, 1])
  })

  test.each([
    ['a full queue', { windowRequests: 1, queueCapacity: 0 }, false],
    ['draining', {}, true],
  ])('leaves a backend that does not take it: %s', async (_, options, drains) => {
    const main = scripted(() => {}, options)
    const spare = scripted((call) => call.answer('spare'))
    const runtime = await testRuntime({ main, spare })
    const first = runtime.start(stage(), undefined)
    await runtime.settle()
    if (drains) runtime.drain('main')
    const second = await runtime.until(runtime.start(stage({ fallback: ['spare'] }), undefined).outcome)
    expect(second).toMatchObject({ state: 'completed', result: { s: 'spare' } })
    first.cancel()
    await runtime.until(first.outcome)
    runtime.audit()
  })

  test.each([401, 403, 404])('leaves a backend that answers %i, which trying again would not help', async (status) => {
    const refused = new BackendError('ORLA_BACKEND_HTTP', 'no', { details: { status } })
    const main = scripted((call) => call.fail(refused))
    const runtime = await testRuntime({ main, spare: scripted((call) => call.answer('spare')) })
    const outcome = await runtime.until(runtime.start(stage({ fallback: ['spare'] }), undefined).outcome)
    expect(outcome.state).toBe('completed')
    expect(main.calls).toHaveLength(1)
  })

  test('does not move a request that is wrong itself, nor one whose tokens somebody saw', async () => {
    const wrong = new BackendError('ORLA_BACKEND_HTTP', 'bad request', { details: { status: 400 } })
    const main = scripted((call) => call.fail(wrong))
    const spare = scripted((call) => call.answer('spare'))
    const runtime = await testRuntime({ main, spare })
    const workflowWithSpare = stage({ fallback: ['spare'], attempts: 3 })
    expect((await runtime.until(runtime.start(workflowWithSpare, undefined).outcome)).error?.message).toBe(
      'bad request',
    )
    main.script = (call) => call.delta('half').fail(broken, 5)
    expect((await runtime.until(runtime.start(workflowWithSpare, undefined).outcome)).error?.code).toBe(
      'ORLA_BACKEND_UNREACHABLE',
    )
    expect(spare.calls).toHaveLength(0)
    runtime.audit()
  })

  test('goes to each backend once, then waits and tries again where it can be served', async () => {
    const [main, spare] = [scripted((call) => call.fail(broken)), scripted((call) => call.fail(broken))]
    const runtime = await testRuntime({ main, spare })
    const outcome = await runtime.until(runtime.start(stage({ fallback: ['spare'], attempts: 3 }), undefined).outcome)
    expect(outcome.state).toBe('failed')
    expect(main.calls.length + spare.calls.length).toBe(4)
    expect(outcome.stages['s']!.turns[0]!.attempts).toBe(4)
    runtime.audit()
  })

  test('checks fallbacks before anything runs: unknown, twice, and not able to serve the stage', async () => {
    const runtime = await testRuntime({
      main: scripted(),
      spare: scripted(() => {}, { capabilities: { tools: false } }),
    })
    const unknown = stage({ fallback: ['nowhere', 'main', 'spare', 'spare'] })
    expect(() => runtime.start(unknown, undefined)).toThrow(/stages\.s\.fallback\[0\].*nowhere[^]*/)
    expect(() => runtime.start(stage({ fallback: ['main', 'spare', 'spare'] }), undefined)).toThrow(
      /fallback\[0\].*[^]*fallback\[2\]/,
    )
    const tooled = workflow('t').stage('s', {
      backend: 'main',
      fallback: ['spare'],
      prompt: () => 'x',
      tools: { t: tool({ description: 't', input: z.object({}), run: () => 'x' }) },
    })
    expect(() => runtime.verify(tooled)).toThrow(/stages\.s\.fallback\[0\]\.tools/)
  })

  test('checks the failover lists of the runtime', async () => {
    const options = {
      failover: { main: ['main', 'other', 'nowhere'], gone: ['main'], other: 'main' as unknown as string[] },
    }
    const error = await rejection(testRuntime({ main: scripted(), other: scripted(() => {}, { model: 'x' }) }, options))
    const issues = error.details!['issues'] as { path: string; code: string }[]
    expect(issues.map(({ path, code }) => `${path} ${code}`)).toEqual([
      'failover.main[0] same_backend',
      'failover.main[1] other_model',
      'failover.main[2] unknown_backend',
      'failover.gone unknown_backend',
      'failover.other invalid_list',
    ])
  })
})

describe('the retry budget', () => {
  test('holds back retries beyond a fifth of what a backend has, and tells what went wrong at first', async () => {
    const main = scripted((call) => call.fail(broken, 10), { windowRequests: 4 })
    const runtime = await testRuntime({ main })
    // A success in between keeps the breaker shut, so that only the budget is at work.
    main.script = (call, i) => (i % 5 === 4 ? call.answer('ok', 10) : call.fail(broken, 10))
    const definition = stage({ attempts: 20 })
    const runs = Array.from({ length: 60 }, () => runtime.start(definition, undefined))
    const outcomes = await runtime.until(Promise.all(runs.map((run) => run.outcome)))
    const failed = outcomes.filter(({ state }) => state === 'failed')
    expect(failed.length).toBeGreaterThan(0)
    expect(new Set(failed.map(({ error }) => error?.code))).toEqual(new Set(['ORLA_BACKEND_UNREACHABLE']))
    const rejections = runtime.transitions().filter((each) => each.type === 'stage.rejected')
    expect(new Set(rejections.map((each) => 'error' in each && each.error.code))).toEqual(
      new Set(['ORLA_RETRY_BUDGET']),
    )
    expect(new RejectedError('ORLA_RETRY_BUDGET', '', {}).retryable).toBe(false)
    runtime.audit()
  })

  test.each([1, 4, 16, 64])(
    'a backend that fails always gets at most 1.2 requests a turn, window %i',
    async (window) => {
      const main = scripted((call) => call.fail(broken, 20), { windowRequests: window })
      const runtime = await testRuntime({ main }, { seed: window })
      const definition = stage({ attempts: 3 })
      const runs = []
      for (let i = 0; i < 500; i++) {
        runs.push(runtime.start(definition, undefined).outcome)
        await runtime.clock.advance(7)
      }
      const outcomes = await runtime.until(Promise.all(runs))
      expect(outcomes.every(({ state }) => state === 'failed')).toBe(true)
      expect(main.calls.length / 500).toBeLessThanOrEqual(1.2)
      // With chance against the breaker: every fifth answer is right, so that it never opens.
      const flaky = scripted((call, i) => (i % 5 === 4 ? call.answer('x', 20) : call.fail(broken, 20)), {
        windowRequests: window,
      })
      const second = await testRuntime({ main: flaky }, { seed: window })
      const all = Array.from({ length: 1_000 }, () => second.start(definition, undefined).outcome)
      await second.until(Promise.all(all))
      expect(flaky.calls.length / 1_000).toBeLessThanOrEqual(1.25)
    },
  )
})

describe('a sick backend', () => {
  test('gets at most one probe a window, and is back within two windows of healing', async () => {
    const main = scripted((call) => call.fail(broken, 1))
    const runtime = await testRuntime({ main })
    const definition = stage({ attempts: 1 })
    const healAtMs = 120_000
    const knock = async (): Promise<void> => {
      runtime.start(definition, undefined)
      await runtime.clock.advance(50)
    }
    while (runtime.backends()[0]!.health !== 'open') await knock()
    const openedAtMs = runtime.clock.nowMs()
    while (runtime.clock.nowMs() < healAtMs) await knock()
    const probes = main.calls.filter(({ atMs }) => atMs > openedAtMs)
    // The last backend that can serve is never given up for longer than the first window.
    probes.slice(1).forEach(({ atMs }, i) => expect(atMs - probes[i]!.atMs).toBeGreaterThanOrEqual(2_000))
    expect(probes.length).toBeGreaterThan(50)
    main.script = (call) => call.answer('well')
    while (runtime.backends()[0]!.health !== 'healthy') await knock()
    expect(runtime.clock.nowMs() - healAtMs).toBeLessThanOrEqual(4_000)
    await runtime.clock.runAll()
    runtime.audit()
  })

  test('is left alone longer and longer while another of its model is well', async () => {
    const main = scripted((call) => call.fail(broken, 1))
    const runtime = await testRuntime({ main, peer: scripted((call) => call.answer('x')) })
    const definition = stage()
    for (let i = 0; i < 1_200; i++) {
      runtime.start(definition, undefined)
      await runtime.clock.advance(100)
    }
    // 5 to open it, then after 2, 4, 8, 16, 32 and 60 s.
    expect(main.calls).toHaveLength(5 + 5)
  })
})

test('the idempotency key of a tool call is its own, and the same in every attempt of its stage', async () => {
  const keys: string[] = []
  const send = tool({
    description: 'sends',
    input: z.object({}),
    run: (_, { idempotencyKey }) => void keys.push(idempotencyKey),
  })
  const calls = { toolCalls: [{ name: 'send' }, { name: 'send' }] }
  const main = scripted((call, i) => {
    if (i === 1) call.fail(broken)
    else call.answer(i === 0 || i === 2 ? calls : 'done')
  })
  const runtime = await testRuntime({ main })
  const definition = workflow('w').stage('s', { backend: 'main', prompt: () => 'x', tools: { send } })
  const run = runtime.start(definition, undefined)
  await runtime.until(run.outcome)
  expect(keys).toEqual(['1.1', '1.2', '2.1', '2.2'].map((call) => `${run.id}/s/${call}`))
})
