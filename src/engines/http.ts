// HTTP to one engine
//
// Owns: the sockets to one engine, and its headers (the API key among them).
// Does not own: what is said over them (the wire), deadlines (the guard), retries (whoever asked).
// Invariants
//   H1. After `end`, `failed` or `abort` a listener hears nothing more.
//   H2. `abort` closes the socket, before the response as well as within it; one that was not sent yet is never sent.
//   H3. Nothing is followed, inflated or retried here.

import { Pool, type Dispatcher } from 'undici'
import { BackendTimeoutError, type OrlaError } from '../errors.ts'
import type { Clock, Timer } from '../clock.ts'
import { closedError, connectionError, protocolError, truncatedError } from './engine-error.ts'
import type { ErrorScope, ResponseHeaders } from './engine-error.ts'
import type { EngineUrl } from './engine-url.ts'

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

/** What `getJson` found. */
interface JsonReply {
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
const controlConnections = 2

/** Bytes of a `getJson` body. Lists of models of large gateways are some hundred kilobytes. */
const jsonBodyBytesMax = 8 * 1024 * 1024

/** Connections to one engine. */
export class EngineHttp {
  readonly scope: ErrorScope
  readonly url: EngineUrl
  readonly #options: EngineHttpOptions
  readonly #streams: Pool
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
    this.#streams = new Pool(options.url.origin, { ...common, connections: options.connections })
    this.#control = new Pool(options.url.origin, { ...common, connections: controlConnections })
    const headers = { 'user-agent': 'orla', ...options.headers, 'accept-encoding': 'identity' }
    this.#getHeaders = { ...headers, accept: 'application/json' }
    this.#postHeaders = { ...headers, accept: 'text/event-stream', 'content-type': 'application/json' }
  }

  /** Sends `body` as JSON to `path` (from the root of the origin) and reports the response as it arrives. */
  post(path: string, body: unknown, listener: HttpListener): HttpExchange {
    const exchange = new Exchange(listener)
    this.#streams.dispatch({ method: 'POST', path, headers: this.#postHeaders, body: JSON.stringify(body) }, exchange)
    return exchange
  }

  /**
   * Gets a small JSON document. Any status is an answer, not an error.
   *
   * @param timeoutMs - for the whole of it
   * @throws {OrlaError} `ORLA_BACKEND_UNREACHABLE`, `ORLA_BACKEND_TIMEOUT`, `ORLA_BACKEND_TRUNCATED`,
   *   `ORLA_BACKEND_PROTOCOL` (a body beyond 8 MiB, or what is not HTTP), `ORLA_CLOSED`
   */
  getJson(path: string, timeoutMs: number): Promise<JsonReply> {
    const { clock } = this.#options
    const { promise, resolve, reject } = Promise.withResolvers<JsonReply>()
    if (this.#closed) reject(closedError(this.scope))
    else {
      const chunks: Uint8Array[] = []
      let bytes = 0
      let status = 0
      let headers: ResponseHeaders = {}
      const fail = (error: OrlaError): void => {
        clock.clearTimer(timer)
        exchange.abort()
        reject(error)
      }
      const exchange = new Exchange({
        response(responseStatus, responseHeaders) {
          status = responseStatus
          headers = responseHeaders
        },
        data: (chunk) => {
          bytes += chunk.length
          if (bytes > jsonBodyBytesMax) {
            fail(protocolError(this.scope, `the answer to GET ${path} is longer than ${jsonBodyBytesMax} bytes`))
          } else chunks.push(Uint8Array.from(chunk))
        },
        end() {
          clock.clearTimer(timer)
          const text = Buffer.concat(chunks).toString('utf8')
          resolve({ status, headers, text, value: parsedOrUndefined(text) })
        },
        failed: (cause, responded) => {
          fail(
            responded
              ? truncatedError(this.scope, `the answer to GET ${path} was cut`, 0, cause)
              : this.connectionError(cause),
          )
        },
      })
      const timer: Timer = clock.setTimer(timeoutMs, () => {
        fail(new BackendTimeoutError(this.scope.backend, 'total', timeoutMs))
      })
      this.#control.dispatch({ method: 'GET', path, headers: this.#getHeaders }, exchange)
    }
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

function parsedOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** One request on undici's handler interface: a third of the cost of a body stream for each chunk. */
class Exchange implements Dispatcher.DispatchHandler, HttpExchange {
  readonly #listener: HttpListener
  #controller: Dispatcher.DispatchController | undefined
  #over = false
  #responded = false

  constructor(listener: HttpListener) {
    this.#listener = listener
  }

  abort(): void {
    if (this.#over) return
    this.#over = true
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
    if (this.#over) return
    this.#over = true
    this.#listener.end()
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (this.#over) return
    this.#over = true
    this.#listener.failed(error, this.#responded)
  }
}
