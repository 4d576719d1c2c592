// The runtime's own actors break in the middle of a message: another takes over, and nothing that was accepted is lost.

import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { createRuntime } from '../../src/runtime.ts'
import type { Runtime } from '../../src/runtime-api.ts'
import { virtualClock, type VirtualClock } from '../../src/clock.ts'
import type { Logger } from '../../src/log.ts'
import { utf8BytesEstimator } from '../../src/prompts/estimator.ts'
import type { CachePolicy } from '../../src/memory/cache-policy.ts'
import type { WindowPolicy } from '../../src/memory/window-policy.ts'
import type { SchedulingPolicy } from '../../src/scheduling/policy.ts'
import { workflow } from '../../src/workflow/builder.ts'
import { tool } from '../../src/workflow/tool.ts'
import { kvBackend } from '../actors/memory-kit.ts'
import { scripted, type ScriptedBackend } from '../support/scripted-backend.ts'

/** A policy that throws, and a log that throws when it is told: the actor breaks in mid-message, as often as it is told. */
async function breakable(
  backends: Record<string, ScriptedBackend>,
): Promise<{ runtime: Runtime; clock: VirtualClock; breakNext: (times: number) => void; logged: string[] }> {
  const clock = virtualClock()
  const logged: string[] = []
  let breaks = 0
  let armed = false
  const log: Logger = {
    debug() {},
    info() {},
    warn: (_, message) => void logged.push(message),
    error(_, message) {
      logged.push(message)
      if (!message.startsWith('scheduling policy failed') || !armed) return
      armed = --breaks > 0
      throw new Error('the log is full')
    },
  }
  const policy = (): SchedulingPolicy =>
    ({
      name: 'breaks',
      kind: 'pick',
      cost: 'O(1)',
      pick() {
        if (armed) throw new Error('broken policy')
        return 0
      },
    }) as unknown as SchedulingPolicy
  const scheduling = Object.fromEntries(Object.keys(backends).map((name) => [name, { request: policy }]))
  const runtime = await createRuntime({ backends, clock, log, estimator: utf8BytesEstimator, scheduling })
  const breakNext = (times: number): void => {
    breaks = times
    armed = true
  }
  return { runtime, clock, breakNext, logged }
}

const one = workflow('w').stage('s', {
  backend: 'main',
  prompt: () => 'x',
  retry: { attempts: 3, backoffMs: 1 },
})

describe('a backend actor that breaks', () => {
  test('is started again: slots in use stay taken, what waited is asked for again, and every run ends well', async () => {
    const main = scripted((call) => call.answer('ok', 20), { windowRequests: 2 })
    const { runtime, clock, breakNext, logged } = await breakable({ main })
    runtime.reconfigure('main', { windowRequests: 3 })
    const runs = Array.from({ length: 12 }, () => runtime.start(one, undefined))
    await clock.advance(5)
    breakNext(1)
    const outcomes = await clock.run(Promise.all(runs.map((run) => run.outcome)))
    expect(logged).toContain('a child is restarted')
    expect(outcomes.map(({ state }) => state)).toEqual(runs.map(() => 'completed'))
    expect(main.calls).toHaveLength(12)
    expect(main.openMax).toBe(3)
    expect(runtime.backends()[0]).toMatchObject({ inFlight: 0, waiting: 0, windowRequests: 3 })
    expect([runtime.deadLetters, clock.pendingTimers]).toEqual([0, 0])
    await runtime.close()
  })

  test('costs what only waited none of its attempts', async () => {
    const main = scripted((call) => call.answer('ok', 20), { windowRequests: 2 })
    const { runtime, clock, breakNext, logged } = await breakable({ main })
    const once = workflow('w').stage('s', { backend: 'main', prompt: () => 'x', retry: { attempts: 1 } })
    const runs = Array.from({ length: 12 }, () => runtime.start(once, undefined))
    await clock.advance(5)
    breakNext(1)
    const outcomes = await clock.run(Promise.all(runs.map((run) => run.outcome)))
    expect(logged).toContain('a child is restarted')
    expect(outcomes.map(({ state }) => state)).toEqual(runs.map(() => 'completed'))
    await runtime.close()
  })

  test('twice within five seconds, closes the runtime: every run ends, and says so', async () => {
    const main = scripted((call) => call.answer('ok', 20), { windowRequests: 2 })
    const { runtime, clock, breakNext, logged } = await breakable({ main })
    const runs = Array.from({ length: 12 }, () => runtime.start(one, undefined))
    await clock.advance(5)
    breakNext(100)
    const outcomes = await clock.run(Promise.all(runs.map((run) => run.outcome)))
    expect(logged).toContain('a supervisor gave up')
    const states = new Set(outcomes.map(({ state }) => state))
    expect(states.has('cancelled')).toBe(true)
    expect(main.calls.filter(({ cancelled }) => cancelled === undefined).length).toBe(
      outcomes.filter(({ state }) => state === 'completed').length,
    )
    await clock.runAll()
    expect(() => runtime.start(one, undefined)).toThrow('the runtime is closed')
    expect([runtime.liveRuns, clock.pendingTimers, main.open.length, main.closed]).toEqual([0, 0, 0, 1])
  })
})

