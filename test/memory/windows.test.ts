import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { KvWindow } from '../../src/memory/kv-window.ts'
import { memoryIssues, memoryPlan, memoryPolicyNames, type MemoryPolicyName } from '../../src/memory/plan.ts'
import { ReloadCost } from '../../src/memory/reload-cost.ts'
import { ResidencyHorizon } from '../../src/memory/horizon.ts'
import { WaitTimes } from '../../src/memory/wait-times.ts'
import { SharedHeads } from '../../src/memory/heads.ts'

const windowed = ['price', 'thunderagent', 'thunderagent-origin', 'continuum', 'concur'] satisfies MemoryPolicyName[]

function windowOf(name: MemoryPolicyName, capacityTokens: number): KvWindow {
  const { policy, holdMsMax } = memoryPlan({ policy: name, kvTokens: { b: capacityTokens } }).windows.get('b')!
  const waits = new WaitTimes()
  const reload = new ReloadCost()
  return new KvWindow({
    capacityTokens,
    holdMsMax,
    policy,
    knowledge: {
      hitRatio: undefined,
      forecast: (waitFor, elapsedMs, withinMs) => waits.forecast(waitFor ?? '', elapsedMs, withinMs),
      returnRate: (waitFor, elapsedMs) => waits.returnRate(waitFor ?? '', elapsedMs),
      reloadMs: (tokens) => reload.reloadMs(tokens),
      responseMs: (tokens) => reload.reloadMs(tokens),
      survival: () => 1,
    },
  })
}

const request = (run: number, n: number, promptTokens: number) => ({
  requestId: `r${run}/${n}`,
  runId: `r${run}`,
  promptTokens,
  outputTokens: 10,
  addedTokens: promptTokens,
  prefix: [
    { hash: promptTokens > 50 ? 'system' : `short ${promptTokens}`, tokens: Math.min(50, promptTokens) },
    { hash: `own ${run} ${promptTokens}`, tokens: promptTokens },
  ],
})

const step = fc.record({
  what: fc.constantFrom('request', 'request', 'finish', 'wait', 'end', 'review', 'left', 'force'),
  run: fc.nat(6),
  tokens: fc.integer({ min: 1, max: 600 }),
  ms: fc.nat(40_000),
})

