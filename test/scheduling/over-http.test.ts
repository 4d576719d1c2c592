// Every policy by name over HTTP: a simulated engine behind a socket, and the order in which it saw requests.

import { expect, test } from 'vitest'
import { virtualClock } from '../../src/clock.ts'
import { openAi } from '../../src/engines/openai.ts'
import { createRuntime } from '../../src/runtime.ts'
import type { StartOptions } from '../../src/runtime-api.ts'
import { schedulingPolicyNames, type SchedulingPolicyName } from '../../src/scheduling/registry.ts'
import { simpleSpeeds } from '../../src/simulator/simple-model.ts'
import { workflow } from '../../src/workflow/builder.ts'
import { serve } from '../simulator/front-support.ts'

/** One run: its name, what its stage asks for, and how it is started. */
interface Given extends StartOptions {
  name: string
  words?: number
  maxTokens?: number
  /** Words of a stage of it that comes before. */
  before?: number
}

const answers = (...tokens: number[]): Given[] => tokens.map((maxTokens, i) => ({ name: 'abc'[i]!, maxTokens }))

/** What waits behind the first request, in order of arrival, and the order in which it is served. */
const cases: Record<SchedulingPolicyName, [waits: Given[], served: string, first?: Partial<Given>]> = {
  fcfs: [answers(1_000, 10, 100), 'abc'],
  priority: [[{ name: 'a' }, { name: 'b', priority: 10 }, { name: 'c', priority: 5 }], 'bca'],
  sjf: [
    [
      { name: 'a', words: 6_000 },
      { name: 'b', words: 10 },
      { name: 'c', words: 3_000 },
    ],
    'bca',
  ],
  wsjf: [answers(1_000, 10, 100), 'bca'],
  // 60,000 tokens that its run had before count as three seconds of waiting.
  las: [[{ name: 'a', before: 60_000 }, { name: 'b' }, { name: 'c' }], 'bca'],
  'critical-path': [answers(2_000, 10, 200), 'bca'],
  hrrn: [answers(2_000, 10, 200), 'bca'],
  edf: [[{ name: 'a' }, { name: 'b', targetMs: 10_000 }, { name: 'c', targetMs: 30_000 }], 'bca'],
  fair: [
    [
      { name: 'a', tenant: 'x' },
      { name: 'b', tenant: 'x' },
      { name: 'c', tenant: 'y' },
    ],
    'cab',
    { tenant: 'x' },
  ],
  // Turns larger than a quantum: whoever was served saves for the next one, and it is the other tenant's turn.
  drr: [
    [
      { name: 'a', tenant: 'x', maxTokens: 3_000 },
      { name: 'b', tenant: 'x', maxTokens: 3_000 },
      { name: 'c', tenant: 'y', maxTokens: 3_000 },
    ],
    'cab',
    { tenant: 'x', maxTokens: 3_000 },
  ],
}

const flow = ({ name, words = 10, maxTokens = 20, before }: Given) => {
  const text = `${name} ${'word '.repeat(words)}`
  const stage = { backend: 'main', maxTokens, prompt: () => text } as const
  if (before === undefined) return workflow(name).stage('s', stage)
  const long = { backend: 'main', maxTokens: 1, prompt: () => `before ${'word '.repeat(before)}` } as const
  return workflow(name)
    .stage('before', long)
    .stage('s', { ...stage, after: ['before'] })
}

test.each(schedulingPolicyNames)('%s orders requests at an engine behind HTTP', async (policy) => {
  const [waits, order, first] = cases[policy]
  // The engine's time stands still until everything waits.
  const engineClock = virtualClock()
  const saw: string[] = []
  const { server } = await serve(
    {
      engine: { kind: 'simple', speed: { ...simpleSpeeds.instant, overheadMs: 1_000 } },
      contextLength: 100_000,
      responder: () => ({ content: 'yes' }),
    },
    {
      clock: engineClock,
      seen: ({ body }) => saw.push((body as { messages: { content: string }[] }).messages[0]!.content.split(' ')[0]!),
    },
  )
  await using runtime = await createRuntime({
    backends: { main: openAi({ url: server.url, model: 'm', windowRequests: 1, contextLength: 100_000 }) },
    scheduling: { main: { stage: policy, request: policy } },
    probeTimeoutMs: 0,
  })
  let queued = 0
  const wanted = { count: 0, resolve: (): void => {} }
  runtime.subscribe((event) => {
    if (event.type === 'stage.queued' && ++queued === wanted.count) wanted.resolve()
  })
  const untilQueued = (count: number): Promise<void> => {
    if (queued >= count) return Promise.resolve()
    return new Promise((resolve) => Object.assign(wanted, { count, resolve }))
  }
  let live = 0
  const startRun = (given: Given): Promise<unknown> => {
    const { name: _, words: _words, maxTokens: _tokens, before: _before, ...options } = given
    live++
    return runtime.start(flow(given), undefined, options).outcome.then((outcome) => {
      live--
      expect(outcome.error).toBeUndefined()
    })
  }
  const turn = async (until: () => boolean): Promise<void> => {
    while (!until()) {
      await engineClock.advance(100)
      await new Promise((resolve) => void setImmediate(resolve))
    }
  }
  const early = waits.filter(({ before }) => before !== undefined)
  const runs: Promise<unknown>[] = []
  if (early.length === 0) {
    runs.push(startRun({ name: 'first', ...first }))
    await untilQueued(1)
  } else {
    // Its long stage is served before everything else.
    runs.push(...early.map(startRun))
    await untilQueued(1)
    runs.push(startRun({ name: 'first' }))
    await untilQueued(2)
    await turn(() => saw.includes('first'))
    await untilQueued(3)
  }
  for (const each of waits) {
    if (each.before === undefined) runs.push(startRun(each))
    await untilQueued(queued + (each.before === undefined ? 1 : 0))
  }
  await turn(() => live === 0)
  await Promise.all(runs)
  expect(saw.filter((name) => name !== 'first' && name !== 'before').join('')).toBe(order)
})
