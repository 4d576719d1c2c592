// Runner threads: the same results as on one thread, and what crosses between them.

import { afterEach, describe, expect, test } from 'vitest'
import { createRuntime } from '../../src/runtime.ts'
import type { Runtime, RuntimeOptions } from '../../src/runtime-api.ts'
import type { RunEvent, Transition } from '../../src/schema/transition.ts'
import { user, workflow, openAi, virtualClock } from '../../src/index.ts'
import { backends, chain, mapped, pooled, say, tools, uncloneable } from './fixtures/workflows.ts'

const workflows = new URL('./fixtures/workflows.ts', import.meta.url)
const open: Runtime[] = []

async function made(options: RuntimeOptions): Promise<{ runtime: Runtime; heard: RunEvent[] }> {
  const runtime = await createRuntime({ probeTimeoutMs: 0, ...options })
  open.push(runtime)
  const heard: RunEvent[] = []
  runtime.subscribe((event) => void heard.push(event))
  return { runtime, heard }
}

afterEach(async () => {
  await Promise.all(open.splice(0).map((runtime) => runtime.close()))
})

/** Order of transitions of each run, without what differs between any two executions. */
function orders(heard: readonly RunEvent[]): string[] {
  const byRun = Map.groupBy(
    heard.filter((event): event is Transition => 'seq' in event),
    ({ runId }) => runId.split('-')[1]!,
  )
  return [...byRun]
    .sort(([a], [b]) => Number(a) - Number(b))
    .map(([, all]) =>
      all
        .map(({ seq, type, from, to, ...rest }) => `${seq} ${type} ${from} ${to} ${'stage' in rest ? rest.stage : ''}`)
        .join('\n'),
    )
}

function leftovers(runtime: Runtime): void {
  expect(runtime.liveRuns).toBe(0)
  for (const backend of runtime.backends()) {
    expect(backend).toMatchObject({ inFlight: 0, waiting: 0, held: 0 })
    expect(backend.residency).toMatchObject({ runs: 0 })
  }
}

test('pools and limits of tenants hold over all threads', async () => {
  const tenants = { some: { inFlightMax: 3, liveRunsMax: 100 } }
  const { runtime, heard } = await made({ threads: 2, workflows, pools: { pool: ['wide', 'narrow'] }, tenants })
  const runs = Array.from({ length: 60 }, (_, i) => runtime.start(pooled, `x${i}`, { tenant: 'some' }).outcome)
  const outcomes = await Promise.all(runs)
  expect(outcomes.filter(({ state }) => state !== 'completed')).toEqual([])
  expect(outcomes.every(({ stages }) => ['wide', 'narrow'].includes(stages['s']!.backend!))).toBe(true)
  expect(outcomes[0]!.stages['s']!.mapping?.reason).toMatch(/done first of 2 replicas/)
  expect(heard.some(({ type }) => type === 'stage.granted')).toBe(true)
  leftovers(runtime)
})

test('one thread and two runners give the same results and, per run, the same order of transitions', async () => {
  const played = await Promise.all(
    [{ backends }, { threads: 2, workflows }].map(async (options) => {
      const { runtime, heard } = await made(options)
      const runs = Array.from({ length: 40 }, (_, i) => [
        runtime.start(chain, `x${i}`),
        runtime.start(mapped, `m${i}`),
        runtime.start(tools, `call note n${i}`),
        runtime.start(say, i % 10 === 0 ? 'fail' : 'plain'),
      ]).flat()
      const outcomes = await Promise.all(runs.map(({ outcome }) => outcome))
      leftovers(runtime)
      expect(runtime.deadLetters).toBe(0)
      return {
        results: outcomes.map(({ state, result, error, results }) => ({ state, result, error, results })),
        orders: orders(heard),
        runners: runtime.runners(),
        learned: runtime
          .stageClasses()
          .map(({ stageClass, answers }) => `${stageClass} ${answers}`)
          .sort(),
      }
    }),
  )
  const [one, two] = played
  expect(two!.results).toEqual(one!.results)
  expect(two!.orders).toEqual(one!.orders)
  expect(two!.learned).toEqual(one!.learned)
  expect(one!.runners).toEqual([])
  expect(two!.runners.map(({ restarts, liveRuns }) => ({ restarts, liveRuns }))).toEqual([
    { restarts: 0, liveRuns: 0 },
    { restarts: 0, liveRuns: 0 },
  ])
  // Both took part, and messages travelled together.
  for (const { heard, sent, batchesSent } of two!.runners) {
    expect(heard).toBeGreaterThan(100)
    expect(batchesSent).toBeLessThan(sent / 2)
  }
})

