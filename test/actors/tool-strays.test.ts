// Tools that go on after they were told to stop: what becomes of their places.

import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { limits } from '../../src/limits.ts'
import { workflow } from '../../src/workflow/builder.ts'
import { tool } from '../../src/workflow/tool.ts'
import { scripted } from '../support/scripted-backend.ts'
import { testRuntime, type TestRuntime } from '../support/runtime.ts'

interface Running {
  input: string
  /** Ends the function. */
  end(): void
}

/** A runtime whose runs each call one tool that takes two at a time and never heeds its signal. */
async function made(options: { timeoutMs?: number; concurrency?: number } = { concurrency: 2 }) {
  const running: Running[] = []
  const deaf = tool({
    description: 'does not listen',
    input: z.object({ input: z.string() }),
    ...options,
    run: ({ input }) => new Promise<string>((resolve) => running.push({ input, end: () => resolve('late') })),
  })
  const backend = scripted((call) => {
    const last = call.request.messages.at(-1)!
    if (last.content === 'stay') return
    if (last.role === 'tool') call.answer(last.content)
    else call.answer({ toolCalls: [{ name: 'deaf', arguments: JSON.stringify({ input: last.content }) }] })
  })
  const runtime = await testRuntime({ light: backend }, { watch: false })
  const asks = workflow('asks')
    .stage('s', { backend: 'light', tools: { deaf }, prompt: ({ input }) => String(input) })
    .output(({ results }) => results.s)
  return { runtime, running, start: (input: string) => runtime.start(asks, input) }
}

const inputs = (running: Running[]): string[] => running.map(({ input }) => input)
const settled = (runtime: TestRuntime): Promise<void> => runtime.settle()

describe('a tool that goes on after its call was cancelled', () => {
  test('keeps its place until it ends, so that never more run than may', async () => {
    const { runtime, running, start } = await made()
    const runs = ['a', 'b', 'c', 'd'].map(start)
    await settled(runtime)
    expect(inputs(running)).toEqual(['a', 'b'])
    runs[0]!.cancel()
    await settled(runtime)
    expect((await runtime.until(runs[0]!.outcome)).state).toBe('cancelled')
    expect(inputs(running)).toEqual(['a', 'b'])
    running[0]!.end()
    await settled(runtime)
    expect(inputs(running)).toEqual(['a', 'b', 'c'])
    running[1]!.end()
    await settled(runtime)
    running[2]!.end()
    running[3]!.end()
    expect(await runtime.until(Promise.all(runs.slice(1).map(({ result }) => result)))).toEqual([
      'late',
      'late',
      'late',
    ])
    runtime.audit()
  })

  test('gives its place away after half a minute, whether or not it ends', async () => {
    const { runtime, running, start } = await made({ concurrency: 1, timeoutMs: 1_000 })
    const [first, second] = [start('a'), start('b')]
    expect(await runtime.until(first.result)).toMatch(/did not answer within 1000 ms/)
    expect(runtime.clock.nowMs()).toBe(1_000)
    await runtime.clock.advance(limits.toolStrayMs - 1)
    expect(inputs(running)).toEqual(['a'])
    await runtime.clock.advance(1)
    expect(inputs(running)).toEqual(['a', 'b'])
    running[1]!.end()
    expect(await runtime.until(second.result)).toBe('late')
    // What the first says now, and its place, are of interest to nobody.
    running[0]!.end()
    await settled(runtime)
    runtime.audit()
  })

  test('is one of a bounded number, also where any number may run', async () => {
    const { runtime, start } = await made({ timeoutMs: 10 })
    // The actor of a tool lives as long as a run that has it.
    const stays = start('stay')
    const many = Array.from({ length: limits.toolStraysMax }, (_, i) => start(`${i}`))
    await runtime.until(Promise.all(many.map(({ outcome }) => outcome)))
    expect(await runtime.until(start('one more').result)).toBe(
      `error: ${limits.toolStraysMax} calls of this tool were stopped and still run`,
    )
    stays.cancel()
    await runtime.until(stays.outcome)
    runtime.audit()
  })
})
