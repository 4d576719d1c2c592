// Starting runs: what is refused before anything happens, and what many runs at once leave behind.

import { describe, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { Feed } from '../../src/feed.ts'
import { openAi, simulated, virtualClock } from '../../src/index.ts'
import { BackendError, OrlaError } from '../../src/errors.ts'
import { createRuntime } from '../../src/runtime.ts'
import type { RunEvent } from '../../src/schema/transition.ts'
import { workflow, type Workflow } from '../../src/workflow/builder.ts'
import { tool } from '../../src/workflow/tool.ts'
import { scripted, type ScriptedBackend } from '../support/scripted-backend.ts'
import { collect, rejection, testRuntime } from '../support/runtime.ts'

const echo = (): ScriptedBackend => scripted((call) => call.answer(call.lastText, 1))
const say = workflow('say', { input: z.string() })
  .stage('s', { backend: 'main', prompt: ({ input }) => input })
  .output(({ results }) => results.s)

describe('start refuses, before anything is queued', () => {
  test('a workflow that is not valid, with unknown backends among the rest', async () => {
    const runtime = await testRuntime({ main: echo() })
    const wrong = workflow('wrong')
      .stage('a', { backend: 'man', prompt: () => 'x', temperature: 9 })
      .stage('b', { backend: 'min', prompt: () => 'x' })
    expect(() => runtime.start(wrong, undefined)).toThrow(
      expect.objectContaining({
        code: 'ORLA_WORKFLOW_INVALID',
        issues: [
          expect.objectContaining({ path: 'stages.a.temperature' }),
          expect.objectContaining({ path: 'stages.a.backend', code: 'unknown_backend' }),
          expect.objectContaining({ path: 'stages.b.backend', code: 'unknown_backend' }),
        ],
      }),
    )
    runtime.audit()
  })

  test('an explicit mapping that cannot work, all reasons at once', async () => {
    const main = scripted(() => {}, {
      capabilities: { tools: false, jsonSchema: false, models: ['m'] },
      model: 'm',
      contextLength: 100,
    })
    const runtime = await testRuntime({ main })
    const t = tool({ description: '', input: z.object({}), run: () => 1 })
    const bad = workflow('bad').stage('a', {
      backend: 'main',
      model: 'other',
      maxTokens: 100,
      tools: { t },
      output: z.object({}),
      prompt: () => 'x',
    })
    expect(() => runtime.verify(bad)).toThrow(
      expect.objectContaining({
        code: 'ORLA_MAPPING_INCOMPATIBLE',
        issues: expect.objectContaining({ length: 4 }) as unknown,
      }),
    )
    expect(() => runtime.start(bad, undefined)).toThrow(expect.objectContaining({ code: 'ORLA_MAPPING_INCOMPATIBLE' }))
    expect(main.calls).toEqual([])
  })

  test('an input that does not match, at once or when the schema has looked', async () => {
    const runtime = await testRuntime({ main: echo() })
    expect(() => runtime.start(say, 5 as never)).toThrow(
      expect.objectContaining({ code: 'ORLA_INPUT', issues: [expect.objectContaining({ path: 'input' })] }),
    )
    const slow = workflow('slow', { input: z.string().refine((text) => Promise.resolve(text === 'good')) }).stage('s', {
      backend: 'main',
      prompt: () => 'x',
    })
    expect(await rejection(runtime.until(runtime.start(slow, 'bad').result))).toMatchObject({ code: 'ORLA_INPUT' })
    expect(await runtime.until(runtime.start(slow, 'good').result)).toEqual({ s: 'x' })
    runtime.audit()
  })

  test.each([{ priority: Number.NaN }, { deadlineMs: -1 }, { tenant: '' }, { signal: {} }, { tenat: 'x' }])(
    'options like %j',
    async (options) => {
      const runtime = await testRuntime({ main: echo() })
      expect(() => runtime.start(say, 'x', options as never)).toThrow(expect.objectContaining({ code: 'ORLA_OPTIONS' }))
      runtime.audit()
    },
  )

  test('everything once it is closed', async () => {
    const main = echo()
    const runtime = await testRuntime({ main })
    await Promise.all([runtime.close(), runtime.close()])
    expect(() => runtime.start(say, 'x')).toThrow(expect.objectContaining({ code: 'ORLA_CLOSED' }))
    expect(main.closed).toBe(1)
  })
})

describe('many runs at once', () => {
  test('of one definition have each their own results', async () => {
    const runtime = await testRuntime(
      { main: scripted((call) => call.answer(`<${call.lastText}>`, 1), { windowRequests: 64 }) },
      { watch: false },
    )
    const two = workflow('two', { input: z.number() })
      .stage('a', { backend: 'main', prompt: ({ input }) => `a${input}` })
      .stage('b', { after: ['a'], backend: 'main', prompt: ({ input, results }) => `b${input}${results.a}` })
      .output(({ input, results }) => [input, results.b])
    const runs = Array.from({ length: 1_000 }, (_, n) => runtime.start(two, n))
    const results = await runtime.until(Promise.all(runs.map((run) => run.result)))
    results.forEach((result, n) => expect(result).toEqual([n, `<b${n}<a${n}>>`]))
    expect(new Set(runs.map(({ id }) => id)).size).toBe(1_000)
    runtime.audit()
  })

  test('of workflows that share a name keep their tools and mappers apart', async () => {
    const runtime = await testRuntime({
      main: scripted((call) =>
        call.request.messages.length === 1
          ? call.answer({ toolCalls: [{ name: 'who' }] }, 1)
          : call.answer(call.lastText, 1),
      ),
    })
    const named = (who: string): Workflow<unknown, { s: string }> =>
      workflow('same').stage('s', {
        mapping: () => ({ backend: 'main', reason: who }),
        tools: { who: tool({ description: '', input: z.object({}), run: () => who }) },
        prompt: () => 'x',
      })
    const runs = ['ann', 'ben'].map((who) => runtime.start(named(who), undefined))
    expect(await runtime.until(Promise.all(runs.map((run) => run.result)))).toEqual([{ s: 'ann' }, { s: 'ben' }])
    runtime.audit()
  })

  test('leave nothing behind: two thousand of every ending, with tools, mappers, retries and cancellations', async () => {
    const backend = scripted(
      (call) => {
        const n = Number(call.context.runId.split('-')[1])
        if (n % 7 === 0 && call.context.requestId.endsWith('.1'))
          return call.fail(new BackendError('ORLA_BACKEND_HTTP', 'x', { retryable: n % 2 === 0 }), 2)
        if (call.request.messages.length === 1 && n % 3 === 0) return call.answer({ toolCalls: [{ name: 't' }] }, 2)
        call.answer('x', 2)
      },
      { windowRequests: 50 },
    )
    const runtime = await testRuntime({ main: backend }, { watch: false })
    const t = tool({ description: '', input: z.object({}), run: () => 'y' })
    const runs = Array.from({ length: 2_000 }, (_, i) => {
      // A definition of its own for each run: those are let go with the run.
      const small = workflow(`small-${i % 10}`).stage('s', {
        mapping: () => ({ backend: 'main', reason: 'r' }),
        tools: { t },
        prompt: () => 'x',
      })
      const run = runtime.start(small, undefined, i % 11 === 0 ? { deadlineMs: 3 } : {})
      if (i % 5 === 0) runtime.clock.setTimer(i % 40, () => run.cancel())
      return run
    })
    const outcomes = await runtime.until(Promise.all(runs.map((run) => run.outcome)))
    await runtime.clock.runAll()
    expect(new Set(outcomes.map(({ state }) => state))).toEqual(new Set(['completed', 'failed', 'cancelled']))
    runtime.audit({ deadLetters: runtime.deadLetters })
    expect(backend.open).toEqual([])
    expect(backend.openMax).toBeLessThanOrEqual(50)
  })
})

describe('observers', () => {
  test('that are not there cost no token event', async () => {
    const publish = vi.spyOn(Feed.prototype, 'publish')
    const tokens = (): number => publish.mock.calls.filter(([event]) => event.type === 'stage.token').length
    try {
      const streaming = scripted((call) => call.delta('a').delta('b').answer('ab', 1))
      const silent = await testRuntime({ main: streaming }, { watch: false })
      await silent.until(silent.start(say, 'x').result)
      expect(tokens()).toBe(0)
      const run = silent.start(say, 'x')
      const reading = collect(run.events)
      await silent.until(run.result)
      expect(tokens()).toBeGreaterThan(0)
      expect((await reading).filter(({ type }) => type === 'stage.token')).toHaveLength(2)
    } finally {
      publish.mockRestore()
    }
  })

  test('of one run hear that run only, from its first transition to its last', async () => {
    const runtime = await testRuntime({ main: echo() })
    const [run, other] = [runtime.start(say, 'a'), runtime.start(say, 'b')]
    const reading = collect(run.events)
    await runtime.until(Promise.all([run.result, other.result]))
    const events = await reading
    expect(events.filter((event) => 'seq' in event)).toEqual(runtime.transitions(run.id))
    expect(events.at(-1)?.type).toBe('run.completed')
    expect(await collect(run.events)).toEqual([])
  })

  test('that throw, leave or start other runs harm nothing', async () => {
    const runtime = await testRuntime({ main: echo() })
    let started = 0
    const stop = runtime.subscribe((event) => {
      if (event.type === 'stage.released' && started++ < 5) runtime.start(say, 'more')
      throw new Error('observer')
    })
    await runtime.until(runtime.start(say, 'x').result)
    await runtime.clock.runAll()
    expect(started).toBe(6)
    stop()
    await runtime.until(runtime.start(say, 'x').result)
    expect(started).toBe(6)
    runtime.audit()
  })
})

describe('one seed, one outcome', () => {
  const Ticket = z.object({ urgent: z.boolean(), words: z.array(z.string()) })
  const search = tool({
    description: 'Searches.',
    input: z.object({ query: z.string() }),
    run: ({ query }) => `found ${query}`,
  })
  const agent = workflow('agent')
    .stage('read', { backend: 'light', output: Ticket, prompt: () => 'Read the ticket.' })
    .stage('look', {
      after: ['read'],
      backend: 'heavy',
      tools: { search },
      maxTokens: 50,
      prompt: ({ results }) => `Look up ${results.read.words.join()}`,
    })
    .stage('reply', { after: ['read', 'look'], context: 'append', backend: 'heavy', prompt: () => 'Reply.' })

  async function trace(seed: number): Promise<string> {
    const clock = virtualClock({ seed })
    const runtime = await createRuntime({
      backends: {
        light: simulated({ model: 'small', engine: 'light', transport: 'in-process', windowRequests: 2 }),
        heavy: simulated({ model: 'large', engine: 'heavy', transport: 'in-process', windowRequests: 3 }),
      },
      clock,
      cloneMessages: true,
    })
    const events: RunEvent[] = []
    runtime.subscribe((event) => void events.push(event))
    const runs = Array.from({ length: 12 }, () => runtime.start(agent, undefined))
    await clock.run(Promise.all(runs.map((run) => run.outcome)))
    await runtime.close()
    return JSON.stringify(events)
  }

  test('simulated runs are the same byte for byte, and others for another seed', async () => {
    const [first, again, other] = [await trace(7), await trace(7), await trace(8)]
    expect(again).toBe(first)
    expect(other).not.toBe(first)
    expect(first).toContain('run.completed')
  })
})

describe('createRuntime', () => {
  test('names every problem of its options', async () => {
    const error = await rejection(
      createRuntime({
        backends: { __proto__x: {} as never, ok: echo() },
        scheduling: { nobody: { stage: 'fcfs' }, ok: { request: 'best' as never } },
      }),
    )
    expect(error).toMatchObject({
      code: 'ORLA_OPTIONS',
      issues: [
        { path: 'backends.__proto__x', code: 'not_a_backend' },
        { path: 'scheduling.nobody', code: 'unknown_backend' },
        { path: 'scheduling.ok.request', code: 'unknown_policy' },
      ],
    })
    expect(await rejection(createRuntime({ backends: {} }))).toMatchObject({ issues: [{ code: 'no_backends' }] })
  })

  test('closes what it has connected when another backend cannot be', async () => {
    const good = echo()
    const bad = { ...echo(), connect: () => Promise.reject(new OrlaError('ORLA_OPTIONS', 'no engine here')) }
    expect(await rejection(createRuntime({ backends: { good, bad } }))).toMatchObject({ message: 'no engine here' })
    expect(good.closed).toBe(1)
  })

  test('closes every driver when one breaks while it is probed', async () => {
    const good = echo()
    const bad = echo()
    const connect = bad.connect.bind(bad)
    bad.connect = async (environment) =>
      Object.assign(await connect(environment), { probe: () => Promise.reject(new Error('probe bug')) })
    await expect(createRuntime({ backends: { good, bad } })).rejects.toThrow('probe bug')
    expect([good.closed, bad.closed]).toEqual([1, 1])
  })

  test('takes no policy by a name that nobody knows, also at work', async () => {
    const runtime = await testRuntime({ main: echo() })
    expect(() => runtime.setScheduling('main', { stage: 'best' as never })).toThrow(
      expect.objectContaining({ code: 'ORLA_OPTIONS' }),
    )
    expect(runtime.backends()[0]).toMatchObject({ stagePolicy: 'fcfs', requestPolicy: 'fcfs' })
    runtime.audit()
  })

  test('lets nobody name a backend that is not there', async () => {
    const runtime = await testRuntime({ main: echo() })
    for (const call of [
      () => runtime.drain('x'),
      () => runtime.residents('x'),
      () => runtime.setScheduling('x', {}),
      () => runtime.reconfigure('x', {}),
    ]) {
      expect(call).toThrow(expect.objectContaining({ code: 'ORLA_OPTIONS' }))
    }
    expect(() => runtime.reconfigure('main', { windowRequests: 0 })).toThrow(
      expect.objectContaining({ code: 'ORLA_OPTIONS' }),
    )
    expect(typeof openAi).toBe('function')
  })
})
