// Servers that die, hang, flood, change, or cannot be reached.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, test } from 'vitest'
import { realClock } from '../../src/clock.ts'
import type { Logger } from '../../src/log.ts'
import { mcpTools } from '../../src/mcp/mcp-tools.ts'
import type { ToolSet } from '../../src/workflow/tool.ts'
import { rejection } from '../support/runtime.ts'
import { call, everythingHttp, failure, oddServer, reportOf } from './support.ts'

/** A logger that keeps what it is told. */
function keeping(): Logger & { lines: string[] } {
  const lines: string[] = []
  const keep = (details: object, message: string): void => void lines.push(`${message} ${JSON.stringify(details)}`)
  return { lines, debug: keep, info: keep, warn: keep, error: keep }
}

/** A clock that its test moves; its timers are real. */
function steppedClock() {
  const real = realClock({ seed: 1 })
  let stepMs = 0
  return { ...real, nowMs: () => real.nowMs() + stepMs, step: (ms: number) => void (stepMs += ms) }
}

describe('starting a server', () => {
  test('says what to do when the command does not exist', async () => {
    const error = await rejection(mcpTools({ command: 'no-such-command-here' }))
    expect(error.code).toBe('ORLA_TOOL')
    expect(error.message).toMatch(/could not be started: spawn no-such-command-here ENOENT; is the command installed/)
  })

  test('quotes the last words of a server that dies, without secrets', async () => {
    const error = await rejection(mcpTools(oddServer('die', { ODD_KEY: 'sk-12345678' })))
    expect(error.message).toMatch(/could not be started: .*Connection closed; it said: no licence for \[redacted\]/)
    expect(error.message).not.toContain('sk-12345678')
  })

  test('gives up on a server that says nothing', async () => {
    const error = await rejection(mcpTools(oddServer('mute'), { connectTimeoutMs: 300 }))
    expect(error.message).toMatch(/could not be started: .*timed out/)
  })

  test('stops when its signal aborts', async () => {
    const options = { signal: AbortSignal.timeout(200) }
    await expect(mcpTools(oddServer('mute'), options)).rejects.toMatchObject({ code: 'ORLA_CANCELLED' })
  })

  test('refuses a list without end, and one that is too long', async () => {
    for (const mode of ['endless', 'flood']) {
      await expect(mcpTools(oddServer(mode))).rejects.toMatchObject({ code: 'ORLA_LIMIT' })
    }
  })

  test('names every tool that clashes or has a name that engines do not take', async () => {
    const message = await failure(mcpTools(oddServer('names')))
    expect(message).toMatch(/tools of MCP server "odd": 3 problem\(s\)/)
    expect(message).toMatch(/engines do not take "admin.users\/list" as a name/)
    expect(message).toMatch(/engines do not take "constructor" as a name/)
    expect(message).toMatch(/tools.ok: the server lists it twice/)
  })
})