test('a tool actor that breaks answers what it had, and serves the next call', async () => {
  let reads = 0
  const breaking = {
    ...tool({ description: 'd', input: z.object({}), run: () => 'worked' }),
    get timeoutMs() {
      // Checking the workflow reads it as well.
      if (++reads === 2) throw new Error('not now')
      return 1_000
    },
  }
  const heard: string[] = []
  const main = scripted((call, i) => {
    if (i > 0) heard.push(call.lastText)
    call.answer(i < 2 ? { toolCalls: [{ name: 't' }] } : 'done')
  })
  const clock = virtualClock()
  const runtime = await createRuntime({ backends: { main }, clock, estimator: utf8BytesEstimator })
  const definition = workflow('w').stage('s', { backend: 'main', prompt: () => 'x', tools: { t: breaking } })
  const outcome = await clock.run(runtime.start(definition, undefined).outcome)
  expect(outcome.state).toBe('completed')
  expect(heard).toEqual(['error: the tool was stopped before it answered', 'worked'])
  await runtime.close()
  expect([runtime.deadLetters, clock.pendingTimers]).toEqual([0, 0])
})

/** A log that throws when it is told `message`, `times` times. */
function breakingLog(message: string, times: number): { log: Logger; logged: string[] } {
  const logged: string[] = []
  let left = times
  const log: Logger = {
    debug() {},
    info() {},
    warn: (_, said) => void logged.push(said),
    error(_, said) {
      logged.push(said)
      if (said === message && left-- > 0) throw new Error('the log is full')
    },
  }
  return { log, logged }
}

test('a memory manager that breaks in a timer is started again, and the one before it does nothing more', async () => {
  let reviews = 0
  const policy: WindowPolicy = {
    name: 'broken',
    tickMs: 100,
    enter: () => undefined,
    review() {
      reviews++
      throw new Error('no review')
    },
  }
  const main = scripted((call) => call.answer('ok', 1))
  const clock = virtualClock()
  const { log, logged } = breakingLog('a window policy failed', 1)
  const runtime = await createRuntime({
    backends: { main },
    clock,
    log,
    estimator: utf8BytesEstimator,
    memory: { policy: { name: 'broken', window: () => policy }, kvTokens: { main: 1 }, holdMsMax: 1_000 },
  })
  const outcome = await clock.run(runtime.start(one, undefined).outcome)
  expect(outcome.state).toBe('completed')
  expect(logged.slice(0, 3)).toEqual(['a window policy failed', 'memory manager failed', 'a child is restarted'])
  // One review in each tick of the second that it was held, not two.
  expect(reviews).toBeLessThanOrEqual(12)
  await runtime.close()
  expect(clock.pendingTimers).toBe(0)
})

test('what an engine answers to a memory manager that broke is not taken for an answer to the next', async () => {
  let answers = 0
  const cache: CachePolicy = {
    name: 'broken',
    atBoundary({ boundary, backend }) {
      if (boundary !== 'answer') return undefined
      if (++answers === 2) throw new Error('no verdict')
      return { want: 'flushAll', backend, reason: 'a test', figures: {} }
    },
  }
  const clock = virtualClock()
  const main = kvBackend((call) => call.answer('ok', 1))
  // The first flush takes longer than the second manager needs to ask for one that fails.
  main.flush = () =>
    new Promise((resolve) => {
      if (main.told.length === 1) clock.setTimer(1_000, () => resolve({ outcome: 'flushed', scope: 'all' }))
      else clock.setTimer(2_000, () => resolve({ outcome: 'failed', message: 'no', status: 500 }))
    })
  const { log, logged } = breakingLog('a cache policy failed; the engine decides', 1)
  const memory = { policy: { name: 'broken', cache } }
  const runtime = await createRuntime({ backends: { main }, clock, log, estimator: utf8BytesEstimator, memory })
  for (let i = 0; i < 3; i++) await clock.run(runtime.start(one, undefined).outcome)
  expect(logged).toContain('a child is restarted')
  expect(main.told).toEqual(['flushAll', 'flushAll'])
  await clock.advance(5_000)
  expect(runtime.cacheDecisions().map(({ type }) => type)).toEqual(['cache.released', 'cache.flushFailed'])
  await runtime.close()
})

