// MCP servers for tests, and tools called without a runtime.

import { spawn, type ChildProcess } from 'node:child_process'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { ToolContext, ToolSet } from '../../src/workflow/tool.ts'

const everything = fileURLToPath(import.meta.resolve('@modelcontextprotocol/server-everything/dist/index.js'))

/** The reference server, as a command. */
export const everythingCommand = { command: process.execPath, args: [everything, 'stdio'] }

/** The server that misbehaves. */
export function oddServer(
  mode = 'plain',
  env: Record<string, string> = {},
): { command: string; args: string[]; env: Record<string, string> } {
  return {
    command: process.execPath,
    args: [fileURLToPath(new URL('fixtures/odd-server.ts', import.meta.url)), mode],
    env,
  }
}

/** The reference server over HTTP. */
export interface HttpServer extends AsyncDisposable {
  readonly url: string
  /** What it wrote so far. */
  readonly output: () => string
  /** Resolves once it wrote `text`. */
  wrote(text: string): Promise<void>
  /** Ends it as a crash would. */
  kill(): Promise<void>
  /** Starts it again on the same port, knowing nothing of before. */
  restart(): Promise<void>
}

/** Starts the reference server on a free port. */
export async function everythingHttp(): Promise<HttpServer> {
  const port = await freePort()
  let output = ''
  let child: ChildProcess | undefined
  const waiting: { text: string; resolve: () => void }[] = []
  const wrote = (text: string): Promise<void> =>
    output.includes(text) ? Promise.resolve() : new Promise((resolve) => void waiting.push({ text, resolve }))
  const start = async (): Promise<void> => {
    output = ''
    child = spawn(process.execPath, [everything, 'streamableHttp'], {
      env: { PATH: process.env['PATH'], PORT: String(port) },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.on('data', (chunk: Buffer) => {
        output += chunk.toString()
        for (const { text, resolve } of waiting) if (output.includes(text)) resolve()
      })
    }
    await wrote('listening on port')
  }
  const kill = async (): Promise<void> => {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise((resolve) => child!.once('close', resolve))
    child.kill('SIGKILL')
    await gone
  }
  await start()
  return {
    url: `http://127.0.0.1:${port}/mcp`,
    output: () => output,
    wrote,
    kill,
    restart: async () => {
      await kill()
      await start()
    },
    [Symbol.asyncDispose]: kill,
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer()
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })
}

/** Calls a tool as a stage would, without the runtime around it. */
export async function call(tools: ToolSet, name: string, args: unknown = {}, signal?: AbortSignal): Promise<string> {
  const aborted = signal ?? new AbortController().signal
  const context: ToolContext = { runId: 'r', stage: 's', callId: 'c', idempotencyKey: 'r/s/c', signal: aborted }
  return (await tools[name]!.run(args, context)) as string
}

/** The message of what `promise` rejects with. */
export async function failure(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
  } catch (error) {
    return (error as Error).message
  }
  throw new Error('resolved where a rejection was expected')
}

/** What the odd server has done, in its own words. */
export async function reportOf(tools: ToolSet): Promise<{ pid: number; done: string[] }> {
  return JSON.parse(await call(tools, 'report')) as { pid: number; done: string[] }
}