describe('a call', () => {
  test('that crashes the server is an error; the next one starts it again', async () => {
    const log = keeping()
    await using mcp = await mcpTools(oddServer('plain', { ODD_KEY: 'sk-12345678' }), { log })
    const before = await reportOf(mcp.tools)
    const beside = failure(call(mcp.tools, 'hang'))
    const error = await rejection(call(mcp.tools, 'crash'))
    expect(error).toMatchObject({ code: 'ORLA_TOOL', retryable: true })
    expect(error.message).toMatch(/was lost when "crash" was called: whether the call took effect is not known/)
    expect(await beside).toMatch(/was lost when "hang" was called/)
    const after = await reportOf(mcp.tools)
    expect(after.pid).not.toBe(before.pid)
    expect(after.done).toEqual([])
    expect(log.lines.join('\n')).toMatch(/the MCP server is gone/)
    expect(log.lines.join('\n')).not.toContain('sk-12345678')
  })

  test('waits for nobody while a server crashes again and again: the pause grows', async () => {
    const clock = steppedClock()
    await using mcp = await mcpTools(oddServer(), { clock })
    expect(await failure(call(mcp.tools, 'crash'))).toMatch(/was lost/)
    expect(await failure(call(mcp.tools, 'crash'))).toMatch(/was lost/)
    expect(await failure(call(mcp.tools, 'crash'))).toMatch(/the next attempt to reach it is made in \d+ ms/)
    clock.step(250)
    expect(await failure(call(mcp.tools, 'crash'))).toMatch(/was lost/)
    clock.step(250)
    expect(await failure(call(mcp.tools, 'crash'))).toMatch(/the next attempt/)
    clock.step(250)
    expect((await reportOf(mcp.tools)).done).toEqual([])
    // An answer makes the server trustworthy again: the next crash costs no pause.
    expect(await failure(call(mcp.tools, 'crash'))).toMatch(/was lost/)
    expect((await reportOf(mcp.tools)).done).toEqual([])
  })

  test('fails for good after a crash when reconnecting is off', async () => {
    await using mcp = await mcpTools(oddServer(), { reconnect: false })
    await failure(call(mcp.tools, 'crash'))
    expect(await failure(call(mcp.tools, 'report'))).toMatch(/is gone, and `reconnect` is off/)
  })

  test('gets a result cut to size, and an error too', async () => {
    await using mcp = await mcpTools(oddServer(), { resultCharsMax: 1_000 })
    expect(await call(mcp.tools, 'big', { chars: 1_000 })).toBe('x'.repeat(1_000))
    expect(await call(mcp.tools, 'big', { chars: 1_001 })).toBe(
      `${'x'.repeat(1_000)}\n[cut: the result has 1001 characters]`,
    )
    const message = await failure(call(mcp.tools, 'fail', { chars: 5_000 }))
    expect(message).toMatch(/^no such customer: yyy/)
    expect(message.length).toBeLessThan(1_100)
  })

  test('breaks off a message without end, and the server is started again', async () => {
    await using mcp = await mcpTools(oddServer())
    expect(await failure(call(mcp.tools, 'huge'))).toMatch(/was lost when "huge" was called/)
    expect((await reportOf(mcp.tools)).done).toEqual([])
  })

  test('waits in line for a pipe that is full, without a listener for each that waits', async () => {
    const warnings: Error[] = []
    const warned = (warning: Error): void => void warnings.push(warning)
    process.on('warning', warned)
    await using mcp = await mcpTools(oddServer())
    // More than a pipe takes, and more calls than an emitter takes listeners without a word.
    const chars = Array.from({ length: 24 }, (_, i) => i + 1)
    const results = await Promise.all(chars.map((n) => call(mcp.tools, 'big', { chars: n, pad: 'p'.repeat(200_000) })))
    expect(results).toEqual(chars.map((n) => 'x'.repeat(n)))
    process.off('warning', warned)
    expect(warnings.map(({ name }) => name)).toEqual([])
  })

  test('says what the server refuses', async () => {
    await using mcp = await mcpTools(oddServer(), { name: 'crm' })
    expect(await failure(call(mcp.tools, 'refuse'))).toMatch(
      /^MCP server "crm" refused when "refuse" was called: not like this$/,
    )
  })

  test('times out by itself outside of a runtime', async () => {
    await using mcp = await mcpTools(oddServer(), { timeoutMs: 1 })
    expect(await failure(call(mcp.tools, 'hang'))).toMatch(/did not answer in time when "hang" was called/)
  })

  test('in flight fails when the tools are closed, and no process is left', async () => {
    const mcp = await mcpTools(oddServer())
    const { pid } = await reportOf(mcp.tools)
    const hanging = rejection(call(mcp.tools, 'hang'))
    await expect.poll(async () => (await reportOf(mcp.tools)).done).toEqual(['hanging'])
    await Promise.all([mcp.close(), mcp.close()])
    expect((await hanging).code).toBe('ORLA_CLOSED')
    expect(() => process.kill(pid, 0)).toThrow(/ESRCH/)
    await expect(call(mcp.tools, 'report')).rejects.toMatchObject({ code: 'ORLA_CLOSED' })
  })
})

describe('a list that changes', () => {
  test('reaches who asked for it; tools that were made before stay as they are', async () => {
    const { promise: changed, resolve } = Promise.withResolvers<ToolSet>()
    await using mcp = await mcpTools(oddServer(), { prefix: 'odd_', onToolsChanged: resolve })
    const before = Object.keys(mcp.tools)
    await call(mcp.tools, 'odd_grow')
    const tools = await changed
    expect(Object.keys(tools)).toEqual([...before, 'odd_grown'])
    expect(Object.keys(mcp.tools)).toEqual(before)
    expect(await call(tools, 'odd_grown')).toBe('grew')
  })

  test('offers no more than `allow` lists', async () => {
    const { promise: changed, resolve } = Promise.withResolvers<ToolSet>()
    await using mcp = await mcpTools(oddServer(), { allow: ['grow'], onToolsChanged: resolve })
    await call(mcp.tools, 'grow')
    expect(Object.keys(await changed)).toEqual(['grow'])
  })
})