describe('the KV window', () => {
  test.each(windowed)('loses no request and counts right, whatever happens, with %s', (name) => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const window = windowOf(name, 1_000)
        const open = new Map<string, 'held' | 'passed'>()
        let nowMs = 0
        const pass = (ids: readonly string[]): void => {
          for (const id of ids) {
            expect(open.get(id)).toBe('held')
            open.set(id, 'passed')
          }
        }
        const of = (run: number, state: string): string | undefined =>
          [...open].find(([id, each]) => id.startsWith(`r${run}/`) && each === state)?.[0]
        steps.forEach(({ what, run, tokens, ms }, n) => {
          nowMs += ms
          const runId = `r${run}`
          if (what === 'request') {
            const each = request(run, n, tokens)
            open.set(each.requestId, window.request(each, nowMs).admitted ? 'passed' : 'held')
          } else if (what === 'finish') {
            const id = of(run, 'passed')
            if (id !== undefined) window.finished(runId, tokens, nowMs)
            if (id !== undefined) open.delete(id)
          } else if (what === 'left') {
            const id = of(run, 'held') ?? of(run, 'passed')
            if (id !== undefined) window.left(runId, id, nowMs)
            if (id !== undefined) open.delete(id)
          } else if (what === 'force') {
            pass(window.force(runId, nowMs)?.requestIds ?? [])
            expect(of(run, 'held')).toBeUndefined()
          } else if (what === 'wait') window.waits(runId, 'tool', nowMs)
          else if (what === 'end') {
            window.end(runId)
            for (const id of open.keys()) if (id.startsWith(`${runId}/`)) open.delete(id)
          } else for (const { requestIds } of window.review(nowMs)) pass(requestIds)

          const runs = [...window.runs()]
          const placed = runs.filter((each) => each.placed)
          expect(window.placed).toBe(placed.length)
          expect(window.held).toBe(
            new Set([...open].flatMap(([id, s]) => (s === 'held' ? [id.split('/')[0]] : []))).size,
          )
          const active = runs.reduce((sum, each) => sum + each.active, 0)
          expect(active).toBe([...open.values()].filter((each) => each === 'passed').length)
          expect(window.usedTokens).toBeGreaterThanOrEqual(Math.max(0, ...placed.map((each) => each.tokens)))
          expect(window.usedTokens).toBeLessThanOrEqual(placed.reduce((sum, each) => sum + each.tokens, 0))
        })
        for (let run = 0; run <= 6; run++) window.end(`r${run}`)
        expect([window.usedTokens, window.placed, window.held, window.size]).toEqual([0, 0, 0, 0])
      }),
      { numRuns: 150 },
    )
  })

  test.each(windowed)('lets everybody in sooner or later when the others end, with %s', (name) => {
    const window = windowOf(name, 1_000)
    let nowMs = 0
    for (let run = 0; run < 20; run++) window.request(request(run, 0, 300), nowMs)
    for (let round = 0; round < 200 && window.size > 0; round++) {
      nowMs += 5_000
      window.review(nowMs)
      for (const { runId, active } of Array.from(window.runs())) {
        if (active === 0) continue
        window.finished(runId, 310, nowMs)
        window.end(runId)
      }
    }
    expect(window.size).toBe(0)
  })

  test.each(windowed.filter((name) => name !== 'concur'))('holds nobody where everything fits, with %s', (name) => {
    const window = windowOf(name, 10_000)
    for (let run = 0; run < 14; run++) expect(window.request(request(run, 0, 500), run).admitted).toBe(true)
    expect(window.pressed).toBe(false)
  })

  test('lets pins run out with continuum, and the newest go first where the rest does not fit', () => {
    const window = windowOf('continuum', 1_000)
    const serve = (run: number, nowMs: number, tokens: number): boolean => {
      const { admitted } = window.request(request(run, nowMs, tokens), nowMs)
      if (admitted) window.finished(`r${run}`, tokens, nowMs)
      if (admitted) window.waits(`r${run}`, 'tool', nowMs)
      return admitted
    }
    expect([serve(1, 0, 500), serve(2, 10, 400)]).toEqual([true, true])
    expect(serve(3, 20, 300)).toBe(false)
    // Two seconds is what a wait of which nothing is known is taken for; by then no pin pays any more.
    const released: string[] = []
    const admitted: string[] = []
    for (let nowMs = 500; nowMs < 200_000; nowMs += 500) {
      for (const { kind, runId } of window.review(nowMs)) (kind === 'released' ? released : admitted).push(runId)
    }
    expect([released.toSorted(), admitted]).toEqual([['r1', 'r2'], ['r3']])
    const full = windowOf('continuum', 1_000)
    for (const run of [1, 2]) full.request(request(run, 0, 400), run)
    for (const run of [1, 2]) full.finished(`r${run}`, 700, 10)
    full.waits('r1', 'tool', 10)
    full.waits('r2', 'tool', 10)
    expect(full.review(11).map(({ runId }) => runId)).toContain('r2')
  })

  test('counts what runs share once', () => {
    const window = windowOf('price', 100_000)
    for (let run = 0; run < 3; run++) window.request(request(run, 0, 100), 0)
    expect(window.usedTokens).toBe(50 + 3 * 60)
  })
})

