// What each flavour does on the wire, seen without a driver.

import { onTestFinished, describe, expect, test } from 'vitest'
import type { FlavourName, FlavourOptions } from '../../../src/simulator/flavours/flavour.ts'
import { SlotBank } from '../../../src/simulator/flavours/slot-bank.ts'
import { startFlavour, type StartFlavourOptions } from '../../../src/simulator/flavours/start-flavour.ts'

/** A front, and short ways to ask it. */
async function serve(flavour: FlavourName | FlavourOptions, options?: StartFlavourOptions) {
  const front = await startFlavour(flavour, options)
  onTestFinished(() => front.close())
  const send = (path: string, body?: unknown): Promise<Response> =>
    fetch(`${front.url}${path}`, {
      ...(body !== undefined && { method: 'POST', body: JSON.stringify(body) }),
      headers: { 'content-type': 'application/json' },
    })
  const chat = (extra: object = {}): Promise<Response> =>
    send('/v1/chat/completions', {
      model: 'm',
      messages: [{ role: 'user', content: 'hello there '.repeat(20) }],
      ...extra,
    })
  const events = async (extra: object = {}): Promise<unknown[]> => {
    const text = await (await chat({ stream: true, ...extra })).text()
    const lines = text.split('\n\n').filter((line) => line !== '')
    return lines.map((line) => (line === 'data: [DONE]' ? 'DONE' : (JSON.parse(line.slice(6)) as unknown)))
  }
  return { front, send, chat, events }
}

const first = (events: unknown[]) => (events[0] as { choices: { delta: unknown }[] }).choices[0]!.delta

describe('errors', () => {
  test.each<[FlavourName, number, unknown]>([
    [
      'vllm',
      404,
      { error: { message: 'The model `x` does not exist.', code: 404, param: 'model', type: 'NotFoundError' } },
    ],
    ['ollama', 404, { error: { message: "model 'x' not found", type: 'not_found_error', param: null, code: null } }],
    ['sglang', 200, { object: 'chat.completion' }],
    ['llamacpp', 200, { object: 'chat.completion' }],
  ])('%s answers an unknown model with %i', async (flavour, status, body) => {
    const { chat } = await serve(flavour)
    const response = await chat({ model: 'x' })
    expect(response.status).toBe(status)
    expect(await response.json()).toMatchObject(body as object)
  })

  test.each<[FlavourName, number, object]>([
    ['vllm', 400, { error: { message: expect.stringContaining('maximum context length'), code: 400 } }],
    ['sglang', 400, { object: 'error', code: 400, message: expect.stringContaining("model's context length") }],
    ['llamacpp', 400, { error: { type: 'exceed_context_size_error', n_ctx: 64, code: 400 } }],
    ['ollama', 200, { object: 'chat.completion' }],
  ])('%s answers a prompt that is too long with %i', async (flavour, status, body) => {
    const { chat } = await serve(flavour, { contextLength: 64 })
    const response = await chat({ messages: [{ role: 'user', content: 'word '.repeat(500) }] })
    expect(response.status).toBe(status)
    expect(await response.json()).toMatchObject(body)
  })

  test.each<[FlavourName, number]>([
    ['vllm', 400],
    ['llamacpp', 500],
  ])('%s answers a body that is not JSON with %i', async (flavour, status) => {
    const { front } = await serve(flavour)
    const headers = { 'content-type': 'application/json' }
    const response = await fetch(`${front.url}/v1/chat/completions`, { method: 'POST', body: '{', headers })
    expect(response.status).toBe(status)
  })

  test('a full queue is a 503, and for SGLang an event within a 200 when streaming', async () => {
    const fault = { kind: 'status', fault: { status: 503, type: 'x', message: 'full' } } as const
    for (const [flavour, streamed] of [
      ['vllm', 503],
      ['sglang', 200],
    ] as const) {
      const { front, chat } = await serve(flavour)
      front.inject(fault)
      expect((await chat()).status).toBe(503)
      front.inject(fault)
      expect((await chat({ stream: true })).status).toBe(streamed)
    }
  })

  test.each<[FlavourName, unknown[]]>([
    ['vllm', [{ error: expect.objectContaining({ code: 500 }) }, 'DONE']],
    ['sglang', [{ error: expect.objectContaining({ object: 'error' }) }, 'DONE']],
    ['llamacpp', [{ error: expect.objectContaining({ code: 500 }) }]],
    ['ollama', []],
  ])('%s tells an error within a stream in its own way', async (flavour, tail) => {
    const { front, events } = await serve(flavour)
    front.inject({ kind: 'error' })
    const seen = await events()
    const told = seen.filter((event) => event === 'DONE' || 'error' in (event as object))
    expect(told).toEqual(tail)
  })
})

