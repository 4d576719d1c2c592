// Whatever definitions, tools and engines say: no crash, no hang over a second, typed errors only.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { OrlaError } from '../../src/errors.ts'
import { readEngineError } from '../../src/engines/engine-error.ts'
import { ChatStreamReader } from '../../src/engines/openai-stream.ts'
import { simulated } from '../../src/index.ts'
import { user } from '../../src/schema/message.ts'
import { workflow } from '../../src/workflow/builder.ts'
import { workflowFromData } from '../../src/workflow/data.ts'
import { tool } from '../../src/workflow/tool.ts'
import { recordingSink } from '../engines/driver-kit.ts'
import { delta, fakeEngine, finish, usage } from '../support/fake-engine.ts'
import { testRuntime } from '../support/runtime.ts'
import { connect, ask } from '../engines/driver-kit.ts'

/** Milliseconds after which something hangs. */
const hangMs = 1_000

/** Runs `work`; anything but an OrlaError that it throws, or a second of time, fails the test. */
async function tame(work: () => unknown): Promise<void> {
  const startedAtMs = performance.now()
  try {
    await work()
  } catch (error) {
    if (!(error instanceof OrlaError)) throw error
    expect(error.code).toMatch(/^ORLA_/)
    // It can be told, whatever is in it.
    JSON.stringify(error.toJSON())
  }
  expect(performance.now() - startedAtMs).toBeLessThan(hangMs)
  expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
}

/** Names that break those who use objects as maps, or print what they are given. */
const name = fc.oneof(
  fc.constantFrom(
    'a',
    'b',
    '__proto__',
    'constructor',
    'prototype',
    'toString',
    'hasOwnProperty',
    '',
    'A',
    'é',
    'e\u0301',
  ),
  fc.string({ unit: 'binary', maxLength: 8 }),
)
const anything = fc.anything({ withBigInt: true, withNullPrototype: true, withObjectString: true, maxDepth: 3 })
const json = fc.jsonValue({ maxDepth: 5 })
const template = fc.oneof(
  fc.constantFrom(
    'hi',
    '{{ input }}',
    '{{ input.a.b }}',
    '{{ results.a }}',
    '{{ results.a.__proto__.x }}',
    '{{',
    '{{ }}',
  ),
  fc.string({ unit: 'binary', maxLength: 20 }),
)

/** A value of the right form, with now and then one that is not. */
function mostly<T>(right: fc.Arbitrary<T>): fc.Arbitrary<unknown> {
  return fc.oneof({ weight: 9, arbitrary: right }, { weight: 1, arbitrary: anything })
}

