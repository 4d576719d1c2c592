// A stage from its dependencies to its request: conditions, priorities, prompts, mappers, context.

import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { limits } from '../../src/limits.ts'
import type { MappingDecision, MappingRequest } from '../../src/mapping/mapper.ts'
import { assistant, system, user } from '../../src/schema/message.ts'
import { workflow } from '../../src/workflow/builder.ts'
import type { RunOutcome } from '../../src/workflow/report.ts'
import { scripted, type ScriptedBackend } from '../support/scripted-backend.ts'
import { testRuntime, type TestRuntime } from '../support/runtime.ts'

type Options = Parameters<ReturnType<typeof workflow>['stage']>[1]

const echoing = (): ScriptedBackend => scripted((call) => call.answer(`<${call.lastText}>`, 1))

async function runOne(
  options: Record<string, unknown>,
): Promise<{ outcome: RunOutcome; backend: ScriptedBackend; runtime: TestRuntime }> {
  const backend = echoing()
  const runtime = await testRuntime({ main: backend })
  const one = workflow('one').stage('a', { backend: 'main', prompt: () => 'go', ...options } as Options & {
    when?: undefined
  })
  const outcome = await runtime.until(runtime.start(one, undefined).outcome)
  runtime.audit()
  return { outcome, backend, runtime }
}

describe('user code that goes wrong fails the stage, and says whose it was', () => {
  const boom = (): never => {
    throw new Error('boom')
  }
  test.each<[what: string, options: Record<string, unknown>, message: RegExp]>([
    ['a prompt that throws', { prompt: boom }, /the prompt builder threw: boom/],
    ['a prompt that is a promise', { prompt: () => Promise.reject(new Error('later')) }, /promise.*synchronous/],
    ['a prompt that is nothing', { prompt: () => undefined }, /the prompt builder returned undefined/],
    ['a prompt that is null', { prompt: () => null }, /returned null/],
    ['a prompt that is a number', { prompt: () => 5 }, /returned number/],
    ['a prompt without messages', { prompt: () => [] }, /returned no messages/],
    [
      'a prompt with holes',
      { prompt: () => Array.from<unknown>({ length: 2 }).fill(user('x'), 0, 1) },
      /no message at \[1\]/,
    ],
    ['a prompt of holes only', { prompt: () => Object.assign([], { length: 3 }) }, /no message at \[0\]/],
    ['a message that is text', { prompt: () => [system('s'), 'text'] }, /no message at \[1\]/],
    ['a message of an unknown role', { prompt: () => [{ role: 'robot', content: 'x' }] }, /role "robot" at \[0\]/],
    ['a message without text', { prompt: () => [{ role: 'user', content: ['x'] }] }, /without text at \[0\]/],
    ['a condition that throws', { when: boom }, /the condition `when` threw: boom/],
    ['a condition that is a promise', { when: () => Promise.resolve(false) }, /`when`.*promise.*synchronous/],
    ['a condition that rejects', { when: () => Promise.reject(new Error('later')) }, /`when`.*promise.*synchronous/],
    ['a priority that throws', { priority: boom }, /the priority threw: boom/],
    ['a priority that is no number', { priority: () => Number.NaN }, /the priority is NaN, not a number/],
    [
      'a priority that is a promise',
      { priority: { request: () => Promise.reject(new Error('later')) } },
      /the priority.*promise/,
    ],
  ])('%s', async (_what, options, message) => {
    const { outcome, backend } = await runOne(options)
    expect(outcome).toMatchObject({ state: 'failed', error: { code: 'ORLA_STAGE_BUILDER' } })
    expect(outcome.error?.message).toMatch(message)
    expect(outcome.error?.message).toContain('stage "a"')
    expect(backend.calls).toEqual([])
  })

  test('an output function that throws, or is asynchronous, fails the run', async () => {
    for (const [make, message] of [
      [
        () => {
          throw new Error('boom')
        },
        /output function threw: boom/,
      ],
      [() => Promise.reject(new Error('later')), /output function.*promise/],
    ] as const) {
      const runtime = await testRuntime({ main: echoing() })
      const run = runtime.start(
        workflow('w')
          .stage('a', { backend: 'main', prompt: () => 'x' })
          .output(make),
        undefined,
      )
      const outcome = await runtime.until(run.outcome)
      expect(outcome).toMatchObject({
        state: 'failed',
        error: { code: 'ORLA_STAGE_BUILDER', message: expect.stringMatching(message) as string },
        results: { a: '<x>' },
      })
      runtime.audit()
    }
  })
})

