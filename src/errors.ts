// Every error that Orla raises, in one place.
//
// Match on `code`, not on the class: two copies of the package may be loaded, and an error that crossed a thread
// was rebuilt on this side. `instanceof OrlaError` works in both cases, by a registered symbol.

const brand = Symbol.for('orla.error')

/** Every stable error code. The README lists what each one means and what to do about it. */
export type ErrorCode =
  | 'ORLA_OPTIONS'
  | 'ORLA_INPUT'
  | 'ORLA_WORKFLOW_INVALID'
  | 'ORLA_MAPPING_INCOMPATIBLE'
  | 'ORLA_MAPPING_FAILED'
  | 'ORLA_QUEUE_FULL'
  | 'ORLA_BACKEND_OPEN'
  | 'ORLA_BACKEND_DRAINING'
  | 'ORLA_RETRY_BUDGET'
  | 'ORLA_REROUTED'
  | 'ORLA_TENANT_LIMIT'
  | 'ORLA_BACKEND_UNREACHABLE'
  | 'ORLA_BACKEND_HTTP'
  | 'ORLA_BACKEND_TIMEOUT'
  | 'ORLA_BACKEND_PROTOCOL'
  | 'ORLA_BACKEND_TRUNCATED'
  | 'ORLA_CONTEXT_LENGTH'
  | 'ORLA_STAGE_BUILDER'
  | 'ORLA_STAGE_OUTPUT'
  | 'ORLA_STAGE_MAX_TURNS'
  | 'ORLA_STAGE_TRUNCATED'
  | 'ORLA_STAGE_REFUSED'
  | 'ORLA_STAGE_TIMEOUT'
  | 'ORLA_TOOL'
  | 'ORLA_WORKER_TASK'
  | 'ORLA_SERVICE'
  | 'ORLA_RUNNER_LOST'
  | 'ORLA_CANCELLED'
  | 'ORLA_DEADLINE'
  | 'ORLA_BUDGET'
  | 'ORLA_LIMIT'
  | 'ORLA_CLOSED'
  | 'ORLA_INVARIANT'

/** One thing that is wrong with a definition, an option or an input. */
export interface Issue {
  /** Where, as a path a person can follow: `stages.reply.after[1]`. */
  path: string
  /** Stable code of the kind of mistake: `cycle`, `unknown_stage`, ... */
  code: string
  /** What is wrong, why, and what to do next. */
  message: string
}

/** An error as plain data: what crosses threads, goes into transitions, and is printed by `--json`. */
export interface ErrorFacts {
  name: string
  code: ErrorCode
  message: string
  retryable: boolean
  /** Ids and numbers that belong to the error: status, limits, backend, issues. */
  details?: Record<string, unknown>
  cause?: ErrorFacts | { name: string; message: string }
}

/** What an error is made of besides its message. */
export interface ErrorOptions {
  retryable?: boolean
  details?: Record<string, unknown>
  cause?: unknown
}

/**
 * Base of all errors of this package.
 *
 * `retryable` says whether the same request may succeed if sent again, elsewhere or later.
 */
export class OrlaError extends Error {
  readonly code: ErrorCode
  readonly retryable: boolean
  readonly details: Record<string, unknown> | undefined

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = new.target.name
    this.code = code
    this.retryable = options.retryable ?? false
    this.details = options.details
    Object.defineProperty(this, brand, { value: true })
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    // Only the base class is recognised by brand; subclasses keep the ordinary prototype check.
    if (this === OrlaError) return typeof value === 'object' && value !== null && brand in value
    return Function.prototype[Symbol.hasInstance].call(this, value)
  }

  /** The error as plain data. Survives `structuredClone` and JSON, whatever is in `details` and behind `cause`. */
  toJSON(): ErrorFacts {
    return factsOf(this, causesMax)
  }
}

/** Causes behind an error that are told. A chain may go round in a circle. */
const causesMax = 8
/** Nesting of details that is told. */
const detailsDepthMax = 8