describe('definitions', () => {
  const condition = fc.letrec((tie) => ({
    node: fc.oneof(
      { maxDepth: 4 },
      fc.record({ path: template, equals: json }),
      fc.record({ all: fc.array(tie('node'), { maxLength: 3 }) }),
      fc.record({ not: tie('node') }),
      json,
    ),
  })).node
  const stage = fc.record(
    {
      name: mostly(name),
      prompt: mostly(
        fc.oneof(template, fc.array(fc.record({ role: fc.constantFrom('user', 'system', 'x'), content: template }))),
      ),
      after: mostly(fc.array(name, { maxLength: 3 })),
      output: mostly(fc.dictionary(name, json, { maxKeys: 3 })),
      tools: mostly(fc.array(name, { maxLength: 3 })),
      when: mostly(condition),
      priority: mostly(json),
      turnsMax: mostly(fc.integer({ min: -1, max: 2_000 })),
      retry: mostly(fc.dictionary(name, json)),
      backend: mostly(name),
    },
    { requiredKeys: ['name', 'prompt'] },
  )
  const definition = mostly(
    fc.record(
      {
        name: mostly(name),
        stages: mostly(fc.array(mostly(stage), { maxLength: 6 })),
        input: mostly(fc.dictionary(name, json)),
        output: mostly(fc.oneof(template, fc.dictionary(name, template))),
      },
      { requiredKeys: ['name', 'stages'] },
    ),
  )

  test('of any form are taken, or refused with every problem', async () => {
    await fc.assert(
      fc.asyncProperty(definition, async (data) => {
        await tame(() => workflowFromData(data).definition)
      }),
      { numRuns: 2_000, seed: 11 },
    )
  })

  /** Mostly right: stages that come after earlier ones, and say what may or may not be there at run time. */
  const plausible = fc
    .array(
      fc.record({
        after: fc.array(fc.nat({ max: 4 }), { maxLength: 2 }),
        prompt: fc.constantFrom(
          'hi',
          '{{ input }}',
          '{{ input.a.b }}',
          '{{ input.__proto__ }}',
          '{{ results.@ }}',
          '{{ results.@.x.y }}',
        ),
        when: fc.option(
          fc.record({
            path: fc.constantFrom('input.a', 'input', 'results.@', 'results.@.x', 'input.constructor'),
            exists: fc.boolean(),
          }),
        ),
        priority: fc.option(
          fc.oneof(
            fc.double(),
            fc.record({
              path: fc.constant('input.a'),
              values: fc.dictionary(name, fc.double()),
              otherwise: fc.integer(),
            }),
          ),
        ),
        output: fc.option(fc.oneof(fc.constant({ type: 'object' }), fc.dictionary(name, json, { maxKeys: 2 }))),
      }),
      { minLength: 1, maxLength: 5 },
    )
    .map((stages) => ({
      name: 'w',
      stages: stages.map(({ after, prompt, when, priority, output }, i) => {
        const before = i === 0 ? [] : [...new Set(after.map((number) => `s${number % i}`))]
        const point = (text: string): string => (before[0] === undefined ? 'input' : text.replace('@', before[0]))
        return {
          name: `s${i}`,
          backend: 'a',
          after: before,
          prompt: prompt.includes('@') ? `{{ ${point(prompt.slice(3, -3))} }}` : prompt,
          ...(when !== null && { when: { ...when, path: when.path.includes('@') ? point(when.path) : when.path } }),
          ...(priority !== null && { priority }),
          ...(output !== null && { output }),
        }
      }),
    }))

  test('that are taken run to an end', async () => {
    const runtime = await testRuntime({ a: simulated({ model: 'm', transport: 'in-process', engine: 'instant' }) })
    const ends = { completed: 0, failed: 0 }
    await fc.assert(
      fc.asyncProperty(plausible, json, async (data, input) => {
        await tame(async () => {
          const { error } = await runtime.until(runtime.start(workflowFromData(data), input).outcome)
          ends[error === undefined ? 'completed' : 'failed']++
          if (error !== undefined) expect(error.code).toMatch(/^ORLA_/)
        })
      }),
      { numRuns: 1_000, seed: 12 },
    )
    expect(ends.completed).toBeGreaterThan(100)
    expect(ends.failed).toBeGreaterThan(50)
    runtime.audit()
    await runtime.close()
  })

  test.each<[string, () => unknown]>([
    [
      '100,000 stages in a row',
      () => ({
        name: 'w',
        stages: Array.from({ length: 100_000 }, (_, i) => ({
          name: `s${i}`,
          prompt: 'x',
          after: i === 0 ? [] : [`s${i - 1}`],
        })),
      }),
    ],
    ['JSON of 100,000 levels', () => JSON.parse(`${'['.repeat(100_000)}${']'.repeat(100_000)}`)],
    [
      'a prompt of 100,000 levels',
      () => ({
        name: 'w',
        stages: [{ name: 'a', prompt: 'x', output: JSON.parse(`${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`) }],
      }),
    ],
    ['a name of a million letters', () => ({ name: 'w', stages: [{ name: 'x'.repeat(1_000_000), prompt: 'x' }] })],
  ])('%s neither crash nor overflow', async (_what, make) => {
    const data = make()
    try {
      void workflowFromData(data).definition
    } catch (error) {
      expect(error).toBeInstanceOf(OrlaError)
    }
  })
})

