// A connection: the way to one MCP server over the life of its tools, across links that come and go
//
// Owns: the current link, the attempt to make one, the pause after failures.
// Does not own: the transport (link.ts), what is offered to models (mcp-tools.ts).
// Invariants
//   C1. At most one link takes calls, and at most one attempt to make one is under way.
//   C2. Nothing happens in the background: a link is made when a call needs one, at most one attempt a call, with a pause
//       after each failure that doubles up to a minute.
//   C3. A call is never repeated once a server may have seen it: tools have effects.
//   C4. After `close` nothing is started, and nothing is left behind.

import { z } from 'zod'
import { CancelledError, messageOf, OrlaError } from '../errors.ts'
import { limits } from '../limits.ts'
import { redact } from '../log.ts'
import { answerLostCode } from './guarded-fetch.ts'
import { openLink, type Link } from './link.ts'
import { labelOf, secretsOf, type McpSettings, type ServerSettings } from './mcp-options.ts'
import { ToolPage } from './tool-catalog.ts'
import { CallResult, cut } from './tool-result.ts'

/** Milliseconds that the SDK waits longer than the caller, whose own timer says which tool was late. */
const graceMs = 1_000

/** Code of the SDK's own error for an answer that is late. */
const requestTimeoutCode = -32_001

/** Characters of a server's error message that are quoted. */
const messageCharsMax = 2_000

/** The way to one MCP server. */
export class Connection {
  readonly #server: ServerSettings
  readonly #settings: McpSettings
  readonly #onToolsChanged: () => void
  readonly #closer = new AbortController()
  #link: Link | undefined
  #opening: Promise<Link> | undefined
  /** Links that still finish their last calls. */
  readonly #retired = new Set<Link>()
  #failures = 0
  #retryAtMs = 0
  #everOpened = false
  #label: string
  #closing: Promise<void> | undefined

  constructor(server: ServerSettings, settings: McpSettings, onToolsChanged: () => void) {
    this.#server = server
    this.#settings = settings
    this.#onToolsChanged = onToolsChanged
    this.#label = settings.name ?? labelOf(server)
  }

  /** What messages call the server. */
  get label(): string {
    return this.#label
  }

