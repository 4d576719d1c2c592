// A link: one living connection to an MCP server, from the handshake to its end
//
// Owns: the SDK's client and transport, the child process or HTTP session behind them, the calls in flight.
// Does not own: when to connect again (connection.ts).
// Invariants
//   L1. Every request settles: answered, timed out, cancelled, or failed when the link ends.
//   L2. A retired link takes no new request; it closes when its last one is settled.
//   L3. `onEnd` is called once, whoever ended the link.

import type { Client } from '@modelcontextprotocol/sdk/client/index.js'
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js'
import type { z } from 'zod'
import type { Clock, Timer } from '../clock.ts'
import { limits } from '../limits.ts'
import { redact, type Logger } from '../log.ts'
import { guardedFetch } from './guarded-fetch.ts'
import { secretsOf, type ServerSettings } from './mcp-options.ts'

/** What a link is made with. */
export interface LinkInput {
  server: ServerSettings
  clock: Clock
  log: Logger
  connectTimeoutMs: number
  signal: AbortSignal | undefined
  /** The server's list of tools changed. */
  onToolsChanged: () => void
  /** The link is over. */
  onEnd: () => void
}

/** Bounds of one request. */
export interface RequestBounds {
  timeoutMs: number
  signal?: AbortSignal | undefined
}

/** One living connection. */
export interface Link {
  /** What the server calls itself. */
  readonly serverName: string | undefined
  /** True once the server, or the way to it, is gone. */
  readonly ended: boolean
  /** Last words of the server's standard error; empty over HTTP. Secrets are redacted. */
  readonly lastWords: string
  request<S extends z.ZodType>(
    method: 'tools/list' | 'tools/call',
    params: Record<string, unknown>,
    schema: S,
    bounds: RequestBounds,
  ): Promise<z.output<S>>
  /** Takes no new request; closes when the last one is settled. */
  retire(): void
  close(): Promise<void>
}

/** Characters of a server's standard error that are kept, for the message when it dies. */
const lastWordsCharsMax = 2_000
/** Milliseconds that saying goodbye to an HTTP session may take. */
const goodbyeMs = 2_000
/** Milliseconds within which a server that may be gone must answer a ping. */
const pingTimeoutMs = 5_000

/**
 * Starts or reaches the server and shakes hands.
 *
 * @throws what the SDK throws: a spawn error, an HTTP error, a timeout
 */
export async function openLink(input: LinkInput): Promise<Link> {
  const [{ Client: SdkClient }, { ToolListChangedNotificationSchema }] = await Promise.all([
    import('@modelcontextprotocol/sdk/client/index.js'),
    import('@modelcontextprotocol/sdk/types.js'),
  ])
  const client = new SdkClient(
    { name: 'orla', version: '0.1.0' },
    {
      // Nothing of this side is offered to servers: no sampling, no elicitation, no roots.
      capabilities: {},
    },
  )
  client.setNotificationHandler(ToolListChangedNotificationSchema, () => input.onToolsChanged())
  const link = new OpenLink(input, client, await makeTransport(input))
  await link.connect()
  return link
}

/** A transport, with how to end its session politely. */
interface Carrier {
  transport: Transport
  lastWords: () => string
  goodbye: () => Promise<void>
}

class OpenLink implements Link {
  readonly #input: LinkInput
  readonly #client: Client
  readonly #carrier: Carrier
  #inFlight = 0
  #retired = false
  #ended = false
  #closing: Promise<void> | undefined

  constructor(input: LinkInput, client: Client, carrier: Carrier) {
    this.#input = input
    this.#client = client
    this.#carrier = carrier
  }

  get serverName(): string | undefined {
    return this.#client.getServerVersion()?.name
  }

  get ended(): boolean {
    return this.#ended
  }

  get lastWords(): string {
    return this.#carrier.lastWords()
  }

