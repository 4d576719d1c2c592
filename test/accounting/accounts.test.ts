import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import { Accounts, type AccountBook } from '../../src/accounting/accounts.ts'
import { BackendError, createRuntime, user, workflow, type Runtime } from '../../src/index.ts'
import { testRuntime } from '../support/runtime.ts'
import { scripted } from '../support/scripted-backend.ts'
import { ask, backends } from './fixtures/paid.ts'

const open: Runtime[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((runtime) => runtime.close()))
})

const prices = { inputUsdPerMTok: 1, outputUsdPerMTok: 10 }
const usage = { promptTokens: 1_000, cachedTokens: 400, completionTokens: 100 }
const each = (1_000 + 1_000) / 1e6

test('sums over all accounts are those of what was heard, however few accounts there may be', () => {
  const event = fc.record({
    stage: fc.nat(9),
    backend: fc.constantFrom('a', 'b'),
    variant: fc.constantFrom('explicit', 'cheap'),
    what: fc.constantFrom('answered', 'erred', 'completed', 'failed', 'cancelled', 'rated', 'mapped'),
    amount: fc.nat(1_000),
  })
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5 }), fc.array(event, { maxLength: 120 }), (accountsMax, events) => {
      const accounts = new Accounts(accountsMax)
      const sum = { count: 0, failures: 0, cancelled: 0, answers: 0, errors: 0, costUsd: 0, completionTokens: 0 }
      let ratings = 0
      // Books that are kept, as stages keep them: some of them were folded meanwhile.
      const books: AccountBook[] = []
      for (const { stage, backend, variant, what, amount } of events) {
        const book = accounts.book({ stageClass: `w/${stage}`, backend, variant })
        const kept = (books[stage] ??= book)
        if (what === 'answered') {
          book.answered({ completionTokens: amount }, amount)
          sum.answers++
          sum.costUsd += amount
          sum.completionTokens += amount
        } else if (what === 'erred') {
          kept.erred()
          sum.errors++
        } else if (what === 'rated') {
          kept.rated(amount / 1_000)
          ratings++
        } else if (what === 'mapped') {
          book.decided(amount)
          sum.costUsd += amount
        } else {
          kept.ended(what, amount)
          if (what === 'cancelled') sum.cancelled++
          else sum.count++
          if (what === 'failed') sum.failures++
        }
      }
      const list = accounts.list()
      expect(list.length).toBeLessThanOrEqual(accountsMax + 1)
      for (const name of Object.keys(sum) as (keyof typeof sum)[]) {
        expect(list.reduce((total, account) => total + account[name], 0)).toBe(sum[name])
      }
      expect(list.reduce((total, { quality }) => total + (quality?.count ?? 0), 0)).toBe(ratings)
    }),
  )
})

