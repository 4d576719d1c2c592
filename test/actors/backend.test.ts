// The backend actor through the whole runtime: its window, its order, its rejections, its breaker.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BackendError } from '../../src/errors.ts'
import type { Run } from '../../src/runtime-api.ts'
import type { Transition } from '../../src/schema/transition.ts'
import { workflow, type Workflow } from '../../src/workflow/builder.ts'
import { scripted, type ScriptedBackend } from '../support/scripted-backend.ts'
import { testRuntime, type TestRuntime } from '../support/runtime.ts'

const broken = new BackendError('ORLA_BACKEND_UNREACHABLE', 'no connection', { retryable: true })

/** A workflow of one stage that tries once. */
const once = (name: string, options: { attempts?: number; priority?: number } = {}): Workflow<unknown, { s: string }> =>
  workflow(name).stage('s', {
    backend: 'main',
    prompt: () => name,
    retry: { attempts: options.attempts ?? 1 },
    priority: options.priority ?? 0,
  })

const grants = (runtime: TestRuntime): string[] =>
  runtime
    .transitions()
    .flatMap((transition) => (transition.type === 'stage.granted' ? [transition.runId.split('-')[1]!] : []))

describe('window and order under random load', () => {
  type Action =
    | { do: 'start'; priority: number; stages: number; takesMs: number }
    | { do: 'cancel'; which: number }
    | { do: 'resize'; windowRequests: number }
    | { do: 'capacity'; queueCapacity: number }
    | { do: 'policy'; name: 'fcfs' | 'priority' | 'sjf' }
    | { do: 'wait'; ms: number }

  const action: fc.Arbitrary<Action> = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constant('start' as const),
        priority: fc.nat(5),
        stages: fc.integer({ min: 1, max: 3 }),
        takesMs: fc.integer({ min: 0, max: 30 }),
      }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('cancel' as const), which: fc.nat(50) }) },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant('resize' as const), windowRequests: fc.integer({ min: 1, max: 5 }) }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('capacity' as const), queueCapacity: fc.nat(10) }) },
    {
      weight: 1,
      arbitrary: fc.record({
        do: fc.constant('policy' as const),
        name: fc.constantFrom('fcfs' as const, 'priority' as const, 'sjf' as const),
      }),
    },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.nat(20) }) },
  )

  test('no window is exceeded at a grant, no request is lost, granted twice or served after it was withdrawn', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(action, { minLength: 5, maxLength: 40 }), async (actions) => {
        const backend = scripted((call) => call.answer('x', Number(call.lastText)), {
          windowRequests: 2,
          queueCapacity: 8,
        })
        const runtime = await testRuntime({ main: backend })
        let windowRequests = 2
        let inFlight = 0
        runtime.subscribe((event) => {
          if (event.type === 'stage.granted') expect(++inFlight).toBeLessThanOrEqual(windowRequests)
          if (event.type === 'stage.released') inFlight--
        })
        const runs: Run[] = []
        for (const each of actions) {
          switch (each.do) {
            case 'start': {
              let definition = workflow(`w${each.stages}`) as unknown as {
                stage(name: string, options: unknown): typeof definition
              }
              for (let i = 0; i < each.stages; i++)
                definition = definition.stage(`s${i}`, {
                  backend: 'main',
                  prompt: () => String(each.takesMs),
                  retry: { attempts: 1 },
                  priority: each.priority,
                })
              runs.push(runtime.start(definition as unknown as Workflow, undefined))
              break
            }
            case 'cancel':
              runs[each.which % Math.max(1, runs.length)]?.cancel()
              break
            case 'resize':
              windowRequests = Math.max(windowRequests, each.windowRequests)
              runtime.reconfigure('main', { windowRequests: each.windowRequests })
              windowRequests = each.windowRequests
              break
            case 'capacity':
              runtime.reconfigure('main', { queueCapacity: each.queueCapacity })
              break
            case 'policy':
              runtime.setScheduling('main', { stage: each.name, request: each.name })
              break
            case 'wait':
              await runtime.clock.advance(each.ms)
              break
          }
        }
        const outcomes = await runtime.until(Promise.all(runs.map((run) => run.outcome)))
        await runtime.clock.runAll()
        runtime.audit()
        expect(backend.open).toEqual([])
        expect(outcomes.every(({ state, error }) => state !== 'failed' || error?.code === 'ORLA_QUEUE_FULL')).toBe(true)
        // Every request that was queued left by exactly one way, and the engine saw those granted, once each.
        const all = runtime.transitions()
        const ids = (type: Transition['type']): string[] =>
          all.flatMap((each) => (each.type === type && 'requestId' in each ? [each.requestId] : []))
        const granted = ids('stage.granted')
        expect(new Set(granted).size).toBe(granted.length)
        expect(backend.calls.map(({ context }) => context.requestId).sort()).toEqual([...granted].sort())
        expect(ids('stage.released').sort()).toEqual([...granted].sort())
        const withdrawn = all.filter(({ type, from }) => type === 'stage.cancelled' && from === 'queued').length
        expect(granted.length + ids('stage.rejected').length + withdrawn).toBe(ids('stage.queued').length)
      }),
      { numRuns: 60 },
    )
  })

  test('is first come, first served unless told otherwise, also across classes', async () => {
    const runtime = await testRuntime({ main: scripted((call) => call.answer('x', 5), { windowRequests: 1 }) })
    const [a, b] = [once('a'), once('b', { priority: 9 })]
    for (const each of [a, b, a, b, b, a]) runtime.start(each, undefined)
    await runtime.clock.runAll()
    expect(grants(runtime)).toEqual(['1', '2', '3', '4', '5', '6'])
  })

  test('setScheduling reorders what waits, at once, and loses nothing', async () => {
    const runtime = await testRuntime({ main: scripted((call) => call.answer('x', 5), { windowRequests: 1 }) })
    for (const priority of [0, 1, 5, 3]) runtime.start(once(`p${priority}`, { priority }), undefined)
    await runtime.settle()
    runtime.setScheduling('main', { stage: 'priority' })
    await runtime.clock.runAll()
    expect(grants(runtime)).toEqual(['1', '3', '4', '2'])
    expect(runtime.backends()[0]).toMatchObject({ stagePolicy: 'priority', requestPolicy: 'fcfs' })
    runtime.audit()
  })

  test('a cancelled request leaves at once: its place is free for the next', async () => {
    const runtime = await testRuntime({ main: scripted(() => {}, { windowRequests: 1, queueCapacity: 1 }) })
    const [running, waiting] = [runtime.start(once('a'), undefined), runtime.start(once('b'), undefined)]
    await runtime.settle()
    expect(runtime.backends()[0]).toMatchObject({ inFlight: 1, waiting: 1 })
    waiting.cancel()
    await runtime.settle()
    expect(runtime.backends()[0]).toMatchObject({ inFlight: 1, waiting: 0 })
    const next = runtime.start(once('c'), undefined)
    await runtime.settle()
    expect(runtime.backends()[0]).toMatchObject({
      inFlight: 1,
      waiting: 1,
      subQueues: [{ stageClass: 'c/s', waiting: 1 }],
    })
    running.cancel()
    next.cancel()
    await runtime.until(next.outcome)
    runtime.audit()
  })
})

