// What is not the user's fault: machinery that breaks, turns that are known beforehand, prompts measured elsewhere.

import { describe, expect, test, vi } from 'vitest'
import { realClock } from '../../src/clock.ts'
import { workflowFromData } from '../../src/index.ts'
import { loadEstimator } from '../../src/prompts/estimator.ts'
import { createRuntime } from '../../src/runtime.ts'
import { user } from '../../src/schema/message.ts'
import { compileWorkflow } from '../../src/workflow/compile.ts'
import { workflow, type Workflow } from '../../src/workflow/builder.ts'
import type { TurnScript, WorkflowDefinition } from '../../src/workflow/definition.ts'
import { scripted } from '../support/scripted-backend.ts'
import { testRuntime } from '../support/runtime.ts'

const fromDefinition = (definition: WorkflowDefinition): Workflow => ({
  name: definition.name,
  definition,
  backendReferences: [],
})
const compiled = (options: unknown): WorkflowDefinition =>
  compileWorkflow({ name: 'w', input: undefined, stages: [{ name: 's', options }], result: undefined })

test('a run whose machinery breaks fails alone, says that it is a bug, and is let go', async () => {
  const runtime = await testRuntime({ main: scripted((call) => call.answer('ok', 5)) })
  const healthy = compiled({ backend: 'main', prompt: () => 'x' })
  const broken = runtime.start(fromDefinition({ ...healthy, roots: undefined as never }), undefined)
  const other = runtime.start(fromDefinition(healthy), undefined)
  const outcome = await runtime.until(broken.outcome)
  expect(outcome).toMatchObject({ state: 'failed', error: { code: 'ORLA_INVARIANT' } })
  expect((await runtime.until(other.outcome)).state).toBe('completed')
  expect(runtime.errors.map(({ message }) => message)).toEqual(['a run broke'])
  expect(runtime.liveRuns).toBe(0)
  const types = runtime.transitions(broken.id).map(({ type }) => type)
  expect(types.filter((type) => type === 'run.failed' || type === 'run.completed')).toEqual(['run.failed'])
  expect(types.at(-1)).toBe('run.failed')
})

test('a run that ends with a skipped stage sends nothing to its machine that has ended', async () => {
  const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
  try {
    const runtime = await testRuntime({ main: scripted((call) => call.answer('x')) })
    const definition = workflow('w')
      .stage('a', { backend: 'main', prompt: () => 'x' })
      .stage('b', { after: ['a'], backend: 'main', when: () => false, prompt: () => 'x' })
    expect((await runtime.until(runtime.start(definition, undefined).outcome)).state).toBe('completed')
    expect(warn.mock.calls).toEqual([])
  } finally {
    warn.mockRestore()
  }
})

describe('a stage with a script', () => {
  const turns: TurnScript = (_context, turn) =>
    turn > 3
      ? undefined
      : { messages: [user(`turn ${turn}`)], outputTokens: 10 * turn, waitMs: turn * 100, waitFor: 'user' }

  test('asks for its turns one by one, waits between them without a slot, and is over with the script', async () => {
    const backend = scripted((call) => call.answer(`answer to ${call.lastText}`, 10))
    const runtime = await testRuntime({ main: backend })
    const outcome = await runtime.until(
      runtime.start(fromDefinition(compiled({ backend: 'main', script: turns })), undefined).outcome,
    )
    expect(outcome.results).toEqual({ s: 'answer to turn 3' })
    expect(backend.calls.map(({ atMs, request }) => [atMs, request.params])).toEqual([
      [100, { maxTokens: 10, ignoreEos: true }],
      [310, { maxTokens: 20, ignoreEos: true }],
      [620, { maxTokens: 30, ignoreEos: true }],
    ])
    runtime.audit()
  })

  test('can be cancelled at every transition and between them', async () => {
    for (let atMs = 0; atMs <= 640; atMs += 20) {
      const backend = scripted((call) => call.answer('x', 10))
      const runtime = await testRuntime({ main: backend })
      const run = runtime.start(fromDefinition(compiled({ backend: 'main', script: turns })), undefined)
      await runtime.clock.advance(atMs)
      run.cancel()
      const { state } = await runtime.until(run.outcome)
      expect(state).toBe(atMs >= 630 ? 'completed' : 'cancelled')
      runtime.audit()
    }
  })

  test('that throws fails its stage', async () => {
    const runtime = await testRuntime({ main: scripted((call) => call.answer('x')) })
    const script = (): never => {
      throw new Error('boom')
    }
    const outcome = await runtime.until(
      runtime.start(fromDefinition(compiled({ backend: 'main', script })), undefined).outcome,
    )
    expect(outcome.error).toMatchObject({
      code: 'ORLA_STAGE_BUILDER',
      message: expect.stringContaining('the script threw: boom') as string,
    })
    runtime.audit()
  })
})

test('prompts that are built and measured on other threads reach the engine, and a run may be cancelled meanwhile', async () => {
  const backend = scripted((call) => call.answer('ok'))
  await using runtime = await createRuntime({
    backends: { main: backend },
    clock: realClock({ seed: 1 }),
    estimator: await loadEstimator('o200k_base'),
    prompts: { threads: 1, thresholdChars: 1 },
    cloneMessages: true,
  })
  const long = workflowFromData({
    name: 'long',
    input: { type: 'object', properties: { text: { type: 'string' } }, required: ['text'] },
    stages: [{ name: 's', backend: 'main', prompt: 'Read: {{ input.text }}' }],
  })
  const cancelled = runtime.start(long, { text: 'b'.repeat(50_000) })
  cancelled.cancel()
  const run = runtime.start(long, { text: 'a b c '.repeat(10_000) })
  expect(await run.result).toEqual({ s: 'ok' })
  expect((await cancelled.outcome).state).toBe('cancelled')
  expect(backend.calls).toHaveLength(1)
  expect(backend.calls[0]!.lastText).toMatch(/^Read: a b c/)
  expect(runtime.backends()[0]).toMatchObject({ inFlight: 0, waiting: 0 })
})
