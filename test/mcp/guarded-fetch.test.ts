// The guarded fetch, on streams that a test feeds byte by byte.

import { describe, expect, test } from 'vitest'
import { virtualClock } from '../../src/clock.ts'
import { guardedFetch, type Fetch } from '../../src/mcp/guarded-fetch.ts'

const url = 'http://server/mcp'

/** A response whose body a test feeds. */
function fed(type = 'text/event-stream') {
  let controller: ReadableStreamDefaultController<Uint8Array>
  let cancelled = false
  const body = new ReadableStream<Uint8Array>({
    start: (given) => void (controller = given),
    cancel: () => void (cancelled = true),
  })
  const response = new Response(body, { headers: { 'content-type': type } })
  return {
    response,
    send: (text: string) => controller.enqueue(new TextEncoder().encode(text)),
    end: () => controller.close(),
    break: (error: Error) => controller.error(error),
    get cancelled() {
      return cancelled
    },
  }
}

const post = (message: object): RequestInit => ({ method: 'POST', body: JSON.stringify(message) })
const callMessage = (id: number): RequestInit => post({ jsonrpc: '2.0', id, method: 'tools/call' })
const answering =
  (...responses: Response[]): Fetch =>
  () =>
    Promise.resolve(responses.shift() ?? new Response(null))

describe('a stream of events', () => {
  test('G2: that ends without an id to resume from gets an error in the place of the answer', async () => {
    const source = fed()
    const response = await guardedFetch(virtualClock(), { fetch: answering(source.response) })(url, callMessage(7))
    source.send('data: {"half')
    source.end()
    const text = await response.text()
    expect(text).toMatch(/^data: \{"half\n\ndata: \{.*\}\n\n$/)
    expect(JSON.parse(text.split('data: ')[2]!)).toEqual({
      jsonrpc: '2.0',
      id: 7,
      error: { code: -32_099, message: 'the stream ended without an answer' },
    })
  })

  test('G2: that breaks gets one too, with the reason', async () => {
    const source = fed()
    const response = await guardedFetch(virtualClock(), { fetch: answering(source.response) })(url, callMessage(7))
    source.break(new Error('connection reset'))
    expect(await response.text()).toMatch(/"message":"connection reset"/)
  })

  test('that can be resumed is left to the transport, whether it ends or breaks', async () => {
    for (const idLine of ['id: 5\ndata: \n\n', 'id:5\r\ndata:\r\n\r\n']) {
      const ending = fed()
      const breaking = fed()
      const fetch = guardedFetch(virtualClock(), { fetch: answering(ending.response, breaking.response) })
      const [ended, broken] = [await fetch(url, callMessage(1)), await fetch(url, callMessage(2))]
      ending.send(idLine)
      ending.end()
      expect(await ended.text()).toBe(idLine)
      breaking.send(idLine)
      const text = broken.text()
      // The bytes must be read before the break: an error overtakes what is queued.
      await new Promise((resolve) => setImmediate(resolve))
      breaking.break(new Error('reset'))
      await expect(text).rejects.toThrow('reset')
    }
  })

  test('of nobody in particular just ends', async () => {
    const source = fed()
    const response = await guardedFetch(virtualClock(), { fetch: answering(source.response) })(url, { method: 'GET' })
    source.end()
    expect(await response.text()).toBe('')
  })

  test('G1: breaks at an event beyond the limit, however it is cut into chunks and lines', async () => {
    for (const chunks of [['x'.repeat(101)], Array.from({ length: 11 }, () => 'data: 789\n')]) {
      const source = fed()
      const options = { fetch: answering(source.response), messageBytesMax: 90 }
      const response = await guardedFetch(virtualClock(), options)(url, callMessage(1))
      for (const chunk of chunks) source.send(chunk)
      expect(await response.text()).toMatch(/a message has more than 90 bytes/)
      expect(source.cancelled).toBe(true)
    }
  })

  test('G1: counts each event anew, and hands on every byte', async () => {
    const source = fed()
    const options = { fetch: answering(source.response), messageBytesMax: 20 }
    const response = await guardedFetch(virtualClock(), options)(url, { method: 'GET' })
    const events = Array.from({ length: 50 }, (_, i) => `data: event ${i}${i % 2 === 0 ? '\n\n' : '\r\n\r\n'}`).join('')
    for (let i = 0; i < events.length; i += 7) source.send(events.slice(i, i + 7))
    source.end()
    expect(await response.text()).toBe(events)
  })

  test('G3: closes when its request is cancelled, without resuming', async () => {
    const source = fed()
    const fetch = guardedFetch(virtualClock(), { fetch: answering(source.response) })
    const response = await fetch(url, callMessage(3))
    source.send('id: 1\ndata: \n\n')
    const text = response.text()
    await new Promise((resolve) => setImmediate(resolve))
    await fetch(url, post({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 3 } }))
    expect(await text).toMatch(/"id":3,"result":\{\}/)
    expect(source.cancelled).toBe(true)
  })

  test('hands its reader’s loss of interest on', async () => {
    const source = fed()
    const response = await guardedFetch(virtualClock(), { fetch: answering(source.response) })(url, callMessage(1))
    await response.body!.cancel()
    expect(source.cancelled).toBe(true)
  })
})

test('G1: a plain answer beyond the limit is an error', async () => {
  const source = fed('application/json')
  const options = { fetch: answering(source.response), messageBytesMax: 10 }
  const response = await guardedFetch(virtualClock(), options)(url, callMessage(1))
  source.send('123456')
  source.send('78901')
  await expect(response.text()).rejects.toThrow('the answer has more than 10 bytes')
})

test('an answer keeps its status, headers and emptiness', async () => {
  const refused = new Response('no', { status: 404, headers: { 'mcp-session-id': 's' } })
  const fetch = guardedFetch(virtualClock(), { fetch: answering(refused, new Response(null, { status: 202 })) })
  const response = await fetch(url, callMessage(1))
  expect([response.status, response.headers.get('mcp-session-id'), await response.text()]).toEqual([404, 's', 'no'])
  expect((await fetch(url, post({ method: 'notifications/cancelled' }))).status).toBe(202)
})

describe('opening streams again', () => {
  test('G4: keeps a pause between two, whatever the server asks for', async () => {
    const clock = virtualClock()
    const openedAtMs: number[] = []
    const fetch = guardedFetch(clock, {
      fetch: () => {
        openedAtMs.push(clock.nowMs())
        return Promise.resolve(new Response(null))
      },
    })
    const all = Promise.all([1, 2, 3].map(() => fetch(url, { method: 'GET' })))
    await clock.run(all)
    await clock.advance(1_000)
    await fetch(url, { method: 'GET' })
    expect(openedAtMs).toEqual([0, 250, 500, 1_500])
  })

  test('ends the pause when the transport is closed', async () => {
    const clock = virtualClock()
    const fetch = guardedFetch(clock, { fetch: answering() })
    await fetch(url, { method: 'GET' })
    const stop = new AbortController()
    const waiting = fetch(url, { method: 'GET', signal: stop.signal })
    stop.abort(new Error('closed'))
    await expect(waiting).rejects.toThrow('closed')
    await expect(fetch(url, { method: 'GET', signal: stop.signal })).rejects.toThrow('closed')
    expect(clock.pendingTimers).toBe(0)
  })
})
