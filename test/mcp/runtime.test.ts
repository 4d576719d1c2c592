// MCP tools through the whole runtime: a model asks, the server acts, the model is told.

import { describe, expect, test } from 'vitest'
import {
  createRuntime,
  mcpTools,
  mergeTools,
  pick,
  simulated,
  tool,
  user,
  workflow,
  type Reply,
  type RunEvent,
} from '../../src/index.ts'
import { z } from 'zod'
import { call, everythingCommand, oddServer, reportOf } from './support.ts'

/** A model that makes the given calls, one a turn, and then says what it was told last. */
function calling(...calls: { name: string; arguments: unknown }[]) {
  return simulated({
    model: 'm',
    engine: 'instant',
    responder: ({ messages }): Reply => {
      const made = messages.filter((message) => message.role === 'tool').length
      return calls[made] === undefined ? { content: messages.at(-1)!.content } : { toolCalls: [calls[made]] }
    },
  })
}

describe('a workflow with tools of an MCP server', () => {
  test('acts at the server, and tells the model what came of it', async () => {
    await using mcp = await mcpTools(oddServer())
    const task = workflow('task', { input: z.string() })
      .stage('act', { backend: 'b', tools: pick(mcp.tools, ['record']), prompt: ({ input }) => [user(input)] })
      .output(({ results }) => results.act)
    await using runtime = await createRuntime({
      backends: { b: calling({ name: 'record', arguments: { text: 'ticket 7' } }) },
    })
    expect(await runtime.start(task, 'go').result).toBe('recorded')
    expect((await reportOf(mcp.tools)).done).toEqual(['ticket 7'])
  })

  test('reaches the reference server, and its state stays', async () => {
    await using mcp = await mcpTools(everythingCommand)
    const toggle = 'toggle-simulated-logging'
    const task = workflow('task', { input: z.string() })
      .stage('act', { backend: 'b', tools: pick(mcp.tools, [toggle]), prompt: ({ input }) => [user(input)] })
      .output(({ results }) => results.act)
    await using runtime = await createRuntime({ backends: { b: calling({ name: toggle, arguments: {} }) } })
    expect(await runtime.start(task, 'go').result).toMatch(/^Started/)
    // The server was left running by the model's call: a second one stops it.
    expect(await call(mcp.tools, toggle)).toMatch(/^Stopped/)
  })

  test('offers what the stage lists and nothing else, whatever the server has', async () => {
    await using mcp = await mcpTools(oddServer())
    const task = workflow('task', { input: z.string() })
      .stage('act', { backend: 'b', tools: pick(mcp.tools, ['report']), prompt: ({ input }) => [user(input)] })
      .output(({ results }) => results.act)
    await using runtime = await createRuntime({
      backends: { b: calling({ name: 'record', arguments: { text: 'not allowed' } }) },
    })
    expect(await runtime.start(task, 'go').result).toMatch(/there is no tool "record"; there are: report/)
    expect((await reportOf(mcp.tools)).done).toEqual([])
  })

  test('hears of a crash in the middle of a call as an error of the tool, and goes on with a new server', async () => {
    await using mcp = await mcpTools(oddServer('plain', { ODD_KEY: 'sk-12345678' }))
    const own = { double: tool({ description: 'Doubles.', input: z.object({ n: z.number() }), run: ({ n }) => n * 2 }) }
    const task = workflow('task', { input: z.string() })
      .stage('act', { backend: 'b', tools: mergeTools(mcp.tools, own), prompt: ({ input }) => [user(input)] })
      .output(({ results }) => results.act)
    await using runtime = await createRuntime({
      backends: {
        b: calling(
          { name: 'crash', arguments: {} },
          { name: 'double', arguments: { n: 4 } },
          { name: 'record', arguments: { text: 'after the crash' } },
        ),
      },
    })
    const events: RunEvent[] = []
    runtime.subscribe((event) => void events.push(event))
    expect(await runtime.start(task, 'go').result).toBe('recorded')
    const ended = events.filter((event) => event.type === 'tool.ended')
    expect(ended.map(({ tool: name, ok }) => [name, ok])).toEqual([
      ['crash', false],
      ['double', true],
      ['record', true],
    ])
    expect(ended[0]!.message).toMatch(/MCP server "odd" was lost .* whether the call took effect is not known/)
    expect(ended[0]!.message).toMatch(/out of memory, key \[redacted\]/)
    expect((await reportOf(mcp.tools)).done).toEqual(['after the crash'])
  })

  test('tells the server when the run is cancelled', async () => {
    await using mcp = await mcpTools(oddServer())
    const task = workflow('task', { input: z.string() })
      .stage('act', { backend: 'b', tools: pick(mcp.tools, ['hang']), prompt: ({ input }) => [user(input)] })
      .output(({ results }) => results.act)
    await using runtime = await createRuntime({ backends: { b: calling({ name: 'hang', arguments: {} }) } })
    const run = runtime.start(task, 'go')
    await expect.poll(async () => (await reportOf(mcp.tools)).done).toEqual(['hanging'])
    run.cancel('changed my mind')
    await expect(run.result).rejects.toMatchObject({ code: 'ORLA_CANCELLED' })
    await expect.poll(async () => (await reportOf(mcp.tools)).done).toEqual(['hanging', 'told to stop'])
  })

  test('answers a call that takes too long with an error, and tells the server', async () => {
    await using mcp = await mcpTools(oddServer(), { timeoutMs: 200 })
    const task = workflow('task', { input: z.string() })
      .stage('act', { backend: 'b', tools: pick(mcp.tools, ['hang']), prompt: ({ input }) => [user(input)] })
      .output(({ results }) => results.act)
    await using runtime = await createRuntime({ backends: { b: calling({ name: 'hang', arguments: {} }) } })
    expect(await runtime.start(task, 'go').result).toBe('error: tool "hang" did not answer within 200 ms')
    await expect.poll(async () => (await reportOf(mcp.tools)).done).toEqual(['hanging', 'told to stop'])
  })
})
