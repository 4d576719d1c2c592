import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { virtualClock } from '../../src/clock.ts'
import { createRuntime, simulated, tool, user, workflow, type Workflow } from '../../src/index.ts'
import {
  loadWorkload,
  recordLines,
  recordTo,
  replay,
  workloadPreset,
  type ReplaySummary,
  type Responder,
  type Workload,
} from '../../src/testing.ts'
import { z } from 'zod'

const folder = mkdtempSync(join(tmpdir(), 'orla-record-'))

function timeless({ wallSeconds: _wall, turnsPerWallSecond: _turns, ...rest }: ReplaySummary): object {
  return rest
}

/** Runs a workflow of text on a simulated engine, and returns its recording as a workload. */
async function recorded(flow: Workflow<unknown, unknown>, responder: Responder, times = 1): Promise<Workload> {
  const path = join(folder, `${flow.name}.jsonl`)
  const clock = virtualClock()
  const backend = simulated({ model: 'm', responder, transport: 'in-process' })
  {
    using recorder = recordTo(path, { seed: 3, settings: { hello: 'world' } })
    await using runtime = await createRuntime({ backends: { engine: backend }, clock, recorder })
    for (let i = 0; i < times; i++) await clock.run(runtime.start(flow, {}, { tenant: 'acme', priority: 2 }).result)
    expect(recorder.runs).toBe(times)
  }
  return await loadWorkload(path)
}

describe('a recorded replay', () => {
  test.each(['claude-code', 'support-ticket', 'long-chat'] as const)(
    'of %s replays to the same figures',
    async (name) => {
      const path = join(folder, `${name}.jsonl`)
      const options = { concurrency: 5, turnsMax: 12, waitMsMax: 5_000 }
      const first = await replay(workloadPreset(name, { sessions: 15 }), { ...options, recordTo: path })
      expect(first.truncated).toBe(0)
      const workload = await loadWorkload(path)
      expect(workload.seed).toBe(1)
      expect(workload.settings).toMatchObject({ concurrency: 5, gpu: 'h200', workload: { sessions: 15 } })
      const again = await replay(workload, { concurrency: 5 })
      expect(timeless(again)).toEqual(timeless(first))
    },
  )
})

describe('a recorded run', () => {
  const secret = 'a secret that must not be written down anywhere'
  const lookup = tool({ description: 'looks up', input: z.object({}), run: () => `observation ${secret}` })
  const flow = workflow('shop')
    .stage('search', { backend: 'engine', tools: { lookup }, prompt: () => [user(`find it: ${secret}`)] })
    .stage('tell', {
      after: ['search'],
      backend: 'engine',
      tools: { lookup },
      context: 'append',
      prompt: () => 'and now tell me',
    })
    .output(({ results }) => results.tell)
  const responder: Responder = ({ messages }) =>
    messages.length === 1
      ? { toolCalls: [{ name: 'lookup', arguments: {} }] }
      : { content: 'here is what was found, in some words' }

  test('becomes steps whose turns share what the conversations shared', async () => {
    const workload = await recorded(flow, responder, 2)
    expect(workload).toMatchObject({ name: 'shop', seed: 3, settings: { hello: 'world' }, source: 'recorded by orla' })
    expect(workload.runs).toHaveLength(2)
    const [run, second] = workload.runs
    expect(run).toMatchObject({ tenant: 'acme', priority: 2, arrivalMs: 0 })
    expect(run!.steps.map(({ name, after, turns }) => [name, after, turns.length])).toEqual([
      ['search', [], 2],
      ['tell', ['search'], 1],
    ])
    const [first, afterTool] = run!.steps[0]!.turns
    expect(afterTool!.waitFor).toBe('lookup')
    const firstTokens = first!.fresh.reduce((sum, { from, to }) => sum + to - from, 0)
    // The whole first prompt and its answer are found again.
    expect(afterTool!.shared).toBeGreaterThan(firstTokens)
    // The appended conversation begins with the very same tokens; so does the second run.
    expect(run!.steps[1]!.turns[0]!.fresh[0]).toEqual(first!.fresh[0])
    expect(second!.steps[0]!.turns[0]!.fresh[0]).toEqual(first!.fresh[0])
  })

  test('keeps text out of the file', async () => {
    await recorded(flow, responder)
    const text = readFileSync(join(folder, 'shop.jsonl'), 'utf8')
    expect(text).not.toContain('secret')
    expect(text).not.toContain('found')
  })

  test('replays on another engine', async () => {
    const summary = await replay(await recorded(flow, responder, 2), { gpu: 'h100', model: 'qwen3-8b' })
    expect(summary).toMatchObject({ runs: 2, completed: 2, turns: 6 })
  })

  test('leaves thoughts out of what later prompts share', async () => {
    const think = workflow('think')
      .stage('first', { backend: 'engine', prompt: () => 'think about it' })
      .stage('second', { after: ['first'], backend: 'engine', context: 'append', prompt: () => 'go on' })
    const { runs } = await recorded(think, () => ({ reasoning: 'hm, hm, hm', content: 'an answer' }))
    const [first, second] = runs[0]!.steps.map(({ turns }) => turns[0]!.fresh)
    expect(second![0]).toEqual(first![0])
    expect(second![1]!.stream).not.toBe(first![1]!.stream)
  })

  test('that got no answer leaves no line', async () => {
    const lines: string[] = []
    const clock = virtualClock()
    const backend = simulated({
      model: 'm',
      responder: () => ({ error: { status: 400, message: 'no' } }),
      transport: 'in-process',
    })
    const recorder = recordLines((line) => void lines.push(line))
    await using runtime = await createRuntime({ backends: { engine: backend }, clock, recorder })
    const run = runtime.start(workflow('fails').stage('only', { backend: 'engine', prompt: () => 'x' }), {})
    expect((await clock.run(run.outcome)).state).toBe('failed')
    expect(lines).toEqual(['{"format":"orla-workload","version":1,"source":"recorded by orla"}'])
    expect(recorder.runs).toBe(0)
  })

  test('cannot be written where there is no folder', () => {
    expect(() => recordTo(join(folder, 'none', 'x.jsonl'))).toThrow(/ENOENT/)
  })

  test('is written once its recorder is closed, and nothing after that', () => {
    const path = join(folder, 'closed.jsonl')
    const recorder = recordTo(path)
    recorder.close()
    recorder.close()
    recorder.ended({ runId: 'r' } as never, {} as never)
    expect(readFileSync(path, 'utf8').split('\n')).toHaveLength(2)
  })
})
