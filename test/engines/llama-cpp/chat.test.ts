// Real inference, through the process: what the model says, and how it is counted and cut.

import { describe, expect, test } from 'vitest'
import type { ChatResult } from '../../../src/schema/chat.ts'
import { recordingSink, rejection } from '../driver-kit.ts'
import { asking, connectTiny, contextOf, deaf, followUp, sharedDriver, tinyModel, type TestDriver } from './support.ts'

const model = tinyModel()
const driver = sharedDriver(model)

const readPolicy = {
  name: 'read_policy',
  description: 'Reads a policy.',
  parameters: {
    type: 'object',
    properties: { topic: { type: 'string' }, page: { type: 'integer' } },
    required: ['topic', 'page'],
  },
}

const ask = (driver: TestDriver, request: Parameters<TestDriver['chat']>[0], runId = 'run-1'): Promise<ChatResult> =>
  driver.chat(request, contextOf(runId), deaf).result

describe('an answer', () => {
  test('ends where the model ends it, streamed and whole alike', async () => {
    const sink = recordingSink()
    const result = await driver.it.chat(asking('hello'), contextOf('run-1'), sink).result
    expect(result).toMatchObject({
      content: 'fine.',
      reasoning: '',
      toolCalls: [],
      finishReason: 'stop',
      model: 'tiny',
    })
    expect(sink.deltas.every(([channel]) => channel === 'content')).toBe(true)
    expect(sink.deltas.map(([, text]) => text).join('')).toBe('fine.')
    // Five tokens, and the one that ends the turn.
    expect(result.usage).toMatchObject({ cachedTokens: 0, completionTokens: 6 })
  })

  test('is cut at maxTokens, and says so', async () => {
    const result = await ask(driver.it, asking('hello', { maxTokens: 2 }))
    expect(result).toMatchObject({ content: 'fi', finishReason: 'length', usage: { completionTokens: 2 } })
  })

  test('is cut at the end of the sequence, and says so', async () => {
    await using driver = await connectTiny(model, { contextLength: 256 })
    const result = await ask(driver, asking('never~'))
    expect(result.finishReason).toBe('length')
    const { promptTokens = 0, completionTokens = 0 } = result.usage
    expect(promptTokens + completionTokens).toBeGreaterThan(250)
    expect(promptTokens + completionTokens).toBeLessThanOrEqual(256)
  })

  test('ends at a stop text, which is not part of it', async () => {
    const result = await ask(driver.it, asking('never~', { stop: ['e."'], maxTokens: 50 }))
    expect(result).toMatchObject({ content: 'fin', finishReason: 'stop' })
  })

  test('is the same for the same seed, and another for another', async () => {
    const draw = (seed: number) => ask(driver.it, asking('never~', { temperature: 2, topP: 1, seed, maxTokens: 60 }))
    const first = await draw(1)
    expect((await draw(1)).content).toBe(first.content)
    expect((await draw(2)).content).not.toBe(first.content)
  })

  test('keeps thinking apart from the answer, and leaves it out when told to', async () => {
    const sink = recordingSink()
    const result = await driver.it.chat(asking('why?'), contextOf('run-1'), sink).result
    expect(result).toMatchObject({ content: 'fine.', reasoning: 'hm', finishReason: 'stop' })
    expect(
      sink.deltas
        .filter(([channel]) => channel === 'reasoning')
        .map(([, text]) => text)
        .join(''),
    ).toBe('hm')
    const silent = await ask(driver.it, asking('why?', { reasoningEffort: 'none' }))
    expect(silent).toMatchObject({ content: 'fine.', reasoning: '' })
  })

  test('has exactly maxTokens tokens where a workload is replayed', async () => {
    const request = asking('', { ignoreEos: true, maxTokens: 37 })
    const span = { role: 'user', content: '', span: { stream: 's', from: 0, to: 20 } } as const
    const result = await ask(driver.it, { ...request, messages: [span] })
    expect(result).toMatchObject({ finishReason: 'length', usage: { completionTokens: 37 } })
    expect(result.usage.promptTokens).toBeGreaterThan(60)
  })

  test('matches the schema that is asked for', async () => {
    const schema = {
      type: 'object',
      properties: { category: { enum: ['billing', 'delivery'] }, why: { type: 'string' }, urgent: { type: 'boolean' } },
      required: ['category', 'why', 'urgent'],
    }
    const request = asking('hello', { maxTokens: 200 }, { responseSchema: { name: 'Answer', schema } })
    const result = await ask(driver.it, request)
    expect(result.finishReason).toBe('stop')
    expect(JSON.parse(result.content)).toEqual({
      category: expect.stringMatching(/^(billing|delivery)$/),
      why: 'fine.',
      urgent: expect.any(Boolean),
    })
  })
})

