// Errors of engines and of the way to them, as errors of ours.
//
// Engines and gateways write their errors in at least four shapes, some of them inside a 200. Everything that can go
// wrong on the wire is turned into one OrlaError here, so that all engines fail in the same words.

import { BackendError, BackendTimeoutError, messageOf, OrlaError } from '../errors.ts'
import { limits } from '../limits.ts'
import { redact } from '../log.ts'

/** Whose error it is: what every message and every `details` names. */
export interface ErrorScope {
  /** Name of the backend in the runtime. */
  readonly backend: string
  /** Scheme, host and port. */
  readonly origin: string
  /** Values that must not appear in any message. */
  readonly secrets: readonly string[]
}

/** What an engine said about an error. All of it may be absent. */
export interface EngineErrorFacts {
  message?: string
  type?: string
  code?: string
  /** 400..599, where the engine repeats or replaces the HTTP status in the body. */
  status?: number
}

/** Headers of a response, names in lower case. */
export type ResponseHeaders = Readonly<Record<string, string | string[] | undefined>>

/** Characters of an engine's own words that a message repeats. */
const quoteCharsMax = 2_000

/** The words of engines for a prompt that does not fit, in `code`, `type` or `message`. */
const contextLengthPattern =
  /context_length_exceeded|exceed_context_size_error|maximum context length|longer than the (model's )?context length|exceeds the available context size|ContextWindowExceeded|prompt is too long/i

/** Types of errors inside a 200 that carry no status. What is not named here is worth another try. */
const fatalTypePattern = /invalid|not_?found|authentication|permission|unsupported|bad_?request|billing|insufficient/i

/** True if the same request may succeed later after this status. 501 and 505 say that it never will. */
function isRetryableStatus(status: number): boolean {
  if (status >= 500) return status !== 501 && status !== 505
  return status === 408 || status === 409 || status === 425 || status === 429
}

/**
 * Reads the parsed body of an error: nested `{error: {...}}`, flat `{object: "error", ...}`, `{error: "text"}`.
 *
 * @returns undefined if `body` is not an error
 */
export function readEngineError(body: unknown): EngineErrorFacts | undefined {
  if (typeof body !== 'object' || body === null) return undefined
  const { error, object } = body as { error?: unknown; object?: unknown }
  if (typeof error === 'string') return { message: error }
  if (typeof error === 'object' && error !== null) return factsOf(error)
  return object === 'error' ? factsOf(body) : undefined
}

function factsOf(value: object): EngineErrorFacts {
  const { message, type, code, status } = value as Record<'message' | 'type' | 'code' | 'status', unknown>
  const facts: EngineErrorFacts = {}
  if (typeof message === 'string') facts.message = message
  if (typeof type === 'string') facts.type = type
  if (typeof code === 'string' || typeof code === 'number') facts.code = String(code)
  // LiteLLM writes the status as a string, OpenRouter and vLLM as a number, OpenAI not at all.
  for (const candidate of [code, status]) {
    const number = typeof candidate === 'string' && /^\d{3}$/.test(candidate) ? Number(candidate) : candidate
    if (typeof number === 'number' && number >= 400 && number <= 599) facts.status ??= number
  }
  return facts
}

/**
 * How long an engine asks us to wait, ms: `retry-after-ms`, or `retry-after` in seconds or as an HTTP date.
 *
 * @param epochMs - milliseconds since 1970 now, against which a date is read
 * @returns 0..limits.retryBackoffMsMax; undefined where there is no readable header
 */
export function retryAfterMs(headers: ResponseHeaders, epochMs: number): number | undefined {
  const milliseconds = first(headers['retry-after-ms'])
  if (milliseconds !== undefined && isNumeral(milliseconds)) return clampWait(Number(milliseconds))
  const after = first(headers['retry-after'])
  if (after === undefined) return undefined
  if (isNumeral(after)) return clampWait(Number(after) * 1000)
  const dateMs = Date.parse(after)
  return Number.isNaN(dateMs) ? undefined : clampWait(dateMs - epochMs)
}

function isNumeral(text: string): boolean {
  return /^\s*[+-]?\d+(\.\d*)?\s*$/.test(text)
}

function clampWait(waitMs: number): number {
  return Math.min(Math.max(waitMs, 0), limits.retryBackoffMsMax)
}

/** The first value of a header that may occur several times. */
export function first(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header
}

/** An engine's words, without secrets and without length. */
function quote(scope: ErrorScope, text: string): string {
  const clean = redact(text, scope.secrets).trim()
  return clean.length > quoteCharsMax ? `${clean.slice(0, quoteCharsMax)}...` : clean
}

/**
 * The error for a response whose status is not a success (`ORLA_BACKEND_HTTP`, or `ORLA_CONTEXT_LENGTH`).
 *
 * @param facts - what the engine said, when its body was an error that could be read
 * @param text - the body as it came, quoted when there are no facts
 * @param waitMs - how long the engine asks to wait, ms
 */
export function statusError(
  scope: ErrorScope,
  status: number,
  facts: EngineErrorFacts | undefined,
  text: string,
  waitMs?: number,
): BackendError {
  const said = quote(scope, facts?.message ?? text)
  if (status >= 400 && status < 500 && isContextLength(facts ?? { message: text })) {
    return contextLengthError(scope, said, status)
  }
  const step = nextStep(status)
  const message = `backend "${scope.backend}" (${scope.origin}) answered ${status}${said === '' ? '' : `: ${said}`}${step}`
  const details = { backend: scope.backend, status, ...engineDetails(scope, facts) }
  return new BackendError('ORLA_BACKEND_HTTP', message, {
    retryable: isRetryableStatus(status),
    details: waitMs === undefined ? details : { ...details, retryAfterMs: waitMs },
  })
}

/** The error for a redirect, which is never followed: it would carry the prompt and the key to another host. */
export function redirectError(scope: ErrorScope, status: number, location: string | undefined): BackendError {
  const target = location === undefined ? '' : ` to ${quote(scope, location).slice(0, 200)}`
  return new BackendError(
    'ORLA_BACKEND_HTTP',
    `backend "${scope.backend}" (${scope.origin}) answered ${status}: redirect refused${target}. ` +
      'Set url to the address that serves the model itself',
    { details: { backend: scope.backend, status } },
  )
}

/**
 * The error for an error object inside a 200 (`ORLA_BACKEND_HTTP`, or `ORLA_CONTEXT_LENGTH`).
 *
 * @param delivered - deltas handed out before it; after the first the same request is not tried again
 */
export function inBandError(scope: ErrorScope, facts: EngineErrorFacts, delivered: number): BackendError {
  const said = quote(scope, facts.message ?? facts.type ?? 'an error without a message')
  if (isContextLength(facts)) return contextLengthError(scope, said, facts.status)
  const mayPass =
    facts.status === undefined
      ? !fatalTypePattern.test(`${facts.type ?? ''} ${facts.code ?? ''}`)
      : isRetryableStatus(facts.status)
  const details: Record<string, unknown> = { backend: scope.backend, delivered, ...engineDetails(scope, facts) }
  if (facts.status !== undefined) details['status'] = facts.status
  return new BackendError(
    'ORLA_BACKEND_HTTP',
    `backend "${scope.backend}" (${scope.origin}) reported an error within its answer: ${said}`,
    { retryable: mayPass && delivered === 0, details },
  )
}

function engineDetails(scope: ErrorScope, facts: EngineErrorFacts | undefined): Record<string, unknown> {
  const details: Record<string, unknown> = {}
  if (facts?.type !== undefined) details['engineType'] = quote(scope, facts.type)
  if (facts?.code !== undefined) details['engineCode'] = quote(scope, facts.code)
  return details
}

function isContextLength(facts: EngineErrorFacts): boolean {
  return contextLengthPattern.test(`${facts.code ?? ''} ${facts.type ?? ''} ${facts.message ?? ''}`)
}

function contextLengthError(scope: ErrorScope, said: string, status: number | undefined): BackendError {
  const details = status === undefined ? { backend: scope.backend } : { backend: scope.backend, status }
  return new BackendError(
    'ORLA_CONTEXT_LENGTH',
    `backend "${scope.backend}": the prompt does not fit the model: ${said}. ` +
      'Shorten the prompt, lower maxTokens, or map the stage to a model with a longer context',
    { details },
  )
}

function nextStep(status: number): string {
  switch (status) {
    case 401:
      return '. Check the API key: apiKeyEnv names the environment variable that holds it'
    case 402:
      return '. The account has no credit left'
    case 403:
      return '. The key is not allowed to use this model: check its rights'
    case 404:
      return '. Check the model name and the url: nothing is served there under that name'
    case 405:
    case 501:
      return '. The engine does not offer this: check that url points at an OpenAI-compatible server'
    case 429:
      return '. Too many requests: lower windowRequests, or wait'
    default:
      return ''
  }
}

/**
 * The error for an answer that breaks the wire's rules (`ORLA_BACKEND_PROTOCOL`). Not retryable: the engine, or what
 * stands in front of it, is not what the configuration says.
 */
export function protocolError(scope: ErrorScope, what: string, details: Record<string, unknown> = {}): BackendError {
  return new BackendError('ORLA_BACKEND_PROTOCOL', `backend "${scope.backend}" (${scope.origin}): ${what}`, {
    details: { backend: scope.backend, ...details },
  })
}

/**
 * The error for the answer to another request (`ORLA_BACKEND_PROTOCOL`).
 *
 * @param answerId - id that it carries
 * @param delivered - deltas handed out before it; retryable only if there were none
 */
export function mixedUpError(scope: ErrorScope, answerId: string, delivered: number): BackendError {
  const id = answerId.slice(0, limits.nameLengthMax)
  return new BackendError(
    'ORLA_BACKEND_PROTOCOL',
    `backend "${scope.backend}" (${scope.origin}): the answer is that to another request, "${id}"; look at what is between`,
    { retryable: delivered === 0, details: { backend: scope.backend, answerId: id } },
  )
}

/**
 * The error for an answer that ended too early (`ORLA_BACKEND_TRUNCATED`).
 *
 * @param delivered - deltas handed out before it; retryable only if there were none
 */
export function truncatedError(scope: ErrorScope, what: string, delivered: number, cause?: unknown): BackendError {
  return new BackendError(
    'ORLA_BACKEND_TRUNCATED',
    `backend "${scope.backend}" (${scope.origin}): ${what}; ${delivered} piece(s) of the answer had arrived`,
    { retryable: delivered === 0, details: { backend: scope.backend, delivered }, cause },
  )
}

/**
 * The error for a connection that failed before any response: `ORLA_BACKEND_UNREACHABLE`, `ORLA_BACKEND_TIMEOUT`
 * (connect), `ORLA_BACKEND_PROTOCOL` for what is not HTTP, `ORLA_CLOSED` after our own close. All but the last are
 * retryable.
 *
 * @param connectMs - the connect deadline that was in force, ms
 */
export function connectionError(scope: ErrorScope, cause: unknown, connectMs: number): OrlaError {
  const code = codeOf(cause)
  if (code === 'UND_ERR_CONNECT_TIMEOUT') return new BackendTimeoutError(scope.backend, 'connect', connectMs)
  if (code === 'UND_ERR_DESTROYED' || code === 'UND_ERR_CLOSED') return closedError(scope)
  const details = { backend: scope.backend, origin: scope.origin, code }
  // undici names llhttp's reason as `HPE_...` where llhttp gives one, and its own class where it does not.
  const malformed = code.startsWith('HPE_') || (cause instanceof Error && cause.name === 'HTTPParserError')
  if (malformed || code === 'UND_ERR_HEADERS_OVERFLOW') {
    return new BackendError(
      'ORLA_BACKEND_PROTOCOL',
      `backend "${scope.backend}": what answers at ${scope.origin} does not speak HTTP as it should (${code === 'unknown' ? quote(scope, messageOf(cause)) : code})`,
      { retryable: true, details, cause },
    )
  }
  return new BackendError(
    'ORLA_BACKEND_UNREACHABLE',
    `backend "${scope.backend}": ${explainConnection(scope, code, cause)}`,
    { retryable: true, details, cause },
  )
}

/** The error for a request after the driver was closed (`ORLA_CLOSED`). */
export function closedError(scope: ErrorScope): OrlaError {
  return new OrlaError('ORLA_CLOSED', `backend "${scope.backend}" was closed`, { details: { backend: scope.backend } })
}

/** The stable code of a Node or undici error. */
function codeOf(cause: unknown): string {
  const code = typeof cause === 'object' && cause !== null ? (cause as { code?: unknown }).code : undefined
  return typeof code === 'string' ? code : 'unknown'
}

function explainConnection(scope: ErrorScope, code: string, cause: unknown): string {
  switch (code) {
    case 'ECONNREFUSED':
      return `nothing listens at ${scope.origin} (${code}). Start the engine there, or correct its url`
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `the host name of ${scope.origin} does not resolve (${code}). Check its spelling and the DNS`
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
    case 'ETIMEDOUT':
      return `no way to ${scope.origin} (${code}). Check the network and the firewall`
    case 'ECONNRESET':
    case 'EPIPE':
    case 'UND_ERR_SOCKET':
      return `${scope.origin} closed the connection before it answered (${code}). See the engine's own log`
    default:
      return `cannot talk to ${scope.origin} (${code}: ${quote(scope, messageOf(cause))}). Check url, TLS and network`
  }
}
