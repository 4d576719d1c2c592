import { countTokens } from 'gpt-tokenizer/encoding/o200k_base'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { fillerText } from '../../src/engines/filler-text.ts'
import { chatBody } from '../../src/engines/openai-request.ts'
import type { ChatRequest } from '../../src/schema/chat.ts'
import { assistant, system, user } from '../../src/schema/message.ts'
import { fakeEngine, finish } from '../support/fake-engine.ts'
import { ask, connect, recordingSink } from './driver-kit.ts'

const bare: ChatRequest = { model: 'm', messages: [], params: {} }

describe('the body', () => {
  test('holds what the request says and nothing else', () => {
    expect(chatBody({ ...bare, messages: [system('s'), user('u'), assistant('a')] }, 'max_tokens')).toEqual({
      model: 'm',
      messages: [
        { role: 'system', content: 's' },
        { role: 'user', content: 'u' },
        { role: 'assistant', content: 'a' },
      ],
      stream: true,
      stream_options: { include_usage: true },
    })
  })

  test('names every parameter as the wire does', () => {
    const body = chatBody(
      {
        ...bare,
        params: {
          temperature: 0,
          topP: 0.9,
          maxTokens: 7,
          seed: 42,
          stop: ['END'],
          reasoningEffort: 'low',
          chatTemplateArguments: { enable_thinking: false },
          ignoreEos: true,
        },
      },
      'max_completion_tokens',
    )
    expect(body).toMatchObject({
      temperature: 0,
      top_p: 0.9,
      max_completion_tokens: 7,
      seed: 42,
      stop: ['END'],
      reasoning_effort: 'low',
      chat_template_kwargs: { enable_thinking: false },
      ignore_eos: true,
    })
    expect(body).not.toHaveProperty('max_tokens')
    expect(chatBody({ ...bare, params: { maxTokens: 7 } }, 'max_tokens')).toMatchObject({ max_tokens: 7 })
  })

  test('offers tools with their choice, and neither when there are none', () => {
    const tools = [{ name: 'f', description: 'does f', parameters: { type: 'object' } }]
    expect(chatBody({ ...bare, tools, toolChoice: 'required' }, 'max_tokens')).toMatchObject({
      tools: [{ type: 'function', function: { name: 'f', description: 'does f', parameters: { type: 'object' } } }],
      tool_choice: 'required',
    })
    expect(chatBody({ ...bare, tools }, 'max_tokens')).not.toHaveProperty('tool_choice')
    const none = chatBody({ ...bare, tools: [], toolChoice: 'auto' }, 'max_tokens')
    expect(none).not.toHaveProperty('tools')
    expect(none).not.toHaveProperty('tool_choice')
  })

  test('asks for a schema strictly, under a name that engines take', () => {
    const responseSchema = { name: 'customer support/reply', schema: { type: 'object' } }
    expect(chatBody({ ...bare, responseSchema }, 'max_tokens')).toMatchObject({
      response_format: {
        type: 'json_schema',
        json_schema: { name: 'customer_support_reply', schema: { type: 'object' }, strict: true },
      },
    })
  })

  test('carries tool calls and their results', () => {
    const messages: ChatRequest['messages'] = [
      { role: 'assistant', content: '', toolCalls: [{ id: 'a', name: 'f', arguments: '{"x":1}' }] },
      { role: 'tool', content: 'done', toolCallId: 'a' },
    ]
    expect(chatBody({ ...bare, messages }, 'max_tokens')['messages']).toEqual([
      {
        role: 'assistant',
        content: '',
        tool_calls: [{ id: 'a', type: 'function', function: { name: 'f', arguments: '{"x":1}' } }],
      },
      { role: 'tool', content: 'done', tool_call_id: 'a' },
    ])
  })

  test.each([
    ['', '{}'],
    ['{"x":', '{"invalid_json":"{\\"x\\":"}'],
  ])('sends earlier arguments %j in a form that chat templates parse', (written, sent) => {
    const toolCalls = [{ id: 'a', name: 'f', arguments: written }]
    const body = chatBody({ ...bare, messages: [{ role: 'assistant', content: '', toolCalls }] }, 'max_tokens')
    expect(body['messages']).toMatchObject([{ tool_calls: [{ function: { arguments: sent } }] }])
  })
})

describe('filler text', () => {
  test('is the same for the same positions of a stream, however spans are cut', () => {
    fc.assert(
      fc.property(fc.string(), fc.nat(500), fc.nat(200), fc.nat(200), (stream, from, first, second) => {
        const whole = fillerText({ stream, from, to: from + first + second })
        expect(
          fillerText({ stream, from, to: from + first }) +
            fillerText({ stream, from: from + first, to: from + first + second }),
        ).toBe(whole)
      }),
      { seed: 4 },
    )
  })

  test('differs between streams within a few words', () => {
    const texts = new Set(Array.from({ length: 1_000 }, (_, i) => fillerText({ stream: `s${i}`, from: 0, to: 16 })))
    expect(texts.size).toBe(1_000)
  })

  test('is one token a word', () => {
    const tokens = countTokens(fillerText({ stream: 'session-1', from: 0, to: 5_000 }))
    expect(tokens).toBe(5_000)
  })

  test('stands for the content of a message with a span', () => {
    const span = { stream: 's', from: 0, to: 3 }
    const body = chatBody({ ...bare, messages: [{ role: 'user', content: 'ignored', span }] }, 'max_tokens')
    expect(body['messages']).toEqual([{ role: 'user', content: fillerText(span) }])
  })
})

test('ids made up for calls count on from those in the conversation', async () => {
  const call = { choices: [{ delta: { tool_calls: [{ function: { name: 'f', arguments: '{}' } }] } }] }
  await using engine = await fakeEngine((exchange) => exchange.answer(call, finish('tool_calls'), '[DONE]'))
  await using driver = await connect(engine.url)
  const toolCalls = [{ id: 'call_1', name: 'f', arguments: '{}' }]
  const messages: ChatRequest['messages'] = [
    { role: 'assistant', content: '', toolCalls },
    { role: 'tool', content: 'done', toolCallId: 'call_1' },
  ]
  const result = await ask(driver, recordingSink(), { ...bare, messages }).result
  expect(result.toolCalls).toEqual([{ id: 'call_2', name: 'f', arguments: '{}' }])
})
