// The memory manager at a real engine in a process: what it lets go of is gone, and what others need stays.

import { expect, test } from 'vitest'
import { createRuntime, llamaCpp, user, workflow, type RunEvent } from '../../../src/index.ts'
import { tinyModel } from './support.ts'

const model = tinyModel()
const long = 'The quick brown fox jumps over the lazy dog. '.repeat(12)

test('a run that ends gives its context back, while a run beside it finds its own again', async () => {
  await using runtime = await createRuntime({
    backends: { local: llamaCpp({ model: model.file, threads: 1, sequences: 2, contextLength: 2_048 }) },
    memory: { policy: 'paper' },
  })
  const heard: RunEvent[] = []
  runtime.subscribe((event) => void heard.push(event))
  const gate = Promise.withResolvers<void>()
  const slow = workflow('slow')
    .stage('a', { backend: 'local', maxTokens: 4, prompt: () => [user(`${long} slow`)] })
    .stage('b', {
      mapping: async () => {
        await gate.promise
        return { backend: 'local', reason: 'the other run is over' }
      },
      context: 'append',
      after: ['a'],
      maxTokens: 4,
      prompt: () => [user('And then?')],
    })
  const quick = workflow('quick').stage('a', { backend: 'local', maxTokens: 4, prompt: () => [user(`${long} quick`)] })
  const first = runtime.start(slow, undefined)
  for await (const event of first.events) if (event.type === 'stage.completed') break
  const second = runtime.start(quick, undefined)
  await second.result
  const flushedOf = (runId: string): boolean =>
    runtime.cacheDecisions().some(({ type, runId: of }) => type === 'cache.flushed' && of === runId)
  while (!flushedOf(second.id)) await new Promise((resolve) => setImmediate(resolve))
  expect(flushedOf(first.id)).toBe(false)
  gate.resolve()
  await first.result
  const turns = heard.flatMap((event) => (event.type === 'stage.released' && event.runId === first.id ? [event] : []))
  expect(turns[1]!.usage.cachedTokens).toBeGreaterThan(0.8 * turns[0]!.usage.promptTokens!)
  while (!flushedOf(first.id)) await new Promise((resolve) => setImmediate(resolve))
  // Cold again: nothing of either is left in the engine.
  await runtime.start(quick, undefined).result
  const last = heard.findLast((event) => event.type === 'stage.released')
  expect(last).toMatchObject({ usage: { cachedTokens: 0 } })
})
