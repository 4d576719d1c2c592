import { request as httpRequest } from 'node:http'
import { once } from 'node:events'
import { describe, expect, test } from 'vitest'
import { realClock } from '../../src/clock.ts'
import { buildEngine } from '../../src/simulator/engine-plan.ts'
import { serveEngine } from '../../src/simulator/openai-front.ts'
import { planOf, saying, serve, type WireAnswer } from './front-support.ts'

interface Fault {
  message: string
  type: string
  param: string | null
  code: string | null
}

async function faultOf(response: Response): Promise<Fault & { status: number }> {
  const { error } = (await response.json()) as { error: Fault }
  expect(Object.keys(error)).toEqual(['message', 'type', 'param', 'code'])
  return { status: response.status, ...error }
}

describe('requests that are refused', () => {
  const refusals: [
    what: string,
    body: unknown,
    fault: { status: number; message?: RegExp; param?: string; type?: string; code?: string },
  ][] = [
    ['a body that is not JSON', '{"model":', { status: 400, message: /not JSON/ }],
    ['no messages', { model: 'm' }, { status: 400, message: /messages/, param: 'messages' }],
    [
      'an unknown role',
      { model: 'm', messages: [{ role: 'robot', content: 'x' }] },
      { status: 400, message: /messages\[0\]\.role/ },
    ],
    [
      'several mistakes at once',
      saying('x', { temperature: 9, top_p: 0 }),
      { status: 400, message: /temperature.*top_p/ },
    ],
    ['an empty list of tools', saying('x', { tools: [] }), { status: 400, message: /tools/ }],
    [
      'a choice of tools without tools',
      saying('x', { tool_choice: 'required' }),
      { status: 400, message: /tools/, param: 'tool_choice' },
    ],
    [
      'options of a stream without a stream',
      saying('x', { stream_options: { include_usage: true } }),
      { status: 400, message: /stream/ },
    ],
    ['several answers', saying('x', { n: 2 }), { status: 400, message: /only 1 answer/ }],
    [
      'a picture',
      saying('x', { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: {} }] }] }),
      { status: 400, message: /text/ },
    ],
    [
      'an unknown model',
      saying('x', { model: 'other' }),
      { status: 404, message: /`other` does not exist/, param: 'model', type: 'NotFoundError' },
    ],
    [
      'a prompt that is too long',
      saying('word '.repeat(40_000)),
      {
        status: 400,
        message:
          /^This model's maximum context length is 32768 tokens\. However, you requested 1 output tokens and your prompt contains/,
      },
    ],
    [
      'an answer that does not fit',
      saying('x', { max_tokens: 32_768, stream: true }),
      { status: 400, code: 'context_length_exceeded' },
    ],
  ]
  test.each(refusals)('%s', async (_what, body, fault) => {
    const { post } = await serve()
    const { message = /./, ...rest } = fault
    const found = await faultOf(await post(body))
    expect(found).toMatchObject(rest)
    expect(found.message).toMatch(message)
  })

  test('say which error the responder asks for, also to a stream', async () => {
    const { post } = await serve({ responder: () => ({ error: { status: 429, message: 'slow down' } }) })
    expect(await faultOf(await post(saying('x', { stream: true })))).toMatchObject({
      status: 429,
      type: 'RateLimitError',
      message: 'slow down',
    })
  })

  test('an unknown path, a wrong method, a wrong content type', async () => {
    const { server, post, url } = await serve()
    expect(await faultOf(await fetch(`${server.url}/v2/nothing`))).toMatchObject({ status: 404 })
    const wrong = await fetch(url)
    expect(wrong.headers.get('allow')).toBe('POST')
    expect(await faultOf(wrong)).toMatchObject({ status: 405 })
    expect(await faultOf(await post('x', { headers: { 'content-type': 'text/plain' } }))).toMatchObject({ status: 415 })
  })

  test('a body over the limit, and one far over it without reading it to its end', async () => {
    const { post, url } = await serve({}, { requestBytesMax: 1_000 })
    const over = await post(saying('x'.repeat(2_000)))
    expect(await faultOf(over)).toMatchObject({ status: 413, message: expect.stringContaining('1000 bytes') })
    const endless = httpRequest(url, { method: 'POST', headers: { 'content-type': 'application/json' } })
    endless.on('error', () => {})
    endless.write('x'.repeat(10_000))
    const [response] = (await once(endless, 'response')) as [{ statusCode: number }]
    expect(response.statusCode).toBe(413)
    endless.destroy()
  })

  test('a client that leaves while it sends is not answered and does no harm', async () => {
    const { url, ask, engine } = await serve()
    const leaving = httpRequest(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'content-length': '1000' },
    })
    leaving.on('error', () => {})
    leaving.write('{"model"', () => leaving.destroy())
    await new Promise((resolve) => void leaving.on('close', resolve))
    expect((await ask(saying('x'))).choices).toHaveLength(1)
    expect(engine.stats()).toMatchObject({ running: 0 })
  })

  test('a bug of the engine is a 500', async () => {
    const { post } = await serve({
      engine: () => ({
        submit() {
          throw new Error('a bug')
        },
        flush: () => false,
        stats: () => {
          throw new Error('unused')
        },
      }),
    })
    expect(await faultOf(await post(saying('x')))).toMatchObject({ status: 500, message: 'a bug' })
  })
})

describe('the server', () => {
  test('accepts text parts, null content, all roles and unknown fields', async () => {
    const { post } = await serve()
    const body = {
      model: 'm',
      unknown_field: 1,
      messages: [
        {
          role: 'developer',
          content: [
            { type: 'text', text: 'You are ' },
            { type: 'text', text: 'terse.' },
          ],
        },
        { role: 'user', content: 'hi' },
        {
          role: 'assistant',
          content: null,
          tool_calls: [{ id: 'a', type: 'function', function: { name: 'f', arguments: '{}' } }],
        },
        { role: 'tool', tool_call_id: 'a', content: 'done' },
      ],
      temperature: 0.5,
      top_p: 0.9,
      max_tokens: 5,
      seed: 3,
      stop: 'zzz',
      reasoning_effort: 'low',
      chat_template_kwargs: { enable_thinking: false },
      response_format: { type: 'text' },
    }
    const response = await post(body)
    expect(response.status).toBe(200)
    expect(((await response.json()) as WireAnswer).choices[0]?.finish_reason).toBe('length')
  })

  test('says so when its port is taken', async () => {
    const { server } = await serve()
    const clock = realClock({ seed: 1 })
    const engine = await buildEngine(planOf(), clock)
    const port = Number(new URL(server.url).port)
    await expect(serveEngine(engine, { clock, port })).rejects.toMatchObject({
      code: 'ORLA_BACKEND_UNREACHABLE',
      details: { port },
    })
  })

  test('closes with requests under way, and aborts them', async () => {
    const speed = { overheadMs: 60_000, prefillMsPerToken: 0, decodeMsPerToken: 0, requestsMax: 1, kvTokensMax: 999 }
    const { server, post, engine } = await serve({ engine: { kind: 'simple', speed }, contextLength: 500 })
    const pending = expect(post(saying('x'))).rejects.toThrow()
    while (engine.stats().running === 0) await new Promise((resolve) => void setImmediate(resolve))
    await server.close()
    await pending
    expect(engine.stats()).toMatchObject({ running: 0 })
  })
})
