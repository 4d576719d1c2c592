// The fetch that the HTTP transport uses: bounded, and honest about answers that will never come
//
// Owns: one connection's streams that are open, and the pace at which streams are opened again.
// Does not own: sessions and resumption (the SDK's transport), what a lost answer means (link.ts).
// Invariants
//   G1. A message beyond the limit breaks its stream; nothing else of it is read.
//   G2. A stream of events that ends without the answer to its request, and cannot be resumed, ends with an error in its
//       place. The SDK would wait for it until the timeout.
//   G3. A request that was cancelled holds no socket: its stream is closed, whether the server stops or not.
//   G4. Streams are opened again at a bounded pace, whatever a server asks for.

import type { Clock, Timer } from '../clock.ts'
import { messageOf } from '../errors.ts'
import { limits } from '../limits.ts'

/** The form of fetch that the SDK takes. */
export type Fetch = (url: string | URL, init?: RequestInit) => Promise<Response>

/** Code of the error that takes the place of an answer that was lost. In JSON-RPC's range for implementations. */
export const answerLostCode = -32_099

/** Milliseconds between two streams that are opened by GET. */
const reopenPauseMs = 250

type RequestId = string | number

/** What is read off a request's body. */
interface Sent {
  /** Id of the request, when it is one that will be answered. */
  id?: RequestId
  /** Id of the request that it cancels. */
  cancels?: RequestId
}

/**
 * Wraps `fetch` for one connection.
 *
 * @param messageBytesMax - bytes of one message, or of an answer that is no stream
 */
export function guardedFetch(clock: Clock, options: { fetch?: Fetch; messageBytesMax?: number } = {}): Fetch {
  const { fetch: inner = fetch, messageBytesMax = limits.mcpMessageBytesMax } = options
  const open = new Map<RequestId, () => void>()
  let reopenAtMs = 0

  return async (url, init = {}) => {
    if (init.method === 'GET') {
      const waitMs = reopenAtMs - clock.nowMs()
      reopenAtMs = Math.max(reopenAtMs, clock.nowMs()) + reopenPauseMs
      if (waitMs > 0) await pause(clock, waitMs, init.signal)
    }
    const sent = init.method === 'POST' ? readSent(init.body) : {}
    if (sent.cancels !== undefined) open.get(sent.cancels)?.()
    const response = await inner(url, init)
    if (response.body === null) return response
    const events = response.ok && /^text\/event-stream\b/i.test(response.headers.get('content-type') ?? '')
    const body = events
      ? eventBody(response.body, sent.id, messageBytesMax, open)
      : response.body.pipeThrough(boundedBytes(messageBytesMax))
    const { status, statusText, headers } = response
    return new Response(body, { status, statusText, headers })
  }
}

/** Reads a stream of events to its end (G1 to G3). */
function eventBody(
  source: ReadableStream<Uint8Array>,
  id: RequestId | undefined,
  messageBytesMax: number,
  open: Map<RequestId, () => void>,
): ReadableStream<Uint8Array> {
  const reader = source.getReader()
  const scan = new EventScan(messageBytesMax)
  let cancelled = false
  if (id !== undefined) {
    open.set(id, () => {
      cancelled = true
      reader.cancel().catch(() => {})
    })
  }
  const end = (controller: ReadableStreamDefaultController<Uint8Array>, why: string): void => {
    if (id !== undefined) {
      open.delete(id)
      // The SDK has forgotten a request that it cancelled; a result, of whatever kind, keeps it from resuming.
      const message = cancelled
        ? { jsonrpc: '2.0', id, result: {} }
        : { jsonrpc: '2.0', id, error: { code: answerLostCode, message: why } }
      // After the real answer this one finds nobody who waits for it.
      if (cancelled || !scan.resumable) controller.enqueue(encode(message))
    }
    controller.close()
  }
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { done, value } = await reader.read()
        if (done) return end(controller, 'the stream ended without an answer')
        if (scan.accepts(value)) return controller.enqueue(value)
        reader.cancel().catch(() => {})
        scan.resumable = false
        end(controller, `a message has more than ${messageBytesMax} bytes`)
      } catch (error) {
        if (!scan.resumable || cancelled) return end(controller, messageOf(error))
        if (id !== undefined) open.delete(id)
        throw error
      }
    },
    cancel: (reason) => {
      if (id !== undefined) open.delete(id)
      return reader.cancel(reason)
    },
  })
}

/** A blank line before and after, so that a half-sent event does not run into it. */
function encode(message: object): Uint8Array {
  return new TextEncoder().encode(`\n\ndata: ${JSON.stringify(message)}\n\n`)
}

const newline = 10
const carriageReturn = 13

/** Follows a stream of events line by line, without keeping it. */
class EventScan {
  /** The stream gave an event an id: it can be resumed from there. */
  resumable = false
  readonly #bytesMax: number
  #eventBytes = 0
  #lineStart = ''
  #lineBytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** False when an event has grown beyond the limit. */
  accepts(chunk: Uint8Array): boolean {
    let from = 0
    while (from < chunk.length) {
      const found = chunk.indexOf(newline, from)
      const to = found === -1 ? chunk.length : found
      this.#take(chunk, from, to)
      if (this.#eventBytes > this.#bytesMax) return false
      if (found !== -1) this.#endLine()
      from = to + 1
    }
    return true
  }

  #take(chunk: Uint8Array, from: number, to: number): void {
    for (let i = from; i < to && this.#lineStart.length < 4; i++) {
      if (chunk[i] !== carriageReturn) this.#lineStart += String.fromCharCode(chunk[i]!)
    }
    this.#lineBytes += to - from
    this.#eventBytes += to - from
  }

  #endLine(): void {
    if (this.#lineStart.startsWith('id:')) this.resumable = true
    if (this.#lineStart === '' && this.#lineBytes <= 1) this.#eventBytes = 0
    this.#lineStart = ''
    this.#lineBytes = 0
  }
}

function boundedBytes(bytesMax: number): TransformStream<Uint8Array, Uint8Array> {
  let bytes = 0
  return new TransformStream({
    transform(chunk, controller) {
      bytes += chunk.length
      if (bytes > bytesMax) controller.error(new Error(`the answer has more than ${bytesMax} bytes`))
      else controller.enqueue(chunk)
    },
  })
}

function readSent(body: unknown): Sent {
  if (typeof body !== 'string') return {}
  const message = JSON.parse(body) as { id?: RequestId; method?: string; params?: { requestId?: RequestId } }
  if (message.method === 'notifications/cancelled') {
    return message.params?.requestId === undefined ? {} : { cancels: message.params.requestId }
  }
  return message.id === undefined || message.method === undefined ? {} : { id: message.id }
}

function pause(clock: Clock, ms: number, signal: AbortSignal | null | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    let timer: Timer | undefined = undefined
    const stop = (): void => {
      clock.clearTimer(timer)
      reject(signal!.reason as Error)
    }
    if (signal?.aborted === true) return stop()
    timer = clock.setTimer(ms, () => {
      signal?.removeEventListener('abort', stop)
      resolve()
    })
    signal?.addEventListener('abort', stop, { once: true })
  })
}
