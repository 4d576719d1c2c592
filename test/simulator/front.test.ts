import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { virtualClock } from '../../src/clock.ts'
import type { EngineModel } from '../../src/simulator/engine-model.ts'
import { scriptedResponder } from '../../src/simulator/scripted-responder.ts'
import { deltasOf, eventsOf, saying, serve, type WireAnswer, type WireText } from './front-support.ts'

const tool = {
  type: 'function',
  function: {
    name: 'read_policy',
    description: 'Reads a policy.',
    parameters: { type: 'object', properties: { topic: { type: 'string' } }, required: ['topic'] },
  },
}

describe('streams', () => {
  test('begin with the role, go on token by token, and end with reason, usage and [DONE]', async () => {
    const clock = virtualClock()
    const speed = { overheadMs: 10, prefillMsPerToken: 1, decodeMsPerToken: 5, requestsMax: 4, kvTokensMax: 9_999 }
    const responder = () => ({ content: 'one two three' })
    const { post, engine } = await serve({ engine: { kind: 'simple', speed }, responder }, { clock })
    const answered = post(saying('hello', { stream: true, stream_options: { include_usage: true } }))
    while (engine.stats().running === 0) await nextTurn()
    await clock.runAll()
    const response = await answered
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/)
    const events = await eventsOf(response)
    expect(events.at(-1)).toBe('[DONE]')
    const chunks = events.slice(0, -1) as WireAnswer[]
    for (const chunk of chunks) {
      expect(chunk).toMatchObject({
        object: 'chat.completion.chunk',
        model: 'm',
        id: 'chatcmpl-1',
        created: expect.any(Number),
      })
    }
    expect(chunks[0]!.choices[0]).toMatchObject({ delta: { role: 'assistant', content: '' }, finish_reason: null })
    const words = chunks.slice(1, -2).map((chunk) => chunk.choices[0]?.delta.content)
    expect(words).toEqual(['one', ' two', ' three'])
    expect(chunks.at(-2)!.choices[0]).toMatchObject({ delta: {}, finish_reason: 'stop' })
    expect(chunks.at(-1)).toMatchObject({
      choices: [],
      usage: { prompt_tokens: 5, completion_tokens: 3, total_tokens: 8, prompt_tokens_details: { cached_tokens: 0 } },
    })
  })

  test('carry no usage unless asked for it', async () => {
    const { post } = await serve()
    const events = await eventsOf(await post(saying('hello', { stream: true })))
    expect(events.filter((event) => event !== '[DONE]' && 'usage' in event)).toEqual([])
  })

  test('open a tool call with id and name, then send its arguments in fragments', async () => {
    const { post } = await serve({
      responder: () => ({
        reasoning: 'let me see',
        toolCalls: [
          { name: 'read_policy', arguments: { topic: 'refunds' } },
          { id: 'c2', name: 'x', arguments: '{}' },
        ],
      }),
    })
    const response = await post(saying('hello', { stream: true, tools: [tool] }))
    const deltas = await deltasOf(response)
    expect(deltas[1]).toEqual({ reasoning: 'let me see' })
    const calls = deltas.flatMap((delta) => delta.tool_calls ?? [])
    expect(calls[0]).toEqual({
      index: 0,
      id: expect.stringMatching(/^call_/),
      type: 'function',
      function: { name: 'read_policy', arguments: '' },
    })
    const fragments = calls.filter((call) => call.index === 0).map((call) => call.function.arguments)
    expect(JSON.parse(fragments.join(''))).toEqual({ topic: 'refunds' })
    expect(calls.find((call) => call.index === 1)).toMatchObject({ id: 'c2', function: { name: 'x' } })
  })

  test('say an error that comes in the middle, and end', async () => {
    const failing: EngineModel = {
      submit(_request, listener) {
        setImmediate(() => {
          listener.started(0)
          listener.tokens(1)
          listener.finished({ outcome: 'refused', message: 'the pool is gone' })
        })
        return () => {}
      },
      flush: () => false,
      stats: () => ({ kvTokensTotal: 10 }) as ReturnType<EngineModel['stats']>,
    }
    const { post } = await serve({ engine: () => failing })
    const events = await eventsOf(await post(saying('hello', { stream: true })))
    expect(events.at(-2)).toMatchObject({ error: { message: expect.stringContaining('the pool is gone') } })
    expect(events.at(-1)).toBe('[DONE]')
  })

  test('run side by side: 100 at once', async () => {
    const { post, engine } = await serve({
      engine: {
        kind: 'simple',
        speed: { overheadMs: 20, prefillMsPerToken: 0, decodeMsPerToken: 2, requestsMax: 100, kvTokensMax: 999_999 },
      },
    })
    const answers = await Promise.all(
      Array.from({ length: 100 }, async (_, i) => {
        const events = await eventsOf(await post(saying(`question number ${i} about parcels`, { stream: true })))
        return events
      }),
    )
    expect(answers.every((events) => events.at(-1) === '[DONE]')).toBe(true)
    expect(new Set(answers.map((events) => (events[0] as WireAnswer).id)).size).toBe(100)
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0 })
  })
})

