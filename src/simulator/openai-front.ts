// OpenAI front
//
// Owns: the HTTP server of one simulated engine, and its connections.
// Does not own: words and times (chat-engine), the wire's forms (wire-request, wire-response), SSE (sse-writer), what
// one engine has and another has not (flavours).
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
import type { ChatDemand, ChatEngine, ChatListener, EngineFault } from './chat-engine.ts'
import type { Fault } from './faults/catalogue.ts'
import { FaultHost } from './faults/fault-host.ts'
import type { FaultPlan } from './faults/plan.ts'
import { objectOf, type Demand, type Flavour, type FlavourOptions, type JsonObject } from './flavours/flavour.ts'
import { makeFlavour } from './flavours/make-flavour.ts'
import { SseWriter } from './sse-writer.ts'
import { invalidRequest, parseChatRequest, type ParsedRequest } from './wire-request.ts'
import { modelList, wireForms, type ResponseHead, type WireForms } from './wire-response.ts'

/** An engine that listens. */
export interface EngineServer {
  /** `http://127.0.0.1:port` */
  readonly url: string
  /** Connections that are open. */
  readonly connections: number
  /** Listens no more, aborts requests under way and closes every connection. */
  close(): Promise<void>
}

/** A request as it came. */
export interface SeenRequest {
  method: string
  /** With its query. */
  path: string
  /** Names in lower case. */
  headers: Readonly<Record<string, string | string[] | undefined>>
  /** Parsed, where it was JSON. */
  body: unknown
}

/**
 * Something that goes wrong with one request: a status, with `retry-after` if it says so; an error within the stream,
 * a clean end without a finish reason or a broken connection after the first token.
 */
export type FrontFault =
  | { kind: 'status'; fault: EngineFault; retryAfterS?: number }
  | { kind: 'error' | 'end' | 'cut' }

/** Options of {@link serveEngine}. */
export interface ServeOptions {
  clock: Clock
  /** Default: a free one. */
  port?: number
  /** Bytes of a request; default {@link limits.requestBytesMax}. */
  requestBytesMax?: number
  /** The engine whose server it is like; default the plain OpenAI wire. */
  flavour?: FlavourOptions
  /** Hears every request whose body could be read. */
  seen?: (request: SeenRequest) => void
  /** Asked for each chat request: what is to go wrong with it. */
  nextFault?: () => FrontFault | undefined
  /** Faults by plan; with one, if only an empty one, requests may also ask for faults by header. */
  faults?: FaultPlan
}

/** How far beyond its limit a body is thrown away so that the sender can read the error, as a multiple. */
const discardFactor = 4

/** Idle connections are kept this long, ms: longer than clients keep them, so that none is closed under a request. */
const keepAliveMs = 65_000

/**
 * Serves `engine` at 127.0.0.1: `POST /v1/chat/completions`, `GET /v1/models`, `GET /health`, and what its flavour has
 * besides.
 *
 * @throws {BackendError} `ORLA_BACKEND_UNREACHABLE` if the port cannot be listened on
 */
