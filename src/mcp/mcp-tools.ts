// Tools from MCP servers: a server's tools as a tool set that stages offer
//
// Owns: the tools made from one server's list, and listing them anew when the server says that they changed.
// Does not own: the way to the server (connection.ts), which tools a stage offers (the stage).
// Invariants
//   M1. A tool keeps its name, description and schema for as long as it lives.
//   M2. What a server says reaches a model as the result of a call that the model made, or as the description of a tool
//       that a stage offers, and in no other way.
//   M3. At most one listing is under way, however often a server says that its list changed.

import type { Timer } from '../clock.ts'
import { messageOf, OrlaError } from '../errors.ts'
import type { ToolDefinition, ToolSet } from '../workflow/tool.ts'
import { Connection } from './connection.ts'
import { parseMcpOptions, type McpServer, type McpSettings, type McpToolsOptions } from './mcp-options.ts'
import { catalogOf, type Catalog, type OfferedTool, type SkippedTool } from './tool-catalog.ts'
import { resultText } from './tool-result.ts'
import { toolInputSchema } from './tool-schema.ts'

/** The tools of one MCP server, and the connection to it. */
export interface McpTools extends AsyncDisposable {
  /** The tools by the names that models call them. Give them to stages, or a part with `pick`. */
  readonly tools: ToolSet
  /** Tools that the server has and that cannot be offered, each with why. */
  readonly skipped: readonly SkippedTool[]
  /** Ends the server or the session. Calls in flight fail, and so do calls that come later. */
  close(): Promise<void>
}

/** Milliseconds from a server's word that its list changed to asking for it: many words, one listing. */
const relistPauseMs = 1_000

/**
 * Connects to an MCP server and makes its tools ready for stages.
 *
 * Tools of a server run as tools of the host do: in parallel, without a slot, within their time; what goes wrong, a crash
 * of the server in the middle of a call included, is answered to the model as an error. Works on the real clock: a server
 * that is a process of its own knows nothing of virtual time.
 *
 * @param server - a command to start, or the URL of a streamable HTTP endpoint
 * @throws {OptionsError} `ORLA_OPTIONS`: wrong options, names that clash or that engines do not take, all at once
 * @throws {OrlaError} `ORLA_TOOL` if the server cannot be started or reached, `ORLA_LIMIT` if it lists too many tools
 * @throws {CancelledError} `ORLA_CANCELLED` if `options.signal` aborts
 */
export async function mcpTools(server: McpServer, options: McpToolsOptions = {}): Promise<McpTools> {
  const { server: parsed, settings } = parseMcpOptions(server, options)
  const relist = new Relist(settings, () => connection.list())
  const connection: Connection = new Connection(parsed, settings, () => relist.ask())
  const close = (): Promise<void> => {
    relist.stop()
    return connection.close()
  }
  try {
    // Before the label is read: the server says its name while it is being reached.
    const found = await connection.list(settings.signal)
    const catalog = catalogOf(connection.label, found, settings)
    const tools = toToolSet(catalog, connection, settings)
    relist.start((listed) => {
      // A tool that is gone is no mistake of the options any more.
      const names = new Set(listed.map(nameOf))
      const allow = settings.allow?.filter((name) => names.has(name))
      const rename = Object.fromEntries(Object.entries(settings.rename).filter(([name]) => names.has(name)))
      const changed = catalogOf(connection.label, listed, { prefix: settings.prefix, allow, rename })
      settings.onToolsChanged?.(toToolSet(changed, connection, settings))
    })
    return { tools, skipped: catalog.skipped, close, [Symbol.asyncDispose]: close }
  } catch (error) {
    await close()
    throw error
  }
}

function toToolSet(catalog: Catalog, connection: Connection, settings: McpSettings): ToolSet {
  return Object.fromEntries(catalog.offered.map((offered) => [offered.name, toTool(offered, connection, settings)]))
}

function toTool(offered: OfferedTool, connection: Connection, settings: McpSettings): ToolDefinition {
  const { timeoutMs, concurrency, resultCharsMax } = settings
  return {
    description: offered.description,
    input: toolInputSchema(offered.inputSchema),
    timeoutMs,
    concurrency,
    async run(args, { signal }) {
      const result = await connection.call(offered.serverName, args, signal)
      const text = resultText(result, resultCharsMax)
      if (result.isError === true) throw new OrlaError('ORLA_TOOL', text)
      return text
    },
  }
}

function nameOf(listed: unknown): unknown {
  return typeof listed === 'object' && listed !== null && 'name' in listed ? listed.name : undefined
}

/** Lists again when asked, one at a time, and not before the tools were listed first. */
class Relist {
  readonly #settings: McpSettings
  readonly #list: () => Promise<unknown[]>
  #apply: ((listed: unknown[]) => void) | undefined
  #timer: Timer | undefined
  #busy = false
  #askedAgain = false
  #stopped = false

  constructor(settings: McpSettings, list: () => Promise<unknown[]>) {
    this.#settings = settings
    this.#list = list
  }

  start(apply: (listed: unknown[]) => void): void {
    this.#apply = apply
    if (this.#askedAgain) this.ask()
  }

  ask(): void {
    if (this.#stopped || this.#settings.onToolsChanged === undefined) return
    this.#askedAgain = true
    if (this.#busy || this.#apply === undefined) return
    this.#busy = true
    this.#timer = this.#settings.clock.setTimer(relistPauseMs, () => void this.#run(this.#apply!))
  }

  stop(): void {
    this.#stopped = true
    this.#settings.clock.clearTimer(this.#timer)
  }

  async #run(apply: (listed: unknown[]) => void): Promise<void> {
    this.#askedAgain = false
    try {
      const listed = await this.#list()
      if (!this.#stopped) apply(listed)
    } catch (error) {
      this.#settings.log.warn({ error: messageOf(error) }, 'the changed tools of an MCP server could not be offered')
    }
    this.#busy = false
    if (this.#askedAgain) this.ask()
  }
}