describe('whole answers', () => {
  test('have message, reason and usage', async () => {
    const { ask } = await serve({
      responder: () => ({ reasoning: 'hm', content: 'yes', finishReason: 'content_filter' }),
    })
    expect(await ask(saying('hello'))).toMatchObject({
      object: 'chat.completion',
      model: 'm',
      choices: [
        { index: 0, message: { role: 'assistant', content: 'yes', reasoning: 'hm' }, finish_reason: 'content_filter' },
      ],
      usage: { prompt_tokens: 5, completion_tokens: 2, completion_tokens_details: { reasoning_tokens: 1 } },
    })
  })

  test('have null for content when they call tools or refuse', async () => {
    const calling = await serve({ responder: () => ({ toolCalls: [{ id: 'a', name: 'x', arguments: {} }] }) })
    const [choice] = (await calling.ask(saying('hello'))).choices
    expect(choice).toMatchObject({
      message: { content: null, tool_calls: [{ id: 'a', type: 'function', function: { name: 'x', arguments: '{}' } }] },
      finish_reason: 'tool_calls',
    })
    const refusing = await serve({ responder: () => ({ refusal: 'I will not.' }) })
    expect((await refusing.ask(saying('hello'))).choices[0]?.message).toMatchObject({
      content: null,
      refusal: 'I will not.',
    })
  })

  test('are the same text as the stream', async () => {
    const { ask, post } = await serve()
    const whole = await ask(saying('tell me about parcels'))
    const deltas = await deltasOf(await post(saying('tell me about parcels', { stream: true })))
    expect(deltas.map((delta) => delta.content ?? '').join('')).toBe(whole.choices[0]?.message.content)
  })
})

describe('the prefix cache', () => {
  test('finds repeated and extended conversations, with the tool calls in them', async () => {
    const { ask } = await serve()
    const messages: WireText[] = [
      { role: 'system', content: 'You help with orders.' },
      { role: 'user', content: 'Where is my parcel?' },
    ]
    const first = await ask({ model: 'm', messages, tools: [tool] })
    expect(first.usage.prompt_tokens_details.cached_tokens).toBe(0)
    const again = await ask({ model: 'm', messages, tools: [tool] })
    expect(again.usage.prompt_tokens_details.cached_tokens).toBe(again.usage.prompt_tokens - 1)
    const answer = first.choices[0]!.message
    const result = { role: 'tool', tool_call_id: answer.tool_calls![0]!.id, content: 'thirty days' }
    const next = await ask({ model: 'm', messages: [...messages, answer, result], tools: [tool] })
    expect(next.usage.prompt_tokens_details.cached_tokens).toBe(
      first.usage.prompt_tokens + first.usage.completion_tokens,
    )
    const otherTools = await ask({ model: 'm', messages })
    expect(otherTools.usage.prompt_tokens_details.cached_tokens).toBe(0)
  })

  test('takes spans of tokens as they are', async () => {
    const { ask } = await serve()
    const turn = (to: number) =>
      ask({
        model: 'm',
        messages: [{ role: 'user', content: 'filler', span: { stream: 's', from: 0, to } }],
        max_tokens: 10,
        ignore_eos: true,
      })
    expect((await turn(1_000)).usage).toMatchObject({ prompt_tokens: 1_000, completion_tokens: 10 })
    expect((await turn(1_100)).usage.prompt_tokens_details.cached_tokens).toBe(1_010)
  })

  test('is one for each salt', async () => {
    const { ask } = await serve()
    const cached = async (salt: string) =>
      (await ask(saying('hello there', { cache_salt: salt, priority: 3 }))).usage.prompt_tokens_details.cached_tokens
    expect([await cached('a'), await cached('b')]).toEqual([0, 0])
    expect(await cached('a')).toBeGreaterThan(0)
  })
})

describe('a client that goes away', () => {
  const slow = { overheadMs: 0, prefillMsPerToken: 0, decodeMsPerToken: 10_000, requestsMax: 1, kvTokensMax: 99_999 }

  test.each([true, false])('frees its slot for the next (stream: %s)', async (stream) => {
    const { post, engine } = await serve({
      engine: { kind: 'simple', speed: slow },
      responder: scriptedResponder([{ content: 'short', reply: 'ok' }], () => ({ content: 'a very long answer' })),
    })
    const controller = new AbortController()
    const going = post(saying('long', { stream }), { signal: controller.signal }).then(eventsOf)
    const gone = expect(going).rejects.toThrow(/abort/i)
    while (engine.stats().running === 0) await nextTurn()
    const next = post(saying('short', { stream }))
    while (engine.stats().waiting === 0) await nextTurn()
    controller.abort()
    await gone
    expect((await next).status).toBe(200)
    expect(engine.stats()).toMatchObject({ waiting: 0 })
  })
})

describe('other routes', () => {
  test('list the model with its context length, and say that all is well', async () => {
    const { server } = await serve()
    const models = await (await fetch(`${server.url}/v1/models`)).json()
    expect(models).toMatchObject({ object: 'list', data: [{ id: 'm', object: 'model', max_model_len: 32_768 }] })
    expect((await fetch(`${server.url}/health?x=1`)).status).toBe(200)
  })
})
