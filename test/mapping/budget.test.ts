import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BackendError } from '../../src/errors.ts'
import { RunBudget } from '../../src/mapping/budget.ts'
import { workflow } from '../../src/workflow/builder.ts'
import { scripted } from '../support/scripted-backend.ts'
import { testRuntime } from '../support/runtime.ts'

test('what is spent never exceeds the budget, whatever is set aside and comes back', () => {
  // Doubles would be drawn by their bits, most of them next to nothing.
  const turns = fc.array(
    fc.record({
      mostUsd: fc.nat(1_000).map((cents) => cents / 100),
      share: fc.nat(100).map((percent) => percent / 100),
      ends: fc.nat(3),
    }),
    { maxLength: 60 },
  )
  fc.assert(
    fc.property(fc.nat(50), turns, (limitUsd, drawn) => {
      const budget = new RunBudget(limitUsd)
      const open: { mostUsd: number; share: number }[] = []
      let spentUsd = 0
      const end = (): void => {
        const turn = open.shift()
        if (turn === undefined) return
        spentUsd += turn.mostUsd * turn.share
        budget.settle(turn.mostUsd, turn.mostUsd * turn.share)
      }
      for (const { ends, ...turn } of drawn) {
        if (budget.reserve(turn.mostUsd)) open.push(turn)
        expect(budget.spentUsd + budget.reservedUsd).toBeLessThanOrEqual(limitUsd + 1e-9)
        for (let i = 0; i < ends; i++) end()
      }
      while (open.length > 0) end()
      expect(budget.reservedUsd).toBeCloseTo(0, 9)
      expect(budget.spentUsd).toBeCloseTo(spentUsd, 9)
      expect(spentUsd).toBeLessThanOrEqual(limitUsd + 1e-9)
    }),
  )
})

describe('in the runtime', () => {
  const prices = { inputUsdPerMTok: 1, outputUsdPerMTok: 1_000 }
  /** Costs a tenth of a dollar and may cost as much. */
  const usage = { promptTokens: 1, cachedTokens: 0, completionTokens: 100 }
  const paid = () => scripted((call) => call.answer({ content: 'x', usage }, 10), { prices })
  const stage = { backend: 'paid', maxTokens: 100, prompt: () => 'x' }
  const chain = workflow('chain')
    .stage('a', stage)
    .stage('b', { ...stage, after: ['a'] })
    .stage('c', { ...stage, after: ['b'] })

  test('a turn that might cost more than is left is not sent, and what was got done is there', async () => {
    const backend = paid()
    const runtime = await testRuntime({ paid: backend })
    const outcome = await runtime.until(runtime.start(chain, undefined, { budgetUsd: 0.25 }).outcome)
    expect(outcome).toMatchObject({
      state: 'failed',
      error: { code: 'ORLA_BUDGET', retryable: false, details: { limitUsd: 0.25, backend: 'paid' } },
      results: { a: 'x', b: 'x' },
    })
    expect(backend.calls).toHaveLength(2)
    expect(outcome.costUsd!).toBeLessThan(0.25)
    runtime.audit()
    expect((await runtime.until(runtime.start(chain, undefined, { budgetUsd: 0.31 }).outcome)).state).toBe('completed')
  })

  test('stages side by side share it: what one has set aside another cannot spend', async () => {
    const backend = paid()
    const runtime = await testRuntime({ paid: backend })
    const wide = workflow('wide')
      .stage('a', { backend: 'paid', maxTokens: 100, prompt: () => 'x' })
      .stage('b', { backend: 'paid', maxTokens: 100, prompt: () => 'x' })
    const outcome = await runtime.until(runtime.start(wide, undefined, { budgetUsd: 0.15 }).outcome)
    expect(outcome.error?.code).toBe('ORLA_BUDGET')
    expect(backend.calls.length).toBeLessThanOrEqual(1)
    runtime.audit()
  })

  test('a backend without prices costs nothing', async () => {
    const runtime = await testRuntime({ paid: scripted((call) => call.answer('x')) })
    expect((await runtime.until(runtime.start(chain, undefined, { budgetUsd: 0 }).outcome)).state).toBe('completed')
  })

  test('a retry sets nothing aside twice', async () => {
    let calls = 0
    const backend = scripted(
      (call) => {
        if (calls++ === 0) call.fail(new BackendError('ORLA_BACKEND_HTTP', 'busy', { retryable: true }))
        else call.answer({ content: 'x', usage })
      },
      { prices },
    )
    const runtime = await testRuntime({ paid: backend })
    const one = workflow('one').stage('a', { backend: 'paid', maxTokens: 100, prompt: () => 'x' })
    expect((await runtime.until(runtime.start(one, undefined, { budgetUsd: 0.11 }).outcome)).state).toBe('completed')
  })
})
