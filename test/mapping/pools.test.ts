// Pools of replicas: where stages go, and what becomes of what waits when a replica slows, stops or drains.

import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { BackendError } from '../../src/errors.ts'
import { replicas } from '../../src/mapping/replicas.ts'
import { workflow, type Workflow } from '../../src/workflow/builder.ts'
import { workflowFromData } from '../../src/workflow/data.ts'
import type { Transition } from '../../src/schema/transition.ts'
import { tool } from '../../src/workflow/tool.ts'
import { user } from '../../src/schema/message.ts'
import { testRuntime, type TestRuntime } from '../support/runtime.ts'
import { scripted, type ScriptedBackend } from '../support/scripted-backend.ts'

const gone = new BackendError('ORLA_BACKEND_UNREACHABLE', 'no connection', { retryable: true })
const names = ['a', 'b', 'c'] as const
const pools = { fast: [...names] }

/** Three replicas with eight places each; a turn takes `turnMs` there. */
function three(turnMs = 100, windowRequests = 8): Record<(typeof names)[number], ScriptedBackend> {
  const one = (): ScriptedBackend => scripted((call) => call.answer('ok', turnMs), { windowRequests })
  return { a: one(), b: one(), c: one() }
}

const single = (options: object = { backend: 'fast' }): Workflow =>
  workflow('w').stage('s', { prompt: () => 'hello', ...options } as never)

const callsOf = (backends: ReturnType<typeof three>): number[] => names.map((name) => backends[name].calls.length)

