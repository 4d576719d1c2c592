// OpenAI front
//
// Owns: the HTTP server of one simulated engine, and its connections.
// Does not own: words and times (chat-engine), the wire's forms (wire-request, wire-response), SSE (sse-writer).
// Invariants
//   F1. A client that goes away aborts its request at once.
//   F2. Every request is answered: by a completion, a stream, or an error in the wire's own form.
//   F3. A body is read up to its limit; what is beyond is thrown away, and so is the connection when it is far beyond.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Clock } from '../clock.ts'
import { BackendError, messageOf } from '../errors.ts'
import { limits } from '../limits.ts'
import { parseJson } from '../schema/json.ts'
import type { ChatEngine, EngineFault } from './chat-engine.ts'
import { SseWriter } from './sse-writer.ts'
import { invalidRequest, parseChatRequest, type ParsedRequest } from './wire-request.ts'
import { chunks, completion, errorBody, modelList, type ResponseHead } from './wire-response.ts'

/** An engine that listens. */
export interface EngineServer {
  /** `http://127.0.0.1:port` */
  readonly url: string
  /** Listens no more, aborts requests under way and closes every connection. */
  close(): Promise<void>
}

/** Options of {@link serveEngine}. */
export interface ServeOptions {
  clock: Clock
  /** Default: a free one. */
  port?: number
  /** Bytes of a request; default {@link limits.requestBytesMax}. */
  requestBytesMax?: number
}

/** How far beyond its limit a body is thrown away so that the sender can read the error, as a multiple. */
const discardFactor = 4

/** Idle connections are kept this long, ms: longer than clients keep them, so that none is closed under a request. */
const keepAliveMs = 65_000

/**
 * Serves `engine` on the OpenAI wire at 127.0.0.1: `POST /v1/chat/completions`, `GET /v1/models`, `GET /health`.
 *
 * @throws {BackendError} `ORLA_BACKEND_UNREACHABLE` if the port cannot be listened on
 */
export async function serveEngine(engine: ChatEngine, options: ServeOptions): Promise<EngineServer> {
  const front = new Front(engine, options)
  const server = createServer({ keepAliveTimeout: keepAliveMs }, (request, response) => {
    front.handle(request, response).catch((error: unknown) => front.fail(response, error))
  })
  await listen(server, options.port ?? 0)
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      const message = `cannot serve a simulated engine on port ${port}: ${messageOf(error)}`
      reject(new BackendError('ORLA_BACKEND_UNREACHABLE', message, { cause: error, details: { port } }))
    })
    server.listen(port, '127.0.0.1', resolve)
  })
}

/** Requests in, answers out. */
class Front {
  readonly #engine: ChatEngine
  readonly #clock: Clock
  readonly #bytesMax: number
  #requests = 0

  constructor(engine: ChatEngine, { clock, requestBytesMax }: ServeOptions) {
    this.#engine = engine
    this.#clock = clock
    this.#bytesMax = requestBytesMax ?? limits.requestBytesMax
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? '/').split('?', 1)[0] ?? '/'
    const method = { '/v1/chat/completions': 'POST', '/v1/models': 'GET', '/health': 'GET' }[path]
    if (method === undefined) {
      return sendFault(response, { status: 404, type: 'NotFoundError', message: `Not Found: ${path}` })
    }
    if (request.method !== method) {
      response.setHeader('allow', method)
      const message = `Method Not Allowed: ${path} takes ${method}`
      return sendFault(response, { status: 405, type: 'MethodNotAllowedError', message })
    }
    if (path === '/health') {
      response.writeHead(200).end()
    } else if (path === '/v1/models') {
      sendJson(response, 200, modelList(this.#engine.model, this.#engine.contextLength, this.#nowSeconds()))
    } else {
      await this.#chat(request, response)
    }
  }

  /** The last way out: a bug of the front becomes a 500, or a cut connection if the answer has begun. */
  fail(response: ServerResponse, error: unknown): void {
    if (response.headersSent) response.destroy()
    else sendFault(response, { status: 500, type: 'InternalServerError', message: messageOf(error) })
  }

  async #chat(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (!/^application\/(?:.+\+)?json\s*(?:;|$)/i.test(request.headers['content-type'] ?? '')) {
      const message = 'Unsupported Media Type: Only application/json is allowed'
      return sendFault(response, { status: 415, type: 'UnsupportedMediaTypeError', message })
    }
    const body = await readBody(request, this.#bytesMax)
    if (body.state === 'gone') return
    if (body.state === 'too-large') {
      response.setHeader('connection', 'close')
      const message = `the request is larger than ${this.#bytesMax} bytes`
      return sendFault(response, { status: 413, type: 'RequestEntityTooLargeError', message })
    }
    const json = parseJson(body.text)
    if (!json.ok) return sendFault(response, invalidRequest(`the body is not JSON: ${json.message}`))
    const parsed = parseChatRequest(json.value, this.#engine.model)
    if ('fault' in parsed) return sendFault(response, parsed.fault)
    this.#answer(parsed.request, response)
  }

  #answer({ chat, stream, includeUsage, salt, priority }: ParsedRequest, response: ServerResponse): void {
    const requestId = String(++this.#requests)
    const head: ResponseHead = { id: `chatcmpl-${requestId}`, created: this.#nowSeconds(), model: this.#engine.model }
    const writer = stream ? new SseWriter(response, head) : undefined
    const demand = {
      requestId,
      watched: stream,
      ...(salt === undefined ? {} : { salt }),
      ...(priority === undefined ? {} : { priority }),
    }
    const abort = this.#engine.chat(chat, demand, {
      parts: (parts) => writer?.parts(parts),
      finished(end) {
        if (end.outcome === 'failed') {
          // What began as a 200 can only say its error in the stream; vLLM does it so.
          if (writer !== undefined && response.headersSent) writer.end([errorBody(end.fault)])
          else sendFault(response, end.fault)
          return
        }
        if (writer === undefined) return sendJson(response, 200, completion(head, end.result))
        const finish = chunks.finish(head, end.result)
        writer.end(includeUsage ? [finish, chunks.usage(head, end.result)] : [finish])
      },
    })
    if (response.destroyed) abort()
    else response.on('close', abort)
  }

  #nowSeconds(): number {
    return Math.floor(this.#clock.epochMs() / 1_000)
  }
}

type Body = { state: 'whole'; text: string } | { state: 'too-large' } | { state: 'gone' }

/** Reads a body as text. `gone`: the client went away, there is nobody to answer. */
function readBody(request: IncomingMessage, bytesMax: number): Promise<Body> {
  return new Promise((resolve) => {
    const kept: Buffer[] = []
    let bytes = 0
    request.on('data', (data: Buffer) => {
      bytes += data.length
      if (bytes <= bytesMax) kept.push(data)
      else kept.length = 0
      if (bytes > discardFactor * bytesMax) resolve({ state: 'too-large' })
    })
    request.on('end', () => {
      resolve(
        bytes > bytesMax ? { state: 'too-large' } : { state: 'whole', text: Buffer.concat(kept).toString('utf8') },
      )
    })
    request.on('error', () => resolve({ state: 'gone' }))
    request.on('close', () => resolve({ state: 'gone' }))
  })
}

function sendFault(response: ServerResponse, fault: EngineFault): void {
  sendJson(response, fault.status, errorBody(fault))
}

function sendJson(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}