describe('over HTTP', () => {
  test('a server that dies in the middle of a call is an error; a new one is found with a new session', async () => {
    await using server = await everythingHttp()
    await using mcp = await mcpTools({ url: server.url })
    const long = failure(call(mcp.tools, 'trigger-long-running-operation', { duration: 60, steps: 1 }))
    expect(await call(mcp.tools, 'echo', { message: 'beside' })).toBe('Echo: beside')
    await server.kill()
    expect(await long).toMatch(/was lost when "trigger-long-running-operation" was called/)
    expect(await failure(call(mcp.tools, 'echo', { message: 'x' }))).toMatch(/could not be reached: .*ECONNREFUSED/)
    await server.restart()
    await expect.poll(() => call(mcp.tools, 'echo', { message: 'new' }).catch(() => 'not yet')).toBe('Echo: new')
  })

  test('a session that the server forgot is made again, and the call sent once more', async () => {
    await using server = await everythingHttp()
    await using mcp = await mcpTools({ url: server.url })
    expect(await call(mcp.tools, 'echo', { message: 'one' })).toBe('Echo: one')
    await server.restart()
    expect(await call(mcp.tools, 'echo', { message: 'two' })).toBe('Echo: two')
  })

  test('a server that cannot be reached says why', async () => {
    const error = await rejection(mcpTools({ url: 'http://127.0.0.1:9/mcp' }))
    expect(error).toMatchObject({ code: 'ORLA_TOOL', retryable: true })
    expect(error.message).toMatch(/could not be reached: fetch failed/)
  })

  test('credentials never show in messages', async () => {
    await using server = await webServer((_message, _request, response) => {
      response.writeHead(401, { 'content-type': 'text/plain' }).end('no entry for sk-12345678')
    })
    const error = await rejection(mcpTools({ url: server.url, headers: { authorization: 'Bearer sk-12345678' } }))
    expect(error.message).toMatch(/no entry for \[redacted\]/)
    expect(JSON.stringify(error)).not.toContain('sk-12345678')
  })

  test('a stream that ends without the answer is an error at once, and the call is not sent again', async () => {
    let calls = 0
    await using server = await webServer((message, _request, response) => {
      if (message.method !== 'tools/call') return answerTo(message, response)
      calls++
      response.writeHead(200, { 'content-type': 'text/event-stream' }).end(': nothing\n\n')
    })
    await using mcp = await mcpTools({ url: server.url })
    expect(await failure(call(mcp.tools, 'echo'))).toMatch(/was lost .*the stream ended without an answer/)
    expect(calls).toBe(1)
  })

  test('a connection that breaks in the middle of an answer is an error at once', async () => {
    await using server = await webServer((message, request, response) => {
      if (message.method !== 'tools/call') return answerTo(message, response)
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write('data: {"jsonrpc":"2.0",', () => request.socket.destroy())
    })
    await using mcp = await mcpTools({ url: server.url })
    expect(await failure(call(mcp.tools, 'echo'))).toMatch(/was lost .*whether the call took effect is not known/)
  })

  test('a call that a server fails with 500 leaves the session as it is', async () => {
    let initialized = 0
    await using server = await webServer((message, _request, response) => {
      if (message.method === 'initialize') initialized++
      if (message.method === 'tools/call') response.writeHead(500).end('database is down')
      else answerTo(message, response)
    })
    await using mcp = await mcpTools({ url: server.url })
    expect(await failure(call(mcp.tools, 'echo'))).toMatch(/refused when "echo" was called: .*database is down/)
    expect(await failure(call(mcp.tools, 'echo'))).toMatch(/database is down/)
    expect(initialized).toBe(1)
  })

  test('an answer that is no MCP is an error, and so are words without a type', async () => {
    const results: unknown[] = [{ content: 'not a list' }, { content: [{ text: 'no type' }] }, { content: [] }]
    await using server = await webServer((message, _request, response) => {
      if (message.method !== 'tools/call') return answerTo(message, response)
      const answer = { jsonrpc: '2.0', id: message.id, result: results.shift() }
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
    })
    await using mcp = await mcpTools({ url: server.url })
    expect(await failure(call(mcp.tools, 'echo'))).toMatch(/answered in a form that is not MCP when "echo" was called/)
    expect(await failure(call(mcp.tools, 'echo'))).toMatch(/answered in a form that is not MCP/)
    expect(await call(mcp.tools, 'echo')).toBe('done')
  })

  test('a session that is refused twice is not tried a third time', async () => {
    let initialized = 0
    await using server = await webServer((message, _request, response) => {
      if (message.method === 'initialize') initialized++
      if (message.method === 'tools/call') response.writeHead(404).end('no such session')
      else answerTo(message, response)
    })
    await using mcp = await mcpTools({ url: server.url })
    expect(await failure(call(mcp.tools, 'echo'))).toMatch(/refused when "echo" was called: .*no such session/)
    expect(initialized).toBe(2)
  })
})

interface Message {
  id?: number
  method?: string
}

/** A small HTTP server that speaks as much MCP as its script does. It offers no stream of its own (405). */
async function webServer(script: (message: Message, request: IncomingMessage, response: ServerResponse) => void) {
  const server = createServer((request, response) => {
    if (request.method !== 'POST') return void response.writeHead(405).end()
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => script(JSON.parse(body) as Message, request, response))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Answers the handshake and the list: one tool, `echo`. */
function answerTo({ id, method }: Message, response: ServerResponse): void {
  if (id === undefined) return void response.writeHead(202).end()
  const serverInfo = { name: 'web', version: '1' }
  const result =
    method === 'initialize'
      ? { protocolVersion: '2025-06-18', capabilities: { tools: {} }, serverInfo }
      : { tools: [{ name: 'echo', inputSchema: { type: 'object' } }] }
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ jsonrpc: '2.0', id, result }))
}
