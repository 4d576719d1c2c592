// One stage fails: what becomes of its turn, its siblings and its run.

import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { BackendError, BackendTimeoutError, OrlaError } from '../../src/errors.ts'
import { workflow, type Workflow } from '../../src/workflow/builder.ts'
import { tool } from '../../src/workflow/tool.ts'
import { scripted, type Script } from '../support/scripted-backend.ts'
import { rejection, testRuntime, type TestRuntime } from '../support/runtime.ts'

const busy = (details?: Record<string, unknown>): BackendError =>
  new BackendError('ORLA_BACKEND_HTTP', 'busy', { retryable: true, ...(details !== undefined && { details }) })

const one = (
  options: { attempts?: number; backoffMs?: number; timeouts?: object } = {},
): Workflow<unknown, { s: string }> => {
  const { timeouts = {}, ...retry } = options
  return workflow('one').stage('s', { backend: 'main', prompt: () => 'go', retry, timeouts })
}

async function retries(
  script: Script,
  options: Parameters<typeof one>[0] = {},
  runtimeOptions: { watch?: boolean; seed?: number } = {},
): Promise<{ runtime: TestRuntime; atMs: number[]; state: string; code: string | undefined }> {
  const backend = scripted(script)
  const runtime = await testRuntime({ main: backend }, runtimeOptions)
  const outcome = await runtime.until(runtime.start(one(options), undefined).outcome)
  runtime.audit({ pendingTimers: runtime.clock.pendingTimers })
  return { runtime, atMs: backend.calls.map(({ atMs }) => atMs), state: outcome.state, code: outcome.error?.code }
}

describe('retries', () => {
  test('wait with full jitter below a ceiling that doubles, on the clock', async () => {
    const delays = await Promise.all(
      Array.from({ length: 40 }, async (_, seed) =>
        (await retries((call) => call.fail(busy()), { attempts: 4, backoffMs: 100 }, { seed })).atMs
          .map((at, i, all) => at - (all[i - 1] ?? 0))
          .slice(1),
      ),
    )
    for (const [i, ceilingMs] of [100, 200, 400].entries()) {
      const column = delays.map((each) => each[i]!)
      expect(column.every((ms) => ms >= 0 && ms <= ceilingMs)).toBe(true)
      expect(Math.max(...column)).toBeGreaterThan(ceilingMs * 0.7)
      expect(Math.min(...column)).toBeLessThan(ceilingMs * 0.3)
    }
  })

  test('are the same for the same seed, and others for another', async () => {
    const run = async (seed: number): Promise<string> =>
      JSON.stringify((await retries((call) => call.fail(busy()), { attempts: 4 }, { seed })).runtime.transitions())
    expect(await run(1)).toBe(await run(1))
    expect(await run(1)).not.toBe(await run(2))
  })

  test('wait as long as the engine asks, up to a minute, and no longer for what is no number', async () => {
    const first = async (details: Record<string, unknown>): Promise<number> =>
      (await retries((call, i) => (i === 0 ? call.fail(busy(details)) : call.answer()), { backoffMs: 10 })).atMs[1]!
    expect(await first({ retryAfterMs: 5_000 })).toBe(5_000)
    expect(await first({ retryAfterMs: 10 ** 9 })).toBe(60_000)
    for (const odd of ['soon', Number.NaN, null, -5, {}])
      expect(await first({ retryAfterMs: odd })).toBeLessThanOrEqual(10)
  })

  test('end with the last error once the attempts are used up, and do not start for errors that will not go away', async () => {
    expect(await retries((call) => call.fail(busy()), { attempts: 2 })).toMatchObject({
      atMs: { length: 2 },
      state: 'failed',
      code: 'ORLA_BACKEND_HTTP',
    })
    expect((await retries((call) => call.fail(new BackendError('ORLA_CONTEXT_LENGTH', 'too long')))).atMs).toHaveLength(
      1,
    )
    expect((await retries((call) => call.fail(busy()), { attempts: 1 })).atMs).toHaveLength(1)
  })

  test('do not follow on tokens that somebody has seen, and do where nobody watched', async () => {
    const script: Script = (call, i) => (i === 0 ? call.delta('Hel').fail(busy()) : call.answer('Hello'))
    expect(await retries(script)).toMatchObject({ atMs: { length: 1 }, state: 'failed' })
    expect(await retries(script, {}, { watch: false })).toMatchObject({ atMs: { length: 2 }, state: 'completed' })
  })

  test('each attempt has a request of its own, and the turn counts them', async () => {
    const { runtime } = await retries((call, i) => (i < 2 ? call.fail(busy()) : call.answer()))
    const ids = runtime
      .transitions()
      .flatMap((each) => (each.type === 'stage.queued' ? [each.requestId.split('/').slice(1).join('/')] : []))
    expect(ids).toEqual(['s/1.1', 's/1.2', 's/1.3'])
  })

  test('a driver that throws, or answers nonsense, fails its stage only', async () => {
    const throwing = await retries(() => {
      throw new TypeError('driver bug')
    })
    expect(throwing).toMatchObject({ state: 'failed', code: 'ORLA_BACKEND_PROTOCOL' })
    expect(await retries((call) => call.fail(new Error('not ours') as OrlaError))).toMatchObject({
      code: 'ORLA_BACKEND_PROTOCOL',
    })
    expect(await retries((call) => call.answer({ finishReason: undefined as never }))).toMatchObject({
      code: 'ORLA_BACKEND_PROTOCOL',
    })
  })
})

