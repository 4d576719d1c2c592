// The tool loop of a stage, through the whole runtime: whatever a tool or a model does is answered to the model.

import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { limits } from '../../src/limits.ts'
import type { ToolMessage } from '../../src/schema/message.ts'
import { workflow, type Workflow } from '../../src/workflow/builder.ts'
import { tool, type ToolSet } from '../../src/workflow/tool.ts'
import { scripted, type Answer, type ScriptedBackend } from '../support/scripted-backend.ts'
import { testRuntime, type TestRuntime } from '../support/runtime.ts'

const nothing = z.object({})

/** A backend that asks for `calls` in the first turn and answers `done` in the second. */
function asking(calls: (Answer & object)['toolCalls']): ScriptedBackend {
  return scripted((call) => call.answer(call.request.messages.length === 1 ? { toolCalls: calls! } : 'done'))
}

function using(
  tools: ToolSet,
  options: { parallelToolCalls?: number; turnsMax?: number } = {},
): Workflow<unknown, { a: string }> {
  return workflow('w').stage('a', { backend: 'main', tools, prompt: () => 'go', ...options })
}

/** What the model was told: the tool messages of the last request. */
function told(backend: ScriptedBackend): string[] {
  return backend.calls
    .at(-1)!
    .request.messages.filter((message): message is ToolMessage => message.role === 'tool')
    .map(({ content }) => content)
}

/** Runs one stage with `tools` to its end. */
async function runTools(
  tools: ToolSet,
  calls: (Answer & object)['toolCalls'],
  options: { parallelToolCalls?: number } = {},
): Promise<{ backend: ScriptedBackend; runtime: TestRuntime; told: string[] }> {
  const backend = asking(calls)
  const runtime = await testRuntime({ main: backend })
  const run = runtime.start(using(tools, options), undefined)
  expect(await runtime.until(run.result)).toEqual({ a: 'done' })
  await runtime.clock.runAll()
  runtime.audit()
  return { backend, runtime, told: told(backend) }
}

describe('what goes wrong with a tool is told to the model, and the stage goes on', () => {
  const strict = tool({ description: '', input: z.object({ n: z.number() }), run: ({ n }) => n })
  const hostile = (run: () => unknown): ToolSet => ({ t: tool({ description: '', input: nothing, run }) })
  const circle: Record<string, unknown> = {}
  circle['circle'] = circle
  const deep = '['.repeat(100) + ']'.repeat(100)

  test.each<[what: string, tools: ToolSet, call: { name: string; arguments?: string }, told: RegExp]>([
    [
      'arguments that are not JSON',
      { t: strict },
      { name: 't', arguments: '{"n":' },
      /^error: the arguments of "t" are not JSON/,
    ],
    [
      'arguments that do not match',
      { t: strict },
      { name: 't', arguments: '{"n":"1"}' },
      /^error: .*do not match.*arguments\.n/,
    ],
    ['arguments that nest too deep', { t: strict }, { name: 't', arguments: deep }, /nested deeper/],
    ['arguments that are missing', { t: strict }, { name: 't', arguments: '' }, /arguments\.n/],
    [
      'an unknown tool',
      { t: strict, u: strict },
      { name: 'nope' },
      /^error: there is no tool "nope"; there are: t, u$/,
    ],
    [
      'a tool named like a prototype key',
      { t: strict },
      { name: 'constructor' },
      /^error: there is no tool "constructor"/,
    ],
    [
      'a throw',
      hostile(() => {
        throw new Error('boom')
      }),
      { name: 't' },
      /^error: boom$/,
    ],
    [
      'a throw of nothing',
      hostile(() => {
        throw undefined
      }),
      { name: 't' },
      /^error: undefined$/,
    ],
    [
      'a throw of what cannot be shown',
      hostile(() => {
        throw Object.create(null)
      }),
      { name: 't' },
      /^error: a value that cannot be shown$/,
    ],
    ['a rejection', hostile(() => Promise.reject(new Error('later'))), { name: 't' }, /^error: later$/],
    ['a circle', hostile(() => circle), { name: 't' }, /^error: .*circular/i],
    ['a BigInt', hostile(() => 10n), { name: 't' }, /^error: .*BigInt/],
    [
      'a schema that throws',
      {
        t: tool({
          description: '',
          input: nothing.refine(() => {
            throw new Error('schema boom')
          }),
          run: () => 1,
        }),
      },
      { name: 't' },
      /schema boom/,
    ],
  ])('%s', async (_what, tools, call, expected) => {
    const {
      told: [content],
      runtime,
    } = await runTools(tools, [call])
    expect(content).toMatch(expected)
    const ended = runtime.transitions().find((transition) => transition.type === 'tool.ended')
    expect(ended).toMatchObject({ ok: false, message: content })
  })

  test.each<[what: string, result: unknown, told: string]>([
    ['text', 'plain', 'plain'],
    ['nothing', undefined, 'done'],
    ['null', null, 'null'],
    ['a function', () => 1, 'done'],
    ['an object', { a: [1, null] }, '{"a":[1,null]}'],
    ['an empty text', '', ''],
  ])('%s is a good result', async (_what, result, expected) => {
    const { told: contents, runtime } = await runTools(
      hostile(() => result),
      [{ name: 't' }],
    )
    expect(contents).toEqual([expected])
    expect(runtime.transitions().find((transition) => transition.type === 'tool.ended')).toMatchObject({ ok: true })
  })

  test('a huge result is cut and says so, and so is a huge error', async () => {
    const long = 'x'.repeat(limits.toolResultCharsMax + 5)
    const good = await runTools(
      hostile(() => long),
      [{ name: 't' }],
    )
    expect(good.told[0]!.length).toBeLessThan(limits.toolResultCharsMax + 100)
    expect(good.told[0]).toMatch(/\[cut: the result has 1000005 characters\]$/)
    const bad = await runTools(
      hostile(() => {
        throw new Error(long)
      }),
      [{ name: 't' }],
    )
    expect(bad.told[0]!.length).toBeLessThan(limits.toolResultCharsMax + 100)
    expect(bad.told[0]).toMatch(/^error: x+\n\[cut: the result has 1000012 characters\]$/)
  })

  test('a tool that hangs is given up after its time, and told', async () => {
    let signal: AbortSignal | undefined
    const hangs = tool({
      description: '',
      input: nothing,
      timeoutMs: 700,
      run: (_args, context) => {
        signal = context.signal
        return new Promise(() => {})
      },
    })
    const { told: contents, runtime } = await runTools({ hangs }, [{ name: 'hangs' }])
    expect(contents).toEqual(['error: tool "hangs" did not answer within 700 ms'])
    expect(signal?.aborted).toBe(true)
    expect(runtime.clock.nowMs()).toBe(700)
  })

  test('a tool that answers after its time is not heard twice', async () => {
    let answer = (_value: string): void => {}
    const late = tool({
      description: '',
      input: nothing,
      timeoutMs: 10,
      run: () =>
        new Promise<string>((resolve) => {
          answer = resolve
        }),
    })
    const backend = asking([{ name: 'late' }])
    const runtime = await testRuntime({ main: backend })
    const run = runtime.start(using({ late }), undefined)
    await runtime.until(run.result)
    answer('too late')
    await runtime.settle()
    expect(runtime.transitions().filter(({ type }) => type === 'tool.ended')).toHaveLength(1)
    runtime.audit()
  })
})

