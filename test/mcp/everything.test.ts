// The reference server of the protocol, over both transports.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { mcpTools, type McpTools } from '../../src/mcp/mcp-tools.ts'
import { jsonSchemaOf } from '../../src/schema/standard.ts'
import { call, everythingCommand, everythingHttp, failure, type HttpServer } from './support.ts'

describe.each(['stdio', 'http'] as const)('the everything server over %s', (transport) => {
  let server: HttpServer | undefined
  let mcp: McpTools

  beforeAll(async () => {
    server = transport === 'http' ? await everythingHttp() : undefined
    mcp = await mcpTools(server === undefined ? { ...everythingCommand, env: { GIVEN: 'yes' } } : { url: server.url })
  })
  afterAll(async () => {
    await mcp.close()
    await server?.kill()
  })

  test('lists its tools with their descriptions and schemas', () => {
    expect(Object.keys(mcp.tools)).toEqual(expect.arrayContaining(['echo', 'get-sum', 'get-structured-content']))
    expect(mcp.tools['echo']!.description).toBe('Echoes back the input string')
    expect(jsonSchemaOf(mcp.tools['echo']!.input)).toMatchObject({
      type: 'object',
      properties: { message: { type: 'string', description: 'Message to echo' } },
      required: ['message'],
    })
    expect(mcp.skipped).toEqual([
      { name: 'simulate-research-query', reason: 'it only runs as a task, which is not supported' },
    ])
  })

  test('answers with text', async () => {
    expect(await call(mcp.tools, 'echo', { message: 'hello' })).toBe('Echo: hello')
    expect(await call(mcp.tools, 'get-sum', { a: 2, b: 3 })).toBe('The sum of 2 and 3 is 5.')
  })

  test('answers with structured content as JSON, once', async () => {
    const text = await call(mcp.tools, 'get-structured-content', { location: 'Chicago' })
    expect(JSON.parse(text)).toEqual({ temperature: 36, conditions: 'Light rain / drizzle', humidity: 82 })
  })

  test('describes an image instead of inlining it', async () => {
    expect(await call(mcp.tools, 'get-tiny-image')).toBe(
      "Here's the image you requested:\n[image, image/png, 4033 bytes: not shown]\nThe image above is the MCP logo.",
    )
  })

  test('says what the server refuses', async () => {
    expect(await failure(call(mcp.tools, 'echo', {}))).toMatch(/Invalid arguments for tool echo/)
  })

  test('stops a call when its signal aborts, and goes on', async () => {
    const stop = new AbortController()
    const long = call(mcp.tools, 'trigger-long-running-operation', { duration: 60, steps: 2 }, stop.signal)
    expect(await call(mcp.tools, 'echo', { message: 'beside it' })).toBe('Echo: beside it')
    stop.abort()
    await expect(long).rejects.toMatchObject({ code: 'ORLA_CANCELLED' })
    expect(await call(mcp.tools, 'echo', { message: 'after it' })).toBe('Echo: after it')
  })

  test('runs calls side by side', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => call(mcp.tools, 'get-sum', { a: i, b: 1 })))
    expect(answers).toEqual(Array.from({ length: 20 }, (_, i) => `The sum of ${i} and 1 is ${i + 1}.`))
  })
})

test('a child process gets what it is given, PATH and HOME, and nothing else', async () => {
  process.env['ORLA_TEST_SECRET'] = 'must-not-leak'
  await using mcp = await mcpTools({ ...everythingCommand, env: { GIVEN: 'yes' } }, { allow: ['get-env'] })
  const env = JSON.parse(await call(mcp.tools, 'get-env')) as Record<string, string>
  // The C library adds its own on some systems.
  const names = Object.keys(env).filter((name) => !name.startsWith('__'))
  expect(names.toSorted()).toEqual(['GIVEN', 'HOME', 'PATH'].filter((name) => name === 'GIVEN' || name in process.env))
})

test('headers go with every request over HTTP, and a closed session is ended at the server', async () => {
  await using server = await everythingHttp()
  const mcp = await mcpTools({ url: server.url, headers: { 'x-tenant': 'acme' } }, { allow: ['echo'] })
  expect(Object.keys(mcp.tools)).toEqual(['echo'])
  await mcp.close()
  await server.wrote('Received session termination request')
  await expect(call(mcp.tools, 'echo', { message: 'late' })).rejects.toMatchObject({ code: 'ORLA_CLOSED' })
})
