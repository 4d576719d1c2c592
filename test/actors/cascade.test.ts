// Cascades in a whole runtime: a cheap backend first, the next one when its answer is not good enough.

import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { createRuntime, simulated, tool, workflow, workflowFromData } from '../../src/index.ts'
import { scripted, type Script } from '../support/scripted-backend.ts'
import { testRuntime } from '../support/runtime.ts'

const prices = { inputUsdPerMTok: 1_000, outputUsdPerMTok: 1_000 }

async function cascaded(light: Script, heavy: Script = (call) => call.answer('from the heavy one', 200)) {
  const backends = { light: scripted(light, { prices }), heavy: scripted(heavy, { prices }) }
  const runtime = await testRuntime(backends)
  return { runtime, ...backends }
}

const accept = ({ value }: { value: string }): true | string => !value.includes('sorry') || 'it apologises'

describe('a cascade', () => {
  test('leaves a good answer alone', async () => {
    const { runtime, heavy } = await cascaded((call) => call.answer('fine', 100))
    const definition = workflow('w').stage('s', {
      backend: 'light',
      cascade: { to: 'heavy', accept },
      prompt: () => 'x',
    })
    const outcome = await runtime.until(runtime.start(definition, undefined).outcome)
    expect(outcome).toMatchObject({ state: 'completed', results: { s: 'fine' }, durationMs: 100 })
    expect(outcome.stages['s']?.escalations).toBeUndefined()
    expect(heavy.calls).toHaveLength(0)
    runtime.audit()
  })

  test('has a bad answer made again elsewhere, from the beginning, and says why and what it cost', async () => {
    const { runtime, heavy } = await cascaded((call) => call.answer('sorry', 100))
    const definition = workflow('w').stage('s', {
      backend: 'light',
      cascade: { to: 'heavy', accept },
      prompt: () => 'x',
    })
    const outcome = await runtime.until(runtime.start(definition, undefined).outcome)
    expect(outcome).toMatchObject({ results: { s: 'from the heavy one' }, durationMs: 300, costUsd: 0.03 })
    expect(outcome.stages['s']).toMatchObject({
      backend: 'heavy',
      escalations: [{ from: 'light', to: 'heavy', reason: 'it apologises' }],
    })
    expect(heavy.calls[0]!.request.messages).toHaveLength(1)
    expect(runtime.transitions().find(({ type }) => type === 'stage.continued')).toMatchObject({
      escalatedFrom: 'light',
      backend: 'heavy',
      reason: expect.stringContaining('it apologises') as string,
    })
    const accounts = runtime.accounts().map(({ backend, answers }) => [backend, answers])
    expect(accounts).toEqual(
      expect.arrayContaining([
        ['light', 1],
        ['heavy', 1],
      ]),
    )
    runtime.audit()
  })

  test('goes on where the output schema is not met, after its repair turns', async () => {
    const output = z.object({ n: z.number() })
    const { runtime, light, heavy } = await cascaded(
      (call) => call.answer('no json', 10),
      (call) => call.answer('{"n":7}', 10),
    )
    const definition = workflow('w').stage('s', {
      backend: 'light',
      cascade: { to: ['heavy'] },
      output,
      repairTurns: 1,
      prompt: () => 'x',
    })
    const outcome = await runtime.until(runtime.start(definition, undefined).outcome)
    expect(outcome.results).toEqual({ s: { n: 7 } })
    expect([light.calls.length, heavy.calls.length]).toEqual([2, 1])
    runtime.audit()
  })

  test('goes on from the tool calls that were made, so that no effect happens twice', async () => {
    let effects = 0
    const send = tool({ description: 'Sends.', input: z.object({}), run: () => ++effects })
    const { runtime, heavy } = await cascaded((call, i) =>
      call.answer(i === 0 ? { toolCalls: [{ name: 'send' }] } : 'sorry', 10),
    )
    const definition = workflow('w').stage('s', {
      backend: 'light',
      tools: { send },
      cascade: { to: 'heavy', accept: ({ value, toolCalls }) => toolCalls.length === 1 && !value.includes('sorry') },
      prompt: () => 'x',
    })
    const outcome = await runtime.until(runtime.start(definition, undefined).outcome)
    expect(outcome.state).toBe('completed')
    expect(effects).toBe(1)
    const roles = heavy.calls[0]!.request.messages.map(({ role }) => role)
    expect(roles).toEqual(['user', 'assistant', 'tool', 'assistant', 'user'])
    expect(heavy.calls[0]!.lastText).toContain('not accepted')
    runtime.audit()
  })

  test('can check what a tool did rather than what the answer says', async () => {
    const refund = tool({ description: 'Refunds.', input: z.object({}), run: () => 'done' })
    const { runtime, heavy } = await cascaded(
      (call) => call.answer('I have refunded it.', 10),
      (call, i) => call.answer(i === 0 ? { toolCalls: [{ name: 'refund' }] } : 'Refunded.', 10),
    )
    const definition = workflow('w').stage('s', {
      backend: 'light',
      tools: { refund },
      cascade: {
        to: 'heavy',
        accept: ({ toolCalls }) => toolCalls.some(({ name, ok }) => name === 'refund' && ok) || 'nothing was refunded',
      },
      prompt: () => 'x',
    })
    const outcome = await runtime.until(runtime.start(definition, undefined).outcome)
    expect(outcome.results).toEqual({ s: 'Refunded.' })
    expect(heavy.calls).toHaveLength(2)
    runtime.audit()
  })

  test('takes the last answer as it is, and passes by a backend that takes nothing', async () => {
    const { runtime } = await cascaded((call) => call.answer('sorry', 10))
    const definition = workflow('w').stage('s', {
      backend: 'light',
      cascade: { to: 'heavy', accept: () => Promise.resolve(false) },
      prompt: () => 'x',
    })
    expect((await runtime.until(runtime.start(definition, 1).outcome)).results).toEqual({ s: 'from the heavy one' })
    runtime.drain('heavy')
    expect((await runtime.until(runtime.start(definition, 2).outcome)).results).toEqual({ s: 'sorry' })
    runtime.audit()
  })

  test.each([
    ['throws', () => expect.fail('oops'), /threw: oops/],
    ['rejects', () => Promise.reject(new Error('oops')), /threw: oops/],
    ['says neither yes nor no', () => 7 as never, /returned 7/],
  ])('whose check %s fails the stage, and says whose mistake it was', async (_, broken, message) => {
    const { runtime } = await cascaded((call) => call.answer('x', 10))
    const definition = workflow('w').stage('s', {
      backend: 'light',
      cascade: { to: 'heavy', accept: broken },
      prompt: () => 'x',
    })
    const outcome = await runtime.until(runtime.start(definition, undefined).outcome)
    expect(outcome.error).toMatchObject({
      code: 'ORLA_STAGE_BUILDER',
      message: expect.stringMatching(message) as string,
    })
    runtime.audit()
  })

  test('is verified before anything runs', async () => {
    const { runtime } = await cascaded(() => {})
    const to = (names: string[]) =>
      workflow('w').stage('s', { backend: 'light', cascade: { to: names }, prompt: () => 'x' })
    expect(() => runtime.verify(to(['nowhere']))).toThrow(/stages\.s\.cascade\.to\[0\]: there is no backend "nowhere"/)
    expect(() => runtime.verify(to(['light']))).toThrow(/begins, or listed twice/)
    const data = workflowFromData({
      name: 'w',
      stages: [{ name: 's', backend: 'light', cascade: { to: 'x' }, prompt: 'x' }],
    })
    expect(() => runtime.verify(data)).toThrow(/stages\.s\.cascade\.to: there is no backend "x"/)
  })

  test('works over real sockets as well', async () => {
    await using runtime = await createRuntime({
      backends: {
        light: simulated({ model: 'small', engine: 'instant' }),
        heavy: simulated({ model: 'big', engine: 'instant' }),
      },
    })
    const definition = workflow('w').stage('s', {
      backend: 'light',
      cascade: { to: 'heavy', accept: ({ backend }) => backend === 'heavy' },
      prompt: () => 'Hello.',
    })
    const { state, stages } = await runtime.start(definition, undefined).outcome
    expect([state, stages['s']?.backend]).toEqual(['completed', 'heavy'])
  })
})