describe('a pool', () => {
  test.each([
    ['by name', single()],
    ['by name, as plain data', workflowFromData({ name: 'd', stages: [{ name: 's', backend: 'fast', prompt: 'hi' }] })],
    ['by a mapper', single({ mapping: replicas({ among: names }) })],
    ['by a mapper that answers with its name', single({ mapping: () => ({ backend: 'fast', reason: 'because' }) })],
  ])('spreads what starts at once over its members: %s', async (_, flow) => {
    const backends = three()
    const runtime = await testRuntime(backends, { pools })
    const runs = Array.from({ length: 24 }, () => runtime.start(flow, undefined).outcome)
    const outcomes = await runtime.until(Promise.all(runs))
    expect(callsOf(backends)).toEqual([8, 8, 8])
    expect(outcomes.every(({ state, durationMs }) => state === 'completed' && durationMs === 100)).toBe(true)
    runtime.audit()
  })

  test('goes where most of the prompt is, not where only what all have is', async () => {
    const backends = three(1_000)
    const runtime = await testRuntime(backends, { pools })
    const long = 'policy '.repeat(2_000)
    const flow = workflow('chat')
      .stage('one', { mapping: () => ({ backend: 'b', reason: 'test' }), prompt: () => long })
      .stage('two', { backend: 'fast', after: ['one'], context: 'append', prompt: () => [user('and now?')] })
      .stage('fresh', { backend: 'fast', after: ['two'], prompt: () => 'something else' })
    const { stages, state } = await runtime.until(runtime.start(flow, undefined).outcome)
    expect(state).toBe('completed')
    expect(stages['two']!.backend).toBe('b')
    const queued = runtime.transitions().filter(({ type }) => type === 'stage.queued')
    expect(queued[1]!.reason).toMatch(/"b" has \d+ tokens of it that not all replicas have/)
    expect(queued[2]!.reason).toBe('the prompt is ready')
    runtime.audit()
  })

  test('a beginning that other runs left there draws a run to it, until all replicas have it', async () => {
    const backends = three(1_000)
    const runtime = await testRuntime(backends, { pools })
    const flow = workflow('w').stage('s', {
      backend: 'fast',
      prompt: ({ input }) => [{ role: 'system', content: 'law '.repeat(3_000) }, user(String(input))],
    })
    await runtime.until(runtime.start(flow, 'first').outcome)
    await runtime.until(runtime.start(flow, 'second').outcome)
    expect(callsOf(backends)).toEqual([2, 0, 0])
    // As many as fill all three: now each has it.
    await runtime.until(Promise.all(Array.from({ length: 24 }, (_, i) => runtime.start(flow, i).outcome)))
    const before = runtime.transitions().length
    await runtime.until(runtime.start(flow, 'last').outcome)
    const last = runtime.transitions().slice(before)
    expect(last.find(({ type }) => type === 'stage.queued')!.reason).toBe('the prompt is ready')
  })

  test('the next turn of a stage leaves a replica that has become slow', async () => {
    const backends = three(100, 2)
    let slow = ''
    for (const name of names) {
      backends[name].script = (call) => {
        const isLast = call.request.messages.length >= 60
        const usage = { promptTokens: 100, cachedTokens: 90, completionTokens: 20 }
        const answer = isLast ? { content: 'done', usage } : { toolCalls: [{ name: 'look' }], usage }
        call.answer(answer, slow === name ? 2_000 : 100)
      }
    }
    const look = tool({ description: 'looks', input: z.object({}), run: () => 'seen' })
    const flow = workflow('w').stage('s', { backend: 'fast', tools: { look }, turnsMax: 64, prompt: () => 'go' })
    const turns = async (reroute: boolean): Promise<[string[], number]> => {
      slow = ''
      const runtime = await testRuntime(backends, { pools, reroute })
      const warm = Array.from({ length: 6 }, () => runtime.start(single(), undefined).outcome)
      await runtime.clock.advance(100)
      const run = runtime.start(flow, undefined)
      await runtime.clock.advance(1_000)
      const queued = (): Transition[] => runtime.transitions(run.id).filter(({ type }) => type === 'stage.queued')
      slow = (queued()[0] as { backend: string }).backend
      const { durationMs } = await runtime.until(run.outcome)
      await runtime.until(Promise.all(warm))
      const moved = queued().filter(({ reason }) => reason.startsWith('goes on at'))
      runtime.audit()
      return [moved.map(({ reason }) => reason), durationMs]
    }
    const [moved, movingMs] = await turns(true)
    expect(moved).toHaveLength(1)
    expect(moved[0]).toMatch(/^goes on at "[abc]", done there in about \d+ ms against about \d+ ms at "[abc]"$/)
    const [stayed, stayingMs] = await turns(false)
    expect(stayed).toEqual([])
    expect(movingMs).toBeLessThan(0.5 * stayingMs)
  })

  test('keeps members that take nothing now in mind, and says so where none does', async () => {
    const backends = three()
    const runtime = await testRuntime(backends, { pools })
    for (const name of names) runtime.drain(name)
    const { state, error, stages } = await runtime.until(runtime.start(single(), undefined).outcome)
    expect([state, error?.code]).toEqual(['failed', 'ORLA_BACKEND_DRAINING'])
    expect(stages['s']!.mapping).toMatchObject({
      by: 'explicit',
      reason: 'the stage names "fast"; none of 3 replicas takes requests now',
    })
    runtime.resume('c')
    expect((await runtime.until(runtime.start(single(), undefined).outcome)).stages['s']!.backend).toBe('c')
    runtime.audit()
  })

  test('says everything that is wrong with it', async () => {
    const backends = { ...three(), other: scripted(() => {}, { model: 'else' }) }
    const bad = { a: ['b'], empty: [], mixed: ['a', 'other', 'nowhere', 'a'], __proto: [] as string[] }
    await expect(testRuntime(backends, { pools: bad })).rejects.toThrow(
      /pools\.a.*duplicate_name[^]*pools\.empty.*invalid_list[^]*mixed\[1\].*other_model[^]*mixed\[2\].*unknown_backend[^]*mixed\[3\].*same_backend/,
    )
    const runtime = await testRuntime(backends, { pools })
    expect(() => runtime.start(single({ backend: 'slow' }), undefined)).toThrow(/"slow"; there are: .*fast/)
    expect(() => runtime.start(single({ backend: 'a', fallback: ['fast'] }), undefined)).toThrow(/unknown_backend/)
  })
})