describe('what is learned of a backend', () => {
  test('the cost of a reload, with its square', () => {
    const cost = new ReloadCost()
    const truth = (tokens: number): number => 0.02 * tokens + 1e-6 * tokens ** 2
    for (let i = 0; i < 600; i++) {
      const tokens = 1_000 * (1 + (i % 100))
      cost.observe(tokens, 0, truth(tokens))
    }
    for (const tokens of [5_000, 50_000, 100_000]) expect(cost.reloadMs(tokens) / truth(tokens)).toBeCloseTo(1, 1)
    cost.observe(10, 0, 5)
    cost.observe(Number.NaN, 0, 5)
    expect(cost.reloadMs(0)).toBe(0)
  })

  test('how long a tool takes, and how much longer when it has taken long', () => {
    const waits = new WaitTimes()
    expect(waits.forecast('x', 0, 1e9).endsWithin).toBeCloseTo(1)
    for (let i = 0; i < 100; i++) waits.observe('quick', 100)
    for (let i = 0; i < 100; i++) waits.observe('slow', 60_000)
    expect(waits.forecast('quick', 0, 200).endsWithin).toBe(1)
    expect(waits.forecast('slow', 0, 200).endsWithin).toBe(0)
    expect(waits.forecast('slow', 0, 0).remainingMs).toBeGreaterThan(45_000)
    expect(waits.forecast('quick', 500, 0).remainingMs).toBe(500)
    for (let i = 0; i < 3_000; i++) waits.observe(`made up ${i}`, 100)
    expect(waits.forecast('never seen', 0, 200).endsWithin).toBeGreaterThan(0.9)
  })

  test('how often keeping a context pays, which is not ruled by the longest waits', () => {
    const waits = new WaitTimes()
    expect(waits.returnRate('x', 0)).toBe(1 / 2_000)
    for (let i = 0; i < 90; i++) waits.observe('people', 5_000)
    for (let i = 0; i < 10; i++) waits.observe('people', 1_000_000)
    // The mean rest is 100 s, but nine of ten are back in five.
    expect(waits.forecast('people', 0, 0).remainingMs).toBeGreaterThan(80_000)
    expect(1 / waits.returnRate('people', 0)).toBeLessThan(8_000)
    expect(1 / waits.returnRate('people', 30_000)).toBeGreaterThan(500_000)
    expect(1 / waits.returnRate('people', 1e8)).toBeGreaterThan(1e7)
  })

  test('how long an untouched prefix survives', () => {
    const horizon = new ResidencyHorizon()
    expect(horizon.survival(1e6)).toBe(1)
    for (let i = 0; i < 30; i++) {
      horizon.observe(3_000, 1_000, 990)
      horizon.observe(60_000, 1_000, 0)
    }
    expect(horizon.survival(3_500)).toBe(1)
    expect(horizon.survival(100_000)).toBe(0)
    expect(horizon.horizonMs).toBeGreaterThanOrEqual(3_000)
    expect(horizon.horizonMs).toBeLessThan(60_000)
  })

  test('shared beginnings as a tree', () => {
    const heads = new SharedHeads()
    const a = [
      { hash: 'x', tokens: 10 },
      { hash: 'xa', tokens: 30 },
    ]
    const b = [
      { hash: 'x', tokens: 10 },
      { hash: 'xb', tokens: 15 },
    ]
    heads.add(a)
    heads.add(b)
    expect(heads.tokens).toBe(35)
    expect([heads.longest(a, 2), heads.longest(a, 1)]).toEqual([10, 30])
    heads.remove(a)
    expect(heads.tokens).toBe(15)
    heads.remove(b)
    expect(heads.tokens).toBe(0)
  })
})

describe('memory options', () => {
  test('make windows only where the policy has one and the pool is known', () => {
    expect(memoryPlan().windows.size).toBe(0)
    expect(memoryPlan({ policy: 'paper', kvTokens: { b: 5 } }).windows.size).toBe(0)
    for (const name of memoryPolicyNames) memoryPlan({ policy: name, kvTokens: { b: 5 } })
    const { windows } = memoryPlan({ policy: 'price', kvTokens: { a: 5, b: 6 } })
    expect(windows.get('a')!.policy).not.toBe(windows.get('b')!.policy)
  })

  test('are refused with every problem', () => {
    const issues = memoryIssues({ policy: 'x' as never, kvTokens: { nowhere: 0.5 }, holdMsMax: -1 }, ['b'])
    expect(issues.map(({ path }) => path)).toEqual([
      'memory.policy',
      'memory.kvTokens.nowhere',
      'memory.kvTokens.nowhere',
      'memory.holdMsMax',
    ])
  })
})
