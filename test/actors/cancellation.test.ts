// Cancellation at every point of a run, by every means.

import { getEventListeners } from 'node:events'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { tool } from '../../src/workflow/tool.ts'
import { workflow } from '../../src/workflow/builder.ts'
import { BackendError, type CancelledBy } from '../../src/errors.ts'
import type { Run, StartOptions } from '../../src/runtime-api.ts'
import type { RunOutcome } from '../../src/workflow/report.ts'
import { scripted, type ScriptedBackend } from '../support/scripted-backend.ts'
import { rejection, testRuntime, type TestRuntime } from '../support/runtime.ts'

/** A run with everything in it: a rejected and a failed attempt, tools known and unknown, a mapper, a wait for a slot,
 *  a repair turn, a skipped stage. */
function busyBackend(): ScriptedBackend {
  let flaky = 0
  return scripted(
    (call) => {
      const { stage } = call
      if (stage === 'flaky' && flaky++ === 0) {
        return call.fail(new BackendError('ORLA_BACKEND_HTTP', 'busy', { retryable: true }), 5)
      }
      if (stage === 'agent' && call.request.messages.length === 1) {
        return call.answer(
          { toolCalls: [{ name: 'nothing' }, { name: 'wait' }, { name: 'wait' }, { name: 'wait' }] },
          10,
        )
      }
      if (stage === 'typed' && call.request.messages.length === 1) return call.answer('no JSON', 10)
      call.delta('a').delta('b')
      call.answer(stage === 'typed' ? '{"n":1}' : 'done', 10)
    },
    { windowRequests: 2 },
  )
}

const wait = tool({
  description: 'Waits for nothing.',
  input: z.object({}),
  run: () => Promise.resolve('waited'),
})

const busy = workflow('busy')
  .stage('flaky', { backend: 'main', prompt: () => 'a' })
  .stage('agent', { backend: 'main', tools: { wait }, parallelToolCalls: 2, prompt: () => 'b' })
  .stage('mapped', { mapping: () => Promise.resolve({ backend: 'main', reason: 'only one' }), prompt: () => 'c' })
  .stage('never', { backend: 'main', when: () => false, prompt: () => 'd' })
  .stage('after_never', { after: ['never'], backend: 'main', prompt: () => 'e' })
  .stage('typed', {
    after: ['flaky', 'mapped', 'never'],
    backend: 'main',
    output: z.object({ n: z.number() }),
    prompt: () => 'f',
  })
  .stage('last', { after: ['typed', 'agent'], backend: 'main', prompt: () => 'g' })

interface Stopped {
  runtime: TestRuntime
  backend: ScriptedBackend
  outcome: RunOutcome
}

/** Runs `busy` and calls `stop` from within the k-th transition, in the middle of whatever step makes it. */
async function runStoppedAt(
  k: number,
  stop: (runtime: TestRuntime, run: Run) => void,
  options: StartOptions = {},
): Promise<Stopped> {
  const backend = busyBackend()
  const runtime = await testRuntime({ main: backend })
  const run = runtime.start(busy, undefined, options)
  let count = 0
  runtime.subscribe((event) => {
    if ('seq' in event && ++count === k) stop(runtime, run)
  })
  const outcome = await runtime.until(run.outcome)
  await runtime.clock.runAll()
  return { runtime, backend, outcome }
}

/** Nothing is left of the run, and its outcome says how it was stopped. */
function expectStopped({ runtime, backend, outcome }: Stopped, by: CancelledBy, where: string): void {
  // Answers of mappers that were under way when the run ended find nobody; no other message may.
  runtime.audit({ deadLetters: runtime.deadLetters })
  expect(runtime.deadLetters, where).toBeLessThanOrEqual(1)
  expect(backend.open, where).toEqual([])
  expect(outcome.state, where).toBe('cancelled')
  expect(outcome.error, where).toMatchObject({
    code: by === 'deadline' ? 'ORLA_DEADLINE' : 'ORLA_CANCELLED',
    details: { by },
  })
  for (const report of Object.values(outcome.stages)) {
    expect(['completed', 'skipped', 'cancelled'], where).toContain(report.state)
  }
}