describe('streams', () => {
  test.each<[FlavourName, object]>([
    ['vllm', { role: 'assistant', content: '' }],
    ['sglang', { role: 'assistant', content: '', reasoning_content: null }],
    ['llamacpp', { role: 'assistant', content: null }],
    ['ollama', { role: 'assistant', content: '' }],
  ])('of %s begin with its own first event', async (flavour, delta) => {
    const { events } = await serve(flavour)
    expect(first(await events())).toEqual(delta)
  })

  test.each<[FlavourName, string]>([
    ['vllm', 'reasoning'],
    ['sglang', 'reasoning_content'],
    ['llamacpp', 'reasoning_content'],
    ['ollama', 'reasoning'],
  ])('of %s carry thinking as %s', async (flavour, field) => {
    const { events, chat } = await serve(flavour, { responder: () => ({ reasoning: 'hmm', content: 'yes' }) })
    expect(JSON.stringify(await events())).toContain(`"${field}":"hmm"`)
    expect(await (await chat()).json()).toMatchObject({ choices: [{ message: { [field]: 'hmm', content: 'yes' } }] })
  })

  test('of Ollama carry a tool call whole, in one event', async () => {
    const { events } = await serve('ollama', { responder: () => ({ toolCalls: [{ name: 'f', arguments: { a: 1 } }] }) })
    const tools = [{ type: 'function', function: { name: 'f' } }]
    const calls = (await events({ tools })).filter((event) => JSON.stringify(event).includes('tool_calls'))
    expect(calls[0]).toMatchObject({
      choices: [
        { delta: { tool_calls: [{ index: 0, type: 'function', function: { name: 'f', arguments: '{"a":1}' } }] } },
      ],
    })
    expect(calls).toHaveLength(2)
  })

  test('of llama-server tell what was cached without being asked', async () => {
    const { events } = await serve('llamacpp')
    expect((await events()).at(-2)).toMatchObject({ choices: [{ finish_reason: 'stop' }], timings: { cache_n: 0 } })
  })
})

describe('cached tokens', () => {
  test.each<[FlavourOptions, unknown, unknown]>([
    [{ engine: 'vllm' }, null, { cached_tokens: expect.any(Number) }],
    [{ engine: 'vllm', cacheReport: false }, null, null],
    [{ engine: 'sglang' }, undefined, { cached_tokens: expect.any(Number) }],
    [{ engine: 'sglang', cacheReport: false }, undefined, undefined],
    [{ engine: 'llamacpp' }, { cached_tokens: 0 }, { cached_tokens: expect.any(Number) }],
    [{ engine: 'ollama' }, undefined, undefined],
  ])('of %o are told as the flags say', async (flavour, cold, warm) => {
    const { chat } = await serve(flavour)
    const details = async () =>
      ((await (await chat()).json()) as { usage: { prompt_tokens_details?: unknown } }).usage.prompt_tokens_details
    expect(await details()).toEqual(cold)
    expect(await details()).toEqual(warm)
  })
})

