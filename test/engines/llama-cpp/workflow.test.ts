// A workflow on a model in a process: stages with tools and schemas, runs side by side, and a crash in the middle.

import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import {
  createRuntime,
  llamaCpp,
  simulated,
  system,
  tool,
  user,
  workflow,
  type Transition,
} from '../../../src/index.ts'
import { tinyModel } from './support.ts'

const model = tinyModel()

const Verdict = z.object({ category: z.enum(['billing', 'delivery']), urgent: z.boolean() })

/** Counts what really happened. */
function deskWorkflow() {
  const reads: unknown[] = []
  const readPolicy = tool({
    description: 'Reads a policy.',
    input: z.object({ topic: z.string() }),
    run: (input) => {
      reads.push(input)
      return { text: 'seven days' }
    },
  })
  const definition = workflow('desk', { input: z.object({ text: z.string() }) })
    .stage('classify', {
      backend: 'local',
      output: Verdict,
      maxTokens: 120,
      prompt: ({ input }) => [system('You sort tickets.'), user(input.text)],
    })
    .stage('answer', {
      after: ['classify'],
      backend: 'local',
      tools: { read_policy: readPolicy },
      maxTokens: 120,
      prompt: ({ input, results }) => [
        system('You sort tickets.'),
        user(input.text),
        user(`It is ${results.classify.category}.`),
      ],
    })
    .output(({ results }) => results.answer)
  return { definition, reads }
}

describe('a workflow on llama.cpp', () => {
  test('classifies by schema, calls its tool, and finds its context again, in runs side by side', async () => {
    const { definition, reads } = deskWorkflow()
    await using runtime = await createRuntime({
      backends: { local: llamaCpp({ model: model.file, threads: 1, sequences: 3, contextLength: 2_048 }) },
    })
    const transitions: Transition[] = []
    runtime.subscribe((event) => {
      if ('seq' in event) transitions.push(event)
    })
    const runs = ['one', 'two', 'three'].map((text) => runtime.start(definition, { text }))
    const outcomes = await Promise.all(runs.map((run) => run.outcome))
    for (const outcome of outcomes) {
      expect(outcome.error).toBeUndefined()
      expect(Verdict.parse(outcome.results['classify'])).toBeDefined()
      expect(outcome.results['answer']).toBe('fine.')
      const { turns = [] } = outcome.stages['answer'] ?? {}
      expect(turns).toHaveLength(2)
      // The second turn extends the first.
      expect(turns[1]!.cachedTokens).toBeGreaterThan(100)
    }
    expect(reads).toHaveLength(3)
    expect(transitions.filter(({ type }) => type === 'run.completed')).toHaveLength(3)
  })

  test('survives that its process is killed: other backends notice nothing, and the next run is served', async () => {
    const { definition } = deskWorkflow()
    const elsewhere = workflow('elsewhere', { input: z.string() })
      .stage('say', { backend: 'sim', prompt: ({ input }) => input })
      .output(({ results }) => results.say)
    const before = await childPids()
    await using runtime = await createRuntime({
      backends: {
        local: llamaCpp({ model: model.file, threads: 1, sequences: 1, contextLength: 4_096 }),
        sim: simulated({ model: 'm' }),
      },
    })
    const [pid] = (await childPids()).filter((child) => !before.includes(child))
    const endless = workflow('endless', { input: z.string() })
      .stage('talk', { backend: 'local', prompt: ({ input }) => input })
      .output(({ results }) => results.talk)
    const struck = runtime.start(endless, 'never~')
    const other = runtime.start(elsewhere, 'hello')
    for await (const event of struck.events) if (event.type === 'stage.token') break
    process.kill(pid!, 'SIGKILL')
    const { error } = await struck.outcome
    expect(error).toMatchObject({ code: 'ORLA_BACKEND_TRUNCATED' })
    expect((await other.outcome).error).toBeUndefined()
    const next = await runtime.start(definition, { text: 'again' }).outcome
    expect(next.error).toBeUndefined()
  })
})

/** Ids of this process's children. */
async function childPids(): Promise<number[]> {
  const { readFile } = await import('node:fs/promises')
  const text = await readFile(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8')
  return text.trim().split(/\s+/).filter(Boolean).map(Number)
}
