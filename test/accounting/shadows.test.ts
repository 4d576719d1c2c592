import { afterEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { BackendError, createRuntime, tool, workflow, type Runtime, type Shadows } from '../../src/index.ts'
import { testRuntime } from '../support/runtime.ts'
import { scripted } from '../support/scripted-backend.ts'
import { ask, prices } from './fixtures/paid.ts'

const open: Runtime[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((runtime) => runtime.close()))
})

const usage = { promptTokens: 10, cachedTokens: 0, completionTokens: 100 }
const heavy = () => scripted((call) => call.answer({ content: `heavy: ${call.lastText}`, usage }, 20), { prices })
const light = () => scripted((call) => call.answer({ content: 'light', usage }, 5), { prices })
const two = workflow('two')
  .stage('a', { backend: 'heavy', maxTokens: 100, prompt: ({ input }) => String(input) })
  .stage('b', { backend: 'heavy', maxTokens: 100, after: ['a'], prompt: ({ results }) => results.a })
const shadows: Shadows = { 'two/a': { backend: 'light', share: 1 } }

describe('a shadow variant', () => {
  test('gets copies, changes nothing of the runs, and has an account of its own', async () => {
    const played = await Promise.all(
      [shadows, undefined].map(async (given) => {
        const backends = { heavy: heavy(), light: light() }
        const runtime = await testRuntime(backends, given && { shadows: given })
        const runs = [1, 2, 3].map((n) => runtime.start(two, n))
        const outcomes = await runtime.until(Promise.all(runs.map(({ outcome }) => outcome)))
        await runtime.clock.runAll()
        runtime.audit()
        return { runtime, backends, outcomes, transitions: runtime.transitions() }
      }),
    )
    const [shadowed, plain] = played as [(typeof played)[0], (typeof played)[0]]
    expect(shadowed.outcomes).toEqual(plain.outcomes)
    expect(shadowed.transitions).toEqual(plain.transitions)
    expect(shadowed.backends.light.calls.map(({ request }) => request)).toEqual(
      shadowed.backends.heavy.calls.slice(0, 3).map(({ request }) => request),
    )
    expect(plain.backends.light.calls).toHaveLength(0)
    const [context] = shadowed.backends.light.calls.map((call) => call.context)
    expect(context).toMatchObject({ requestId: expect.stringMatching(/\/a\/1\.1\/shadow$/), priority: -1_000_000 })
    expect(context).not.toHaveProperty('sessionId')

    const accounts = shadowed.runtime.accounts()
    expect(accounts.map(({ stageClass, backend, variant, count }) => [stageClass, backend, variant, count])).toEqual([
      ['two/a', 'heavy', 'explicit', 3],
      ['two/a', 'light', 'shadow:light', 3],
      ['two/b', 'heavy', 'explicit', 3],
    ])
    expect(accounts[1]!.costUsd).toBeCloseTo(0.3, 3)
    expect(accounts[1]!.latencyMs!.mean).toBeCloseTo(5, 3)
    expect(shadowed.outcomes[0]!.costUsd).toBeCloseTo(0.2, 3)
    expect(shadowed.runtime.shadows()).toEqual([
      { stageClass: 'two/a', backend: 'light', inFlight: 0, drawn: 3, skipped: 0, gaveWay: 0 },
    ])
  })

  test('is compared by a function, whose figures are ratings; one that throws is only logged', async () => {
    const pairs: [string, string][] = []
    const compare = ({ answer, shadow }: { answer: { content: string }; shadow: { content: string } }) => {
      pairs.push([answer.content, shadow.content])
      if (pairs.length === 3) return 7
      return Promise.resolve(pairs.length === 1 ? 1 : 0.5)
    }
    const runtime = await testRuntime(
      { heavy: heavy(), light: light() },
      { shadows: { 'two/a': { ...shadows['two/a']!, compare } } },
    )
    for (const n of [1, 2, 3]) await runtime.until(runtime.start(two, n).outcome)
    await runtime.clock.runAll()
    expect(pairs[0]).toEqual(['heavy: 1', 'light'])
    expect(runtime.accounts().find(({ variant }) => variant === 'shadow:light')!.quality).toEqual({
      mean: 0.75,
      count: 2,
    })
    expect(runtime.errors.map(({ message }) => message)).toEqual(['a comparison with a shadow variant failed'])
  })

  test('gives way to a request that needs its slot, and takes none that somebody waits for', async () => {
    const slow = scripted(() => {}, { windowRequests: 1 })
    const runtime = await testRuntime({ heavy: heavy(), light: slow }, { shadows })
    await runtime.until(runtime.start(two, 1).outcome)
    expect(slow.open).toHaveLength(1)
    const direct = workflow('direct').stage('s', { backend: 'light', prompt: () => 'hello' })
    const run = runtime.start(direct, undefined)
    await runtime.settle()
    expect(slow.calls[0]!.cancelled?.message).toMatch(/needed for a request that somebody waits for/)
    expect(slow.openMax).toBe(1)
    expect(runtime.transitions(run.id).find(({ type }) => type === 'stage.granted')).toMatchObject({ queueWaitMs: 0 })
    // The one slot is taken by the run: the next copy is left out.
    await runtime.until(runtime.start(two, 2).outcome)
    expect(slow.calls).toHaveLength(2)
    slow.calls[1]!.answer('x')
    await runtime.until(run.outcome)
    expect(runtime.shadows()[0]).toMatchObject({ inFlight: 0, drawn: 2, skipped: 1, gaveWay: 1 })
    expect(runtime.accounts().find(({ variant }) => variant === 'shadow:light')).toMatchObject({
      count: 0,
      cancelled: 1,
    })
    runtime.audit()
  })

  test('keeps to its share, its places and its money', async () => {
    const slow = scripted((call) => call.answer({ content: 'x', usage }, 1_000), { prices, windowRequests: 64 })
    const plan: Shadows = {
      'two/a': { backend: 'light', share: 0.3, inFlightMax: 64 },
      'two/b': { backend: 'light', share: 1, inFlightMax: 2, budgetUsd: 0.35 },
    }
    const runtime = await testRuntime({ heavy: heavy(), light: slow }, { shadows: plan, watch: false })
    const batch = async (count: number): Promise<void> => {
      const runs = Array.from({ length: count }, (_, i) => runtime.start(two, i))
      await runtime.until(Promise.all(runs.map(({ outcome }) => outcome)))
      await runtime.clock.runAll()
    }
    await batch(16)
    expect(runtime.shadows()[1]).toMatchObject({ drawn: 16, skipped: 14 })
    await batch(184)
    const [a, b] = runtime.shadows()
    expect(a!.drawn).toBeGreaterThan(40)
    expect(a!.drawn).toBeLessThan(80)
    // Three of a tenth each; the fourth might go beyond.
    expect(b!.drawn - b!.skipped).toBe(3)
  })

  test('calls no tools, and harms nobody when it fails', async () => {
    let called = 0
    const note = tool({ description: 'n', input: z.object({}), run: () => `${++called}` })
    const seen: number[] = []
    const runtime = await testRuntime(
      {
        heavy: scripted((call, i) => call.answer(i === 0 ? { toolCalls: [{ name: 'note' }] } : 'done')),
        light: scripted((call, i) => {
          seen.push(call.request.tools?.length ?? 0)
          if (i === 0) call.answer({ toolCalls: [{ name: 'note' }, { name: 'note' }] })
          else call.fail(new BackendError('ORLA_BACKEND_HTTP', 'broken'))
        }),
      },
      { shadows: { 'tools/s': { backend: 'light', share: 1 } } },
    )
    const tools = workflow('tools').stage('s', { backend: 'heavy', tools: { note }, prompt: () => 'x' })
    const outcome = await runtime.until(runtime.start(tools, undefined).outcome)
    await runtime.settle()
    expect(outcome.state).toBe('completed')
    expect(called).toBe(1)
    expect(seen).toEqual([1, 1])
    const account = runtime.accounts().find(({ variant }) => variant === 'shadow:light')
    expect(account).toMatchObject({ count: 2, failures: 1, answers: 1, errors: 1 })
    expect(runtime.backends().find(({ name }) => name === 'light')!.health).toBe('healthy')
  })

  test('ends by itself after its run, and with the runtime', async () => {
    const slow = scripted()
    const runtime = await testRuntime({ heavy: heavy(), light: slow }, { shadows })
    await runtime.until(runtime.start(two, 1).outcome)
    await runtime.until(runtime.start(two, 2).outcome)
    expect(slow.open).toHaveLength(2)
    slow.calls[0]!.answer('late')
    await runtime.settle()
    expect(runtime.accounts().find(({ variant }) => variant === 'shadow:light')).toMatchObject({ count: 1 })
    await runtime.until(runtime.close())
    expect(slow.calls[1]!.cancelled).toMatchObject({ code: 'ORLA_CANCELLED', by: 'shutdown' })
  })

  test('works with runner threads', async () => {
    const compared = Promise.withResolvers<number>()
    const runtime = await createRuntime({
      threads: 1,
      workflows: new URL('./fixtures/paid.ts', import.meta.url),
      probeTimeoutMs: 0,
      shadows: {
        'ask/a': { backend: 'paid', share: 1, compare: (pair) => (compared.resolve(pair.request.messages.length), 1) },
      },
    })
    open.push(runtime)
    await runtime.start(ask, 'x').result
    expect(await compared.promise).toBe(1)
    const account = runtime.accounts().find(({ variant }) => variant === 'shadow:paid')
    expect(account).toMatchObject({ stageClass: 'ask/a', count: 1, completionTokens: 100 })
  })

  test('that cannot be is refused', async () => {
    const made = createRuntime({
      backends: { heavy: heavy() },
      shadows: { 'w/a': { backend: 'nowhere', share: 1 } },
    })
    await expect(made).rejects.toThrow(/shadows\.w\/a\.backend: there is no backend "nowhere"/)
    const wrong = createRuntime({
      backends: { heavy: heavy() },
      shadows: { 'w/a': { backend: 'heavy', share: 2, always: true } as never },
    })
    await expect(wrong).rejects.toThrow(/shadows\.w\/a\.share[\s\S]*always/)
  })
})