export async function serveEngine(engine: ChatEngine, options: ServeOptions): Promise<EngineServer> {
  let closed = false
  const refuse = (ms: number): void => {
    server.close()
    server.closeAllConnections()
    options.clock.setTimer(ms, () => {
      if (!closed) server.listen(port, '127.0.0.1')
    })
  }
  const front = new Front(engine, options, refuse)
  const server = createServer({ keepAliveTimeout: keepAliveMs }, (request, response) => {
    front.handle(request, response).catch((error: unknown) => front.fail(response, error))
  })
  let connections = 0
  server.on('connection', (socket) => {
    connections++
    socket.on('close', () => connections--)
  })
  await listen(server, options.port ?? 0)
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    get connections() {
      return connections
    },
    close: () =>
      new Promise((resolve) => {
        closed = true
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
  readonly #options: ServeOptions
  readonly #engine: ChatEngine
  readonly #flavour: Flavour
  readonly #forms: WireForms
  readonly #live = new Map<JsonObject, () => void>()
  readonly #faults: FaultHost | undefined
  /** Body of the chat request before this one. */
  #former: JsonObject = {}
  #requests = 0

  constructor(engine: ChatEngine, options: ServeOptions, refuse: (ms: number) => void) {
    const { clock, faults: plan } = options
    this.#options = options
    this.#engine = engine
    this.#faults = plan && new FaultHost({ plan, seed: clock.seed, clock, model: engine.model, refuse })
    this.#flavour = makeFlavour(options.flavour ?? { engine: 'openai' }, {
      engine,
      clock: options.clock,
      live: () => this.#live.size,
      abort: (isMeant) => {
        for (const [body, abort] of this.#live) if (isMeant(body)) abort()
      },
    })
    this.#forms = wireForms(this.#flavour.look)
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? '/').split('?', 1)[0] ?? '/'
    const method = { '/v1/chat/completions': 'POST', '/v1/models': 'GET', '/health': 'GET' }[path]
    if (method === undefined) return this.#other(request, response)
    if (request.method !== method) {
      response.setHeader('allow', method)
      const message = `Method Not Allowed: ${path} takes ${method}`
      return this.#sendFault(response, { status: 405, type: 'MethodNotAllowedError', message })
    }
    if (path === '/health') {
      response.writeHead(200).end()
    } else if (path === '/v1/models') {
      const { model } = this.#engine
      sendJson(response, 200, modelList(model, this.#nowSeconds(), this.#flavour.modelCard))
    } else {
      await this.#chat(request, response)
    }
  }

  /** The last way out: a bug of the front becomes a 500, or a cut connection if the answer has begun. */
  fail(response: ServerResponse, error: unknown): void {
    if (response.headersSent) response.destroy()
    else this.#sendFault(response, { status: 500, type: 'InternalServerError', message: messageOf(error) })
  }

  /** A path that only some engines have. */
  async #other(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://localhost')
    const body = await this.#body(request, response)
    if (body === undefined) return
    const { method = 'GET' } = request
    const asked = { method, path: url.pathname, query: url.searchParams, body: objectOf(parsedOrUndefined(body)) }
    this.#options.seen?.({ method, path: request.url ?? '/', headers: request.headers, body: asked.body })
    const respond = () => this.#flavour.respond?.(asked)
    const reply = await (this.#faults?.beside(request, asked.path, respond) ?? respond())
    if (reply === undefined) {
      return this.#sendFault(response, { status: 404, type: 'NotFoundError', message: `Not Found: ${url.pathname}` })
    }
    if ('text' in reply) response.writeHead(reply.status, { 'content-type': 'text/plain' }).end(reply.text)
    else sendJson(response, reply.status, reply.json)
  }

  async #chat(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (!/^application\/(?:.+\+)?json\s*(?:;|$)/i.test(request.headers['content-type'] ?? '')) {
      const message = 'Unsupported Media Type: Only application/json is allowed'
      return this.#sendFault(response, { status: 415, type: 'UnsupportedMediaTypeError', message })
    }
    const body = await this.#body(request, response)
    if (body === undefined) return
    const json = parseJson(body)
    if (!json.ok) return this.#sendFault(response, invalidRequest(`the body is not JSON: ${json.message}`))
    this.#options.seen?.({ method: 'POST', path: request.url ?? '', headers: request.headers, body: json.value })
    const fault = this.#options.nextFault?.()
    if (fault?.kind === 'status') {
      if (fault.retryAfterS !== undefined) response.setHeader('retry-after', String(fault.retryAfterS))
      return this.#refuse(response, fault.fault, objectOf(json.value))
    }
    const fields = objectOf(json.value)
    const anotherId = this.#flavour.responseId?.(this.#former) ?? 'chatcmpl-of-another'
    this.#former = fields
    const verdict = await this.#faults?.chat(request, response, fields['stream'] === true, anotherId)
    if (verdict?.go === false) {
      if (verdict.problem !== undefined) this.#sendFault(response, invalidRequest(verdict.problem))
      return
    }
    const parsed = parseChatRequest(this.#flavour.readBody?.(fields) ?? json.value, this.#engine.model)
    if ('fault' in parsed) return this.#sendFault(response, parsed.fault)
    const asked = this.#flavour.read?.(parsed.request) ?? parsed.request
    this.#answer(asked, fields, response, fault?.kind, verdict?.within)
  }

  /** The whole body, or undefined once the request was answered or its client has gone. */
  async #body(request: IncomingMessage, response: ServerResponse): Promise<string | undefined> {
    const bytesMax = this.#options.requestBytesMax ?? limits.requestBytesMax
    const body = await readBody(request, bytesMax)
    if (body.state === 'whole') return body.text
    if (body.state === 'too-large') {
      response.setHeader('connection', 'close')
      const message = `the request is larger than ${bytesMax} bytes`
      this.#sendFault(response, { status: 413, type: 'RequestEntityTooLargeError', message })
    }
    return undefined
  }

  #answer(
    { chat, stream, includeUsage, salt, priority }: ParsedRequest,
    body: JsonObject,
    response: ServerResponse,
    breaks: 'error' | 'end' | 'cut' | undefined,
    within: Fault | undefined,
  ): void {
    const requestId = String(++this.#requests)
    const forms = this.#forms
    const id = this.#flavour.responseId?.(body) ?? `chatcmpl-${requestId}`
    const head: ResponseHead = { id, created: this.#nowSeconds(), model: this.#engine.model }
    let abort = (): void => {}
    const out = within && stream ? this.#faults?.stream(within, response, () => abort()) : undefined
    const writer = stream ? new SseWriter(out ?? response, head, forms) : undefined
    let leave = (): void => {}
    let broken = false
    const over = (): void => {
      abort()
      leave()
      this.#live.delete(body)
    }
    const failInStream = (fault: EngineFault): void => {
      // What began as a 200 can only say its error in the stream, if the engine says it at all.
      const { event, done } = forms.look.streamFault
      writer?.end(event ? [forms.look.fault(fault, 'stream').body as object] : [], done)
    }
    const demandOf = (given: Demand): ChatDemand => ({
      requestId,
      watched: stream,
      ...(given.salt !== undefined && { salt: given.salt }),
      ...(given.priority !== undefined && { priority: given.priority }),
    })
    const listener: ChatListener = {
      parts: (parts) => {
        if (broken) return
        writer?.parts(parts)
        if (breaks === undefined || writer === undefined) return
        broken = true
        abort()
        if (breaks === 'error') failInStream(brokenFault)
        else if (breaks === 'end') writer.end([], false)
        else setImmediate(() => response.destroy())
      },
      finished: (end) => {
        if (broken || response.writableEnded) return
        if (end.outcome === 'failed') {
          if (writer?.begun === true) failInStream(end.fault)
          else this.#refuse(response, end.fault, body)
        } else if (writer === undefined) {
          const completion = forms.completion(head, end.result)
          if (within === undefined) sendJson(response, 200, completion)
          else this.#faults?.whole(within, response, JSON.stringify(completion))
        } else writer.end(forms.end(head, end.result, includeUsage))
      },
    }
    this.#live.set(body, () => {
      over()
      if (writer !== undefined) writer.end([forms.aborted(head)])
      else response.destroy()
    })
    response.on('close', over)
    const start = (given: Demand): void => {
      if (!response.destroyed) abort = this.#engine.chat(chat, demandOf(given), listener)
    }
    const demand = { ...(salt !== undefined && { salt }), ...(priority !== undefined && { priority }) }
    if (this.#flavour.admit === undefined) start(demand)
    else leave = this.#flavour.admit({ chat, body, demand }, start)
  }

  /** A fault of the engine itself; some tell it within a stream even where nothing else was said. */
  #refuse(response: ServerResponse, fault: EngineFault, body: JsonObject): void {
    if (body['stream'] !== true || this.#flavour.faultsAsStream?.(fault) !== true)
      return this.#sendFault(response, fault)
    const { body: event } = this.#forms.look.fault(fault, 'stream')
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
    response.end(`data: ${JSON.stringify(event)}\n\ndata: [DONE]\n\n`)
  }

  #sendFault(response: ServerResponse, fault: EngineFault): void {
    const { status, body } = this.#forms.look.fault(fault, 'status')
    sendJson(response, status, body)
  }

  #nowSeconds(): number {
    return Math.floor(this.#options.clock.epochMs() / 1_000)
  }
}

/** What an answer that breaks says of itself. */
const brokenFault: EngineFault = { status: 500, type: 'InternalServerError', message: 'the engine lost this request' }

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

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

function parsedOrUndefined(text: string): unknown {
  const parsed = parseJson(text)
  return parsed.ok ? parsed.value : undefined
}
