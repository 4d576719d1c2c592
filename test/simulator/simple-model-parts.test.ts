import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { virtualClock } from '../../src/clock.ts'
import type { TokenSpan } from '../../src/schema/message.ts'
import { BoundedMap } from '../../src/simulator/bounded-map.ts'
import { PrefixCache } from '../../src/simulator/prefix-cache.ts'
import { scaledClock } from '../../src/simulator/scaled-clock.ts'

const span = (stream: string, from: number, to: number): TokenSpan => ({ stream, from, to })

/** Puts spans into the cache and lets go of them. */
function insert(cache: PrefixCache, ...spans: TokenSpan[]): void {
  const { prefix, rest } = cache.use(spans, '')
  cache.release(cache.extend(prefix, rest, ''))
}

/** Length of the known prefix. */
function known(cache: PrefixCache, ...spans: TokenSpan[]): number {
  const { prefix, tokens } = cache.use(spans, '')
  cache.release(prefix)
  return tokens
}

describe('prefix cache', () => {
  test('P3: evicts the ends of what was used longest ago, leaf by leaf, and never what is in use', () => {
    const cache = new PrefixCache()
    insert(cache, span('root', 0, 10), span('a', 0, 10))
    insert(cache, span('root', 0, 10), span('b', 0, 10))
    insert(cache, span('other', 0, 10))
    expect(cache.evict(4)).toBe(4)
    expect(known(cache, span('root', 0, 10), span('a', 0, 10))).toBe(16)
    const held = cache.use([span('root', 0, 10), span('b', 0, 10)], '')
    expect({ live: cache.liveTokens, idle: cache.idleTokens }).toEqual({ live: 20, idle: 16 })
    expect(cache.evict(1_000)).toBe(16)
    expect({ live: cache.liveTokens, idle: cache.idleTokens }).toEqual({ live: 20, idle: 0 })
    cache.release(held.prefix)
    expect(cache.evict(15)).toBe(15)
    expect(known(cache, span('root', 0, 10), span('b', 0, 10))).toBe(5)
  })

  test('stays right for a use whose node is cut in two', () => {
    const cache = new PrefixCache()
    const { prefix, rest } = cache.use([span('s', 0, 100)], '')
    const long = cache.extend(prefix, rest, '')
    const short = cache.use([span('s', 0, 40), span('t', 0, 5)], '')
    expect(short).toMatchObject({ tokens: 40, rest: [span('t', 0, 5)] })
    cache.release(long)
    expect({ live: cache.liveTokens, idle: cache.idleTokens }).toEqual({ live: 40, idle: 60 })
    expect(cache.evict(1_000)).toBe(60)
    cache.release(short.prefix)
    expect(cache.evict(1_000)).toBe(40)
  })

  test('P2: keeps its books through thousands of uses', () => {
    const spans = fc.array(
      fc
        .tuple(fc.constantFrom('a', 'b'), fc.integer({ min: 0, max: 6 }), fc.integer({ min: 1, max: 9 }))
        .map(([stream, from, length]) => span(stream, from, from + length)),
      { minLength: 1, maxLength: 4 },
    )
    fc.assert(
      fc.property(fc.array(fc.tuple(spans, fc.nat(12)), { maxLength: 200 }), (steps) => {
        const cache = new PrefixCache()
        for (const [given, evict] of steps) {
          insert(cache, ...given)
          expect(known(cache, ...given)).toBe(given.reduce((sum, { from, to }) => sum + to - from, 0))
          const before = cache.idleTokens
          expect(cache.liveTokens).toBe(0)
          expect(cache.evict(evict)).toBe(Math.min(evict, before))
          expect(cache.idleTokens).toBe(before - Math.min(evict, before))
        }
        const left = cache.idleTokens
        expect(cache.evict(1e9)).toBe(left)
      }),
      { numRuns: 200, seed: 20_261_121 },
    )
  })

  test('forgets what its heap knew of nodes that were used since', () => {
    const cache = new PrefixCache()
    for (let i = 0; i < 500; i++) insert(cache, span('hot', 0, 10))
    insert(cache, span('cold', 0, 10))
    insert(cache, span('hot', 0, 10))
    expect(cache.evict(10)).toBe(10)
    expect([known(cache, span('hot', 0, 10)), known(cache, span('cold', 0, 10))]).toEqual([10, 0])
  })
})

describe('scaled clock', () => {
  test('passes its time by the factor, and leaves the rest as it is', async () => {
    const clock = virtualClock({ seed: 5 })
    const fast = scaledClock(clock, 4)
    const fired: number[] = []
    fast.setTimer(100, () => fired.push(clock.nowMs(), fast.nowMs()))
    fast.clearTimer(fast.setTimer(1, () => fired.push(-1)))
    await clock.runAll()
    expect(fired).toEqual([25, 100])
    expect([fast.virtual, fast.seed, fast.epochMs()]).toEqual([true, 5, clock.epochMs()])
    expect(fast.random('x')()).toBe(clock.random('x')())
    expect(scaledClock(clock, 1)).toBe(clock)
  })
})

describe('bounded map', () => {
  test('forgets what was set or read longest ago', () => {
    const map = new BoundedMap<string, number>(2)
    map.set('a', 1)
    map.set('b', 2)
    expect(map.get('a')).toBe(1)
    map.set('c', 3)
    map.set('c', 4)
    expect([map.get('a'), map.get('b'), map.get('c')]).toEqual([1, undefined, 4])
  })
})
