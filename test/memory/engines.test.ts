// The memory manager at engines that listen: which admin calls arrive, when, and what the cache says afterwards.

import { describe, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import type { BackendDefinition } from '../../src/engines/backend-definition.ts'
import { createRuntime, llamaServer, sglang, tool, user, vllm, workflow } from '../../src/index.ts'
import { silentLogger } from '../../src/log.ts'
import type { MemoryOptions } from '../../src/memory/plan.ts'
import { utf8BytesEstimator } from '../../src/prompts/estimator.ts'
import type { Run, Runtime } from '../../src/runtime-api.ts'
import type { CacheTransition, StageReleased } from '../../src/schema/transition.ts'
import type { FlavourOptions } from '../../src/simulator/flavours/flavour.ts'
import {
  startFlavour,
  type FlavourServer,
  type StartFlavourOptions,
} from '../../src/simulator/flavours/start-flavour.ts'

/** A long beginning that all prompts of a run share: enough blocks for a prefix cache. */
const long = 'The quick brown fox jumps over the lazy dog. '.repeat(40)

interface Engine {
  flavour: FlavourOptions
  connect(server: FlavourServer): BackendDefinition
  /** What the end of a run sends, when nobody else needs the cache, and when somebody does. */
  alone: RegExp
  beside: RegExp | undefined
}

const engines: Record<string, Engine> = {
  'SGLang without sessions': {
    flavour: { engine: 'sglang', sessions: false },
    connect: ({ url, model }) => sglang({ url, model }),
    alone: /^POST \/flush_cache/,
    beside: undefined,
  },
  'SGLang with sessions': {
    flavour: { engine: 'sglang', sessions: true },
    connect: ({ url, model }) => sglang({ url, model }),
    alone: /^POST \/close_session/,
    beside: /^POST \/close_session/,
  },
  'vLLM in dev mode': {
    flavour: { engine: 'vllm', devMode: true },
    connect: ({ url, model }) => vllm({ url, model, cachedTokens: true }),
    alone: /^POST \/reset_prefix_cache/,
    beside: undefined,
  },
  'llama-server': {
    flavour: { engine: 'llamacpp', slots: 4, hostCache: false },
    connect: ({ url, model }) => llamaServer({ url, model, hostCache: false }),
    alone: /^POST \/slots\/\d\?action=erase/,
    beside: /^POST \/slots\/\d\?action=erase/,
  },
}

/** What a front was told besides chat, in order: method and path. */
function admin(server: FlavourServer): string[] {
  return server
    .requests()
    .map(({ method, path }) => `${method} ${path}`)
    .filter((line) => /flush_cache|close_session|reset_prefix_cache|slots\/\d+\?action=erase/.test(line))
}

/** A front, a runtime at it, and what the runtime said. */
async function started(
  engine: Engine,
  memory: MemoryOptions,
  more: Pick<StartFlavourOptions, 'faults' | 'engine'> = {},
) {
  const ofTurns = { content: 'a short answer' }
  const responder = ({ messages }: { messages: readonly { role: string; content: string }[] }) =>
    messages.some(({ content }) => content.includes('use the tool')) && messages.at(-1)!.role !== 'tool'
      ? { toolCalls: [{ name: 'wait', arguments: {} }] }
      : ofTurns
  const options = { responder, ...more }
  const server = await startFlavour(engine.flavour, options)
  onTestFinished(() => server.close())
  const other = await startFlavour(engine.flavour, options)
  onTestFinished(() => other.close())
  const runtime = await createRuntime({
    backends: { main: engine.connect(server), other: engine.connect(other) },
    memory,
    log: silentLogger,
    estimator: utf8BytesEstimator,
    seed: 1,
  })
  onTestFinished(() => runtime.close())
  const released: StageReleased[] = []
  const decided: CacheTransition[] = []
  runtime.subscribe((event) => {
    if (event.type === 'stage.released') released.push(event)
    if (event.type.startsWith('cache.')) decided.push(event as CacheTransition)
  })
  return { server, other, runtime, released, decided }
}

/** Two turns on the same context. */
const talk = workflow('talk')
  .stage('first', { backend: 'main', prompt: () => [user(long)] })
  .stage('second', { backend: 'main', context: 'append', after: ['first'], prompt: () => [user('And then?')] })
  .output(({ results }) => results.second)

/** A run that has its context at `main` while it waits for a tool. */
function waiting(runtime: Runtime): { run: Run; toolRuns: Promise<void>; finish: () => void } {
  const gate = Promise.withResolvers<void>()
  const toolRuns = Promise.withResolvers<void>()
  const wait = tool({
    description: 'Waits.',
    input: z.object({}),
    run: async () => {
      toolRuns.resolve()
      await gate.promise
      return 'waited'
    },
  })
  const definition = workflow('waits').stage('s', {
    backend: 'main',
    tools: { wait },
    prompt: () => [user(`${long}${long} Please use the tool.`)],
  })
  return { run: runtime.start(definition, undefined), toolRuns: toolRuns.promise, finish: () => gate.resolve() }
}

/** Waits until the memory manager has heard of the end of an action. */
async function acted(
  runtime: Runtime,
  count: number,
  types: readonly string[] = ['cache.flushed', 'cache.flushFailed'],
): Promise<void> {
  const done = (): boolean => runtime.cacheDecisions().filter(({ type }) => types.includes(type)).length >= count
  while (!done()) await new Promise((resolve) => setImmediate(resolve))
}

describe.each(Object.entries(engines))('%s', (_name, engine) => {
  test('is told when a run ends, not before, and the next run starts cold', async () => {
    const { server, runtime, released } = await started(engine, { policy: 'paper' })
    await runtime.start(talk, undefined).result
    // The second turn found the first one's context: nothing was flushed in between.
    expect(released[1]!.usage.cachedTokens).toBeGreaterThan(200)
    await acted(runtime, 1)
    expect(admin(server)).toEqual([expect.stringMatching(engine.alone)])
    const calls = server.requests().map(({ path }) => path)
    expect(calls.findIndex((path) => engine.alone.test(`POST ${path}`))).toBeGreaterThan(
      calls.lastIndexOf('/v1/chat/completions'),
    )
    await runtime.start(talk, undefined).result
    // A closed session is a hint: SGLang keeps the prefix until it needs the room.
    if (engine.flavour.engine !== 'sglang' || engine.flavour.sessions !== true) {
      expect(released[2]!.usage.cachedTokens ?? 0).toBe(0)
    }
  })

  test('is left alone, but for what is the run’s own, while another run waits for a tool', async () => {
    const { server, runtime, released } = await started(engine, { policy: 'paper' })
    const other = waiting(runtime)
    await other.toolRuns
    await runtime.start(talk, undefined).result
    if (engine.beside !== undefined) await acted(runtime, 1)
    expect(admin(server)).toEqual(engine.beside === undefined ? [] : [expect.stringMatching(engine.beside)])
    other.finish()
    await other.run.result
    // Its own context was still there.
    expect(released.at(-1)!.usage.cachedTokens).toBeGreaterThan(400)
    await acted(runtime, engine.beside === undefined ? 1 : 2)
    expect(admin(server).at(-1)).toMatch(engine.alone)
  })

  test('is told when a run moves to another backend, at once, and the other is not', async () => {
    const { server, other, runtime } = await started(engine, { policy: 'paper' })
    const gate = Promise.withResolvers<void>()
    const moves = workflow('moves')
      .stage('here', { backend: 'main', prompt: () => [user(long)] })
      .stage('there', { backend: 'other', after: ['here'], prompt: () => [user(long)] })
      .stage('last', {
        mapping: async () => {
          await gate.promise
          return { backend: 'other', reason: 'held by the test' }
        },
        after: ['there'],
        prompt: () => [user(long)],
      })
    const run = runtime.start(moves, undefined)
    for await (const event of run.events) if (event.type === 'stage.completed' && event.stage === 'there') break
    await acted(runtime, 1)
    expect(admin(server)).toEqual([expect.stringMatching(engine.alone)])
    expect(admin(other)).toEqual([])
    gate.resolve()
    await run.result
    await acted(runtime, 2)
    expect(admin(server)).toHaveLength(1)
    expect(admin(other)).toEqual([expect.stringMatching(engine.alone)])
  })

  test('gets nothing at all from the engine’s own policy, and keeps its cache', async () => {
    const { server, runtime, released } = await started(engine, { policy: 'lru' })
    await runtime.start(talk, undefined).result
    await runtime.start(talk, undefined).result
    expect(admin(server)).toEqual([])
    // Slots do not share: another run is another session, and sits in another slot.
    if (engine.flavour.engine !== 'llamacpp') expect(released[2]!.usage.cachedTokens).toBeGreaterThan(200)
  })

  test('is spared by the KV window: what does not fit waits in the runtime', async () => {
    const memory = { policy: 'price' as const, kvTokens: { main: 1_200, other: 1_200 }, holdMsMax: 20_000 }
    const { server, runtime, decided } = await started(engine, memory, { engine: { decodeMsPerToken: 5 } })
    const chats = (): number => server.requests().filter(({ path }) => path.endsWith('/chat/completions')).length
    const read = workflow('read').stage('s', {
      backend: 'main',
      prompt: ({ input }) => [user(`${String(input)} ${long}${long}`)],
    })
    let chatsWhenHeld = NaN
    runtime.subscribe((event) => {
      if (event.type === 'cache.held') chatsWhenHeld = chats()
    })
    // The first one lets the runtime learn how this engine counts.
    await runtime.start(read, 'zero').result
    const runs = [runtime.start(read, 'one'), runtime.start(read, 'two')]
    await Promise.all(runs.map((run) => run.result))
    expect(decided.map(({ type }) => type)).toEqual(expect.arrayContaining(['cache.held', 'cache.admitted']))
    expect(chatsWhenHeld).toBeLessThan(3)
    expect(chats()).toBe(3)
    expect(admin(server)).toEqual([])
    expect(server.stats().kvTokensTotal).toBeGreaterThan(1_200)
  })
})

test('an idle run gives room when the ledger says that the pool is nearly full, at the engine as well', async () => {
  const memory = { policy: 'paper' as const, kvTokens: { main: 900, other: 900 } }
  const { server, runtime, released } = await started(engines['llama-server']!, memory)
  const idle = waiting(runtime)
  await idle.toolRuns
  expect(runtime.backends()[0]!.pressure).toMatchObject({ source: 'ledger' })
  expect(runtime.backends()[0]!.pressure!.utilisation).toBeGreaterThan(0.85)
  await acted(runtime, 1)
  const [decision] = runtime.cacheDecisions()
  expect(decision!.reason).toMatch(/utilisation 0\.\d+ \(ledger\) is at least 0\.85: tool for \d+ ms/)
  expect(admin(server)).toEqual([expect.stringMatching(/action=erase/)])
  idle.finish()
  await idle.run.result
  // The room was really given: its prompt was computed again.
  expect(released.at(-1)!.usage.cachedTokens).toBe(0)
})

describe('an engine that does not do what it says', () => {
  const devMode = engines['vLLM in dev mode']!

  test.each([
    ['fails', 'error'],
    ['hangs', 'hang'],
  ])('and %s does not hold up the next run', async (_how, kind) => {
    const { runtime } = await started(devMode, { policy: 'paper' }, { faults: [{ fault: 'B37', kind }] })
    await runtime.start(talk, undefined).result
    const startedAtMs = performance.now()
    await runtime.start(talk, undefined).result
    expect(performance.now() - startedAtMs).toBeLessThan(4_000)
  })

  test('and lies is found out by its cached tokens, and not asked again', async () => {
    const { server, runtime } = await started(
      devMode,
      { policy: 'paper' },
      { faults: [{ fault: 'B37', kind: 'idle' }] },
    )
    for (let i = 0; i < 4; i++) {
      await runtime.start(talk, undefined).result
      if (i < 2) await acted(runtime, i + 1, ['cache.flushed'])
    }
    const failures = runtime.cacheDecisions().filter(({ type }) => type === 'cache.flushFailed')
    expect(failures.map(({ reason }) => reason)).toEqual([
      expect.stringMatching(/said that it was done, and the next prompt had \d+ tokens cached$/),
      expect.stringContaining('it is not asked to flush any more'),
    ])
    expect(admin(server)).toHaveLength(2)
    expect(runtime.cacheDecisions().at(-1)!.reason).toContain('the engine cannot do more')
  })
})
