// HTTP to one engine
//
// Owns: the sockets to one engine, and its headers (the API key among them).
// Does not own: what is said over them (the wire), deadlines (the guard), retries (whoever asked).
// Invariants
//   H1. After `end`, `failed` or `abort` a listener hears nothing more.
//   H2. `abort` closes the socket, before the response as well as within it; one that was not sent yet is never sent.
//   H3. Nothing is followed, inflated or retried here.

import { Pool, type Dispatcher } from 'undici'
import { BackendTimeoutError, CancelledError, type OrlaError } from '../errors.ts'
import type { Clock, Timer } from '../clock.ts'
import { closedError, connectionError, protocolError, truncatedError } from './engine-error.ts'
import type { ErrorScope, ResponseHeaders } from './engine-error.ts'
import type { EngineUrl } from './engine-url.ts'
import { Sockets, type SocketUser } from './sockets.ts'

/** Hears one response as it arrives. Called synchronously from the socket; must not throw. */
export interface HttpListener {
  /** The response began. Called once, before any data. */
  response(status: number, headers: ResponseHeaders): void
  /** Bytes of the body, valid during the call only. */
  data(chunk: Uint8Array): void
  /** The body ended as HTTP says it should. */
  end(): void
  /** The connection failed. `responded` tells whether `response` had been called. */
  failed(cause: Error, responded: boolean): void
}

/** A request under way. */
export interface HttpExchange {
  /** Closes the connection. Does nothing once the response is complete. */
  abort(): void
}

/** A short request: a probe, a count, a command. */
export interface SmallRequest {
  /** Default `GET`. */
  method?: 'GET' | 'POST'
  /** From the root of the origin, with its query. */
  path: string
  /** Sent as JSON. */
  body?: unknown
  /** For the whole of it, ms. */
  timeoutMs: number
  signal?: AbortSignal
}

/** What a {@link SmallRequest} found. */
export interface JsonReply {
  /** What was asked: `GET /v1/models`. */
  path: string
  status: number
  headers: ResponseHeaders
  /** The body as text. */
  text: string
  /** The body parsed; undefined where it is not JSON. */
  value: unknown
}

/** What an {@link EngineHttp} needs to know. */
interface EngineHttpOptions {
  scope: ErrorScope
  url: EngineUrl
  /** Sent with every request. */
  headers: Readonly<Record<string, string>>
  /** Sockets for streams. */
  connections: number
  /** Deadline for opening a socket, ms. */
  connectMs: number
  clock: Clock
}

/** Sockets for short requests: a probe must not wait behind streams that fill all others. */
const controlConnections = 6

/** Bytes of a `getJson` body. Lists of models of large gateways are some hundred kilobytes. */
const jsonBodyBytesMax = 8 * 1024 * 1024

/** Connections to one engine. */
export class EngineHttp {
  readonly scope: ErrorScope
  readonly url: EngineUrl
  readonly #options: EngineHttpOptions
  readonly #streams: Sockets
  readonly #control: Pool
  readonly #postHeaders: Record<string, string>
  readonly #getHeaders: Record<string, string>
  #closed = false

  constructor(options: EngineHttpOptions) {
    this.#options = options
    this.scope = options.scope
    this.url = options.url
    // Header and body timeouts are 0, because the guard's deadlines know tokens from comments and the pool does not.
    // HTTP/2 is off: one aborted stream must close one socket, whatever the engine's front does.
    const common: Pool.Options = {
      headersTimeout: 0,
      bodyTimeout: 0,
      pipelining: 1,
      allowH2: false,
      connectTimeout: options.connectMs,
    }
    this.#streams = new Sockets(options.url.origin, options.connections, common)
    this.#control = new Pool(options.url.origin, { ...common, connections: controlConnections })
    const headers = { 'user-agent': 'orla', ...options.headers, 'accept-encoding': 'identity' }
    this.#getHeaders = { ...headers, accept: 'application/json' }
    this.#postHeaders = { ...headers, accept: 'text/event-stream', 'content-type': 'application/json' }
  }