describe('in the runtime', () => {
  const decide = workflow('decide')
    .stage('plain', { backend: 'paid', prompt: () => 'a' })
    .stage('chosen', {
      mapping: () => ({ backend: 'free', reason: 'it is free' }),
      after: ['plain'],
      prompt: () => 'b',
    })

  test('say per stage class, backend and decider what stages cost and how long they took', async () => {
    const runtime = await testRuntime({
      paid: scripted((call) => call.answer({ content: 'x', usage }, 50), { prices }),
      free: scripted((call) => call.answer({ content: 'x', usage }, 10)),
    })
    for (let i = 0; i < 3; i++) await runtime.until(runtime.start(decide, undefined).outcome)
    const [chosen, plain] = runtime.accounts()
    expect(chosen).toMatchObject({ stageClass: 'decide/chosen', backend: 'free', variant: 'custom', costUsd: 0 })
    expect(plain).toMatchObject({
      stageClass: 'decide/plain',
      backend: 'paid',
      variant: 'explicit',
      count: 3,
      failures: 0,
      cancelled: 0,
      answers: 3,
      errors: 0,
      promptTokens: 3_000,
      cachedTokens: 1_200,
      completionTokens: 300,
    })
    expect(plain!.costUsd).toBeCloseTo(3 * each, 12)
    expect(plain!.latencyMs!.mean).toBeCloseTo(50, 3)
    expect(plain!.latencyMs!.p99).toBeCloseTo(50, 3)
    expect(plain).not.toHaveProperty('quality')
    expect(structuredClone(runtime.accounts())).toEqual(runtime.accounts())
    runtime.audit()
  })

  test('a stage that moves leaves its error behind and counts where it ended', async () => {
    const runtime = await testRuntime({
      sick: scripted((call) => call.fail(new BackendError('ORLA_BACKEND_UNREACHABLE', 'gone', { retryable: true })), {
        prices,
      }),
      well: scripted((call) => call.answer({ content: 'x', usage }), { prices }),
    })
    const moving = workflow('moving').stage('s', { backend: 'sick', fallback: ['well'], prompt: () => 'a' })
    await runtime.until(runtime.start(moving, undefined).outcome)
    const [sick, well] = runtime.accounts()
    expect(sick).toMatchObject({ backend: 'sick', count: 0, answers: 0, errors: 1, costUsd: 0 })
    expect(well).toMatchObject({ backend: 'well', count: 1, answers: 1, errors: 0 })
    expect(well!.costUsd).toBeCloseTo(each, 12)
  })

  test('a cascade costs at each of its backends, and counts where it ends', async () => {
    const runtime = await testRuntime({
      light: scripted((call) => call.answer({ content: call.lastText.includes('hard') ? '?' : 'easy', usage }), {
        prices,
      }),
      heavy: scripted((call) => call.answer({ content: 'right', usage }), { prices }),
    })
    const checked = workflow('checked').stage('s', {
      backend: 'light',
      cascade: { to: 'heavy', accept: ({ value }) => value !== '?' },
      prompt: ({ input }) => String(input),
    })
    for (const input of ['easy', 'hard', 'hard']) await runtime.until(runtime.start(checked, input).outcome)
    const [heavy, light] = runtime.accounts()
    expect(light).toMatchObject({ backend: 'light', variant: 'explicit', count: 1, answers: 3, escalations: 2 })
    expect(heavy).toMatchObject({ backend: 'heavy', variant: 'explicit', count: 2, answers: 2, escalations: 0 })
    expect(light!.costUsd).toBeCloseTo(3 * each, 12)
  })

  test('a stage that found no backend counts without one, with what the search cost', async () => {
    const runtime = await testRuntime({ light: scripted((call) => call.answer({ content: 'x', usage }), { prices }) })
    const lost = workflow('lost').stage('s', {
      prompt: () => 'x',
      mapping: async (_request, { ask: askModel }) => {
        await askModel({ backend: 'light', messages: [user('where?')] })
        throw new Error('nowhere')
      },
    })
    const outcome = await runtime.until(runtime.start(lost, undefined).outcome)
    expect(runtime.accounts()).toMatchObject([
      { stageClass: 'lost/s', backend: '(none)', count: 1, failures: 1, answers: 0 },
    ])
    expect(runtime.accounts()[0]!.decisionCostUsd).toBeCloseTo(each, 12)
    expect(outcome.costUsd).toBeCloseTo(each, 12)
    runtime.audit()
  })

  test('failed and cancelled stages are told apart', async () => {
    const runtime = await testRuntime({
      a: scripted((call) =>
        call.lastText === 'hang' ? undefined : call.fail(new BackendError('ORLA_CONTEXT_LENGTH', 'too long'), 5),
      ),
    })
    const two = workflow('two')
      .stage('fails', { backend: 'a', prompt: () => 'fail' })
      .stage('hangs', { backend: 'a', prompt: () => 'hang' })
    await runtime.until(runtime.start(two, undefined).outcome)
    expect(runtime.accounts()).toMatchObject([
      { stageClass: 'two/fails', count: 1, failures: 1, cancelled: 0, errors: 1 },
      { stageClass: 'two/hangs', count: 0, failures: 0, cancelled: 1, errors: 0 },
    ])
    expect(runtime.accounts()[0]).not.toHaveProperty('latencyMs')
  })

  test('runs on runner threads are in the same accounts', async () => {
    const runtime = await createRuntime({
      threads: 2,
      workflows: new URL('./fixtures/paid.ts', import.meta.url),
      probeTimeoutMs: 0,
    })
    open.push(runtime)
    await Promise.all(Array.from({ length: 8 }, (_, i) => runtime.start(ask, `${i}`).result))
    const accounts = runtime.accounts()
    expect(
      accounts.map(({ stageClass, count, answers, cachedTokens }) => [stageClass, count, answers, cachedTokens]),
    ).toEqual([
      ['ask/a', 8, 8, 32],
      ['ask/b', 8, 8, 32],
    ])
    expect(accounts[0]!.costUsd).toBeCloseTo(8 * (10 / 1e6 + 0.1), 9)
    expect(Object.keys(backends)).toEqual(['paid'])
  })
})