describe('deadlines', () => {
  test("of the first token and between tokens are the stage's where it has any", async () => {
    const silent = await retries(() => {}, { attempts: 1, timeouts: { firstTokenMs: 300 } })
    expect(silent.code).toBe('ORLA_BACKEND_TIMEOUT')
    expect(silent.runtime.clock.nowMs()).toBe(300)
    const stalls = await retries((call) => void call.delta('x'), { attempts: 1, timeouts: { idleMs: 200 } })
    expect(stalls.runtime.clock.nowMs()).toBe(200)
    expect(stalls.runtime.transitions().find((each) => each.type === 'stage.failed')).toMatchObject({
      error: { details: { timeout: 'idle' } },
    })
    expect(new BackendTimeoutError('main', 'total', 1).retryable).toBe(true)
  })

  test('of the stage as a whole end it wherever it is: waiting, inferring, in tools, in a pause', async () => {
    const hang = tool({ description: '', input: z.object({}), run: () => new Promise(() => {}) })
    const cases: [string, Script, number][] = [
      ['queued', () => {}, 1],
      ['inferring', () => {}, 0],
      ['tooling', (call) => call.answer({ toolCalls: [{ name: 'hang' }] }), 0],
      ['waiting', (call) => call.fail(busy({ retryAfterMs: 50_000 })), 0],
      ['mapping', () => {}, 0],
    ]
    for (const [where, script, blockers] of cases) {
      const backend = scripted(script, { windowRequests: 1 })
      const runtime = await testRuntime({ main: backend })
      const blocking = Array.from({ length: blockers }, () =>
        runtime.start(workflow('blocks').stage('b', { backend: 'main', prompt: () => 'x' }), undefined),
      )
      const place = where === 'mapping' ? { mapping: () => new Promise<never>(() => {}) } : { backend: 'main' }
      const stage = workflow('w').stage('s', {
        ...place,
        tools: { hang },
        prompt: () => 'x',
        timeouts: { stageMs: 700 },
      })
      const outcome = await runtime.until(runtime.start(stage, undefined).outcome)
      expect(outcome, where).toMatchObject({ state: 'failed', durationMs: 700, error: { code: 'ORLA_STAGE_TIMEOUT' } })
      // An inference is released before its stage fails.
      const from = where === 'inferring' ? 'validating' : where
      expect(runtime.transitions().find((each) => each.type === 'stage.failed')?.from, where).toBe(from)
      for (const run of blocking) run.cancel()
      await runtime.until(Promise.all(blocking.map((run) => run.outcome)))
      runtime.audit()
    }
  })
})

