// Runner threads that die: their runs are started again or fail with the reason, slots come back, others go on.

import { afterEach, describe, expect, test } from 'vitest'
import { createRuntime } from '../../src/runtime.ts'
import type { Runtime, ThreadsOptions } from '../../src/runtime-api.ts'
import type { RunEvent, Transition } from '../../src/schema/transition.ts'
import { chain, poison, say, tools } from './fixtures/workflows.ts'

const workflows = new URL('./fixtures/workflows.ts', import.meta.url)
/** `npm run test:threads` kills as often as it takes to trust it. */
const [kills, runsPerKill] = process.env['ORLA_THREADS'] === 'full' ? [50, 1_000] : [2, 200]
const open: Runtime[] = []

async function made(threads: ThreadsOptions): Promise<Runtime> {
  const runtime = await createRuntime({ threads: { restartsMax: 1_000, ...threads }, workflows, probeTimeoutMs: 0 })
  open.push(runtime)
  return runtime
}

afterEach(async () => {
  await Promise.all(open.splice(0).map((runtime) => runtime.close()))
})

function leftovers(runtime: Runtime): void {
  expect(runtime.liveRuns).toBe(0)
  for (const backend of runtime.backends()) {
    expect(backend).toMatchObject({ inFlight: 0, waiting: 0, held: 0 })
    expect(backend.residency).toMatchObject({ runs: 0 })
  }
}

test(
  `a thread killed in the middle of ${runsPerKill} runs, ${kills} times: every run ends in the truth, no slot leaks`,
  { timeout: 600_000 },
  async () => {
    const runtime = await made({ count: 2 })
    const seqs = new Map<string, number>()
    const ends = new Map<string, number>()
    const wrong: Transition[] = []
    let again = 0
    let left = 0
    const half = { resolve: (): void => {} }
    runtime.subscribe((event: RunEvent) => {
      if (!('seq' in event)) return
      if (event.seq !== (seqs.get(event.runId) ?? 0) + 1 || ends.has(event.runId)) wrong.push(event)
      seqs.set(event.runId, event.seq)
      if (event.type === 'run.started' && event.reason.startsWith('started again')) again++
      if (event.type !== 'run.completed' && event.type !== 'run.failed') return
      ends.set(event.runId, 1)
      if (--left === 0) half.resolve()
    })
    for (let kill = 0; kill < kills; kill++) {
      const middle = Promise.withResolvers<void>()
      half.resolve = middle.resolve
      left = Math.floor(runsPerKill / 4)
      const runs = Array.from({ length: runsPerKill }, (_, i) => runtime.start(chain, `${kill}.${i}`))
      await middle.promise
      const killer = runtime.start(tools, kill % 2 === 0 ? 'call die exit' : 'call die throw')
      const outcomes = await Promise.all(runs.map(({ outcome }) => outcome))
      // None of them has effects: those of the thread are started again, and none is the worse for it.
      for (const [i, { state, result }] of outcomes.entries()) {
        expect({ state, result }).toEqual({ state: 'completed', result: `${kill}.${i}-a-b-c` })
      }
      expect(await killer.outcome).toMatchObject({ state: 'failed', error: { code: 'ORLA_RUNNER_LOST' } })
      leftovers(runtime)
    }
    expect(wrong).toEqual([])
    expect(ends.size).toBe(kills * (runsPerKill + 1))
    expect(again).toBeGreaterThanOrEqual(kills * 10)
    expect(runtime.runners().reduce((sum, { restarts }) => sum + restarts, 0)).toBe(kills)
  },
)

test('runs on other threads do not notice', async () => {
  const runtime = await made({ count: 2 })
  const started = new Map<string, number>()
  runtime.subscribe((event) => {
    if (event.type === 'run.started') started.set(event.runId, (started.get(event.runId) ?? 0) + 1)
  })
  const runs = Array.from({ length: 12 }, () => runtime.start(say, 'wait 300'))
  const killer = runtime.start(tools, 'call die exit')
  const outcomes = await Promise.all(runs.map(({ outcome }) => outcome))
  await killer.outcome
  const once = runs.filter(({ id }) => started.get(id) === 1)
  expect(once.length).toBeGreaterThan(0)
  expect(once.length).toBeLessThan(runs.length)
  for (const [i, run] of runs.entries()) if (once.includes(run)) expect(outcomes[i]!.state).toBe('completed')
  leftovers(runtime)
})

test('a thread out of memory ends alone', async () => {
  const runtime = await made({ count: 1, heapMb: 48 })
  const { error } = await runtime.start(tools, 'call die memory').outcome
  expect(error).toMatchObject({ code: 'ORLA_RUNNER_LOST', message: expect.stringMatching(/memory/) as unknown })
  expect(await runtime.start(say, 'still here').result).toBe('still here')
  leftovers(runtime)
})

describe('a run that called a tool', () => {
  test('is not run again: it fails, and the error names the tool', async () => {
    const runtime = await made({ count: 1 })
    const { error, state } = await runtime.start(tools, 'call die exit').outcome
    expect(state).toBe('failed')
    expect(error).toMatchObject({
      name: 'RunnerLostError',
      code: 'ORLA_RUNNER_LOST',
      retryable: false,
      details: { tools: ['die'] },
    })
    expect(runtime.runners()[0]).toMatchObject({ restarts: 1 })
    leftovers(runtime)
    expect(runtime.deadLetters).toBe(0)
  })

  test('is run again if the tool is repeatable, and not for ever', async () => {
    const runtime = await made({ count: 1 })
    const { state, error } = await runtime.start(tools, 'call read').outcome
    expect({ state, code: error?.code }).toEqual({ state: 'failed', code: 'ORLA_RUNNER_LOST' })
    expect(error).toMatchObject({ retryable: true, details: { tools: [] } })
    expect(runtime.runners()[0]).toMatchObject({ restarts: 3 })
    leftovers(runtime)
  })
})

test('threads that die too often close the runtime, and every run ends', async () => {
  const runtime = await made({ count: 2, restartsMax: 1 })
  const runs = [...Array.from({ length: 10 }, () => runtime.start(say, 'for ever')), runtime.start(poison, 'exit')]
  const outcomes = await Promise.all(runs.map(({ outcome }) => outcome))
  for (const { state, error } of outcomes) {
    expect(state).not.toBe('completed')
    expect(['ORLA_RUNNER_LOST', 'ORLA_CANCELLED']).toContain(error?.code)
  }
  expect(() => runtime.start(say, 'x')).toThrow(/closed/)
})
