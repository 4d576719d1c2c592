// An engine on the OpenAI wire that costs next to nothing: raw TCP, answers made beforehand. A process of its own, so that
// its work is not counted with that of whoever calls it.

import { createServer, type Socket } from 'node:net'
import { answer } from '../lib/child.ts'

/** Opens a port whose answers are like this. */
export interface EngineOptions {
  /** Pieces of an answer: events of a stream, words of a text. */
  pieces: number
  /** Milliseconds between two events of a stream, each in a packet of its own; 0: the whole stream in one write. */
  paceMs: number
  /** Milliseconds before the first: this to twice this, evenly spread. */
  delayMs: number
}

const model = 'none'
const word = (i: number): string => ` word${i % 100}`
const usage = (pieces: number): object => ({
  prompt_tokens: 250,
  completion_tokens: pieces,
  total_tokens: 250 + pieces,
})

/** What one port sends: a whole answer as JSON, and a stream as the parts that are written at once. */
interface Script {
  json: Buffer
  parts: Buffer[]
}

function scriptOf({ pieces, paceMs }: EngineOptions): Script {
  const head = { id: 'chatcmpl-0123456789', object: 'chat.completion.chunk', created: 1_790_000_000, model }
  const event = (fields: object): string => `data: ${JSON.stringify({ ...head, ...fields })}\n\n`
  const choice = (delta: object, reason: string | null): string =>
    event({ choices: [{ index: 0, delta, logprobs: null, finish_reason: reason }] })
  const events = [
    choice({ role: 'assistant', content: '' }, null),
    ...Array.from({ length: pieces }, (_, i) => choice({ content: word(i) }, null)),
    choice({}, 'stop') + event({ choices: [], usage: usage(pieces) }) + 'data: [DONE]\n\n',
  ]
  const chunk = (text: string): string => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`
  const chunks = events.map((text) => Buffer.from(chunk(text)))
  chunks[0] = Buffer.concat([
    Buffer.from('HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n'),
    chunks[0]!,
  ])
  chunks.push(Buffer.concat([chunks.pop()!, Buffer.from('0\r\n\r\n')]))
  const message = { role: 'assistant', content: Array.from({ length: pieces }, (_, i) => word(i)).join('') }
  const body = JSON.stringify({
    ...head,
    object: 'chat.completion',
    choices: [{ index: 0, message, logprobs: null, finish_reason: 'stop' }],
    usage: usage(pieces),
  })
  return {
    json: Buffer.from(
      `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    ),
    parts: paceMs === 0 ? [Buffer.concat(chunks)] : chunks,
  }
}

const headersEnd = Buffer.from('\r\n\r\n')

/** Calls `onRequest` with the body of every request on a socket. */
function readRequests(socket: Socket, onRequest: (body: Buffer) => void): void {
  let pending: Buffer = Buffer.alloc(0)
  socket.on('data', (data: Buffer) => {
    pending = pending.length === 0 ? data : Buffer.concat([pending, data])
    for (;;) {
      const end = pending.indexOf(headersEnd)
      if (end < 0) return
      const length = Number(/content-length: *(\d+)/i.exec(pending.toString('latin1', 0, end))?.[1] ?? 0)
      const from = end + headersEnd.length
      if (pending.length < from + length) return
      onRequest(pending.subarray(from, from + length))
      pending = pending.subarray(from + length)
    }
  })
}

/** A stream on its way. */
interface Stream {
  socket: Socket
  next: number
  dueAtMs: number
}

async function open(options: EngineOptions): Promise<number> {
  const { json, parts } = scriptOf(options)
  const { delayMs, paceMs } = options
  const streams = new Set<Stream>()
  if (delayMs > 0 || paceMs > 0) {
    setInterval(() => {
      const nowMs = performance.now()
      for (const stream of streams) {
        if (stream.dueAtMs > nowMs) continue
        stream.socket.write(parts[stream.next++]!)
        stream.dueAtMs = nowMs + paceMs
        if (stream.next === parts.length) streams.delete(stream)
      }
    }, 1)
  }
  const server = createServer({ noDelay: true }, (socket) => {
    let current: Stream | undefined
    socket.on('error', () => {})
    socket.on('close', () => current !== undefined && streams.delete(current))
    readRequests(socket, (body) => {
      const isStream = body.includes('"stream":true')
      if (!isStream) return socket.write(json)
      if (delayMs === 0 && paceMs === 0) return socket.write(parts[0]!)
      current = { socket, next: 0, dueAtMs: performance.now() + delayMs * (1 + Math.random()) }
      return streams.add(current)
    })
  })
  await new Promise<void>((resolve) => server.listen({ port: 0, host: '127.0.0.1', backlog: 16_384 }, resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the engine has no port')
  return address.port
}

answer<EngineOptions, number>(open)