describe('parallel calls', () => {
  /** A tool that takes 10 ms and counts how many of it run at once. */
  function counting(
    clock: () => TestRuntime['clock'],
    options: { concurrency?: number } = {},
  ): { tools: ToolSet; max: () => number; calls: () => number } {
    let running = 0
    let max = 0
    let calls = 0
    const slow = tool({
      description: '',
      input: nothing,
      ...options,
      run: () => {
        calls++
        max = Math.max(max, ++running)
        return new Promise<string>(
          (resolve) =>
            void clock().setTimer(10, () => {
              running--
              resolve('ok')
            }),
        )
      },
    })
    return { tools: { slow }, max: () => max, calls: () => calls }
  }

  test.each([1, 3, 128])('run at most %s at once in a turn', async (parallelToolCalls) => {
    const backend = asking(Array.from({ length: 20 }, () => ({ name: 'slow' })))
    const runtime = await testRuntime({ main: backend })
    const { tools, max, calls } = counting(() => runtime.clock)
    const run = runtime.start(using(tools, { parallelToolCalls }), undefined)
    await runtime.until(run.result)
    expect([max(), calls()]).toEqual([Math.min(20, parallelToolCalls), 20])
    expect(runtime.clock.nowMs()).toBe(10 * Math.ceil(20 / parallelToolCalls))
    runtime.audit()
  })

  test('keep the limit of a tool over all runs and stages, also when calls are cancelled', async () => {
    const backend = asking(Array.from({ length: 4 }, () => ({ name: 'slow' })))
    const runtime = await testRuntime({ main: backend })
    const { tools, max, calls } = counting(() => runtime.clock, { concurrency: 3 })
    const runs = Array.from({ length: 6 }, () => runtime.start(using(tools), undefined))
    await runtime.clock.advance(15)
    expect(max()).toBe(3)
    runs[5]!.cancel()
    await runtime.until(Promise.all(runs.map((run) => run.outcome)))
    await runtime.clock.runAll()
    expect(calls()).toBe(20)
    expect(max()).toBe(3)
    runtime.audit()
  })

  test('are answered in the order of the model, whatever order they end in', async () => {
    const backend = asking([30, 10, 20].map((ms) => ({ name: 'wait', arguments: JSON.stringify({ ms }) })))
    const runtime = await testRuntime({ main: backend })
    const wait = tool({
      description: '',
      input: z.object({ ms: z.number() }),
      run: ({ ms }) => new Promise<string>((resolve) => void runtime.clock.setTimer(ms, () => resolve(`${ms}`))),
    })
    await runtime.until(runtime.start(using({ wait }), undefined).result)
    expect(told(backend)).toEqual(['30', '10', '20'])
    const { messages } = backend.calls[1]!.request
    expect(messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'tool', 'tool', 'tool'])
  })

  test('with one id for all are told apart, and each gets its answer', async () => {
    const echo = tool({ description: '', input: z.object({ n: z.number() }), run: ({ n }) => n })
    const calls = [1, 2, 3].map((n) => ({ id: 'same', name: 'echo', arguments: `{"n":${n}}` }))
    const { told: contents, runtime } = await runTools({ echo }, calls)
    expect(contents).toEqual(['1', '2', '3'])
    const ids = runtime
      .transitions()
      .flatMap((transition) => (transition.type === 'tool.started' ? [transition.callId] : []))
    expect(ids).toEqual(['1.1', '1.2', '1.3'])
  })

  test('10,000 calls in one turn are all answered, and only as many made as allowed', async () => {
    let made = 0
    const count = tool({ description: '', input: nothing, run: () => ++made })
    const { told: contents } = await runTools(
      { count },
      Array.from({ length: 10_000 }, (_, i) => ({ name: i % 2 === 0 ? 'count' : 'nope' })),
    )
    expect(contents).toHaveLength(10_000)
    expect(made).toBe(limits.toolCallsPerTurnMax / 2)
    expect(contents[128]).toMatch(/more than 128 tool calls/)
  })
})