  /**
   * Every tool that the server lists, unchecked.
   *
   * @param signal - stops it
   * @throws {OrlaError} `ORLA_TOOL` if the server cannot be reached, `ORLA_LIMIT` if it lists too many
   */
  async list(signal?: AbortSignal): Promise<unknown[]> {
    const { connectTimeoutMs, clock } = this.#settings
    const untilMs = clock.nowMs() + connectTimeoutMs
    const tools: unknown[] = []
    let cursor: string | undefined
    // A page may be empty, so pages are counted too.
    for (let pages = 0; pages < limits.mcpToolsMax; pages++) {
      const timeoutMs = Math.max(1, untilMs - clock.nowMs())
      const bounds = { timeoutMs, signal: anySignal(signal, this.#closer.signal) }
      const params = cursor === undefined ? {} : { cursor }
      const page = await this.#send('tools/list', params, ToolPage, bounds, 'it was asked for its tools')
      tools.push(...page.tools)
      cursor = page.nextCursor
      if (cursor === undefined && tools.length <= limits.mcpToolsMax) return tools
      if (tools.length > limits.mcpToolsMax) break
    }
    throw new OrlaError('ORLA_LIMIT', `MCP server "${this.#label}" lists more than ${limits.mcpToolsMax} tools`)
  }

  /**
   * Calls a tool by the server's name.
   *
   * @throws {OrlaError} `ORLA_TOOL` with what a model can be told; `ORLA_CANCELLED` when `signal` aborts; `ORLA_CLOSED`
   */
  call(name: string, args: unknown, signal: AbortSignal): Promise<CallResult> {
    const bounds = { timeoutMs: this.#settings.timeoutMs + graceMs, signal }
    return this.#send('tools/call', { name, arguments: args }, CallResult, bounds, `"${name}" was called`)
  }

  /** Ends the server or the session. Calls in flight fail. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#closer.abort()
    await this.#opening?.catch(() => {})
    const links = [...this.#retired]
    if (this.#link !== undefined) links.push(this.#link)
    await Promise.all(links.map((link) => link.close()))
  }

  async #send<S extends z.ZodType>(
    method: 'tools/list' | 'tools/call',
    params: Record<string, unknown>,
    schema: S,
    bounds: { timeoutMs: number; signal: AbortSignal | undefined },
    when: string,
  ): Promise<z.output<S>> {
    for (let attempt = 1; ; attempt++) {
      const link = await this.#linkFor(bounds.signal)
      try {
        const result = await link.request(method, params, schema, bounds)
        this.#failures = 0
        return result
      } catch (error) {
        if (bounds.signal?.aborted === true) throw stopped(when)
        const refused = isSessionLost(error)
        if (refused || isUnreachable(error)) this.#retire(link)
        // The server refused the session before it looked at the request: the one case where it cannot have run (C3).
        if (refused && attempt === 1 && this.#settings.reconnect) continue
        throw this.#explain(error, link, when)
      }
    }
  }

  /** The current link, or a new one. Waits no longer than the caller does. */
  async #linkFor(signal: AbortSignal | undefined): Promise<Link> {
    if (this.#closing !== undefined) throw this.#closedError()
    if (this.#link?.ended === false) return this.#link
    if (this.#opening === undefined) {
      this.#checkMayOpen()
      this.#opening = this.#open().finally(() => {
        this.#opening = undefined
      })
      this.#opening.catch(() => {})
    }
    return await abortable(this.#opening, signal, () => stopped('it was being reached'))
  }

  #checkMayOpen(): void {
    if (!this.#everOpened) return
    if (!this.#settings.reconnect) throw this.#error('is gone, and `reconnect` is off', {})
    const waitMs = Math.ceil(this.#retryAtMs - this.#settings.clock.nowMs())
    if (waitMs > 0)
      throw this.#error(`is gone; the next attempt to reach it is made in ${waitMs} ms at the earliest`, {})
  }

  async #open(): Promise<Link> {
    const { clock, log, connectTimeoutMs, signal, name } = this.#settings
    const first = !this.#everOpened
    let made: Link | undefined
    try {
      const link = await openLink({
        server: this.#server,
        clock,
        log,
        connectTimeoutMs,
        // The caller's signal is for the first connection only.
        signal: anySignal(first ? signal : undefined, this.#closer.signal),
        onToolsChanged: this.#onToolsChanged,
        onEnd: () => this.#ended(made),
      })
      made = link
      this.#everOpened = true
      this.#label = name ?? link.serverName ?? this.#label
      this.#link = link
      return link
    } catch (error) {
      this.#failed()
      if (this.#closing !== undefined) throw this.#closedError()
      if (first && signal?.aborted === true) throw stopped(`MCP server "${this.#label}" was being reached`)
      throw this.#error(
        `could not be ${this.#server.transport === 'stdio' ? 'started' : 'reached'}: ${describeCause(error)}${hintFor(error)}`,
        { retryable: true },
      )
    }
  }

  #retire(link: Link): void {
    if (this.#link === link) this.#link = undefined
    if (this.#retired.has(link) || link.ended) return
    this.#failed()
    this.#retired.add(link)
    link.retire()
  }

  #ended(link: Link | undefined): void {
    if (link === undefined) return
    this.#retired.delete(link)
    if (this.#link !== link) return
    this.#link = undefined
    this.#failed()
    if (this.#closing === undefined) {
      this.#settings.log.warn({ server: this.#label, lastWords: link.lastWords }, 'the MCP server is gone')
    }
  }

  /** The first failure after a success costs no pause: most servers that crash can be started again at once. */
  #failed(): void {
    const { retryBackoffMsDefault, retryBackoffMsMax } = limits
    const pauseMs = Math.min(retryBackoffMsDefault * 2 ** Math.min(this.#failures - 1, 20), retryBackoffMsMax)
    this.#retryAtMs = this.#failures === 0 ? 0 : this.#settings.clock.nowMs() + pauseMs
    this.#failures++
  }

  #explain(error: unknown, link: Link, when: string): OrlaError {
    if (this.#closing !== undefined) return this.#closedError()
    if (error instanceof z.core.$ZodError) return this.#error(`answered in a form that is not MCP when ${when}`, {})
    const code = codeOf(error)
    if (code === requestTimeoutCode && /timed out/.test(messageOf(error))) {
      return this.#error(`did not answer in time when ${when}`, { retryable: true })
    }
    const lost = code === answerLostCode || link.ended || isUnreachable(error)
    if (!lost) return this.#error(`refused when ${when}: ${describeCause(error)}`, {})
    const words = link.lastWords === '' ? '' : `; it said: ${link.lastWords}`
    return this.#error(
      `was lost when ${when}: whether the call took effect is not known (${describeCause(error)}${words})`,
      { retryable: true },
    )
  }

  /** Without a cause: the message has its words, and a cause would carry them past the redaction. */
  #error(what: string, options: { retryable?: boolean }): OrlaError {
    const message = redact(`MCP server "${this.#label}" ${what}`, secretsOf(this.#server))
    return new OrlaError('ORLA_TOOL', message, options)
  }

  #closedError(): OrlaError {
    return new OrlaError('ORLA_CLOSED', `the connection to MCP server "${this.#label}" was closed; call mcpTools again`)
  }
}

function stopped(when: string): CancelledError {
  return new CancelledError('caller', `stopped when ${when}`)
}

function codeOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined
}

/** The session is not known (any more): the server restarted, or forgot it. Servers say 404, some say 400. */
function isSessionLost(error: unknown): boolean {
  const code = codeOf(error)
  return code === 404 || (code === 400 && /session/i.test(messageOf(error)))
}

/** fetch says TypeError for everything that is no answer. */
function isUnreachable(error: unknown): boolean {
  return error instanceof TypeError
}

/** The message with the innermost reason: fetch hides "connection refused" in its cause. */
function describeCause(error: unknown): string {
  const inner = error instanceof Error && error.cause instanceof Error ? error.cause : undefined
  const message = messageOf(error).replace(/^(?:MCP error -?\d+: )+/, '')
  const innerCode = codeOf(inner)
  const innerMessage = inner?.message || (typeof innerCode === 'string' ? innerCode : '')
  const whole = innerMessage === '' || message.includes(innerMessage) ? message : `${message}: ${innerMessage}`
  return cut(whole, messageCharsMax, 'the message')
}

function hintFor(error: unknown): string {
  return codeOf(error) === 'ENOENT' ? '; is the command installed, and on PATH? is `cwd` a folder?' : ''
}

function anySignal(...signals: (AbortSignal | undefined)[]): AbortSignal {
  return AbortSignal.any(signals.filter((signal) => signal !== undefined))
}

/** `promise`, or what `reason` makes once `signal` aborts. */
async function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined, reason: () => Error): Promise<T> {
  if (signal === undefined) return await promise
  if (signal.aborted) throw reason()
  let stop: (() => void) | undefined
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(reason())
    signal.addEventListener('abort', stop, { once: true })
  })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    signal.removeEventListener('abort', stop!)
  }
}
