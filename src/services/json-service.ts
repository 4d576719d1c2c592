// Questions to services of the user over HTTP: JSON there, JSON back, bounded in time and size.

import type { Clock } from '../clock.ts'
import { messageOf, OptionsError, OrlaError } from '../errors.ts'
import { limits } from '../limits.ts'
import { parseJson } from '../schema/json.ts'

/** Where a service is, and how long it may take. */
export interface JsonService {
  /** `http:` or `https:`. Not fetched elsewhere: a redirect is an error. */
  url: string | URL
  /** Sent with every question: a token, for example. */
  headers?: Readonly<Record<string, string>>
  /** From the question to the whole answer, ms. */
  timeoutMs: number
}

/** What goes with one question. */
interface Question {
  /** Sent as JSON by POST; without one it is a GET. */
  body?: unknown
  signal?: AbortSignal
}

/**
 * Asks a service.
 *
 * @throws {OrlaError} `ORLA_SERVICE`, retryable: it did not answer in time, with a status of 2xx, or with JSON of at most
 *   {@link limits.serviceBytesMax}; the signal's own reason once that is aborted
 */
export async function askService(clock: Clock, service: JsonService, question: Question = {}): Promise<unknown> {
  const { url, headers, timeoutMs } = service
  const { body, signal } = question
  const controller = new AbortController()
  const timer = clock.setTimer(timeoutMs, () =>
    controller.abort(serviceError(url, `did not answer within ${timeoutMs} ms`)),
  )
  const onAbort = (): void => controller.abort(signal?.reason)
  signal?.addEventListener('abort', onAbort, { once: true })
  if (signal?.aborted === true) onAbort()
  try {
    const response = await fetch(url, {
      method: body === undefined ? 'GET' : 'POST',
      headers: {
        accept: 'application/json',
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      redirect: 'error',
      signal: controller.signal,
    })
    const text = await boundedText(response, url)
    if (!response.ok) throw serviceError(url, `answered ${response.status}: ${text.slice(0, 200)}`)
    const parsed = parseJson(text)
    if (!parsed.ok) throw serviceError(url, `answered what is no JSON: ${parsed.message}`)
    return parsed.value
  } catch (error) {
    if (controller.signal.aborted) throw controller.signal.reason
    if (error instanceof OrlaError) throw error
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error
    throw serviceError(url, `cannot be reached: ${messageOf(cause)}`, error)
  } finally {
    clock.clearTimer(timer)
    signal?.removeEventListener('abort', onAbort)
  }
}

/**
 * Checks where a service is said to be.
 *
 * @param what - whose option it is, for the message
 * @throws {OptionsError} `ORLA_OPTIONS` for what is no URL of HTTP
 */
export function checkServiceUrl(url: string | URL, what: string): URL {
  const parsed = URL.parse(String(url))
  if (parsed !== null && (parsed.protocol === 'http:' || parsed.protocol === 'https:')) return parsed
  const message = `expected a URL that begins with http:// or https://, got ${JSON.stringify(String(url))}`
  throw new OptionsError(what, [{ path: 'url', code: 'url', message }])
}

async function boundedText(response: Response, url: string | URL): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  // Leaving the loop by an error cancels the stream, and closes the connection.
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength
    if (bytes > limits.serviceBytesMax) {
      throw serviceError(url, `answered with more than ${limits.serviceBytesMax} bytes`)
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function serviceError(url: string | URL, what: string, cause?: unknown): OrlaError {
  const { origin, pathname } = new URL(url)
  // Without the query: it may hold a key.
  const at = `${origin}${pathname}`
  return new OrlaError('ORLA_SERVICE', `the service at ${at} ${what}`, { retryable: true, details: { url: at }, cause })
}
