import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { simulated, tool } from '../../src/index.ts'
import { earlierToolCalls } from '../../src/simulator/responder.ts'
import { user } from '../../src/schema/message.ts'
import type { StageQueued, StageReleased } from '../../src/schema/transition.ts'
import { workflow } from '../../src/workflow/builder.ts'
import { testRuntime, type TestRuntime } from '../support/runtime.ts'
import { decisions } from './memory-kit.ts'

/** Room for one context and a half. */
const kvTokens = 9_000
const runsCount = 4
const lookUp = tool({
  description: 'Looks something up.',
  input: z.object({}),
  run: () => 'it is there. '.repeat(20),
})

/** Three turns with tools and an answer, and a second stage that goes on with the conversation. */
const loop = workflow('loop', { input: z.number() })
  .stage('search', {
    backend: 'engine',
    tools: { look_up: lookUp },
    prompt: ({ input }) => [user(`${input} ${'what we know. '.repeat(1_500)}`)],
  })
  .stage('conclude', {
    after: ['search'],
    backend: 'engine',
    context: 'append',
    // Tools are part of the prompt: without them it would begin otherwise.
    tools: { look_up: lookUp },
    prompt: () => [user('and so?')],
  })

async function play(policy: 'lru' | 'price'): Promise<TestRuntime> {
  const engine = simulated({
    model: 'm',
    contextLength: kvTokens,
    engine: { prefillMsPerToken: 0.5, decodeMsPerToken: 5, overheadMs: 10, requestsMax: 1, kvTokensMax: kvTokens },
    windowRequests: 1,
    responder: (request) =>
      earlierToolCalls(request).length < 3 ? { toolCalls: [{ name: 'look_up', arguments: {} }] } : { content: 'so' },
  })
  const runtime = await testRuntime({ engine }, { memory: { policy, kvTokens: { engine: kvTokens } } })
  const runs = Array.from({ length: runsCount }, (_, i) => runtime.start(loop, i))
  await runtime.until(Promise.all(runs.map((run) => run.result)))
  runtime.audit()
  return runtime
}

/** Of each run's turns but its first, those that found most of their prompt cached. */
function warmTurns(runtime: TestRuntime): { warm: number; later: number } {
  const released = runtime.transitions().filter((each): each is StageReleased => each.type === 'stage.released')
  const later = released.filter(({ stage, turn }) => stage === 'conclude' || turn > 1)
  const warm = later.filter(({ usage }) => usage.cachedTokens! > usage.promptTokens! / 2)
  return { warm: warm.length, later: later.length }
}

describe('a loop of turns', () => {
  test('keeps its place, and so does the next stage on its backend: no prefix is computed twice', async () => {
    const runtime = await play('price')
    expect(warmTurns(runtime)).toEqual({ warm: runsCount * 4, later: runsCount * 4 })
    // Everybody but the first was held before its first turn, and nobody later.
    const held = decisions(runtime.heard, 'cache.held')
    expect(new Set(held.map(({ runId }) => runId)).size).toBe(runsCount - 1)
    expect(held).toHaveLength(runsCount - 1)
    for (const { runId } of held) {
      const own = runtime.transitions(runId)
      const admitted = own.findIndex(({ type }) => type === 'cache.admitted')
      expect(own.findIndex(({ type }) => type === 'stage.granted')).toBeGreaterThan(admitted)
    }
    // One after the other: a run's turns and stages follow each other with nobody's between.
    const granted = runtime.transitions().filter(({ type }) => type === 'stage.granted')
    const order = granted.map(({ runId }) => runId).filter((runId, i, all) => runId !== all[i - 1])
    expect(order).toHaveLength(runsCount)
  })

  test('goes round with the others and loses its prefix every time where nobody keeps places', async () => {
    const runtime = await play('lru')
    const { warm, later } = warmTurns(runtime)
    expect(warm).toBeLessThan(later / 2)
    const queued = runtime.transitions().filter((each): each is StageQueued => each.type === 'stage.queued')
    expect(queued).toHaveLength(runsCount * 5)
  })
})