const untouched = await runStoppedAt(Infinity, () => {})
const total = untouched.runtime.transitions().length
/** The last answer, the end of its stage and the end of the run are one step: what stops a run in there is too late. */
const lastStep = total - 2

describe('cancellation', () => {
  test('the run that is stopped below completes, through every kind of transition of a good run', () => {
    expect(untouched.outcome.state).toBe('completed')
    untouched.runtime.audit()
    const types = new Set(untouched.runtime.transitions().map((transition) => transition.type))
    expect([...types].sort()).toEqual([
      'run.completed',
      'run.started',
      'stage.completed',
      'stage.continued',
      'stage.firstToken',
      'stage.granted',
      'stage.mapped',
      'stage.queued',
      'stage.released',
      'stage.retrying',
      'stage.skipped',
      'stage.started',
      'tool.ended',
      'tool.started',
    ])
  })

  test('run.cancel at any transition ends the run, exactly once, and nothing is left', async () => {
    for (let k = 1; k < lastStep; k++) {
      const stopped = await runStoppedAt(k, (_runtime, run) => run.cancel('enough'))
      expectStopped(stopped, 'caller', `cancelled at transition ${k}`)
      expect(stopped.outcome.error?.message).toContain('enough')
    }
  })

  test('an aborted signal at any transition ends the run, and the signal is let go', async () => {
    for (let k = 1; k < lastStep; k++) {
      const controller = new AbortController()
      const stopped = await runStoppedAt(k, () => controller.abort(new Error('user left')), {
        signal: controller.signal,
      })
      expectStopped(stopped, 'caller', `aborted at transition ${k}`)
      expect(stopped.outcome.error?.message).toContain('user left')
      expect(getEventListeners(controller.signal, 'abort')).toEqual([])
    }
  })

  test('a deadline at any instant ends the run', async () => {
    const instants = new Set(untouched.runtime.transitions().map((transition) => transition.atMs))
    for (const instantMs of instants) {
      for (const deadlineMs of [instantMs - 0.5, instantMs]) {
        if (deadlineMs <= 0 || deadlineMs >= untouched.outcome.durationMs) continue
        const stopped = await runStoppedAt(Infinity, () => {}, { deadlineMs })
        expectStopped(stopped, 'deadline', `deadline ${deadlineMs}`)
        expect(stopped.outcome.durationMs).toBe(deadlineMs)
      }
    }
  })

  test('runtime.close at any transition ends the run and closes the driver once', async () => {
    for (let k = 1; k < lastStep; k++) {
      let closing: Promise<void> | undefined
      const stopped = await runStoppedAt(k, (runtime) => {
        closing = runtime.close()
      })
      await closing
      await stopped.runtime.close()
      expectStopped(stopped, 'shutdown', `closed at transition ${k}`)
      expect(stopped.backend.closed).toBe(1)
    }
  })

  test('what stops a run in its last step comes too late', async () => {
    for (let k = lastStep; k <= total; k++) {
      const { runtime, outcome } = await runStoppedAt(k, (_runtime, run) => run.cancel())
      expect(outcome.state).toBe('completed')
      runtime.audit()
    }
  })

  test('a run that was cancelled before it began starts nothing', async () => {
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const slow = z.string().refine(() => promise)
    const backend = scripted()
    const runtime = await testRuntime({ main: backend })
    const checked = workflow('checked', { input: slow }).stage('only', { backend: 'main', prompt: () => 'x' })
    const run = runtime.start(checked, 'x')
    run.cancel()
    expect((await runtime.until(run.outcome)).state).toBe('cancelled')
    resolve(true)
    await runtime.settle()
    expect(backend.calls).toEqual([])
    expect(runtime.transitions().map(({ type }) => type)).toEqual(['run.stopping', 'stage.cancelled', 'run.failed'])
    runtime.audit()
  })

  test('a signal that is aborted already cancels the run before it begins', async () => {
    const backend = scripted()
    const runtime = await testRuntime({ main: backend })
    const run = runtime.start(busy, undefined, { signal: AbortSignal.abort('gone') })
    const outcome = await runtime.until(run.outcome)
    expect(outcome).toMatchObject({
      state: 'cancelled',
      error: { code: 'ORLA_CANCELLED', message: expect.stringContaining('gone') },
    })
    expect(backend.calls).toEqual([])
    runtime.audit()
  })

  test('cancelling twice, and after the end, changes nothing', async () => {
    const runtime = await testRuntime({ main: scripted() })
    const run = runtime.start(busy, undefined)
    await runtime.settle()
    run.cancel('first')
    run.cancel('second')
    const error = await rejection(runtime.until(run.result))
    expect(error).toMatchObject({ code: 'ORLA_CANCELLED', message: 'first' })
    const heard = runtime.heard.length
    run.cancel('third')
    await runtime.settle()
    expect(runtime.heard).toHaveLength(heard)
  })

  test('user code that cancels its own run in the middle of a step leaves nothing behind', async () => {
    const places = ['when', 'prompt', 'priority', 'mapping', 'tool', 'output', 'driver'] as const
    for (const place of places) {
      const cancelAt = (here: (typeof places)[number]): void => {
        if (here === place) run.cancel(place)
      }
      const backend = scripted((call) => {
        cancelAt('driver')
        if (call.request.messages.length === 1) call.answer({ toolCalls: [{ name: 'stop' }] }, 1)
        else call.answer('{}', 1)
      })
      const runtime = await testRuntime({ main: backend })
      const stop = tool({ description: '', input: z.object({}), run: () => cancelAt('tool') })
      const definition = workflow('self')
        .stage('a', {
          mapping: () => {
            cancelAt('mapping')
            return { backend: 'main', reason: 'r' }
          },
          when: () => {
            cancelAt('when')
            return true
          },
          priority: () => {
            cancelAt('priority')
            return 1
          },
          prompt: () => {
            cancelAt('prompt')
            return 'x'
          },
          tools: { stop },
          output: z.object({}).refine(() => {
            cancelAt('output')
            return true
          }),
        })
        .stage('b', { after: ['a'], backend: 'main', prompt: () => 'y' })
      const run = runtime.start(definition, undefined)
      const outcome = await runtime.until(run.outcome)
      await runtime.clock.runAll()
      expectStopped({ runtime, backend, outcome }, 'caller', place)
    }
  })

  test('tools are told, queued requests leave and sockets close when a run is cancelled', async () => {
    const aborted: string[] = []
    const hang = tool({
      description: '',
      input: z.object({ id: z.string() }),
      run: ({ id }, { signal }) => {
        signal.addEventListener('abort', () => aborted.push(id))
        return new Promise(() => {})
      },
    })
    const backend = scripted(
      (call) => {
        if (call.stage !== 'tools') return
        call.answer({
          toolCalls: ['x', 'y', 'z'].map((id) => ({ name: 'hang', arguments: JSON.stringify({ id }) })),
        })
      },
      { windowRequests: 1 },
    )
    const runtime = await testRuntime({ main: backend })
    const three = workflow('three')
      .stage('tools', { backend: 'main', tools: { hang }, parallelToolCalls: 2, prompt: () => 'a' })
      .stage('infers', { backend: 'main', prompt: () => 'b' })
      .stage('queued', { backend: 'main', prompt: () => 'c' })
    const run = runtime.start(three, undefined)
    await runtime.settle()
    expect(runtime.backends()[0]).toMatchObject({ inFlight: 1, waiting: 1 })
    run.cancel('stop')
    await runtime.until(run.outcome)
    expect(aborted).toEqual(['x', 'y'])
    expect(backend.calls.map(({ stage, cancelled }) => [stage, cancelled?.code])).toEqual([
      ['tools', undefined],
      ['infers', 'ORLA_CANCELLED'],
    ])
    runtime.audit()
  })
})