  async connect(): Promise<void> {
    const { signal, connectTimeoutMs, log } = this.#input
    this.#client.onclose = () => this.#end()
    this.#client.onerror = (error) => {
      log.debug(
        { error: redact(error.message.slice(0, lastWordsCharsMax), secretsOf(this.#input.server)) },
        'MCP transport',
      )
      // All that the SDK says when it stops trying to resume a stream: requests that wait on it would wait for ever.
      if (error.message.startsWith('Maximum reconnection attempts')) void this.#checkAlive()
    }
    try {
      await this.#client.connect(this.#carrier.transport, bounds({ timeoutMs: connectTimeoutMs, signal }))
    } catch (error) {
      await this.#client.close()
      const words = this.lastWords
      throw words === '' ? error : new Error(`${(error as Error).message}; it said: ${words}`, { cause: error })
    }
  }

  async request<S extends z.ZodType>(
    method: 'tools/list' | 'tools/call',
    params: Record<string, unknown>,
    schema: S,
    given: RequestBounds,
  ): Promise<z.output<S>> {
    this.#inFlight++
    try {
      // Not `callTool` and `listTools`: those compile the server's output schemas.
      return await this.#client.request({ method, params }, schema, bounds(given))
    } finally {
      this.#inFlight--
      if (this.#retired && this.#inFlight === 0) void this.close()
    }
  }

  retire(): void {
    this.#retired = true
    if (this.#inFlight === 0) void this.close()
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    if (!this.#ended) await this.#carrier.goodbye()
    await this.#client.close()
    this.#end()
  }

  #end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#input.onEnd()
  }

  async #checkAlive(): Promise<void> {
    try {
      await this.#client.ping(bounds({ timeoutMs: pingTimeoutMs }))
    } catch {
      await this.#client.close()
    }
  }
}

function bounds({ timeoutMs, signal }: RequestBounds): { timeout: number; signal?: AbortSignal } {
  return signal === undefined ? { timeout: timeoutMs } : { timeout: timeoutMs, signal }
}

async function makeTransport(input: LinkInput): Promise<Carrier> {
  return input.server.transport === 'stdio' ? stdioCarrier(input, input.server) : httpCarrier(input, input.server)
}

async function stdioCarrier({ log }: LinkInput, server: ServerSettings & { transport: 'stdio' }): Promise<Carrier> {
  const { getDefaultEnvironment, StdioClientTransport } = await import('@modelcontextprotocol/sdk/client/stdio.js')
  const transport = new StdioClientTransport({
    command: server.command,
    args: [...(server.args ?? [])],
    env: childEnvironment(getDefaultEnvironment(), server.env ?? {}),
    stderr: 'pipe',
    maxBufferSize: limits.mcpMessageBytesMax,
    ...(server.cwd !== undefined && { cwd: server.cwd }),
  })
  // The SDK's transport waits for the pipe once for each message that is behind: one after the other, they wait once.
  const sendNow = transport.send.bind(transport)
  let last: Promise<unknown> = Promise.resolve()
  transport.send = (message) => {
    const sent = last.then(() => sendNow(message))
    last = sent.catch(() => {})
    return sent
  }
  const secrets = secretsOf(server)
  let words = ''
  transport.stderr?.on('data', (chunk: Buffer) => {
    // Kept twice as long as shown, so that a secret cut in two at the front is not shown.
    words = `${words}${chunk.toString()}`.slice(-2 * lastWordsCharsMax)
    log.debug({ stderr: redact(chunk.toString().slice(0, lastWordsCharsMax), secrets) }, 'MCP server')
  })
  const lastWords = (): string => redact(words, secrets).trim().slice(-lastWordsCharsMax)
  return { transport, lastWords, goodbye: () => Promise.resolve() }
}

/**
 * What a child process gets: `given`, PATH and HOME, and what Windows cannot start a program without.
 *
 * @param inherited - what the SDK would pass on; it is overwritten, because the SDK adds it to what it is given
 */
export function childEnvironment(
  inherited: Readonly<Record<string, string>>,
  given: Readonly<Record<string, string>>,
): Record<string, string> {
  const kept = /^(PATH|HOME|SYSTEMROOT|SYSTEMDRIVE|USERPROFILE|APPDATA|LOCALAPPDATA|TEMP|PROCESSOR_ARCHITECTURE)$/i
  // Node leaves a variable out whose value is undefined, and only then: deleting it here would let the SDK's through.
  const masked = Object.keys(inherited).map((key) => [key, kept.test(key) ? inherited[key] : undefined])
  return { ...(Object.fromEntries(masked) as Record<string, string>), ...given }
}

async function httpCarrier({ clock }: LinkInput, server: ServerSettings & { transport: 'http' }): Promise<Carrier> {
  const { StreamableHTTPClientTransport } = await import('@modelcontextprotocol/sdk/client/streamableHttp.js')
  const transport = new StreamableHTTPClientTransport(server.url, {
    fetch: guardedFetch(clock),
    requestInit: { headers: { ...server.headers } },
    reconnectionOptions: {
      initialReconnectionDelay: 250,
      reconnectionDelayGrowFactor: 2,
      maxReconnectionDelay: 5_000,
      maxRetries: 2,
    },
  })
  const goodbye = async (): Promise<void> => {
    let timer: Timer | undefined
    const late = new Promise<void>((resolve) => {
      timer = clock.setTimer(goodbyeMs, resolve)
    })
    await Promise.race([transport.terminateSession().catch(() => {}), late])
    clock.clearTimer(timer)
  }
  return { transport, lastWords: () => '', goodbye }
}