describe('a stage that fails takes its siblings with it, and leaves what was done', () => {
  test('queued siblings leave, sockets close, tools are told, dependents never start, results stay', async () => {
    const told: string[] = []
    const hang = tool({
      description: '',
      input: z.object({}),
      run: (_args, { signal }) => {
        signal.addEventListener('abort', () => told.push('tool'))
        return new Promise(() => {})
      },
    })
    const backend = scripted(
      (call) => {
        if (call.stage === 'done') return call.answer('kept', 1)
        if (call.stage === 'tools') return call.answer({ toolCalls: [{ name: 'hang' }] }, 1)
        if (call.stage === 'fails') return call.fail(new BackendError('ORLA_CONTEXT_LENGTH', 'too long'), 50)
      },
      { windowRequests: 4 },
    )
    const runtime = await testRuntime({ main: backend })
    const definition = workflow('w')
      .stage('done', { backend: 'main', prompt: () => 'x' })
      .stage('tools', { backend: 'main', tools: { hang }, prompt: () => 'x' })
      .stage('fails', { backend: 'main', prompt: () => 'x' })
      .stage('infers', { backend: 'main', prompt: () => 'x' })
      .stage('also', { backend: 'main', prompt: () => 'x' })
      .stage('more', { backend: 'main', prompt: () => 'x' })
      .stage('queued', { backend: 'main', prompt: () => 'x' })
      .stage('later', { after: ['fails'], backend: 'main', prompt: () => 'x' })
    const run = runtime.start(definition, undefined)
    const error = await rejection(runtime.until(run.result))
    const outcome = await run.outcome
    expect(error).toMatchObject({ code: 'ORLA_CONTEXT_LENGTH', name: 'BackendError' })
    expect(outcome.results).toEqual({ done: 'kept' })
    expect(Object.fromEntries(Object.entries(outcome.stages).map(([name, { state }]) => [name, state]))).toEqual({
      done: 'completed',
      tools: 'cancelled',
      fails: 'failed',
      infers: 'cancelled',
      also: 'cancelled',
      more: 'cancelled',
      queued: 'cancelled',
      later: 'cancelled',
    })
    expect(outcome.stages['infers']!.reason).toMatch(/another stage failed: too long/)
    expect(outcome.stages['later']!.reason).toMatch(/never started/)
    expect(told).toEqual(['tool'])
    expect(backend.open).toEqual([])
    expect(
      backend.calls.filter(({ cancelled }) => cancelled?.code === 'ORLA_CANCELLED').map(({ stage }) => stage),
    ).toContain('infers')
    runtime.audit()
  })

  test('the slot that it gives back goes to nobody of its own run', async () => {
    const backend = scripted((call) => call.fail(new BackendError('ORLA_CONTEXT_LENGTH', 'too long'), 5), {
      windowRequests: 1,
    })
    const runtime = await testRuntime({ main: backend })
    const two = workflow('two')
      .stage('a', { backend: 'main', prompt: () => 'x' })
      .stage('b', { backend: 'main', prompt: () => 'x' })
    await runtime.until(runtime.start(two, undefined).outcome)
    expect(backend.calls.map(({ stage }) => stage)).toEqual(['a'])
    runtime.audit()
  })

  test("of two that fail at once, the first is the run's reason", async () => {
    const runtime = await testRuntime({
      main: scripted((call) => call.fail(new BackendError('ORLA_CONTEXT_LENGTH', call.stage), 5)),
    })
    const two = workflow('two')
      .stage('a', { backend: 'main', prompt: () => 'x' })
      .stage('b', { backend: 'main', prompt: () => 'x' })
    const outcome = await runtime.until(runtime.start(two, undefined).outcome)
    expect(outcome.error?.message).toBe('a')
    expect(runtime.transitions().filter(({ type }) => type === 'run.stopping')).toHaveLength(1)
    runtime.audit()
  })

  test('other runs do not notice', async () => {
    const runtime = await testRuntime({
      main: scripted((call) =>
        call.lastText === 'bad' ? call.fail(new BackendError('ORLA_CONTEXT_LENGTH', 'x'), 5) : call.answer('ok', 5),
      ),
    })
    const say = workflow('say', { input: z.string() }).stage('s', { backend: 'main', prompt: ({ input }) => input })
    const runs = ['good', 'bad', 'good', 'bad'].map((input) => runtime.start(say, input))
    const outcomes = await runtime.until(Promise.all(runs.map((run) => run.outcome)))
    expect(outcomes.map(({ state }) => state)).toEqual(['completed', 'failed', 'completed', 'failed'])
    runtime.audit()
  })
})