describe('across threads go', () => {
  test('names of workflows, tokens of a run that is watched, and the results', async () => {
    const { runtime } = await made({ threads: 1, workflows })
    const run = runtime.start<string, string>('say', 'hello')
    const tokens: string[] = []
    for await (const event of run.events) if (event.type === 'stage.token') tokens.push(event.text)
    expect(tokens).toEqual(['a', 'b', 'c'])
    expect(await run.result).toBe('hello')
    expect((await run.outcome).stages['s']).toMatchObject({ state: 'completed', backend: 'wide' })
  })

  test('cancellation, which gives slots and places in queues back', async () => {
    const { runtime, heard } = await made({ threads: 2, workflows })
    const aborting = new AbortController()
    const runs = Array.from({ length: 70 }, () => runtime.start(say, 'for ever', { signal: aborting.signal }))
    await untilHeard(heard, runtime, 'stage.granted', 64)
    runs[0]!.cancel('enough of this one')
    expect(await runs[0]!.outcome).toMatchObject({
      state: 'cancelled',
      error: { code: 'ORLA_CANCELLED', message: 'enough of this one' },
    })
    aborting.abort(new Error('all of them'))
    const outcomes = await Promise.all(runs.map(({ outcome }) => outcome))
    expect(new Set(outcomes.map(({ state }) => state))).toEqual(new Set(['cancelled']))
    leftovers(runtime)
  })

  test('deadlines, which count on the same clock', async () => {
    const { runtime } = await made({ threads: 1, workflows })
    const { error, durationMs } = await runtime.start(say, 'for ever', { deadlineMs: 50 }).outcome
    expect(error).toMatchObject({ code: 'ORLA_DEADLINE' })
    expect(durationMs).toBeGreaterThanOrEqual(49)
    leftovers(runtime)
  })

  test('errors, with class, code and details', async () => {
    const { runtime } = await made({ threads: 1, workflows })
    const { error } = await runtime.start(say, 'fail').outcome
    expect(error).toMatchObject({ name: 'BackendError', code: 'ORLA_CONTEXT_LENGTH', details: { n: 7 } })
    await expect(runtime.start(say, 'fail').result).rejects.toMatchObject({ code: 'ORLA_CONTEXT_LENGTH' })
    expect(() => runtime.start(say, 7 as never)).toThrow(expect.objectContaining({ code: 'ORLA_INPUT' }))
  })

  test('no results that cannot be cloned: the run fails and says why', async () => {
    const { runtime } = await made({ threads: 1, workflows })
    const { state, error } = await runtime.start(uncloneable, 'x').outcome
    expect({ state, code: error?.code }).toEqual({ state: 'failed', code: 'ORLA_STAGE_OUTPUT' })
    expect(error?.message).toMatch(/cannot cross threads.*plain data/)
    leftovers(runtime)
  })

  test('the end of the runtime: runs under way are cancelled, and the threads end', async () => {
    const { runtime, heard } = await made({ threads: 2, workflows })
    const runs = Array.from({ length: 5 }, () => runtime.start(say, 'for ever'))
    await untilHeard(heard, runtime, 'stage.granted', 5)
    await runtime.close()
    for (const { outcome } of runs) expect(await outcome).toMatchObject({ state: 'cancelled' })
    expect(runtime.runners().map(({ state }) => state)).toEqual(['ended', 'ended'])
  })
})

describe('refused, with what to do instead', () => {
  const refused = (options: RuntimeOptions): Promise<unknown> =>
    createRuntime(options).then(
      () => undefined,
      (error: unknown) => error,
    )

  test('options that are closures', async () => {
    const main = openAi({ url: 'http://127.0.0.1:9', model: 'm' })
    const error = await refused({
      threads: 2,
      backends: { main },
      clock: virtualClock(),
      delivery: (deliver) => deliver(),
    })
    expect(error).toMatchObject({ code: 'ORLA_OPTIONS' })
    expect((error as { issues: { path: string }[] }).issues.map(({ path }) => path)).toEqual([
      'workflows',
      'backends',
      'clock',
      'delivery',
    ])
    expect(String(error)).toMatch(/new URL\("\.\/workflows\.ts", import\.meta\.url\)/)
  })

  test('a module without threads, one that does not exist, and one without workflows', async () => {
    expect(await refused({ workflows, backends })).toMatchObject({ code: 'ORLA_OPTIONS' })
    expect(await refused({ threads: 1, workflows: new URL('./none.ts', import.meta.url) })).toMatchObject({
      code: 'ORLA_OPTIONS',
    })
    expect(await refused({ threads: 1, workflows: new URL('../../src/ids.ts', import.meta.url) })).toMatchObject({
      code: 'ORLA_OPTIONS',
    })
  })

  test('workflows that the module does not export, and backends that come later', async () => {
    const { runtime } = await made({ threads: 1, workflows })
    const here = workflow('here').stage('s', { backend: 'wide', prompt: () => [user('x')] })
    expect(() => runtime.start(here, undefined)).toThrow(/export the workflow "here" from the module/)
    const other = workflow('say').stage('t', { backend: 'wide', prompt: () => [user('x')] })
    expect(() => runtime.start(other, undefined)).toThrow(/another workflow named "say"/)
    expect(() => runtime.addBackend('more', backends.wide)).toThrow(/does not cross threads/)
  })
})

async function untilHeard(heard: RunEvent[], runtime: Runtime, type: string, count: number): Promise<void> {
  const enough = (): boolean => heard.filter((event) => event.type === type).length >= count
  if (enough()) return
  for await (const _ of runtime.events) if (enough()) return
}
