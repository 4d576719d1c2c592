// Backends change under load: nothing is lost, nothing runs twice, nothing stands still.

import { describe, expect, test } from 'vitest'
import { randomStream } from '../../src/clock.ts'
import { BackendError } from '../../src/errors.ts'
import type { RuntimeOptions } from '../../src/runtime-api.ts'
import { workflow } from '../../src/workflow/builder.ts'
import { rejection, testRuntime } from '../support/runtime.ts'
import { scripted, type ScriptedBackend } from '../support/scripted-backend.ts'

const one = workflow('w').stage('s', { backend: 'main', prompt: () => 'x', retry: { attempts: 1 } })
const withSpare = workflow('v').stage('s', { backend: 'main', fallback: ['spare'], prompt: () => 'x' })

describe('replacing a backend', () => {
  test('sends what waits to the new engine, and closes the old one after its last answer', async () => {
    const old = scripted((call) => call.answer('old', 100), { windowRequests: 1 })
    const fresh = scripted((call) => call.answer('new', 1), { windowRequests: 2, queueCapacity: 7, model: 'bigger' })
    const runtime = await testRuntime({ main: old })
    const runs = [1, 2, 3].map(() => runtime.start(one, undefined))
    await runtime.clock.advance(10)
    await runtime.replaceBackend('main', fresh)
    expect(runtime.backends()[0]).toMatchObject({ windowRequests: 2, queueCapacity: 7, model: 'bigger' })
    await runtime.clock.advance(10)
    expect([old.calls.length, fresh.calls.length, old.closed]).toEqual([1, 2, 0])
    expect(fresh.calls[0]!.request.model).toBe('bigger')
    const outcomes = await runtime.until(Promise.all(runs.map((run) => run.outcome)))
    expect(outcomes.map(({ result }) => result!.s)).toEqual(['old', 'new', 'new'])
    expect([old.closed, fresh.closed]).toEqual([1, 0])
    runtime.audit()
    await runtime.close()
    expect([old.closed, fresh.closed]).toEqual([1, 1])
  })

  test('forgets what was learnt of the old engine, also from what still runs there', async () => {
    const broken = new BackendError('ORLA_BACKEND_UNREACHABLE', 'gone', { retryable: true })
    const old = scripted((call, i) => call.fail(broken, i < 5 ? 1 : 50), { windowRequests: 20 })
    const runtime = await testRuntime({ main: old })
    const runs = Array.from({ length: 15 }, () => runtime.start(one, undefined))
    await runtime.clock.advance(10)
    expect(runtime.backends()[0]!.health).toBe('open')
    await runtime.replaceBackend(
      'main',
      scripted((call) => call.answer('well', 200)),
    )
    expect(runtime.backends()[0]!.health).toBe('healthy')
    runs.push(runtime.start(one, undefined))
    await runtime.clock.advance(100)
    expect(runtime.backends()[0]).toMatchObject({ health: 'healthy', inFlight: 1 })
    expect((await runtime.until(runs.at(-1)!.outcome)).state).toBe('completed')
    await runtime.clock.runAll()
    runtime.audit()
  })

  test('keeps the old engine if the new one cannot be connected', async () => {
    const runtime = await testRuntime({ main: scripted((call) => call.answer('old')) })
    const dead = { ...scripted(), connect: () => Promise.reject(new Error('no such host')) }
    await expect(runtime.replaceBackend('main', dead)).rejects.toThrow('no such host')
    expect((await runtime.until(runtime.start(one, undefined).outcome)).result).toEqual({ s: 'old' })
    expect((await rejection(runtime.replaceBackend('other', scripted()))).code).toBe('ORLA_OPTIONS')
    await runtime.close()
    expect((await rejection(runtime.replaceBackend('main', scripted()))).code).toBe('ORLA_CLOSED')
  })
})