describe('prompts', () => {
  test('text is one user message, and messages go as they are', async () => {
    expect((await runOne({ prompt: () => 'hello' })).backend.calls[0]!.request.messages).toEqual([user('hello')])
    const messages = [system('s'), user('u'), assistant('a'), user('v')]
    expect((await runOne({ prompt: () => messages })).backend.calls[0]!.request.messages).toEqual(messages)
  })

  test('parameters reach the engine, and nothing else does', async () => {
    const { backend } = await runOne({
      temperature: 0.5,
      maxTokens: 7,
      seed: 3,
      stop: ['x'],
      priority: 4,
      model: 'other',
    })
    expect(backend.calls[0]!.request).toEqual({
      model: 'other',
      messages: [user('go')],
      params: { temperature: 0.5, maxTokens: 7, seed: 3, stop: ['x'] },
    })
    expect(backend.calls[0]!.context).toMatchObject({ priority: 4 })
  })

  test('see the input and declared results only', async () => {
    const seen: unknown[] = []
    const runtime = await testRuntime({ main: echoing() })
    const three = workflow('three', { input: z.object({ n: z.coerce.number() }) })
      .stage('a', { backend: 'main', prompt: ({ input }) => `a${input.n}` })
      .stage('b', { backend: 'main', prompt: () => 'b' })
      .stage('c', {
        after: ['a'],
        backend: 'main',
        prompt: (context) => {
          seen.push({ ...context.results }, Object.isFrozen(context.results), 'toString' in context.results)
          return 'c'
        },
      })
      .output(({ input, results }) => [input, { ...results }])
    const run = runtime.start(three, { n: '7' })
    expect(await runtime.until(run.result)).toEqual([{ n: 7 }, { a: '<a7>', b: '<b>', c: '<c>' }])
    expect(seen).toEqual([{ a: '<a7>' }, true, false])
    runtime.audit()
  })

  test('append continues the conversations of the parents, shared parts once; results begins anew', async () => {
    const backend = echoing()
    const runtime = await testRuntime({ main: backend })
    const diamond = workflow('diamond')
      .stage('root', { backend: 'main', prompt: () => [system('s'), user('r')] })
      .stage('left', { after: ['root'], context: 'append', backend: 'main', prompt: () => 'l' })
      .stage('right', { after: ['root'], context: 'append', backend: 'main', prompt: () => 'x' })
      .stage('join', { after: ['left', 'right'], context: 'append', backend: 'main', prompt: () => 'j' })
      .stage('fresh', { after: ['left'], backend: 'main', prompt: () => 'f' })
    await runtime.until(runtime.start(diamond, undefined).result)
    const sent = Object.fromEntries(
      backend.calls.map(({ stage, request }) => [stage, request.messages.map(({ content }) => content)]),
    )
    expect(sent['left']).toEqual(['s', 'r', '<r>', 'l'])
    expect(sent['join']).toEqual(['s', 'r', '<r>', 'l', '<l>', 'x', '<x>', 'j'])
    expect(sent['fresh']).toEqual(['f'])
    const queued = runtime
      .transitions()
      .flatMap((transition) => (transition.type === 'stage.queued' && transition.stage === 'left' ? [transition] : []))
    expect(queued[0]!.addedTokens).toBeLessThan(queued[0]!.promptTokens)
    runtime.audit()
  })
})