test('a schema with many bounds is not too large a grammar', async () => {
  const text = { type: 'string', minLength: 1, maxLength: 200 }
  const long = { type: 'string', minLength: 1, maxLength: 10_000 }
  const properties = { a: text, b: text, c: long, d: { type: 'array', items: text, maxItems: 100 }, e: text }
  const responseSchema = { name: 'Answer', schema: { type: 'object', properties } }
  const result = await ask(driver.it, asking('hello', { maxTokens: 400 }, { responseSchema }))
  expect(result.content).toMatch(/^\{"a":/)
  const tools = [{ name: 'write', description: 'Writes.', parameters: { type: 'object', properties } }]
  const called = await ask(driver.it, asking('hello', { maxTokens: 400 }, { tools }))
  expect(['tool_calls', 'length']).toContain(called.finishReason)
})

describe('tools', () => {
  test('are called when they are offered, with arguments that fit, and their results are read', async () => {
    const request = asking('hello', {}, { tools: [readPolicy] })
    const sink = recordingSink()
    const result = await driver.it.chat(request, contextOf('run-1'), sink).result
    expect(result).toMatchObject({ content: '', finishReason: 'tool_calls' })
    expect(result.toolCalls).toMatchObject([{ id: 'call_1', name: 'read_policy' }])
    expect(JSON.parse(result.toolCalls[0]!.arguments)).toEqual({ topic: 'fine.', page: expect.any(Number) })
    expect(sink.deltas.every(([channel]) => channel === 'tool')).toBe(true)

    const answered = followUp(
      request,
      { role: 'assistant', content: '', toolCalls: result.toolCalls },
      { role: 'tool', toolCallId: 'call_1', content: '{"text":"seven days"}' },
    )
    const second = await ask(driver.it, answered)
    expect(second).toMatchObject({ content: 'fine.', finishReason: 'stop', toolCalls: [] })
    // The instructions and the tools are of the first turn.
    expect(second.usage.cachedTokens).toBeGreaterThan(200)
  })

  test('are not called when the request forbids it, and always when it demands it', async () => {
    const request = asking('hello', {}, { tools: [readPolicy] })
    expect(await ask(driver.it, { ...request, toolChoice: 'none' })).toMatchObject({ content: 'fine.', toolCalls: [] })
    const conversation = followUp(
      request,
      { role: 'assistant', content: '', toolCalls: [{ id: 'call_1', name: 'read_policy', arguments: '{}' }] },
      { role: 'tool', toolCallId: 'call_1', content: 'nothing found' },
      { role: 'user', content: 'again' },
    )
    const demanded = await ask(driver.it, { ...conversation, toolChoice: 'required' })
    expect(demanded).toMatchObject({ finishReason: 'tool_calls', toolCalls: [{ id: 'call_2', name: 'read_policy' }] })
  })

  test('are called where the model only began a call, and wrote on as if it had not', async () => {
    const begun = await ask(driver.it, asking('hello%', {}, { tools: [readPolicy] }))
    expect(begun).toMatchObject({ content: '', finishReason: 'tool_calls', toolCalls: [{ name: 'read_policy' }] })
    expect(JSON.parse(begun.toolCalls[0]!.arguments)).toMatchObject({ topic: 'fine.' })
    // Without tools the mark is text like any other.
    const plain = await ask(driver.it, asking('hello%'))
    expect(plain).toMatchObject({ content: '<tool_call>fine.', finishReason: 'stop', toolCalls: [] })
  })

  test('whose arguments do not end are cut, and not called', async () => {
    const result = await ask(driver.it, asking('hello', { maxTokens: 12 }, { tools: [readPolicy] }))
    expect(result).toMatchObject({ finishReason: 'length', toolCalls: [] })
    expect(result.usage.completionTokens).toBeLessThan(40)
  })
})

describe('a request that cannot be answered', () => {
  test('fails for a prompt that is longer than the sequence, and says by how much', async () => {
    await using driver = await connectTiny(model, { contextLength: 256 })
    const error = await rejection(ask(driver, asking('x'.repeat(400))))
    expect(error).toMatchObject({ code: 'ORLA_CONTEXT_LENGTH', retryable: false })
    expect(error.details).toMatchObject({ contextLength: 256 })
    expect(await ask(driver, asking('hello'))).toMatchObject({ content: 'fine.' })
  })

  test('fails after close, as do those under way', async () => {
    const driver = await connectTiny(model)
    const call = rejection(driver.chat(asking('never~'), contextOf('run-1'), deaf).result)
    await driver.close()
    expect(await call).toMatchObject({ code: 'ORLA_CANCELLED' })
    expect(await rejection(ask(driver, asking('hello')))).toMatchObject({ code: 'ORLA_CLOSED' })
    expect(driver.pid).toBeUndefined()
    await driver.close()
  })

  test('counts a prompt without running it', async () => {
    const before = await driver.it.kv.usage()
    const tokens = await driver.it.countTokens!(asking('hello'))
    expect((await ask(driver.it, asking('hello'))).usage.promptTokens).toBe(tokens)
    const { hit } = await driver.it.kv.usage()
    expect(hit).toEqual({ cached: before.hit!.cached, prompt: before.hit!.prompt + tokens })
  })
})