describe('rejections are typed, retried where that may help, and then fail the run', () => {
  test('a full queue', async () => {
    const runtime = await testRuntime({ main: scripted(() => {}, { windowRequests: 1, queueCapacity: 0 }) })
    const first = runtime.start(once('a'), undefined)
    const second = runtime.start(once('b', { attempts: 3 }), undefined)
    await runtime.clock.advance(10_000)
    const outcome = await runtime.until(second.outcome)
    expect(outcome).toMatchObject({
      state: 'failed',
      error: { code: 'ORLA_QUEUE_FULL', retryable: true, details: { backend: 'main', depth: 0, queueCapacity: 0 } },
    })
    expect(runtime.transitions(second.id).filter(({ type }) => type === 'stage.rejected')).toHaveLength(3)
    expect(outcome.stages['s']!.turns).toMatchObject([{ attempts: 3 }])
    first.cancel()
    await runtime.until(first.outcome)
    runtime.audit()
  })

  test('a draining backend, at once; what waits there is still served', async () => {
    const backend = scripted((call) => call.answer('x', 5), { windowRequests: 1 })
    const runtime = await testRuntime({ main: backend })
    const early = [runtime.start(once('a'), undefined), runtime.start(once('a'), undefined)]
    await runtime.settle()
    runtime.drain('main')
    const late = await runtime.until(runtime.start(once('b', { attempts: 3 }), undefined).outcome)
    expect(late).toMatchObject({ state: 'failed', error: { code: 'ORLA_BACKEND_DRAINING', retryable: false } })
    expect((await runtime.until(Promise.all(early.map((run) => run.outcome)))).map(({ state }) => state)).toEqual([
      'completed',
      'completed',
    ])
    runtime.resume('main')
    expect((await runtime.until(runtime.start(once('c'), undefined).outcome)).state).toBe('completed')
    runtime.audit()
  })

  test('an open breaker says for how long, and a stage that may try again waits that long', async () => {
    const backend = scripted((call) => call.fail(broken))
    const runtime = await testRuntime({ main: backend })
    for (let i = 0; i < 5; i++) await runtime.until(runtime.start(once('a'), undefined).outcome)
    expect(runtime.backends()[0]!.health).toBe('open')
    await runtime.clock.advance(500)
    const refused = await runtime.until(runtime.start(once('b'), undefined).outcome)
    expect(refused.error).toMatchObject({
      code: 'ORLA_BACKEND_OPEN',
      details: { backend: 'main', retryAfterMs: 1_500 },
    })
    backend.script = (call) => call.answer('well again')
    const patient = await runtime.until(runtime.start(once('c', { attempts: 2 }), undefined).outcome)
    expect(patient).toMatchObject({ state: 'completed', durationMs: 1_500 })
    expect(runtime.backends()[0]!.health).toBe('healthy')
    runtime.audit()
  })
})