test('a backend that breaks when the time of held requests is up is started again', async () => {
  const policy: SchedulingPolicy = {
    name: 'broken',
    key() {
      throw new Error('no key')
    },
  }
  const main = scripted((call) => call.answer('ok', 1))
  const clock = virtualClock()
  const logged: string[] = []
  let breaks = 1
  const log: Logger = {
    debug() {},
    info() {},
    warn: (_, message) => void logged.push(message),
    error(_, message) {
      logged.push(message)
      if (message.startsWith('scheduling policy failed') && breaks-- > 0) throw new Error('the log is full')
    },
  }
  const runtime = await createRuntime({
    backends: { main },
    clock,
    log,
    estimator: utf8BytesEstimator,
    scheduling: { main: { request: policy } },
    memory: {
      policy: {
        name: 'never',
        window: () => ({
          name: 'never',
          tickMs: 100,
          enter: () => undefined,
          review: () => ({ release: [], admit: [] }),
        }),
      },
      kvTokens: { main: 1 },
      holdMsMax: 500,
    },
  })
  const outcome = await clock.run(runtime.start(one, undefined).outcome)
  expect(logged.slice(1, 3)).toEqual(['backend actor failed', 'a child is restarted'])
  expect(outcome.state).toBe('completed')
  await runtime.close()
  expect(clock.pendingTimers).toBe(0)
})

test('a tool actor that breaks between two calls is started again, and answers the one that waited', async () => {
  let reads = 0
  const breaking = {
    ...tool({
      description: 'd',
      input: z.object({}),
      concurrency: 1,
      run: () => new Promise<string>((resolve) => void clock.setTimer(10, () => resolve('worked'))),
    }),
    get timeoutMs() {
      // Checking the workflow reads it, then the call that starts at once, then the one that waited.
      if (++reads === 3) throw new Error('not now')
      return 1_000
    },
  }
  const clock = virtualClock()
  const heard: string[] = []
  const main = scripted((call, i) => {
    for (const { role, content } of call.request.messages) if (role === 'tool') heard.push(content)
    call.answer(
      i === 0
        ? {
            toolCalls: [
              { name: 't', id: 'a' },
              { name: 't', id: 'b' },
            ],
          }
        : 'done',
    )
  })
  const { log, logged } = breakingLog('', 0)
  const runtime = await createRuntime({ backends: { main }, clock, log, estimator: utf8BytesEstimator })
  const definition = workflow('w').stage('s', { backend: 'main', prompt: () => 'x', tools: { t: breaking } })
  const outcome = await clock.run(runtime.start(definition, undefined).outcome)
  expect(outcome.state).toBe('completed')
  expect(heard).toEqual(['worked', 'error: the tool was stopped before it answered'])
  expect(logged).toEqual(['tool actor failed', 'a child is restarted'])
  await runtime.close()
  expect(clock.pendingTimers).toBe(0)
})

test('ten thousand runs of which one in a hundred breaks: the others end as if nothing had happened', async () => {
  const play = async (breaks: boolean): Promise<string[]> => {
    const main = scripted((call) => call.answer(call.lastText, 1 + (Number(call.lastText) % 7)), {
      windowRequests: 64,
      queueCapacity: 20_000,
    })
    const clock = virtualClock()
    const runtime = await createRuntime({ backends: { main }, clock, estimator: utf8BytesEstimator })
    const definition = workflow('w').stage('s', {
      backend: 'main',
      prompt: ({ input }) => {
        if (breaks && Number(input) % 100 === 7) throw new Error('broken')
        return String(input)
      },
    })
    const runs = Array.from({ length: 10_000 }, (_, i) => runtime.start(definition, i))
    const outcomes = await clock.run(Promise.all(runs.map((run) => run.outcome)))
    await runtime.close()
    expect(clock.pendingTimers).toBe(0)
    return outcomes.map(({ state, result, error }) => `${state} ${JSON.stringify(result)} ${error?.code}`)
  }
  const [calm, stormy] = [await play(false), await play(true)]
  const differing = stormy.flatMap((outcome, i) => (outcome === calm[i] ? [] : [i]))
  expect(differing).toHaveLength(100)
  expect(differing.every((i) => i % 100 === 7)).toBe(true)
  expect(new Set(differing.map((i) => stormy[i]))).toEqual(new Set(['failed undefined ORLA_STAGE_BUILDER']))
})
