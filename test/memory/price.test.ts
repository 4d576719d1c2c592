import { describe, expect, test } from 'vitest'
import type { WindowRun, WindowView } from '../../src/memory/window-policy.ts'
import { price } from '../../src/memory/windows/price.ts'

const capacityTokens = 1_000_000

/** A run of 100,000 tokens that is expected back in a second, unless `other` says something else. */
function run(runId: string, other: Partial<WindowRun> = {}): WindowRun {
  const base = { active: 0, waitFor: 'tool', prefilling: false, sinceMs: 0, firstSeenMs: 0, placedAtMs: 0 }
  const tokens = { tokens: 100_000, needTokens: 100_000, ownTokens: 100_000 }
  return { runId, ...base, ...tokens, lastTouchMs: 0, turns: 1, ...other }
}

interface Setting {
  placed: WindowRun[]
  held: WindowRun[]
  nowMs?: number
  backInMs?: Record<string, number>
  lostTokens?: number
  activeRequests?: number
  isThere?: string[]
}

function view(setting: Setting): WindowView {
  const { placed, held, nowMs = 10_000, backInMs = {}, lostTokens = 0, activeRequests = 20, isThere = [] } = setting
  const mapOf = (runs: WindowRun[]) => new Map(runs.map((each) => [each.runId, each]))
  const backMs = ({ runId }: WindowRun): number => backInMs[runId] ?? 1_000
  return {
    nowMs,
    capacityTokens,
    usedTokens: placed.reduce((sum, { ownTokens }) => sum + ownTokens, 0),
    lostTokens,
    placed: mapOf(placed),
    held: mapOf(held),
    activeRequests,
    hitRatio: 1,
    holdMsMax: 1_800_000,
    forecast: (each) => ({ remainingMs: backMs(each), endsWithin: 0 }),
    returnRate: (each) => 1 / backMs(each),
    // 10 s for 100,000 tokens, and with the square.
    reloadMs: (tokens) => tokens ** 2 / 1e6,
    responseMs: (tokens) => tokens ** 2 / 1e6,
    lruDepthTokens: ({ runId }) => (isThere.includes(runId) ? 1 : Infinity),
    survival: () => 1,
  }
}

const many = (count: number, other: Partial<WindowRun> = {}): WindowRun[] =>
  Array.from({ length: count }, (_, i) => run(`p${i}`, other))
const names = (choices: readonly { runId: string }[]): string[] => choices.map(({ runId }) => runId)

describe('the price of room', () => {
  test('takes the place of a long wait, and keeps that of a short one', () => {
    const held = [run('held')]
    const long = price().review(view({ placed: many(9), held, backInMs: { p3: 600_000 } }))
    expect([names(long.release), names(long.admit)]).toEqual([['p3'], ['held']])
    const short = price().review(view({ placed: many(9), held }))
    expect([names(short.release), names(short.admit)]).toEqual([[], []])
  })

  test('keeps a large context longer than small ones, which cost less to compute again for each token', () => {
    const small = { tokens: 20_000, needTokens: 20_000, ownTokens: 20_000 }
    const placed = [run('large', { tokens: 900_000, ownTokens: 900_000 }), ...many(5, small)]
    const backInMs = Object.fromEntries(placed.map(({ runId }) => [runId, 200_000]))
    const { release } = price().review(view({ placed, held: [run('held', small)], backInMs }))
    expect(release.length).toBeGreaterThan(0)
    expect(names(release)).not.toContain('large')
  })

  test('takes nobody out of the engine for it, unless somebody was held for long and there is credit', () => {
    const placed = many(10, { active: 1, waitFor: undefined })
    const at = (nowMs: number) => view({ placed, held: [run('held', { sinceMs: 0 })], nowMs })
    expect(price().review(at(100_000)).admit).toEqual([])
    expect(names(price().review(at(130_000)).admit)).toEqual(['held'])
    const none = price({ exchangeShare: 0 })
    const admitted = [0, 1, 2, 3, 4].map((i) => none.review(at(130_000 + i * 1_000)).admit.length)
    // What was saved up at the start pays for two exchanges: each takes 20 s, a reload of each of the two.
    expect(admitted.filter((count) => count > 0).length).toBeLessThan(admitted.length)
  })

  test('lets those in for nothing whose context the engine still has, and only a few that need a reload at once', () => {
    const placed = many(2)
    const held = ['a', 'b', 'c', 'd'].map((name) => run(name))
    const { admit } = price().review(view({ placed, held, isThere: ['d'] }))
    expect(names(admit)).toEqual(['d', 'a', 'b'])
  })

  test('weighs the wait against the cost of the reload', () => {
    const tokens = { tokens: 10_000, needTokens: 10_000, ownTokens: 10_000 }
    const placed = many(9)
    const small = run('small', { ...tokens, sinceMs: 8_000 })
    const first = price().review(view({ placed, held: [run('large', { needTokens: 40_000 }), small] }))
    expect(names(first.admit)[0]).toBe('large')
    const second = price().review(view({ placed, held: [run('large', { needTokens: 90_000 }), small] }))
    expect(names(second.admit)[0]).toBe('small')
  })

  test('lets small ones pass a large one that does not fit, but not once it was held for long', () => {
    const small = { tokens: 10_000, needTokens: 10_000, ownTokens: 10_000 }
    const placed = many(9, { active: 1, placedAtMs: 1_000_000 })
    const held = (sinceMs: number) => [
      run('large', { needTokens: 300_000, sinceMs }),
      run('small', { ...small, sinceMs: 999_000 }),
    ]
    const at = (sinceMs: number) => price().review(view({ placed, held: held(sinceMs), nowMs: 1_000_000 })).admit
    expect(names(at(950_000))).toEqual(['small'])
    expect(names(at(100_000))).toEqual([])
  })

  test('exchanges waits for nothing while the engine is nearly idle', () => {
    const backInMs = Object.fromEntries(many(10).map(({ runId }) => [runId, 5_000]))
    const { release, admit } = price().review(
      view({ placed: many(9), held: [run('held')], backInMs, activeRequests: 0 }),
    )
    expect([release.length, names(admit)]).toEqual([1, ['held']])
  })
})

describe('the reserve for growth', () => {
  test('grows with what was evicted in spite of its place, and shrinks again', () => {
    const policy = price()
    const placed = many(7, { active: 1 })
    const wants = { placed, held: [run('held')] }
    expect(names(policy.review(view(wants)).admit)).toEqual(['held'])
    expect(policy.review(view({ ...wants, nowMs: 11_000, lostTokens: 300_000 })).admit).toEqual([])
    expect(policy.review(view({ ...wants, nowMs: 60_000, lostTokens: 300_000 })).admit).toEqual([])
    const later = view({ ...wants, nowMs: 700_000, lostTokens: 300_000, held: [run('held', { sinceMs: 690_000 })] })
    expect(names(policy.review(later).admit)).toEqual(['held'])
  })

  test('grows with places that growth took from runs at work', () => {
    const policy = price()
    const { release } = policy.review(view({ placed: many(12, { active: 1 }), held: [] }))
    expect(release).toHaveLength(2)
    const held = [run('held', { needTokens: 50_000 })]
    expect(policy.enter(held[0]!, view({ placed: many(8, { active: 1 }), held: [] }))).toBeUndefined()
    expect(price().enter(held[0]!, view({ placed: many(8, { active: 1 }), held: [] }))).toMatch(/^fits/)
  })
})