describe('the breaker at work', () => {
  const opened = async (
    script?: (backend: ScriptedBackend) => void,
  ): Promise<{ runtime: TestRuntime; backend: ScriptedBackend }> => {
    const backend = scripted((call) => call.fail(broken))
    const runtime = await testRuntime({ main: backend })
    for (let i = 0; i < 5; i++) await runtime.until(runtime.start(once('a'), undefined).outcome)
    script?.(backend)
    return { runtime, backend }
  }

  test('sends back what waits when it opens', async () => {
    const backend = scripted((call) => call.fail(broken, 10), { windowRequests: 5 })
    const runtime = await testRuntime({ main: backend })
    const runs = Array.from({ length: 20 }, () => runtime.start(once('a'), undefined))
    const outcomes = await runtime.until(Promise.all(runs.map((run) => run.outcome)))
    expect(outcomes.map(({ error }) => error?.code)).toEqual([
      // The first four failures let four more in, which are in flight when the fifth opens the breaker.
      ...Array.from({ length: 9 }, () => 'ORLA_BACKEND_UNREACHABLE'),
      ...Array.from({ length: 11 }, () => 'ORLA_BACKEND_OPEN'),
    ])
    expect(backend.calls).toHaveLength(9)
    runtime.audit({ pendingTimers: 1 })
  })

  test('failures that come in late do not make it stay open longer than it says', async () => {
    const backend = scripted((call, i) => call.fail(broken, i < 5 ? 10 : 1_000), { windowRequests: 6 })
    const runtime = await testRuntime({ main: backend })
    for (let i = 0; i < 6; i++) runtime.start(once('a'), undefined)
    await runtime.clock.advance(1_500)
    const refused = await runtime.until(runtime.start(once('b'), undefined).outcome)
    expect(refused.error).toMatchObject({ code: 'ORLA_BACKEND_OPEN', details: { retryAfterMs: 510 } })
    await runtime.clock.advance(510)
    expect(runtime.backends()[0]!.health).toBe('halfOpen')
  })

  test('half-open, lets one request probe and the others wait for what it finds', async () => {
    const { runtime, backend } = await opened((each) => {
      each.script = (call) => call.answer('ok', 100)
    })
    await runtime.clock.advance(2_000)
    const before = backend.calls.length
    const runs = Array.from({ length: 4 }, () => runtime.start(once('b'), undefined))
    await runtime.clock.advance(50)
    expect(backend.calls.length - before).toBe(1)
    expect(runtime.backends()[0]).toMatchObject({ health: 'halfOpen', inFlight: 1, waiting: 3 })
    const outcomes = await runtime.until(Promise.all(runs.map((run) => run.outcome)))
    expect(outcomes.every(({ state }) => state === 'completed')).toBe(true)
    expect(runtime.backends()[0]!.health).toBe('healthy')
    runtime.audit()
  })

  test('a probe that is cancelled makes room for another', async () => {
    const { runtime, backend } = await opened((each) => {
      each.script = () => {}
    })
    await runtime.clock.advance(2_000)
    const [probe, next] = [runtime.start(once('b'), undefined), runtime.start(once('b'), undefined)]
    await runtime.settle()
    backend.script = (call) => call.answer('ok')
    probe.cancel()
    expect((await runtime.until(next.outcome)).state).toBe('completed')
    expect(runtime.backends()[0]!.health).toBe('healthy')
    runtime.audit()
  })

  test("errors that are the request's own fault do not count", async () => {
    const { runtime } = await (async () => {
      const backend = scripted((call) =>
        call.fail(new BackendError('ORLA_BACKEND_HTTP', 'bad request', { retryable: false })),
      )
      return { runtime: await testRuntime({ main: backend }) }
    })()
    for (let i = 0; i < 10; i++) await runtime.until(runtime.start(once('a'), undefined).outcome)
    expect(runtime.backends()[0]!.health).toBe('healthy')
    runtime.audit()
  })
})