/** A run of two turns with one tool call between them, whose effects are counted. */
function withEffects(effects: Map<string, number>): Workflow {
  const send = tool({
    description: 'sends',
    input: z.object({}),
    run: (_, { runId }) => {
      effects.set(runId, (effects.get(runId) ?? 0) + 1)
      return 'sent'
    },
  })
  return workflow('w').stage('s', { backend: 'fast', tools: { send }, prompt: () => 'send it' })
}

/** 1,000 runs, `event` happens in the middle. */
async function play(
  event: (runtime: TestRuntime, backends: ReturnType<typeof three>, slow: (name: string) => void) => void,
  options: { reroute?: boolean; burst?: number } = {},
) {
  // In bursts, 83 % of what all three can do.
  const { burst = 60, reroute = true } = options
  const slowed = new Set<string>()
  const backends = three()
  for (const name of names) {
    backends[name].script = (call) => {
      const isFirst = call.request.messages.length === 1
      call.answer(isFirst ? { toolCalls: [{ name: 'send' }] } : 'done', slowed.has(name) ? 1_000 : 100)
    }
  }
  const runtime = await testRuntime(backends, { pools, reroute, watch: false })
  const effects = new Map<string, number>()
  const flow = withEffects(effects)
  const runs: ReturnType<typeof runtime.start>['outcome'][] = []
  const all = (async () => {
    for (let i = 0; i < 1_000; i++) {
      if (i === 500) event(runtime, backends, (name) => void slowed.add(name))
      runs.push(runtime.start(flow, undefined).outcome)
      if (i % burst === burst - 1)
        await new Promise<void>((resolve) => void runtime.clock.setTimer(10 * burst, resolve))
    }
    return Promise.all(runs)
  })()
  const outcomes = await runtime.until(all)
  const moved = outcomes.filter(({ stages }) => stages['s']!.turns.some(({ attempts }) => attempts > 1)).length
  const meanMs = outcomes.reduce((sum, { durationMs }) => sum + durationMs, 0) / outcomes.length
  return { outcomes, effects, meanMs, moved, runtime, backends }
}

describe('in the middle of 1,000 runs', () => {
  test.each([
    [
      'stops',
      (_: TestRuntime, { a }: ReturnType<typeof three>) => {
        for (const call of a.open) call.fail(gone)
        a.script = (call) => call.fail(gone)
      },
    ],
    ['answers no more', (_: TestRuntime, { a }: ReturnType<typeof three>) => void (a.script = () => {})],
    ['drains', (runtime: TestRuntime) => runtime.drain('a')],
    ['is removed', (runtime: TestRuntime) => void runtime.removeBackend('a')],
    ['slows ten times', (_: TestRuntime, __: object, slow: (name: string) => void) => slow('a')],
  ])('a replica that %s loses no run and repeats no effect', async (_, event) => {
    const { outcomes, effects, runtime } = await play(event)
    expect(outcomes.filter(({ state }) => state !== 'completed')).toEqual([])
    expect(effects.size).toBe(1_000)
    expect([...effects.values()].filter((count) => count !== 1)).toEqual([])
    expect(runtime.errors).toEqual([])
    expect(runtime.liveRuns).toBe(0)
    await runtime.clock.advance(60_000)
    expect(runtime.clock.pendingTimers).toBe(0)
  })

  test('moving what waits makes runs faster when a replica slows ten times', async () => {
    const slows = (_: TestRuntime, __: object, slow: (name: string) => void): void => slow('a')
    const moving = await play(slows, { burst: 250 })
    const staying = await play(slows, { burst: 250, reroute: false })
    expect(moving.moved).toBeGreaterThan(0)
    expect(staying.moved).toBe(0)
    expect(moving.meanMs).toBeLessThan(staying.meanMs)
  })
})