  /** Sends `body` as JSON to `path` (from the root of the origin) and reports the response as it arrives. */
  post(path: string, body: unknown, listener: HttpListener, extra?: Readonly<Record<string, string>>): HttpExchange {
    const exchange = new Exchange(listener, this.#streams)
    const headers = extra === undefined ? this.#postHeaders : { ...this.#postHeaders, ...extra }
    this.#streams.dispatch({ method: 'POST', path, headers, body: JSON.stringify(body) }, exchange)
    return exchange
  }

  /**
   * Sends a short request. Any status is an answer, not an error.
   *
   * @throws {OrlaError} `ORLA_BACKEND_UNREACHABLE`, `ORLA_BACKEND_TIMEOUT`, `ORLA_BACKEND_TRUNCATED`,
   *   `ORLA_BACKEND_PROTOCOL` (a body beyond 8 MiB, or what is not HTTP), `ORLA_CLOSED`, `ORLA_CANCELLED` (signal)
   */
  send({ method = 'GET', path, body, timeoutMs, signal }: SmallRequest): Promise<JsonReply> {
    const { clock } = this.#options
    if (this.#closed) return Promise.reject(closedError(this.scope))
    if (signal?.aborted === true) return Promise.reject(cancelled())
    const { promise, resolve, reject } = Promise.withResolvers<JsonReply>()
    const chunks: Uint8Array[] = []
    let bytes = 0
    let status = 0
    let headers: ResponseHeaders = {}
    const done = (): void => {
      clock.clearTimer(timer)
      signal?.removeEventListener('abort', onAbort)
    }
    const fail = (error: OrlaError): void => {
      done()
      exchange.abort()
      reject(error)
    }
    const onAbort = (): void => fail(cancelled())
    const exchange = new Exchange({
      response(responseStatus, responseHeaders) {
        status = responseStatus
        headers = responseHeaders
      },
      data: (chunk) => {
        bytes += chunk.length
        if (bytes > jsonBodyBytesMax) {
          fail(protocolError(this.scope, `the answer to ${method} ${path} is longer than ${jsonBodyBytesMax} bytes`))
        } else chunks.push(Uint8Array.from(chunk))
      },
      end() {
        done()
        const text = Buffer.concat(chunks).toString('utf8')
        resolve({ path: `${method} ${path}`, status, headers, text, value: parsedOrUndefined(text) })
      },
      failed: (cause, responded) => {
        fail(
          responded
            ? truncatedError(this.scope, `the answer to ${method} ${path} was cut`, 0, cause)
            : this.connectionError(cause),
        )
      },
    })
    const timer: Timer = clock.setTimer(timeoutMs, () => {
      fail(new BackendTimeoutError(this.scope.backend, 'total', timeoutMs))
    })
    signal?.addEventListener('abort', onAbort, { once: true })
    const json = body === undefined ? undefined : JSON.stringify(body)
    const sent = json === undefined ? this.#getHeaders : { ...this.#getHeaders, 'content-type': 'application/json' }
    this.#control.dispatch({ method, path, headers: sent, body: json ?? null }, exchange)
    return promise
  }

  /** What a connection that failed before its response means. */
  connectionError(cause: unknown): OrlaError {
    return connectionError(this.scope, cause, this.#options.connectMs)
  }

  /** Closes all sockets; requests under way fail. */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.all([this.#streams.destroy(), this.#control.destroy()])
  }
}

function cancelled(): CancelledError {
  return new CancelledError('caller', 'the request to the engine was cancelled')
}

function parsedOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** One request on undici's handler interface: a third of the cost of a body stream for each chunk. */
class Exchange implements SocketUser, HttpExchange {
  group: Pool | undefined
  readonly #listener: HttpListener
  readonly #sockets: Sockets | undefined
  #controller: Dispatcher.DispatchController | undefined
  #over = false
  #responded = false

  /** @param sockets - where its socket comes from, if not from a pool of undici's */
  constructor(listener: HttpListener, sockets?: Sockets) {
    this.#listener = listener
    this.#sockets = sockets
  }

  abort(): void {
    if (this.#over) return
    this.#over = true
    this.#sockets?.withdraw(this)
    this.#controller?.abort(new Error('aborted'))
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    // Throwing takes the request out of undici's queue and leaves the socket, which has seen nothing of it, in use.
    if (this.#over) throw new Error('aborted before it was sent')
    this.#controller = controller
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: ResponseHeaders): void {
    // Informational responses come before the real one.
    if (this.#over || status < 200) return
    this.#responded = true
    this.#listener.response(status, headers)
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.#over) this.#listener.data(chunk)
  }

  onResponseEnd(): void {
    this.#sockets?.done(this)
    if (this.#over) return
    this.#over = true
    this.#listener.end()
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#sockets?.done(this)
    this.refused(error)
  }

  refused(error: Error): void {
    if (this.#over) return
    this.#over = true
    this.#listener.failed(error, this.#responded)
  }
}