describe('the loop', () => {
  const echo = tool({ description: 'says it again', input: z.object({ text: z.string() }), run: ({ text }) => text })

  test('ends with an error when the model asks for tools beyond the turns it has', async () => {
    const backend = scripted((call) => call.answer({ toolCalls: [{ name: 'echo', arguments: '{"text":"x"}' }] }))
    const runtime = await testRuntime({ main: backend })
    const outcome = await runtime.until(runtime.start(using({ echo }, { turnsMax: 3 }), undefined).outcome)
    expect(outcome).toMatchObject({
      state: 'failed',
      error: { code: 'ORLA_STAGE_MAX_TURNS', details: { turns: 3, turnsMax: 3 } },
    })
    expect(outcome.stages['a']).toMatchObject({ toolCalls: [{ name: 'echo' }, { name: 'echo' }] })
    expect(backend.calls).toHaveLength(3)
    runtime.audit()
  })

  test("holds no slot while tools run, and asks again with the run's age and context", async () => {
    const backend = scripted(
      (call) => {
        if (call.stage === 'b') return call.answer('b', 5)
        call.answer(call.request.messages.length === 1 ? { toolCalls: [{ name: 'slow' }] } : 'a', 5)
      },
      { windowRequests: 1 },
    )
    const runtime = await testRuntime({ main: backend })
    const slow = tool({
      description: '',
      input: nothing,
      run: () => new Promise<string>((resolve) => void runtime.clock.setTimer(100, () => resolve('ok'))),
    })
    const two = workflow('two')
      .stage('a', { backend: 'main', tools: { slow }, prompt: () => 'a' })
      .stage('b', { backend: 'main', prompt: () => 'b' })
    await runtime.until(runtime.start(two, undefined).result)
    expect(backend.calls.map(({ stage, atMs }) => [stage, atMs])).toEqual([
      ['a', 0],
      ['b', 5],
      ['a', 105],
    ])
    const queued = runtime
      .transitions()
      .flatMap((transition) => (transition.type === 'stage.queued' && transition.stage === 'a' ? [transition] : []))
    expect(queued[1]!.addedTokens).toBeLessThan(queued[1]!.promptTokens)
    runtime.audit()
  })

  test('reports calls as they end, with arguments parsed where they are JSON', async () => {
    const backend = asking([
      { name: 'echo', arguments: '{"text":"x"}' },
      { name: 'echo', arguments: 'nonsense' },
    ])
    const runtime = await testRuntime({ main: backend })
    const outcome = await runtime.until(runtime.start(using({ echo }, { parallelToolCalls: 1 }), undefined).outcome)
    expect(outcome.stages['a']!.toolCalls).toEqual([
      { name: 'echo', arguments: { text: 'x' }, ok: true },
      { name: 'echo', arguments: 'nonsense', ok: false },
    ])
  })

  test('tells a tool whose call it is', async () => {
    let context: unknown
    const asks = tool({
      description: '',
      input: nothing,
      run: (_args, { signal: _signal, ...rest }) => {
        context = rest
      },
    })
    await runTools({ asks }, [{ name: 'asks' }])
    expect(context).toEqual({
      idempotencyKey: expect.stringMatching(/^run-1-\w+\/a\/1\.1$/),
      runId: expect.stringMatching(/^run-1-/) as string,
      stage: 'a',
      callId: '1.1',
    })
  })
})