describe('removing and adding backends', () => {
  test('sends what waits to where it may fall back, and lets what runs finish', async () => {
    const main = scripted((call) => call.answer('main', 50), { windowRequests: 1 })
    const spare = scripted((call) => call.answer('spare', 5))
    const runtime = await testRuntime({ main, spare })
    const runs = [withSpare, withSpare, one].map((each) => runtime.start(each, undefined))
    await runtime.settle()
    const removed = runtime.removeBackend('main')
    const outcomes = await runtime.until(Promise.all(runs.map((run) => run.outcome)))
    expect(outcomes.map(({ result, error }) => result?.s ?? error?.code)).toEqual([
      'main',
      'spare',
      'ORLA_BACKEND_DRAINING',
    ])
    await runtime.until(removed)
    expect(main.closed).toBe(1)
    expect(runtime.backends().map(({ name }) => name)).toEqual(['spare'])
    expect(() => runtime.start(one, undefined)).toThrow(/no backend "main"/)
    expect((await rejection(runtime.removeBackend('spare'))).message).toContain('the last backend')
    await runtime.addBackend(
      'main',
      scripted((call) => call.answer('again')),
    )
    expect((await rejection(runtime.addBackend('main', scripted()))).message).toContain('already')
    expect((await runtime.until(runtime.start(one, undefined).outcome)).result).toEqual({ s: 'again' })
    runtime.audit()
  })

  test('a run that is live finds its backend gone, and goes where its stage may fall back', async () => {
    const [first, main, spare] = ['first', 'main', 'spare'].map((name) => scripted((call) => call.answer(name, 10)))
    const runtime = await testRuntime({ first: first!, main: main!, spare: spare! })
    const two = workflow('two')
      .stage('a', { backend: 'first', prompt: () => 'a' })
      .stage('b', { after: ['a'], backend: 'main', fallback: ['spare'], prompt: () => 'b' })
    const run = runtime.start(two, undefined)
    await runtime.settle()
    await runtime.removeBackend('main')
    const outcome = await runtime.until(run.outcome)
    expect(outcome).toMatchObject({ state: 'completed', results: { b: 'spare' } })
    expect(outcome.stages['b']!.backend).toBe('spare')
    runtime.audit()
  })
})

test.each([1, 2, 3])(
  'a thousand changes of two busy backends lose nothing and double nothing (seed %i)',
  async (seed) => {
    const random = randomStream(seed, 'changes')
    const engines: ScriptedBackend[] = []
    const engine = (): ScriptedBackend => {
      const windowRequests = 1 + Math.floor(random() * 8)
      const made = scripted((call) => call.answer(call.context.requestId, 1 + Math.floor(random() * 40)), {
        windowRequests,
        queueCapacity: 10_000,
      })
      engines.push(made)
      return made
    }
    const options: Partial<RuntimeOptions> = { seed }
    const runtime = await testRuntime({ main: engine(), spare: engine(), third: engine() }, options)
    const stage = { prompt: () => 'x', retry: { attempts: 20, backoffMs: 5 } }
    const definition = workflow('w')
      .stage('a', { ...stage, backend: 'main', fallback: ['spare', 'third'] })
      .stage('b', { ...stage, after: ['a'], backend: 'spare', fallback: ['third', 'main'] })
    const runs = []
    const changes: Promise<void>[] = []
    const leaving = new Set<string>()
    const present = (name: string): boolean => !leaving.has(name)
    const busy: number[] = []
    for (let i = 0; i < 1_000; i++) {
      if (present('main') && present('spare'))
        for (let k = 0; k < 3; k++) runs.push(runtime.start(definition, undefined))
      const name = random() < 0.5 ? 'main' : 'spare'
      switch (Math.floor(random() * 7)) {
        case 0:
          if (present(name)) runtime.reconfigure(name, { windowRequests: 1 + Math.floor(random() * 12) })
          break
        case 1:
          if (present(name)) runtime.reconfigure(name, { queueCapacity: 5_000 + Math.floor(random() * 5_000) })
          break
        case 2:
          if (present(name))
            runtime.setScheduling(name, { stage: random() < 0.5 ? 'priority' : 'fcfs', request: 'sjf' })
          break
        case 3:
        case 4:
          if (present(name)) changes.push(runtime.replaceBackend(name, engine()).catch(() => {}))
          break
        case 5:
          if (present(name)) {
            runtime.drain(name)
            runtime.clock.setTimer(10, () => present(name) && runtime.resume(name))
          }
          break
        case 6:
          if (present(name)) {
            leaving.add(name)
            const again = (): Promise<void> => runtime.addBackend(name, engine())
            const back = (): boolean => leaving.delete(name)
            changes.push(
              runtime
                .removeBackend(name)
                .then(again)
                .then(() => void back()),
            )
          }
          break
      }
      busy.push(runtime.backends().reduce((sum, { waiting }) => sum + waiting, 0))
      await runtime.clock.advance(random() * 10)
    }
    const outcomes = await runtime.until(Promise.all(runs.map((run) => run.outcome)))
    await runtime.until(Promise.all(changes))
    expect(outcomes.filter(({ state }) => state !== 'completed').map(({ error }) => error?.message)).toEqual([])
    // Every stage was answered by exactly one engine call, and every engine that is not in use was closed once.
    const calls = engines.flatMap((each) => each.calls)
    expect(calls).toHaveLength(2 * runs.length)
    expect(new Set(calls.map(({ context }) => context.requestId)).size).toBe(calls.length)
    expect(Math.max(...busy)).toBeGreaterThan(20)
    runtime.audit()
    await runtime.close()
    expect(engines.every(({ closed, open }) => closed === 1 && open.length === 0)).toBe(true)
  },
)