describe('paths of their own', () => {
  test.each<[FlavourName, string]>([
    ['vllm', '/version'],
    ['sglang', '/server_info'],
    ['llamacpp', '/props'],
    ['ollama', '/api/version'],
    ['ollama', '/'],
  ])('only %s has %s', async (owner, path) => {
    for (const flavour of ['vllm', 'sglang', 'llamacpp', 'ollama', 'openai'] as const) {
      const { send } = await serve(flavour)
      expect((await send(path)).status).toBe(flavour === owner ? 200 : 404)
    }
  })

  test('Ollama loads a model that is asked to stay, and knows no other', async () => {
    const { send } = await serve('ollama')
    expect(await (await send('/api/ps')).json()).toEqual({ models: [] })
    expect(await (await send('/api/generate', { model: 'm' })).json()).toMatchObject({ done_reason: 'load' })
    expect(await (await send('/api/ps')).json()).toMatchObject({ models: [{ name: 'm' }] })
    expect((await send('/api/generate', { model: 'x', keep_alive: 0 })).status).toBe(404)
  })

  test('a token count that cannot be made is an error', async () => {
    const llama = await serve('llamacpp')
    expect((await llama.send('/v1/chat/completions/input_tokens', { messages: [] })).status).toBe(400)
    const vllm = await serve('vllm')
    expect((await vllm.send('/tokenize', {})).status).toBe(400)
  })
})

test('a second flush of SGLang while one waits is refused', async () => {
  const { front, send, chat } = await serve('sglang', { engine: { decodeMsPerToken: 1 } })
  const running = chat({ max_tokens: 400, ignore_eos: true })
  while (front.stats().running === 0) await new Promise((resolve) => void setImmediate(resolve))
  const waiting = send('/flush_cache?timeout=10', {})
  let second = await send('/flush_cache', {})
  while (!(await second.clone().text()).startsWith('Another')) second = await send('/flush_cache', {})
  expect(second.status).toBe(400)
  await (await running).text()
  expect((await waiting).status).toBe(200)
})

describe('slots', () => {
  const enter = (bank: SlotBank, pinned: number | undefined, ...messages: string[]) => {
    const spaces: string[] = []
    return { spaces, leave: bank.enter(pinned, messages, 10, (space) => spaces.push(space)) }
  }

  test('B1, B2: one request a slot, pins wrap, order of arrival', () => {
    const bank = new SlotBank(2, true)
    const a = enter(bank, 3, 'a')
    expect(bank.slots[1]!.busy).toBe(true)
    const b = enter(bank, 1, 'b')
    const c = enter(bank, undefined, 'c')
    const d = enter(bank, undefined, 'd')
    expect([a, b, c, d].map(({ spaces }) => spaces.length)).toEqual([1, 0, 1, 0])
    expect(bank.deferred).toBe(2)
    a.leave()
    expect(b.spaces).toHaveLength(1)
    c.leave()
    expect(d.spaces).toHaveLength(1)
    const e = enter(bank, 0, 'e')
    e.leave()
    expect(bank.deferred).toBe(0)
  })

  test('B3: without a pin the slot that holds the prefix is taken, else the one used longest ago', () => {
    const bank = new SlotBank(2, false)
    const a = enter(bank, undefined, 'tools', 'system', 'a')
    a.leave()
    const b = enter(bank, undefined, 'other')
    b.leave()
    const again = enter(bank, undefined, 'tools', 'system', 'a', 'more')
    expect(again.spaces).toEqual(a.spaces)
    again.leave()
    const strange = enter(bank, 0, 'strange')
    expect(strange.spaces).not.toEqual(a.spaces)
  })

  test('an erase is complete only without a host cache', () => {
    for (const hostCache of [true, false]) {
      const bank = new SlotBank(1, hostCache)
      const before = enter(bank, 0, 'a')
      before.leave()
      expect(bank.erase(bank.slot(0))).toBe(10)
      const after = enter(bank, 0, 'a')
      expect(after.spaces[0] === before.spaces[0]).toBe(hostCache)
    }
  })
})
