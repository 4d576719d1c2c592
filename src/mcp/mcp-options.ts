// Options of `mcpTools`: which server, and what of it is let through.

import { z } from 'zod'
import { realClock, type Clock } from '../clock.ts'
import { OptionsError, type Issue } from '../errors.ts'
import { limits } from '../limits.ts'
import { silentLogger, type Logger } from '../log.ts'
import { issuesOf } from '../schema/options.ts'
import type { ToolSet } from '../workflow/tool.ts'

/** A server that is started as a child process and spoken to over its standard input and output. */
export interface McpCommand {
  /** Program, looked up on PATH. Never run through a shell. */
  command: string
  args?: readonly string[]
  /** What the child gets besides PATH and HOME. Nothing else of this process's environment reaches it. */
  env?: Readonly<Record<string, string>>
  /** Where it runs; default: where this process does. */
  cwd?: string
}

/** A server that is reached over streamable HTTP. */
export interface McpUrl {
  /** `http:` or `https:`, without user or password: put credentials into `headers`. */
  url: string | URL
  /** Sent with every request. */
  headers?: Readonly<Record<string, string>>
}

/** An MCP server: a command to start, or a URL to reach. */
export type McpServer = McpCommand | McpUrl

/** Options of `mcpTools`. */
export interface McpToolsOptions {
  /** What messages call the server; default: what it calls itself. */
  name?: string
  /** Tools to offer, by the server's names; default all. A name that the server does not have is an error. */
  allow?: readonly string[]
  /** Put before every name, so that two servers with a tool of the same name fit into one stage: `files_`. */
  prefix?: string
  /** Other names for tools, by the server's names; taken as they are, without the prefix. */
  rename?: Readonly<Record<string, string>>
  /** Milliseconds one call may take, up to a day; default 60,000. The server is told when it is over. */
  timeoutMs?: number
  /** Milliseconds to start or reach the server and list its tools; default 30,000. */
  connectTimeoutMs?: number
  /** Calls of one tool that run at once, over all runs; default 32. The rest waits. */
  concurrency?: number
  /** Characters of a result that go to the model, up to and by default 1,000,000; the rest is cut and said to be cut. */
  resultCharsMax?: number
  /** False: a server that is gone stays gone. Default true: the next call starts or reaches it again. */
  reconnect?: boolean
  /**
   * Called with the new tools when the server says that its list changed. The tools that workflows were built with stay
   * as they are: names and descriptions never change behind a workflow's back.
   */
  onToolsChanged?: (tools: ToolSet) => void
  /** Stops connecting. */
  signal?: AbortSignal
  /** Hears what the server writes to its standard error (debug), and of lost connections (warn). */
  log?: Logger
  /** Time of reconnects. Default: the computer's own. */
  clock?: Clock
}

const dayMs = 86_400_000

const CommandSchema = z.strictObject({
  command: z.string().min(1),
  args: z.array(z.string()).readonly().optional(),
  env: z.record(z.string().regex(/^[^=\0]+$/, 'a name without "="'), z.string()).optional(),
  cwd: z.string().min(1).optional(),
})

const UrlSchema = z.strictObject({
  url: z.union([z.string(), z.instanceof(URL)]).transform((given, context) => {
    const url = URL.canParse(String(given)) ? new URL(given) : undefined
    const problem = urlProblem(url)
    if (problem !== undefined) context.addIssue({ code: 'custom', message: problem })
    return url ?? new URL('http://invalid')
  }),
  headers: z
    .record(z.string(), z.string())
    .refine(areHeaders, 'a header name or value that HTTP does not allow')
    .optional(),
})

const OptionsSchema = z.strictObject({
  name: z.string().min(1).max(limits.nameLengthMax).optional(),
  allow: z.array(z.string()).readonly().optional(),
  prefix: z.string().max(64).default(''),
  rename: z.record(z.string(), z.string()).default({}),
  timeoutMs: z.int().min(1).max(dayMs).default(limits.toolTimeoutMsDefault),
  connectTimeoutMs: z.int().min(1).max(dayMs).default(limits.mcpConnectTimeoutMsDefault),
  concurrency: z.int().min(1).default(limits.mcpCallsPerToolDefault),
  resultCharsMax: z.int().min(1).max(limits.toolResultCharsMax).default(limits.toolResultCharsMax),
  reconnect: z.boolean().default(true),
  onToolsChanged: z.custom<(tools: ToolSet) => void>((value) => typeof value === 'function').optional(),
  signal: z.instanceof(AbortSignal).optional(),
  log: z.custom<Logger>((value) => typeof value === 'object' && value !== null).default(silentLogger),
  clock: z.custom<Clock>((value) => typeof value === 'object' && value !== null).default(() => realClock()),
})

/** Options in their complete form. */
export type McpSettings = z.output<typeof OptionsSchema>

/** A server in its complete form. */
export type ServerSettings =
  | ({ transport: 'stdio' } & z.output<typeof CommandSchema>)
  | ({ transport: 'http' } & z.output<typeof UrlSchema>)

/**
 * Parses what `mcpTools` was given.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` with every problem of both
 */
export function parseMcpOptions(server: unknown, options: unknown): { server: ServerSettings; settings: McpSettings } {
  const issues: Issue[] = []
  const isUrl = typeof server === 'object' && server !== null && 'url' in server
  const command = isUrl ? undefined : CommandSchema.safeParse(server)
  const url = isUrl ? UrlSchema.safeParse(server) : undefined
  const parsed = OptionsSchema.safeParse(options)
  for (const [result, base] of [
    [command, 'server'],
    [url, 'server'],
    [parsed, 'options'],
  ] as const) {
    if (result?.success === false) issues.push(...issuesOf(result.error, base))
  }
  if (issues.length > 0 || !parsed.success) throw new OptionsError('mcpTools(server, options)', issues)
  return {
    settings: parsed.data,
    server: isUrl ? { transport: 'http', ...url!.data! } : { transport: 'stdio', ...command!.data! },
  }
}

/** How messages call a server before it said its name. Without arguments, query and headers: they may hold secrets. */
export function labelOf(server: ServerSettings): string {
  return server.transport === 'stdio' ? server.command : `${server.url.origin}${server.url.pathname}`
}

/** Values that must not appear in messages and logs; of `Bearer <token>` the token alone, too. */
export function secretsOf(server: ServerSettings): string[] {
  const values = Object.values((server.transport === 'stdio' ? server.env : server.headers) ?? {})
  return values.flatMap((value) => [value, value.split(' ').at(-1)!])
}

function urlProblem(url: URL | undefined): string | undefined {
  if (url === undefined) return 'not a URL'
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return `${url.protocol} is neither http: nor https:`
  return url.username === '' && url.password === '' ? undefined : 'put credentials into `headers`, not into the URL'
}

function areHeaders(headers: Record<string, string>): boolean {
  try {
    new Headers(headers)
    return true
  } catch {
    return false
  }
}