describe('tool results', () => {
  class Hostile {
    get value(): never {
      throw new Error('a getter that throws')
    }
    toJSON(): never {
      throw new Error('a toJSON that throws')
    }
  }
  const cyclic: Record<string, unknown> = {}
  cyclic['self'] = cyclic
  const revoked = Proxy.revocable({}, {})
  revoked.revoke()
  const odd: unknown[] = [
    undefined,
    10n,
    cyclic,
    revoked.proxy,
    new Hostile(),
    Symbol('s'),
    () => 1,
    '\uD800',
    'x'.repeat(2_000_000),
    Promise.resolve(new Map([[1, 2]])),
    Object.create(null),
    new Date(Number.NaN),
  ]

  test('of any form become an answer to the model, or an error to it', async () => {
    let result: () => unknown = () => 'x'
    const runtime = await testRuntime(
      {
        a: simulated({
          model: 'm',
          transport: 'in-process',
          engine: 'instant',
          responder: ({ messages }) =>
            messages.at(-1)?.role === 'tool' ? { content: 'done' } : { toolCalls: [{ name: 't', arguments: {} }] },
        }),
      },
      { watch: false },
    )
    const t = tool({ description: 'x', input: z.object({}), run: () => result() })
    const definition = workflow('w')
      .stage('s', { backend: 'a', tools: { t }, prompt: () => [user('x')] })
      .output(({ results }) => results.s)
    const runOnce = (make: () => unknown): Promise<void> =>
      tame(async () => {
        result = make
        expect(await runtime.until(runtime.start(definition, {}).result)).toBe('done')
      })
    for (const value of odd) {
      await runOnce(() => value)
      await runOnce(() => {
        throw value
      })
      await runOnce(() => Promise.reject(value))
    }
    await fc.assert(
      fc.asyncProperty(anything, fc.constantFrom('return', 'throw', 'reject'), async (value, how) => {
        await runOnce(() => {
          if (how === 'throw') throw value
          return how === 'reject' ? Promise.reject(value) : value
        })
      }),
      { numRuns: 500, seed: 13 },
    )
    expect(runtime.liveRuns).toBe(0)
    await runtime.close()
  })
})

describe('engine answers', () => {
  const hostile = fc.oneof(
    {
      weight: 3,
      arbitrary: fc.constantFrom<unknown>(
        delta({ content: 'x' }),
        finish('stop'),
        usage({ prompt_tokens: -1 }),
        '[DONE]',
      ),
    },
    json,
    fc.record({
      choices: fc.oneof(json, fc.array(fc.record({ index: json, delta: json, finish_reason: json }), { maxLength: 3 })),
    }),
    fc.record({ choices: fc.constant([{ index: 0 }]), usage: fc.dictionary(name, json) }),
    fc.record({ error: json }),
    fc
      .record({ index: json, id: json, function: fc.record({ name: json, arguments: json }) })
      .map((call) => delta({ tool_calls: [call] })),
  )
  const line = fc.oneof(
    {
      weight: 4,
      arbitrary: hostile.map((value) => `data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`),
    },
    fc.string({ unit: 'binary', maxLength: 30 }),
    fc.constantFrom('data:', '\n', '\r', ': x\n\n', 'event: error\n', 'data: {"a":\n', '\0', '{'),
  )

  test('of any form end in a result with a finish reason, or in a typed error', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(line, { maxLength: 12 }), async (lines) => {
        await tame(() => {
          const reader = new ChatStreamReader({
            scope: { backend: 'b', origin: 'http://engine', secrets: [] },
            sink: recordingSink(),
            reasoningFields: ['reasoning', 'reasoning_content'],
            readError: readEngineError,
            firstCallNumber: 1,
          })
          reader.push(Buffer.from(lines.join('')))
          reader.end()
          if (reader.outcome?.ok !== true) throw reader.outcome?.error ?? new Error('no outcome')
          expect(lines.join('')).toContain('finish_reason')
        })
      }),
      { numRuns: 5_000, seed: 14 },
    )
  })

  test('of any bytes on the socket end the call in time', async () => {
    let script: readonly string[] = []
    await using engine = await fakeEngine(async (exchange) => {
      for (const piece of script) await exchange.write(piece)
      exchange.hangUp()
    })
    await using driver = await connect(engine.url)
    const head = fc.constantFrom(
      'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n',
      'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n',
      'HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n',
      'HTTP/1.1 500 Oops\r\n\r\n',
      'HTTP/1.1 999 What\r\n\r\n',
      'HTTP/1.1 200 OK\r\nretry-after: NaN\r\ncontent-type: text/html\r\n\r\n',
      '',
    )
    await fc.assert(
      fc.asyncProperty(head, fc.array(line, { maxLength: 6 }), async (start, lines) => {
        script = [start, ...lines]
        await tame(() => ask(driver).result)
      }),
      { numRuns: 500, seed: 15 },
    )
  })
})