function factsOf(error: OrlaError, causes: number): ErrorFacts {
  const { name, code, message, retryable, details, cause } = error
  const facts: ErrorFacts = { name, code, message, retryable }
  if (details !== undefined) facts.details = plain(details, detailsDepthMax) as Record<string, unknown>
  if (causes > 0 && cause instanceof OrlaError) facts.cause = factsOf(cause, causes - 1)
  else if (causes > 0 && cause instanceof Error) facts.cause = { name: cause.name, message: messageOf(cause) }
  return facts
}

/** `value` as plain data: what is none becomes text. */
function plain(value: unknown, depth: number): unknown {
  if (typeof value !== 'object' || value === null) {
    const isPlain = value === null || typeof value === 'string' || typeof value === 'boolean' || value === undefined
    return isPlain || Number.isFinite(value) ? value : messageOf(value)
  }
  if (depth === 0) return '[deeper]'
  try {
    if (Array.isArray(value)) return Array.from(value, (each) => plain(each, depth - 1))
    const prototype: unknown = Object.getPrototypeOf(value)
    if (prototype !== Object.prototype && prototype !== null) return messageOf(value)
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each, depth - 1)]))
  } catch {
    return unshowable
  }
}

function withIssues(what: string, issues: readonly Issue[]): string {
  const lines = issues.slice(0, 20).map((issue) => `  ${issue.path}: ${issue.message} [${issue.code}]`)
  if (issues.length > 20) lines.push(`  ... and ${issues.length - 20} more`)
  return `${what}\n${lines.join('\n')}`
}

/** An option given to the public API is wrong (`ORLA_OPTIONS`). All issues at once. */
export class OptionsError extends OrlaError {
  readonly issues: readonly Issue[]
  constructor(what: string, issues: readonly Issue[]) {
    super('ORLA_OPTIONS', withIssues(`${what}: ${issues.length} problem(s)`, issues), { details: { issues } })
    this.issues = issues
  }
}

/** The input of a run does not match its workflow's input schema (`ORLA_INPUT`). Nothing was started. */
export class InputError extends OrlaError {
  readonly issues: readonly Issue[]
  constructor(workflow: string, issues: readonly Issue[]) {
    super('ORLA_INPUT', withIssues(`input of workflow "${workflow}" is not valid`, issues), { details: { issues } })
    this.issues = issues
  }
}

/** A workflow definition cannot run (`ORLA_WORKFLOW_INVALID`): cycle, unknown stage, missing builder, limits ... */
export class WorkflowInvalidError extends OrlaError {
  readonly issues: readonly Issue[]
  constructor(workflow: string, issues: readonly Issue[]) {
    super(
      'ORLA_WORKFLOW_INVALID',
      withIssues(`workflow "${workflow}" is not valid: ${issues.length} problem(s)`, issues),
      {
        details: { issues },
      },
    )
    this.issues = issues
  }
}

/**
 * A stage cannot run where it was mapped.
 *
 * `ORLA_MAPPING_INCOMPATIBLE`: an explicit mapping failed its checks; raised before anything is queued.
 * `ORLA_MAPPING_FAILED`: a mapper threw, or named a backend that cannot serve the stage.
 */
export class MappingError extends OrlaError {
  readonly issues: readonly Issue[]
  constructor(
    code: 'ORLA_MAPPING_INCOMPATIBLE' | 'ORLA_MAPPING_FAILED',
    what: string,
    issues: readonly Issue[],
    cause?: unknown,
  ) {
    super(code, withIssues(what, issues), { details: { issues }, cause })
    this.issues = issues
  }
}

/**
 * A backend did not take a request: its queue is full, its breaker is open, it is draining or gone, it has as many
 * retries as it takes, its tenant has had what it may have (`ORLA_TENANT_LIMIT`), or the request does better at a replica (`ORLA_REROUTED`: it goes there by itself).
 */
