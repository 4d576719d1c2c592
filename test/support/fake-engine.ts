// A scriptable engine on a real socket: it answers exactly the bytes a test gives it, when the test says so.

import { createServer, type Server, type Socket } from 'node:net'
import type { AddressInfo } from 'node:net'

/** One request that the engine received. */
export interface FakeRequest {
  method: string
  path: string
  /** Names in lower case. */
  headers: Record<string, string>
  /** The body parsed as JSON; undefined without one. */
  body: unknown
}

/** One request with the socket it came on. */
export class FakeExchange {
  readonly request: FakeRequest
  /** Number of the connection, from 1. */
  readonly connection: number
  /** Resolves when the socket is closed, by either side. */
  readonly closed: Promise<void>
  readonly #socket: Socket

  constructor(request: FakeRequest, connection: number, socket: Socket, closed: Promise<void>) {
    this.request = request
    this.connection = connection
    this.closed = closed
    this.#socket = socket
  }

  /** Writes raw bytes; resolves when they have left. */
  write(bytes: string | Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      if (this.#socket.destroyed) resolve()
      else this.#socket.write(bytes, () => resolve())
    })
  }

  /** Writes a response head. */
  head(status: number | string, headers: Record<string, string> = {}): Promise<void> {
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
    return this.write(`HTTP/1.1 ${status} -\r\n${lines.join('')}\r\n`)
  }

  /** Begins a chunked event stream. */
  stream(headers: Record<string, string> = {}): Promise<void> {
    return this.head(200, { 'content-type': 'text/event-stream', 'transfer-encoding': 'chunked', ...headers })
  }

  /** Sends bytes as one HTTP chunk. */
  send(bytes: string | Uint8Array): Promise<void> {
    const data = Buffer.from(bytes)
    return this.write(Buffer.concat([Buffer.from(`${data.length.toString(16)}\r\n`), data, Buffer.from('\r\n')]))
  }

  /** Sends values as events, one HTTP chunk each. */
  async events(...values: unknown[]): Promise<void> {
    for (const value of values) await this.send(sse(value))
  }

  /** Ends a chunked body. */
  finish(): Promise<void> {
    return this.write('0\r\n\r\n')
  }

  /** Answers a whole event stream. */
  async answer(...values: unknown[]): Promise<void> {
    await this.stream()
    await this.events(...values)
    await this.finish()
  }

  /** Answers a body of known length. */
  async reply(status: number, body: string | object, headers: Record<string, string> = {}): Promise<void> {
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    const type = typeof body === 'string' ? 'text/plain' : 'application/json'
    await this.write(
      `HTTP/1.1 ${status} -\r\n${Object.entries({ 'content-type': type, ...headers })
        .map(([name, value]) => `${name}: ${value}\r\n`)
        .join('')}content-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
    )
  }

  /** Ends the connection politely (FIN). */
  hangUp(): void {
    this.#socket.end()
  }

  /** Breaks the connection (RST). */
  reset(): void {
    this.#socket.resetAndDestroy()
  }
}

/** A running fake engine. */
export interface FakeEngine extends AsyncDisposable {
  /** `http://127.0.0.1:<port>` */
  readonly url: string
  readonly exchanges: FakeExchange[]
  /** Connections accepted so far. */
  readonly connections: number
  /** Connections open now. */
  readonly open: number
  close(): Promise<void>
}

/** One value as an event: strings as they are, the rest as JSON. */
export function sse(value: unknown): string {
  return `data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`
}

/** A content delta. */
export function delta(fields: Record<string, unknown>, more: Record<string, unknown> = {}): object {
  return { id: 'chatcmpl-1', model: 'm', choices: [{ index: 0, delta: fields, finish_reason: null }], ...more }
}

/** The event that carries the finish reason. */
export function finish(reason: string, more: Record<string, unknown> = {}): object {
  return { id: 'chatcmpl-1', model: 'm', choices: [{ index: 0, delta: {}, finish_reason: reason }], ...more }
}

/** The event that carries the usage. */
export function usage(fields: Record<string, unknown>): object {
  return { id: 'chatcmpl-1', model: 'm', choices: [], usage: fields }
}

/** Starts an engine that hands every request to `script`. A script that throws breaks its connection. */
export async function fakeEngine(script: (exchange: FakeExchange) => Promise<void> | void): Promise<FakeEngine> {
  const sockets = new Set<Socket>()
  const exchanges: FakeExchange[] = []
  let connections = 0
  const server: Server = createServer((socket) => {
    const connection = ++connections
    sockets.add(socket)
    socket.setNoDelay(true)
    const closed = new Promise<void>((resolve) => {
      socket.on('close', () => {
        sockets.delete(socket)
        resolve()
      })
    })
    socket.on('error', () => {})
    let held = Buffer.alloc(0)
    socket.on('data', (chunk) => {
      held = Buffer.concat([held, chunk])
      for (let taken = takeRequest(held); taken !== undefined; taken = takeRequest(held)) {
        held = held.subarray(taken.bytes)
        const exchange = new FakeExchange(taken.request, connection, socket, closed)
        exchanges.push(exchange)
        Promise.resolve(exchange)
          .then(script)
          .catch(() => socket.destroy())
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const close = (): Promise<void> => {
    for (const socket of sockets) socket.destroy()
    return new Promise((resolve) => void server.close(() => resolve()))
  }
  return {
    url: `http://127.0.0.1:${port}`,
    exchanges,
    get connections() {
      return connections
    },
    get open() {
      return sockets.size
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

function takeRequest(held: Buffer): { request: FakeRequest; bytes: number } | undefined {
  const headEnd = held.indexOf('\r\n\r\n')
  if (headEnd === -1) return undefined
  const [requestLine = '', ...headerLines] = held.subarray(0, headEnd).toString('latin1').split('\r\n')
  const headers: Record<string, string> = {}
  for (const line of headerLines) {
    const colon = line.indexOf(':')
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim()
  }
  const bytes = headEnd + 4 + Number(headers['content-length'] ?? 0)
  if (held.length < bytes) return undefined
  const [method = '', path = ''] = requestLine.split(' ')
  const text = held.subarray(headEnd + 4, bytes).toString('utf8')
  return { request: { method, path, headers, body: text === '' ? undefined : JSON.parse(text) }, bytes }
}
