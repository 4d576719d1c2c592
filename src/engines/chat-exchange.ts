// One chat request on the OpenAI wire
//
// Owns: one HTTP exchange from request to outcome.
// Does not own: deadlines (the guard) and retries (the stage).
// Invariants
//   E1. `result` settles once; no delta is delivered after it (D3).
//   E2. An answer that is complete is not lost to what happens to its connection afterwards.
//   E3. A connection that the engine keeps open after its answer is dropped after a moment, so that none leaks.

import type { Clock, Timer } from '../clock.ts'
import type { OrlaError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { ChatResult } from '../schema/chat.ts'
import type { ChatCall } from './driver.ts'
import { first, protocolError, redirectError, retryAfterMs, statusError } from './engine-error.ts'
import type { EngineErrorFacts, ResponseHeaders } from './engine-error.ts'
import type { EngineHttp, HttpExchange, HttpListener } from './http.ts'
import { ChatStreamReader, type ChatReaderOptions } from './openai-stream.ts'

/** Milliseconds an engine may take from the finish reason to the usage and the end of the stream. */
const finishGraceMs = 2_000

/** What an exchange needs besides what its reader needs. */
export interface ChatExchangeOptions extends Omit<ChatReaderOptions, 'scope'> {
  http: EngineHttp
  clock: Clock
  /** Called with a result before anybody else sees it; may complete its usage. */
  onResult?: (result: ChatResult) => void
  /** Called when the request is cancelled while it is under way: engines that abort by id are told so. */
  onCancelled?: () => void
  /** Called once, when the connection is no longer in use. */
  onClosed: () => void
}

/** One request under way. `start` sends it. */
export class ChatExchange implements ChatCall, HttpListener {
  readonly result: Promise<ChatResult>

  readonly #options: ChatExchangeOptions
  readonly #reader: ChatStreamReader
  readonly #resolve: (result: ChatResult) => void
  readonly #reject: (error: OrlaError) => void
  #http: HttpExchange | undefined
  #settled = false
  #closed = false
  #grace: Timer | undefined
  /** Set while the body is that of an error status. */
  #refused: { status: number; headers: ResponseHeaders; chunks: Uint8Array[]; bytes: number } | undefined

  constructor(options: ChatExchangeOptions) {
    const { promise, resolve, reject } = Promise.withResolvers<ChatResult>()
    this.result = promise
    this.#resolve = resolve
    this.#reject = reject
    this.#options = options
    this.#reader = new ChatStreamReader({
      ...options,
      scope: options.http.scope,
      sink: {
        delta: (channel, text) => {
          if (!this.#settled) options.sink.delta(channel, text)
        },
      },
    })
  }

  /**
   * Sends the request.
   *
   * @param extra.echoedId - id that the engine repeats in its answer
   */
  start(
    path: string,
    body: unknown,
    extra: { headers?: Readonly<Record<string, string>>; echoedId?: string } = {},
  ): this {
    this.#reader.sentId = extra.echoedId
    this.#http = this.#options.http.post(path, body, this, extra.headers)
    return this
  }

  cancel(reason: OrlaError): void {
    if (this.#settled) return
    this.#settle({ ok: false, error: reason })
    this.#close()
    if (this.#http !== undefined) this.#options.onCancelled?.()
  }

  response(status: number, headers: ResponseHeaders): void {
    const { scope } = this.#options.http
    const contentType = first(headers['content-type']) ?? ''
    const encoding = first(headers['content-encoding']) ?? 'identity'
    if (status >= 300 && status < 400) {
      this.#fail(redirectError(scope, status, first(headers['location'])))
    } else if (status >= 400) {
      this.#refused = { status, headers, chunks: [], bytes: 0 }
    } else if (/html/i.test(contentType)) {
      const what = `answered ${status} with a web page, not with a stream: a proxy or a login is in between`
      this.#fail(protocolError(scope, what, { status, contentType }))
    } else if (encoding.toLowerCase() !== 'identity') {
      // We asked for identity; inflating what comes anyway would be an invitation to bombs.
      this.#fail(protocolError(scope, `answered with the content encoding "${encoding.slice(0, 64)}"`, { status }))
    }
  }

  data(chunk: Uint8Array): void {
    if (this.#refused !== undefined) {
      this.#refused.chunks.push(chunk)
      this.#refused.bytes += chunk.length
      if (this.#refused.bytes > limits.errorBodyBytesMax) this.#fail(this.#statusError(this.#refused))
      return
    }
    // After the outcome the rest is read only so that the socket can be used again.
    if (this.#settled) return
    this.#reader.push(chunk)
    this.#look()
  }

  end(): void {
    if (this.#refused !== undefined) this.#settle({ ok: false, error: this.#statusError(this.#refused) })
    else this.#reader.end()
    this.#look()
    this.#close()
  }

  failed(cause: Error, responded: boolean): void {
    const { http } = this.#options
    if (this.#refused !== undefined) this.#settle({ ok: false, error: this.#statusError(this.#refused) })
    else if (responded) this.#reader.cut('the connection was lost within the answer', cause)
    else this.#settle({ ok: false, error: http.connectionError(cause) })
    this.#look()
    this.#close()
  }

  /** Acts on what the reader has come to. */
  #look(): void {
    const { outcome } = this.#reader
    if (outcome !== undefined) this.#settle(outcome)
    if (outcome?.ok === false) this.#close()
    else if (!this.#closed && (this.#settled || this.#reader.finished)) {
      this.#grace ??= this.#options.clock.setTimer(finishGraceMs, () => {
        this.#reader.cut('the engine kept the stream open after its end')
        this.#look()
        this.#close()
      })
    }
  }

  #settle(outcome: { ok: true; result: ChatResult } | { ok: false; error: OrlaError }): void {
    if (this.#settled) return
    this.#settled = true
    if (outcome.ok) {
      this.#options.onResult?.(outcome.result)
      this.#resolve(outcome.result)
    } else this.#reject(outcome.error)
  }

  #fail(error: OrlaError): void {
    this.#settle({ ok: false, error })
    this.#close()
  }

  #close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#options.clock.clearTimer(this.#grace)
    this.#http?.abort()
    this.#options.onClosed()
  }

  #statusError(refused: { status: number; headers: ResponseHeaders; chunks: readonly Uint8Array[] }): OrlaError {
    const { http, clock, readError } = this.#options
    const text = Buffer.concat(refused.chunks).subarray(0, limits.errorBodyBytesMax).toString('utf8')
    let facts: EngineErrorFacts | undefined
    try {
      facts = readError(JSON.parse(text))
    } catch {
      // Plain text, or cut: it is quoted as it is.
    }
    const waitMs = retryAfterMs(refused.headers, clock.epochMs())
    return statusError(http.scope, refused.status, facts, text, waitMs)
  }
}