export class RejectedError extends OrlaError {
  constructor(
    code:
      | 'ORLA_QUEUE_FULL'
      | 'ORLA_BACKEND_OPEN'
      | 'ORLA_BACKEND_DRAINING'
      | 'ORLA_RETRY_BUDGET'
      | 'ORLA_REROUTED'
      | 'ORLA_TENANT_LIMIT',
    message: string,
    details: Record<string, unknown>,
  ) {
    const final = code === 'ORLA_BACKEND_DRAINING' || code === 'ORLA_RETRY_BUDGET'
    super(code, message, { retryable: !final, details })
  }
}

/**
 * The engine, or the way to it, failed.
 *
 * `ORLA_BACKEND_UNREACHABLE` no connection · `ORLA_BACKEND_HTTP` an error status or an error object in a 200 ·
 * `ORLA_BACKEND_PROTOCOL` an answer that is not what the wire says · `ORLA_BACKEND_TRUNCATED` a stream that ended
 * without a finish reason · `ORLA_CONTEXT_LENGTH` the prompt does not fit the model.
 */
export class BackendError extends OrlaError {
  constructor(
    code:
      | 'ORLA_BACKEND_UNREACHABLE'
      | 'ORLA_BACKEND_HTTP'
      | 'ORLA_BACKEND_PROTOCOL'
      | 'ORLA_BACKEND_TRUNCATED'
      | 'ORLA_CONTEXT_LENGTH',
    message: string,
    options: ErrorOptions = {},
  ) {
    super(code, message, options)
  }
}

/** Which of a request's deadlines passed. */
export type TimeoutKind = 'connect' | 'firstToken' | 'idle' | 'total'

/** A request to a backend took too long (`ORLA_BACKEND_TIMEOUT`); `details.timeout` says which deadline passed. */
export class BackendTimeoutError extends OrlaError {
  constructor(backend: string, timeout: TimeoutKind, limitMs: number) {
    super('ORLA_BACKEND_TIMEOUT', `backend "${backend}": no ${describeTimeout(timeout)} within ${limitMs} ms`, {
      retryable: true,
      details: { backend, timeout, limitMs },
    })
  }
}

function describeTimeout(timeout: TimeoutKind): string {
  switch (timeout) {
    case 'connect':
      return 'connection'
    case 'firstToken':
      return 'first token'
    case 'idle':
      return 'further token'
    case 'total':
      return 'complete answer'
  }
}

/**
 * A stage could not produce its result.
 *
 * `ORLA_STAGE_BUILDER` user code that builds the prompt or a condition threw · `ORLA_STAGE_OUTPUT` no answer matched
 * the output schema after the repair turns · `ORLA_STAGE_MAX_TURNS` the model kept asking for tools ·
 * `ORLA_STAGE_TRUNCATED` cut by the token limit · `ORLA_STAGE_REFUSED` the model refused · `ORLA_STAGE_TIMEOUT` the
 * stage as a whole took too long.
 */
export class StageError extends OrlaError {
  constructor(
    code:
      | 'ORLA_STAGE_BUILDER'
      | 'ORLA_STAGE_OUTPUT'
      | 'ORLA_STAGE_MAX_TURNS'
      | 'ORLA_STAGE_TRUNCATED'
      | 'ORLA_STAGE_REFUSED'
      | 'ORLA_STAGE_TIMEOUT',
    message: string,
    options: ErrorOptions = {},
  ) {
    super(code, message, options)
  }
}

/** Who ended a run or a request before its time. */
export type CancelledBy = 'caller' | 'sibling' | 'deadline' | 'shutdown'

/**
 * The work was stopped from outside. `details.by` says by whom: the caller, a failed sibling stage, the deadline
 * (then the code is `ORLA_DEADLINE`), or the runtime shutting down.
 */
