// The end of a stage's loop: schemas, repairs, truncation, refusals. Request bodies are as the driver saw them.

import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { ChatRequest } from '../../src/schema/chat.ts'
import { workflow } from '../../src/workflow/builder.ts'
import { tool } from '../../src/workflow/tool.ts'
import type { RunOutcome } from '../../src/workflow/report.ts'
import { scripted, type Answer } from '../support/scripted-backend.ts'
import { testRuntime, type TestRuntime } from '../support/runtime.ts'

const Point = z.object({ x: z.number() })
const look = tool({ description: 'looks', input: z.object({}), run: () => 'seen' })

type Options = Partial<Parameters<ReturnType<typeof workflow>['stage']>[1]>

/** Runs one stage whose turns are answered in order. */
async function converse(
  answers: Answer[],
  options: Options,
): Promise<{ outcome: RunOutcome; requests: ChatRequest[]; runtime: TestRuntime }> {
  const backend = scripted((call, i) => call.answer(answers[i] ?? 'beyond the script'))
  const runtime = await testRuntime({ main: backend })
  const one = workflow('one').stage('a', { backend: 'main', prompt: () => 'go', ...options, when: undefined })
  const outcome = await runtime.until(runtime.start(one, undefined).outcome)
  runtime.audit()
  return { outcome, requests: backend.calls.map(({ request }) => request), runtime }
}

/** What of a request steers the engine. */
const steering = ({ toolChoice, responseSchema, tools }: ChatRequest): unknown => [
  tools?.map(({ name }) => name),
  toolChoice,
  responseSchema?.name,
]

describe('an answer under a schema', () => {
  test('is asked for in the only turn of a stage without tools', async () => {
    const { outcome, requests } = await converse(['{"x":1}'], { output: Point })
    expect(outcome.results['a']).toEqual({ x: 1 })
    expect(requests.map(steering)).toEqual([[undefined, undefined, 'a']])
    expect(requests[0]!.responseSchema?.schema).toMatchObject({ type: 'object', required: ['x'] })
  })

  test('is asked for in the last turn only of a stage with tools, and then without tool calls', async () => {
    const { outcome, requests } = await converse([{ toolCalls: [{ name: 'look' }] }, 'I looked.', '{"x":2}'], {
      output: Point,
      tools: { look },
    })
    expect(outcome.results['a']).toEqual({ x: 2 })
    expect(requests.map(steering)).toEqual([
      [['look'], undefined, undefined],
      [['look'], undefined, undefined],
      [['look'], 'none', 'a'],
    ])
    expect(requests[2]!.messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'tool', 'assistant', 'user'])
  })

  test('needs no further turn where the working answer matches already', async () => {
    const { requests, outcome } = await converse(['{"x":3}'], { output: Point, tools: { look } })
    expect([requests.length, outcome.results['a']]).toEqual([1, { x: 3 }])
  })

  test.each(['```json\n{"x":1}\n```', '```\n{"x":1}```', '  \n{"x":1}\n '])('is accepted as %j', async (content) => {
    expect((await converse([content], { output: Point, repairTurns: 0 })).outcome.results['a']).toEqual({ x: 1 })
  })

  test('is repaired in as many turns as allowed, each told what is wrong', async () => {
    const { outcome, requests } = await converse(['no', '{"x":"1"}', '{"x":1}'], { output: Point })
    expect(outcome.results['a']).toEqual({ x: 1 })
    expect(requests[1]!.messages.at(-1)!.content).toMatch(/output: the answer is not JSON/)
    expect(requests[2]!.messages.at(-1)!.content).toMatch(/output\.x: .*number/)
    expect(outcome.stages['a']!.turns).toHaveLength(3)
  })

  test('fails the stage with what was wrong once the repair turns are used up', async () => {
    const { outcome, requests } = await converse(['no', 'no', 'no', '{"x":1}'], { output: Point, repairTurns: 1 })
    expect(requests).toHaveLength(2)
    expect(outcome).toMatchObject({
      state: 'failed',
      error: { code: 'ORLA_STAGE_OUTPUT', details: { repairTurns: 1, issues: [{ code: 'not_json' }] } },
    })
  })

  test('is refused when it nests too deep, not crashed on', async () => {
    const { outcome } = await converse(['['.repeat(50_000) + ']'.repeat(50_000)], {
      output: z.unknown(),
      repairTurns: 0,
    })
    expect(outcome.error?.message).toMatch(/nested deeper than/)
  })

  test('may be checked asynchronously, and by a schema that throws or transforms', async () => {
    const slow = Point.refine(async ({ x }) => (await Promise.resolve(x)) > 1)
    expect((await converse(['{"x":1}', '{"x":2}'], { output: slow })).outcome.results['a']).toEqual({ x: 2 })
    const throws = Point.refine(() => {
      throw new Error('schema boom')
    })
    expect((await converse(['{"x":1}'], { output: throws, repairTurns: 0 })).outcome.error?.message).toMatch(
      /schema boom/,
    )
  })

  test('leaves no tool call without a result in the conversation, also from an engine that ignores tool_choice', async () => {
    const { outcome, requests } = await converse(
      ['working', { content: 'no', toolCalls: [{ name: 'look' }] }, '{"x":1}'],
      { output: Point, tools: { look } },
    )
    expect(outcome.results['a']).toEqual({ x: 1 })
    for (const { messages } of requests) {
      const calls = messages.flatMap((message) => (message.role === 'assistant' ? (message.toolCalls ?? []) : []))
      expect(calls).toHaveLength(messages.filter(({ role }) => role === 'tool').length)
    }
  })
})

describe('answers that are no answers', () => {
  test('a refusal fails the stage in the words of the model', async () => {
    const { outcome } = await converse([{ refusal: 'I will not.' }], {})
    expect(outcome.error).toMatchObject({
      code: 'ORLA_STAGE_REFUSED',
      message: expect.stringContaining('I will not.') as string,
    })
    expect((await converse([{ content: 'x', finishReason: 'content_filter' }], {})).outcome.error?.code).toBe(
      'ORLA_STAGE_REFUSED',
    )
  })

  test('a cut answer is accepted and marked, or fails the stage that says so', async () => {
    const { outcome } = await converse([{ content: 'half', finishReason: 'length' }], {})
    expect(outcome).toMatchObject({
      state: 'completed',
      results: { a: 'half' },
      stages: { a: { truncated: true, finishReason: 'length' } },
    })
    const strict = await converse([{ content: 'half', finishReason: 'length' }], { truncation: 'fail' })
    expect(strict.outcome.error?.code).toBe('ORLA_STAGE_TRUNCATED')
  })

  test('a cut tool call is never made', async () => {
    const { outcome } = await converse([{ toolCalls: [{ name: 'look', arguments: '{"a' }], finishReason: 'length' }], {
      tools: { look },
    })
    expect(outcome).toMatchObject({ error: { code: 'ORLA_STAGE_TRUNCATED' }, stages: { a: { toolCalls: [] } } })
  })

  test('a stage whose cut answer was repaired is not marked as cut', async () => {
    const { outcome } = await converse([{ content: '{"x":', finishReason: 'length' }, '{"x":1}'], { output: Point })
    expect(outcome.stages['a']).toMatchObject({ state: 'completed', truncated: false, finishReason: 'stop' })
  })

  test('what the engine did not say stays unknown', async () => {
    const { outcome } = await converse([{ content: 'x', usage: {} }], {})
    expect(outcome.stages['a']).toMatchObject({
      promptTokens: null,
      cachedTokens: null,
      completionTokens: null,
      ttftMs: null,
    })
  })
})