describe('conditions', () => {
  test('a stage that is not taken is skipped, and so is what depends on skipped stages only', async () => {
    const backend = echoing()
    const runtime = await testRuntime({ main: backend })
    const branches = workflow('branches')
      .stage('root', { backend: 'main', prompt: () => 'r' })
      .stage('no', {
        after: ['root'],
        when: ({ results }) => results.root === 'never',
        backend: 'main',
        prompt: () => 'n',
      })
      .stage('after_no', { after: ['no'], backend: 'main', prompt: () => 'an' })
      .stage('after_after', { after: ['after_no', 'no'], backend: 'main', prompt: () => 'aa' })
      .stage('mixed', {
        after: ['root', 'no'],
        backend: 'main',
        prompt: ({ results }) => `m ${results.root} ${results.no}`,
      })
    const outcome = await runtime.until(runtime.start(branches, undefined).outcome)
    expect(outcome.state).toBe('completed')
    expect(
      Object.fromEntries(Object.entries(outcome.stages).map(([name, { state, reason }]) => [name, [state, reason]])),
    ).toMatchObject({
      no: ['skipped', 'its condition `when` was not met'],
      after_no: ['skipped', 'all it depends on was skipped: no'],
      after_after: ['skipped', 'all it depends on was skipped: after_no, no'],
      mixed: ['completed', 'answered'],
    })
    expect(outcome.results).toEqual({ root: '<r>', mixed: '<m <r> undefined>' })
    expect(backend.calls.map(({ stage }) => stage)).toEqual(['root', 'mixed'])
    runtime.audit()
  })

  test('a run of which every stage is skipped completes', async () => {
    const { outcome, runtime } = await runOne({ when: () => false })
    expect(outcome).toMatchObject({
      state: 'completed',
      results: {},
      durationMs: 0,
      stages: { a: { startedAtMs: null } },
    })
    expect(runtime.transitions().map(({ type }) => type)).toEqual(['run.started', 'stage.skipped', 'run.completed'])
  })

  test('a chain of 20,000 stages that are skipped ends without recursion', async () => {
    const runtime = await testRuntime({ main: echoing() }, { watch: false })
    let chain = workflow('chain').stage('s0', { backend: 'main', when: () => false, prompt: () => '' }) as unknown as {
      stage(name: string, options: unknown): typeof chain
      definition: never
    }
    for (let i = 1; i < 20_000; i++)
      chain = chain.stage(`s${i}`, { after: [`s${i - 1}`], backend: 'main', prompt: () => '' })
    const outcome = await runtime.until(runtime.start(chain as never, undefined).outcome)
    expect(outcome.state).toBe('completed')
    runtime.audit()
  })
})

describe('priorities', () => {
  test('are functions of input and results, and the run adds its own', async () => {
    const runtime = await testRuntime({ main: echoing() })
    const two = workflow('two', { input: z.object({ urgent: z.boolean() }) })
      .stage('a', { backend: 'main', prompt: () => 'a', priority: ({ input }) => (input.urgent ? 9 : 1) })
      .stage('b', {
        after: ['a'],
        backend: 'main',
        prompt: () => 'b',
        priority: { stage: 2, request: ({ results }) => results.a.length },
      })
    await runtime.until(runtime.start(two, { urgent: true }, { priority: 100 }).result)
    const queued = runtime
      .transitions()
      .flatMap((transition) =>
        transition.type === 'stage.queued' ? [[transition.stagePriority, transition.requestPriority]] : [],
      )
    expect(queued).toEqual([
      [109, 109],
      [102, 103],
    ])
  })
})

