import { describe, expect, test } from 'vitest'
import type { Run } from '../../src/runtime-api.ts'
import { system, user } from '../../src/schema/message.ts'
import { simulated } from '../../src/index.ts'
import type { StageReport } from '../../src/workflow/report.ts'
import { workflow } from '../../src/workflow/builder.ts'
import { testRuntime, type TestRuntime } from '../support/runtime.ts'
import { scripted, type ScriptedCall } from '../support/scripted-backend.ts'
import { decisions } from './memory-kit.ts'

const document = user('a sentence of the document. '.repeat(2_000))
const policy = system('a rule of the house. '.repeat(2_000))

/** Reads a long document at one backend and reviews the conversation at another. */
const review = workflow('review')
  .stage('draft', { backend: 'light', maxTokens: 200, prompt: () => [document] })
  .stage('check', { after: ['draft'], backend: 'heavy', context: 'append', prompt: () => [user('is that so?')] })

const long = { contextLength: 60_000 }
const usage = { promptTokens: 12_000, cachedTokens: 0, completionTokens: 1 }

/** The report of one stage of a run. */
async function reportOf(runtime: TestRuntime, run: Run, stage: string): Promise<StageReport> {
  const { stages } = await runtime.until(run.outcome)
  return stages[stage]!
}

describe('prewarming', () => {
  test("computes the conversation at the next stage's backend meanwhile, so that its first token comes sooner", async () => {
    const found = []
    for (const prewarm of [false, true]) {
      const runtime = await testRuntime(
        {
          light: scripted((call) => call.delta('no').answer({ content: 'no', usage }, 20_000)),
          heavy: simulated({ model: 'b', engine: 'heavy', ...long }),
        },
        { memory: { prewarm } },
      )
      found.push(await reportOf(runtime, runtime.start(review, undefined), 'check'))
      const heavy = runtime.backends().find(({ name }) => name === 'heavy')!
      const account = runtime.accounts().find(({ variant }) => variant === 'prewarm')
      expect(account?.promptTokens ?? 0).toBe(prewarm ? heavy.prewarm!.computedTokens : 0)
      if (prewarm) {
        expect(account).toMatchObject({ stageClass: 'review/check', backend: 'heavy', answers: 1, count: 0 })
        expect(heavy.prewarm).toMatchObject({ prefills: 1, stopped: 0 })
        expect(heavy.prewarm!.computedTokens).toBeGreaterThan(10_000)
        expect(decisions(runtime.heard, 'cache.prewarmed')).toMatchObject([{ backend: 'heavy', policy: 'prewarm' }])
      } else expect(heavy.prewarm).toBeUndefined()
      runtime.audit()
    }
    const [cold, warm] = found as [(typeof found)[0], (typeof found)[0]]
    expect(cold.cachedTokens).toBe(0)
    expect(warm.cachedTokens).toBeGreaterThan(10_000)
    expect(warm.ttftMs! * 4).toBeLessThan(cold.ttftMs!)
  })

  test('computes what the prompts of a stage have in common again after the cache was emptied', async () => {
    const ticket = workflow('ticket')
      .stage('triage', { backend: 'light', prompt: () => [user('what is it about?')] })
      .stage('answer', {
        after: ['triage'],
        backend: 'heavy',
        prompt: ({ input }) => [policy, user(`the answer to ${String(input)}`)],
      })
    const found = []
    for (const prewarm of [false, true]) {
      const light = scripted((call) => call.delta('it').answer({ content: 'it', usage: { promptTokens: 10 } }, 20_000))
      const heavy = simulated({ model: 'b', engine: { overheadMs: 10, prefillMsPerToken: 0.2 }, ...long })
      const runtime = await testRuntime({ light, heavy }, { memory: { prewarm } })
      for (let run = 0; run < 3; run++) {
        if (run === 2)
          await runtime.replaceBackend(
            'heavy',
            simulated({ model: 'b', engine: { overheadMs: 10, prefillMsPerToken: 0.2 }, ...long }),
          )
        found.push((await reportOf(runtime, runtime.start(ticket, `ticket ${run}`), 'answer')).ttftMs!)
      }
      runtime.audit()
    }
    const [, , cold, , , warm] = found
    expect(warm! * 4).toBeLessThan(cold!)
  })

  test('gives way to the next request at its backend, and ends with its run', async () => {
    const calls: ScriptedCall[] = []
    const light = scripted((call) => call.delta('so'))
    const heavy = scripted((call) => void calls.push(call), { windowRequests: 1 })
    const runtime = await testRuntime({ light, heavy }, { memory: { prewarm: true } })
    const other = workflow('other').stage('s', { backend: 'heavy', prompt: () => [user('hello')] })
    const first = runtime.start(review, undefined)
    await runtime.clock.advance(100)
    expect(calls).toMatchObject([{ request: { params: { maxTokens: 1 } }, context: { priority: -1_000_000 } }])

    const second = runtime.start(other, undefined)
    await runtime.clock.advance(100)
    expect(calls[0]!.cancelled).toBeDefined()
    expect(calls).toHaveLength(2)
    // While somebody is served nothing is computed ahead.
    const third = runtime.start(review, undefined)
    await runtime.clock.advance(100)
    expect(calls).toHaveLength(2)
    // Nobody waits for a prompt any more, but the only slot is taken.
    calls[1]!.delta('hi')
    await runtime.clock.advance(250)
    expect(calls).toHaveLength(2)
    calls[1]!.answer({ content: 'hi', usage })
    await runtime.clock.advance(100)
    expect(calls).toHaveLength(3)
    third.cancel()
    await runtime.clock.advance(100)
    expect(calls[2]!.cancelled).toBeDefined()
    expect(runtime.backends().find(({ name }) => name === 'heavy')!.prewarm).toMatchObject({ prefills: 2, stopped: 2 })
    first.cancel()
    await runtime.until(Promise.all([first, second, third].map((run) => run.outcome)))
    runtime.audit()
  })

  test.each([1, 2])(
    'never exceeds a window of %s, not even with the request that it is for',
    async (windowRequests) => {
      const light = scripted((call) => call.delta('so').answer({ content: 'so', usage }, 1_000))
      const heavy = scripted((call) => call.answer({ content: 'yes', usage }, 5_000), { windowRequests })
      const runtime = await testRuntime({ light, heavy }, { memory: { prewarm: true } })
      await runtime.until(runtime.start(review, undefined).result)
      expect(heavy.calls.map(({ cancelled }) => cancelled !== undefined)).toEqual([windowRequests === 1, false])
      expect(heavy.openMax).toBe(windowRequests)
      await runtime.settle()
      runtime.audit()
    },
  )

  test('is given up when it takes too long', async () => {
    const light = scripted((call) => call.delta('so'))
    const heavy = scripted(() => {})
    const runtime = await testRuntime({ light, heavy }, { memory: { prewarm: true } })
    const run = runtime.start(review, undefined)
    await runtime.clock.advance(31_000)
    expect(heavy.calls[0]!.cancelled?.message).toMatch(/30000 ms/)
    run.cancel()
    await runtime.until(run.outcome)
    runtime.audit()
  })

  test('is off unless it is asked for', async () => {
    const light = scripted((call) => call.delta('so').answer('so', 1_000))
    const heavy = scripted((call) => call.answer('yes'))
    const runtime = await testRuntime({ light, heavy })
    await runtime.until(runtime.start(review, undefined).result)
    expect(heavy.calls).toHaveLength(1)
    runtime.audit()
  })
})
