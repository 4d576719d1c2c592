import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import { SharedBudgets, type BudgetsOptions } from '../../src/accounting/shared-budgets.ts'
import { BackendError, createRuntime, user, workflow, type Runtime } from '../../src/index.ts'
import { testRuntime } from '../support/runtime.ts'
import { scripted } from '../support/scripted-backend.ts'
import { ask, prices } from './fixtures/paid.ts'

const open: Runtime[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((runtime) => runtime.close()))
})

const crumb = 1e-9

describe('the ledger', () => {
  // Doubles would be drawn by their bits, most of them next to nothing.
  const usd = fc.nat(1_000).map((cents) => cents / 100)
  const step = fc.record({
    tenant: fc.constantFrom('ada', 'bob', 'nobody'),
    stageClass: fc.constantFrom('w/a', 'w/b'),
    mostUsd: usd,
    share: fc.nat(100).map((percent) => percent / 100),
    known: fc.boolean(),
    ends: fc.nat(3),
    waitMs: fc.nat(40_000),
  })
  const budgetsOf = (a: number, b: number, c: number): BudgetsOptions => ({
    tenants: { ada: { usd: a, per: 'minute' }, bob: b },
    stageClasses: { 'w/a': c, 'w/unused': 1 },
  })

  test('no pot is ever beyond its limit, sums conserve, and nothing stays set aside', () => {
    fc.assert(
      fc.property(usd, usd, usd, fc.array(step, { maxLength: 60 }), (a, b, c, steps) => {
        let nowMs = 0
        const budgets = new SharedBudgets(budgetsOf(a, b, c), () => nowMs)
        const under: {
          id: string
          tenant: string
          stageClass: string
          mostUsd: number
          spentUsd: number | undefined
        }[] = []
        /** What a naive book says was spent, by pot; ada's begins anew each minute. */
        const spent = new Map<string, number>()
        let minute = 0
        const add = (name: string, amount: number): void => void spent.set(name, (spent.get(name) ?? 0) + amount)
        const settle = (): void => {
          const request = under.shift()
          if (request === undefined) return
          budgets.settle(request.id, request.spentUsd)
          budgets.settle(request.id, 1_000)
          for (const name of [request.tenant, request.stageClass]) add(name, request.spentUsd ?? request.mostUsd)
        }
        const check = (): void => {
          for (const { name, limitUsd, spentUsd, reservedUsd } of budgets.list()) {
            expect(spentUsd + reservedUsd).toBeLessThanOrEqual(limitUsd + crumb)
            expect(spentUsd).toBeCloseTo(spent.get(name) ?? 0, 6)
            const wanted = under
              .filter((each) => each.tenant === name || each.stageClass === name)
              .reduce((sum, { mostUsd }) => sum + mostUsd, 0)
            expect(reservedUsd).toBeCloseTo(wanted, 6)
          }
        }
        steps.forEach(({ tenant, stageClass, mostUsd, share, known, ends, waitMs }, i) => {
          nowMs += waitMs
          if (Math.floor(nowMs / 60_000) !== minute) {
            minute = Math.floor(nowMs / 60_000)
            spent.delete('ada')
          }
          const refused = budgets.reserve(`${i}`, { tenant, stageClass }, mostUsd)
          if (refused === undefined) {
            under.push({ id: `${i}`, tenant, stageClass, mostUsd, spentUsd: known ? mostUsd * share : undefined })
          } else {
            const { limitUsd, spentUsd, reservedUsd } = refused.details as Record<string, number>
            expect(spentUsd! + reservedUsd! + mostUsd).toBeGreaterThan(limitUsd! - crumb)
          }
          check()
          for (let n = 0; n < ends; n++) settle()
          check()
        })
        while (under.length > 0) settle()
        check()
        expect(budgets.list().every(({ reservedUsd }) => reservedUsd < crumb)).toBe(true)
      }),
    )
  })

  test('says which budget it was, and when there is more', () => {
    let nowMs = 10_000
    const budgets = new SharedBudgets({ tenants: { ada: { usd: 1, per: 'hour' } } }, () => nowMs)
    const spender = { tenant: 'ada', stageClass: 'w/a' }
    expect(budgets.reserve('1', spender, 0.8)).toBeUndefined()
    expect(budgets.reserve('2', spender, 0.3)!.toJSON()).toMatchObject({
      code: 'ORLA_BUDGET',
      retryable: false,
      message:
        'a turn may cost up to $0.300; of $1.00 per hour tenant "ada" has spent $0.00 and set aside $0.800: start it again in 3590 s, raise the budget, or lower maxTokens',
      details: { budget: { kind: 'tenant', name: 'ada' }, limitUsd: 1, reservedUsd: 0.8, resetsInMs: 3_590_000 },
    })
    nowMs = 3_600_000
    // What is under way stays set aside in the new hour.
    expect(budgets.reserve('2', spender, 0.3)).toBeDefined()
    budgets.settle('1', 0.6)
    expect(budgets.reserve('2', spender, 0.3)).toBeUndefined()
    expect(budgets.list()).toMatchObject([{ spentUsd: 0.6, reservedUsd: 0.3, per: 'hour', resetsInMs: 3_600_000 }])
  })
})