describe('mappers', () => {
  test('that do not answer are not asked without end: one question more is refused, and says so', async () => {
    const backend = scripted((call) => call.answer('x'))
    const runtime = await testRuntime({ main: backend }, { watch: false })
    const gate = Promise.withResolvers<MappingDecision>()
    const slow = workflow('slow').stage('s', { mapping: () => gate.promise, prompt: () => 'x' })
    const runs = Array.from({ length: limits.mappingsPendingMax + 1 }, () => runtime.start(slow, undefined))
    const last = await runtime.until(runs.at(-1)!.outcome)
    expect(last).toMatchObject({ state: 'failed', error: { code: 'ORLA_LIMIT', retryable: true } })
    gate.resolve({ backend: 'main', reason: 'at last' })
    const others = await runtime.until(Promise.all(runs.slice(0, -1).map((run) => run.outcome)))
    expect(others.every(({ state }) => state === 'completed')).toBe(true)
    runtime.audit()
  })

  async function mapped(
    mapping: (request: MappingRequest) => unknown,
  ): Promise<{ outcome: RunOutcome; light: ScriptedBackend; heavy: ScriptedBackend; runtime: TestRuntime }> {
    const light = scripted((call) => call.answer('light'), {
      capabilities: { tools: false, models: ['small'] },
      model: 'small',
    })
    const heavy = scripted((call) => call.answer('heavy'), {
      prices: { inputUsdPerMTok: 1, outputUsdPerMTok: 2 },
      quality: 0.9,
    })
    const runtime = await testRuntime({ light, heavy })
    const two = workflow('two')
      .stage('first', { backend: 'heavy', prompt: () => 'x' })
      .stage('second', {
        after: ['first'],
        mapping: mapping as (request: MappingRequest) => MappingDecision,
        maxTokens: 9,
        prompt: () => 'y',
      })
    const outcome = await runtime.until(runtime.start(two, 'in').outcome)
    runtime.audit()
    return { outcome, light, heavy, runtime }
  }

  test('decide at once or later, with all they may know', async () => {
    let asked: MappingRequest | undefined
    const { outcome, runtime } = await mapped(async (request) => {
      asked = request
      await Promise.resolve()
      return { backend: 'light', reason: 'it is cheap' }
    })
    expect(outcome.results['second']).toBe('light')
    expect(asked).toMatchObject({
      workflow: 'two',
      stage: 'second',
      input: 'in',
      results: { first: 'heavy' },
      requirements: { tools: false, jsonSchema: false, maxTokens: 9 },
      backends: [
        { name: 'light', model: 'small', inFlight: 0, waiting: 0, health: 'healthy' },
        { name: 'heavy', quality: 0.9, prices: { outputUsdPerMTok: 2 } },
      ],
    })
    expect(runtime.transitions()).toContainEqual(
      expect.objectContaining({
        type: 'stage.mapped',
        stage: 'second',
        backend: 'light',
        model: 'small',
        reason: 'it is cheap',
      }),
    )
  })

  test.each<[what: string, mapping: (request: MappingRequest) => unknown, message: RegExp]>([
    [
      'throws',
      () => {
        throw new Error('boom')
      },
      /mapper of stage "second" threw[^]*boom/,
    ],
    ['rejects', () => Promise.reject(new Error('boom')), /boom/],
    ['returns nothing', () => undefined, /chose undefined; there are: light, heavy/],
    ['returns null later', () => Promise.resolve(null), /there are: light, heavy/],
    ['names an unknown backend', () => ({ backend: 'gpu', reason: 'r' }), /chose "gpu"/],
    ['names what cannot be shown', () => ({ backend: 10n, reason: 'r' }), /chose 10|cannot be mapped/],
    [
      'names a model that is not served',
      () => ({ backend: 'light', model: 'huge', reason: 'r' }),
      /does not serve model "huge"/,
    ],
    ['gives a model that is no text', () => ({ backend: 'heavy', model: 7, reason: 'r' }), /model/],
  ])('one that %s fails its stage', async (_what, mapping, message) => {
    const { outcome } = await mapped(mapping)
    expect(outcome).toMatchObject({ state: 'failed', error: { code: 'ORLA_MAPPING_FAILED' } })
    expect(outcome.error?.message).toMatch(message)
  })

  test('one that gives no reason is still followed, and the transition has one', async () => {
    const { outcome, runtime } = await mapped(() => ({ backend: 'heavy' }))
    expect(outcome.state).toBe('completed')
    const transition = runtime.transitions().find((each) => each.type === 'stage.mapped' && each.stage === 'second')
    expect(transition?.reason).toEqual(expect.any(String))
  })

  test('one that hangs is told when its run is cancelled, and what it answers then goes nowhere', async () => {
    let answer = (_decision: MappingDecision): void => {}
    let signal: AbortSignal | undefined
    const runtime = await testRuntime({ main: scripted() })
    const hang = workflow('hang').stage('a', {
      mapping: (_request, context) =>
        new Promise((resolve) => {
          answer = resolve
          signal = context.signal
        }),
      prompt: () => 'x',
    })
    const run = runtime.start(hang, undefined)
    await runtime.settle()
    run.cancel()
    await runtime.until(run.outcome)
    expect(signal?.aborted).toBe(true)
    answer({ backend: 'main', reason: 'late' })
    await runtime.settle()
    runtime.audit()
  })
})