export class CancelledError extends OrlaError {
  readonly by: CancelledBy
  constructor(by: CancelledBy, reason: string) {
    super(by === 'deadline' ? 'ORLA_DEADLINE' : 'ORLA_CANCELLED', reason, { details: { by } })
    this.by = by
  }
}

/**
 * The runner thread of a run ended, and the run with it (`ORLA_RUNNER_LOST`). `details.tools` names the tools it had
 * called that are not declared `repeatable`: their effects may have happened.
 */
export class RunnerLostError extends OrlaError {
  constructor(runId: string, why: string, tools: readonly string[]) {
    const effects =
      tools.length > 0
        ? `it had called ${tools.join(', ')}, whose effects may have happened; look before starting it again, or declare the tools repeatable`
        : 'start it again, and look for what ends the thread'
    const details = { runId, tools: [...tools] }
    super('ORLA_RUNNER_LOST', `the runner thread of ${runId} ended (${why}): ${effects}`, {
      retryable: tools.length === 0,
      details,
    })
  }
}

/** A bug of ours (`ORLA_INVARIANT`): a state that must not happen. Please report it. */
export class InvariantError extends OrlaError {
  constructor(message: string, details?: Record<string, unknown>) {
    super(
      'ORLA_INVARIANT',
      `${message} (this is a bug in orla, please report it)`,
      details === undefined ? {} : { details },
    )
  }
}

/** Throws {@link InvariantError} unless `condition` holds. For programmer errors only, never for input. */
export function assert(condition: unknown, message: string, details?: Record<string, unknown>): asserts condition {
  if (!condition) throw new InvariantError(message, details)
}

/** Whether an engine has more to do than it takes now (429). It is not sick: it says so, and when to come again. */
function saysOverloaded(error: OrlaError): boolean {
  return error.code === 'ORLA_BACKEND_HTTP' && error.retryable && error.details?.['status'] === 429
}

/** What a failure says of the backend's health: it is sick; nothing; or it is well, and the request was wrong. */
export function healthVerdict(error: OrlaError): 'ok' | 'faulty' | 'inconclusive' {
  if (error instanceof CancelledError || saysOverloaded(error)) return 'inconclusive'
  return blamesBackend(error) ? 'faulty' : 'ok'
}

/** Whether a failure says that the backend is sick or overloaded, rather than that the request was wrong. */
export function blamesBackend(error: OrlaError): boolean {
  switch (error.code) {
    case 'ORLA_BACKEND_UNREACHABLE':
    case 'ORLA_BACKEND_TIMEOUT':
    case 'ORLA_BACKEND_TRUNCATED':
    case 'ORLA_BACKEND_PROTOCOL':
      return true
    case 'ORLA_BACKEND_HTTP':
      return error.retryable
    default:
      return false
  }
}

/** Any thrown value as an `OrlaError`; what is not one becomes `fallback` with the value as its cause. */
export function toOrlaError(value: unknown, fallback: ErrorCode, what: string): OrlaError {
  if (value instanceof OrlaError) return value
  return new OrlaError(fallback, `${what}: ${messageOf(value)}`, { cause: value })
}

const unshowable = 'a value that cannot be shown'

/** The message of any thrown value, never throwing itself. */
export function messageOf(value: unknown): string {
  try {
    return String(value instanceof Error ? value.message : value)
  } catch {
    return unshowable
  }
}

/** Rebuilds an error from its facts, on the other side of a thread or a process. Class-specific fields live in `details`. */
export function errorFromFacts(facts: ErrorFacts): OrlaError {
  const options: ErrorOptions = { retryable: facts.retryable }
  if (facts.details !== undefined) options.details = facts.details
  if (facts.cause !== undefined) {
    const { cause } = facts
    options.cause =
      'code' in cause ? errorFromFacts(cause) : Object.assign(new Error(cause.message), { name: cause.name })
  }
  const error = new OrlaError(facts.code, facts.message, options)
  error.name = facts.name
  return error
}