describe('in the runtime', () => {
  /** Costs a tenth of a dollar and may cost as much. */
  const usage = { promptTokens: 1, cachedTokens: 0, completionTokens: 100 }
  const paid = () => scripted((call) => call.answer({ content: 'x', usage }, 10), { prices })
  const stage = { backend: 'paid', maxTokens: 100, prompt: () => 'x' }
  const one = workflow('one').stage('a', stage)
  const two = workflow('two')
    .stage('a', stage)
    .stage('b', { ...stage, after: ['a'] })

  test('many runs at once spend no more than their tenant may, and other tenants go on', async () => {
    const backend = paid()
    const runtime = await testRuntime({ paid: backend }, { budgets: { tenants: { ada: 0.45 } } })
    const runs = Array.from({ length: 20 }, (_, i) => runtime.start(one, undefined, { tenant: i < 15 ? 'ada' : 'bob' }))
    const outcomes = await runtime.until(Promise.all(runs.map(({ outcome }) => outcome)))
    const states = outcomes.map(({ state }) => state)
    expect(states.slice(0, 15).filter((state) => state === 'completed')).toHaveLength(4)
    expect(new Set(states.slice(15))).toEqual(new Set(['completed']))
    expect(outcomes.find(({ error }) => error !== undefined)!.error).toMatchObject({
      code: 'ORLA_BUDGET',
      details: { budget: { kind: 'tenant', name: 'ada' } },
    })
    expect(backend.calls).toHaveLength(9)
    const [ada] = runtime.budgets()
    expect(ada!.spentUsd).toBeCloseTo(0.4, 4)
    expect(ada!.reservedUsd).toBeCloseTo(0, 9)
    runtime.audit()
  })

  test('a stage class has its own, and a run that it stops keeps what it got done', async () => {
    const runtime = await testRuntime({ paid: paid() }, { budgets: { stageClasses: { 'two/b': 0.15 } } })
    const first = await runtime.until(runtime.start(two, undefined).outcome)
    const second = await runtime.until(runtime.start(two, undefined).outcome)
    expect(first.state).toBe('completed')
    expect(second).toMatchObject({
      state: 'failed',
      error: { code: 'ORLA_BUDGET', details: { budget: { kind: 'stageClass', name: 'two/b' } } },
      results: { a: 'x' },
    })
    runtime.audit()
  })

  test('comes back when the hour is over', async () => {
    const runtime = await testRuntime(
      { paid: paid() },
      { budgets: { tenants: { default: { usd: 0.15, per: 'hour' } } } },
    )
    const states: string[] = []
    for (const waitMs of [0, 0, 3_600_000]) {
      await runtime.clock.advance(waitMs)
      states.push((await runtime.until(runtime.start(one, undefined).outcome)).state)
    }
    expect(states).toEqual(['completed', 'failed', 'completed'])
  })

  test('is raised, lowered and taken away while runs go on', async () => {
    const runtime = await testRuntime({ paid: paid() })
    const outcome = async (): Promise<string> => (await runtime.until(runtime.start(one, undefined).outcome)).state
    runtime.setBudgets({ tenants: { default: 0.15 } })
    expect([await outcome(), await outcome()]).toEqual(['completed', 'failed'])
    runtime.setBudgets({ tenants: { default: { usd: 0.25, per: 'hour' }, other: 1 } })
    expect([await outcome(), await outcome()]).toEqual(['completed', 'failed'])
    expect(runtime.budgets()[0]!.spentUsd).toBeCloseTo(0.2, 4)
    // What is under way when it changes is settled where it was set aside.
    const run = runtime.start(one, undefined, { tenant: 'other' })
    await runtime.settle()
    runtime.setBudgets({ tenants: { default: 0.05 } })
    await runtime.until(run.outcome)
    expect(await outcome()).toBe('failed')
    expect(() => runtime.setBudgets({ tenants: { default: -1 } })).toThrow(/tenants\.default/)
    runtime.setBudgets({})
    expect(await outcome()).toBe('completed')
    expect(runtime.budgets()).toEqual([])
  })

  test('what failed, was cancelled or rejected gives back what was set aside', async () => {
    const backend = scripted(
      (call) => {
        if (call.lastText === 'fail') call.fail(new BackendError('ORLA_CONTEXT_LENGTH', 'too long'))
      },
      { prices, windowRequests: 1, queueCapacity: 1 },
    )
    const runtime = await testRuntime({ paid: backend }, { budgets: { tenants: { default: 100 } } })
    const say = workflow('say').stage('s', {
      ...stage,
      retry: { attempts: 1 },
      prompt: ({ input }) => String(input),
    })
    const failing = await runtime.until(runtime.start(say, 'fail').outcome)
    expect(failing.state).toBe('failed')
    const runs = ['runs', 'waits', 'is rejected'].map((text) => runtime.start(say, text))
    await runtime.settle()
    expect(runtime.budgets()[0]!.reservedUsd).toBeCloseTo(0.2, 3)
    runs[1]!.cancel()
    await runtime.until(runs[1]!.outcome)
    expect(runtime.budgets()[0]!.reservedUsd).toBeCloseTo(0.1, 3)
    for (const run of runs) run.cancel()
    await runtime.until(Promise.all(runs.map(({ outcome }) => outcome)))
    expect(runtime.budgets()).toMatchObject([{ spentUsd: 0, reservedUsd: 0 }])
    runtime.audit()
  })

  test('a decision by a call of a model spends it too', async () => {
    const runtime = await testRuntime({ paid: paid() }, { budgets: { stageClasses: { 'routed/s': 0.25 } } })
    const routed = workflow('routed').stage('s', {
      maxTokens: 100,
      prompt: () => 'x',
      mapping: async (_request, { ask: askModel }) => {
        await askModel({ backend: 'paid', messages: [user('which?')], params: { maxTokens: 100 } })
        return { backend: 'paid', reason: 'it was asked', by: 'router' }
      },
    })
    const run = runtime.start(routed, undefined)
    expect((await runtime.until(run.outcome)).state).toBe('completed')
    expect(runtime.budgets()[0]!.spentUsd).toBeCloseTo(0.2, 4)
    expect(runtime.budgets()[0]!.reservedUsd).toBeCloseTo(0, 9)
    expect(runtime.accounts()).toMatchObject([{ variant: 'router', answers: 1 }])
    expect(runtime.accounts()[0]!.decisionCostUsd).toBeCloseTo(0.1, 4)
    expect(runtime.accounts()[0]!.costUsd).toBeCloseTo(0.2, 4)
    const second = await runtime.until(runtime.start(routed, undefined).outcome)
    expect(second.error).toMatchObject({ code: 'ORLA_MAPPING_FAILED', cause: { code: 'ORLA_BUDGET' } })
    expect(runtime.budgets()[0]!.reservedUsd).toBeCloseTo(0, 9)
    runtime.audit()
  })

  test('a call of a model that its backend does not take gives back what was set aside', async () => {
    const runtime = await testRuntime({ paid: paid(), other: paid() }, { budgets: { tenants: { default: 1 } } })
    runtime.drain('paid')
    const routed = workflow('routed').stage('s', {
      maxTokens: 100,
      prompt: () => 'x',
      mapping: async (_request, { ask: askModel }) => {
        const call = askModel({ backend: 'paid', messages: [user('which?')], params: { maxTokens: 100 } })
        return { backend: 'other', reason: await call.then(() => 'it was asked').catch(() => 'it was not') }
      },
    })
    const outcome = await runtime.until(runtime.start(routed, undefined).outcome)
    expect(outcome.stages['s']!.mapping!.reason).toBe('it was not')
    expect(runtime.budgets()[0]!.reservedUsd).toBeCloseTo(0, 9)
    expect(runtime.budgets()[0]!.spentUsd).toBeCloseTo(0.1, 3)
  })

  test('holds over runner threads together', async () => {
    const runtime = await createRuntime({
      threads: 2,
      workflows: new URL('./fixtures/paid.ts', import.meta.url),
      probeTimeoutMs: 0,
      budgets: { tenants: { default: 0.55 } },
    })
    open.push(runtime)
    const outcomes = await Promise.all(Array.from({ length: 12 }, (_, i) => runtime.start(ask, `${i}`).outcome))
    const spentUsd = outcomes.reduce((sum, outcome) => sum + (outcome.costUsd ?? 0), 0)
    expect(spentUsd).toBeLessThanOrEqual(0.55)
    expect(spentUsd).toBeGreaterThan(0.45)
    expect(new Set(outcomes.flatMap(({ error }) => (error === undefined ? [] : [error.code])))).toEqual(
      new Set(['ORLA_BUDGET']),
    )
    expect(runtime.budgets()[0]!.spentUsd).toBeCloseTo(spentUsd, 9)
    expect(runtime.budgets()[0]!.reservedUsd).toBeCloseTo(0, 9)
  })

  test('wrong budgets are refused, all of them at once', async () => {
    const budgets = { tenants: { ada: -1, bob: { usd: 1, per: 'year' } }, teams: {} } as never
    const made = createRuntime({ backends: { paid: paid() }, budgets })
    await expect(made).rejects.toThrow(/budgets\.tenants\.ada[\s\S]*budgets\.tenants\.bob[\s\S]*teams/)
  })
})
