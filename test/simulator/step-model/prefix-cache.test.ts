import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { TokenSpan } from '../../../src/schema/message.ts'
import { PrefixCache } from '../../../src/simulator/step-model/prefix-cache.ts'
import { mergeRuns } from '../../../src/simulator/step-model/runs.ts'

const span = (stream: string, from: number, to: number): TokenSpan => ({ stream, from, to })

type Lease = NonNullable<ReturnType<PrefixCache['acquire']>>

/** Computes a sequence as an engine would, chunk by chunk, and releases it. Returns the hit. */
function compute(cache: PrefixCache, spans: TokenSpan[], options: { salt?: string; chunk?: number } = {}): number {
  const runs = mergeRuns(spans)
  const tokens = runs.reduce((sum, run) => sum + run.to - run.from, 0)
  const lease = cache.acquire(runs, options.salt ?? '', tokens - 1)!
  const hit = lease.depth
  for (let depth = hit; depth < tokens;) {
    depth = Math.min(tokens, depth + (options.chunk ?? tokens))
    cache.extend(lease, depth)
  }
  cache.release(lease, tokens)
  return hit
}

/** Every token by itself, for naive comparison. */
function flat(spans: readonly TokenSpan[]): string[] {
  return spans.flatMap(({ stream, from, to }) => Array.from({ length: to - from }, (_, i) => `${stream}${from + i}`))
}

function commonPrefix(a: readonly string[], b: readonly string[]): number {
  let length = 0
  while (length < a.length && length < b.length && a[length] === b[length]) length++
  return length
}

describe('runs', () => {
  it('join spans that continue each other, and drop empty ones', () => {
    const merged = mergeRuns([span('a', 0, 5), span('b', 3, 3), span('a', 5, 9), span('a', 2, 4), span('b', 4, 6)])
    expect(merged).toEqual([span('a', 0, 9), span('a', 2, 4), span('b', 4, 6)])
  })
})

describe('a prefix cache', () => {
  const cache = (blocks = 100, blockTokens = 16): PrefixCache => new PrefixCache({ blockTokens, totalBlocks: blocks })

  it('finds whole blocks of a known prefix, and leaves a token to compute', () => {
    const pool = cache()
    expect(compute(pool, [span('a', 0, 100)])).toBe(0)
    expect(compute(pool, [span('a', 0, 100)])).toBe(96)
    expect(compute(pool, [span('a', 0, 96)])).toBe(80)
    expect(compute(pool, [span('a', 0, 50), span('b', 0, 50)])).toBe(48)
  })

  it('with blocks of one token finds every token but the last', () => {
    const pool = cache(400, 1)
    compute(pool, [span('a', 0, 100)])
    expect(compute(pool, [span('a', 0, 100)])).toBe(99)
    expect(compute(pool, [span('a', 0, 51), span('b', 0, 50)])).toBe(51)
  })

  it('shares the blocks of a common prefix and counts the block in which paths part for each', () => {
    const pool = cache()
    compute(pool, [span('a', 0, 40), span('b', 0, 24)])
    expect(pool.blocks.cached).toBe(4)
    compute(pool, [span('a', 0, 40), span('c', 0, 24)])
    // Blocks 0 and 1 are common; block 2 holds the parting and block 3 follows it: two more.
    expect(pool.blocks.cached).toBe(6)
  })

  it('keeps namespaces apart', () => {
    const pool = cache()
    compute(pool, [span('a', 0, 64)], { salt: 'one' })
    expect(compute(pool, [span('a', 0, 64)], { salt: 'two' })).toBe(0)
    expect(compute(pool, [span('a', 0, 64)], { salt: 'one' })).toBe(48)
  })

  it('keeps only full blocks of what was computed', () => {
    const pool = cache()
    compute(pool, [span('a', 0, 31)])
    expect(pool.blocks).toEqual({ total: 100, live: 0, cached: 1, free: 99 })
    compute(pool, [span('b', 0, 15)])
    expect(pool.blocks.cached).toBe(1)
  })

  it('evicts the least recently released first, from the end of its path', () => {
    const pool = cache(10)
    compute(pool, [span('a', 0, 64)])
    compute(pool, [span('b', 0, 64)])
    compute(pool, [span('c', 0, 64)])
    // Ten blocks: a lost its last two.
    expect(pool.blocks).toEqual({ total: 10, live: 0, cached: 10, free: 0 })
    expect(compute(pool, [span('b', 0, 65)])).toBe(64)
    expect(compute(pool, [span('a', 0, 33)])).toBe(16)
  })

  it('evicts a prefix only after everything below it', () => {
    const pool = cache(8)
    compute(pool, [span('system', 0, 32)])
    compute(pool, [span('system', 0, 32), span('a', 0, 32)])
    compute(pool, [span('system', 0, 32), span('b', 0, 32)])
    compute(pool, [span('other', 0, 64)])
    // Two free blocks and a's two were taken; the system prompt is still there, and b.
    expect(compute(pool, [span('system', 0, 32), span('b', 0, 33)])).toBe(64)
  })

  it('never evicts what a lease holds', () => {
    const pool = cache(6)
    compute(pool, [span('a', 0, 64)])
    const lease = pool.acquire(mergeRuns([span('a', 0, 64), span('x', 0, 10)]), '', 73)!
    expect(lease.depth).toBe(64)
    expect(pool.availableBlocks).toBe(2)
    pool.extend(lease, 74)
    compute(pool, [span('b', 0, 16)])
    expect(pool.blocks).toEqual({ total: 6, live: 5, cached: 1, free: 0 })
    pool.release(lease, 74)
    expect(pool.blocks.live).toBe(0)
  })

  it('shares tokens that two sequences compute at the same time', () => {
    const pool = cache()
    const runs = mergeRuns([span('a', 0, 64)])
    const first = pool.acquire(runs, '', 63)!
    const second = pool.acquire(runs, '', 63)!
    pool.extend(first, 40)
    pool.extend(second, 20)
    pool.extend(second, 64)
    pool.extend(first, 64)
    expect(pool.blocks.live).toBe(4)
    pool.release(first, 64)
    expect(pool.blocks).toMatchObject({ live: 4, cached: 0 })
    pool.release(second, 64)
    expect(pool.blocks).toMatchObject({ live: 0, cached: 4 })
  })

  it('gives no lease, and changes nothing, if there is no room for what is to follow the hit', () => {
    const pool = cache(6)
    compute(pool, [span('old', 0, 32)])
    compute(pool, [span('a', 0, 48)])
    const held = pool.acquire(mergeRuns([span('b', 0, 100)]), '', 99)!
    pool.extend(held, 16)
    const runs = mergeRuns([span('old', 0, 32), span('x', 0, 60)])
    // Five blocks are not held; two of them are the hit itself, so three may follow.
    expect(pool.acquire(runs, '', 91, () => 81)).toBeUndefined()
    expect(pool.acquire(runs, '', 91, () => 80)?.depth).toBe(32)
  })

  it('does not take a prefix that was only asked for as used', () => {
    const pool = cache(6)
    compute(pool, [span('old', 0, 32)])
    compute(pool, [span('new', 0, 48)])
    expect(pool.acquire(mergeRuns([span('old', 0, 33)]), '', 32, () => 1_000)).toBeUndefined()
    compute(pool, [span('more', 0, 32)])
    expect(compute(pool, [span('new', 0, 49)])).toBe(48)
  })

  it('forgets everything on a flush', () => {
    const pool = cache()
    compute(pool, [span('a', 0, 64)])
    pool.flush()
    expect(pool.blocks).toEqual({ total: 100, live: 0, cached: 0, free: 100 })
    expect(compute(pool, [span('a', 0, 64)])).toBe(0)
  })

  it('refuses to flush while a lease holds blocks, and to hold more than the pool has', () => {
    const pool = cache(4)
    const lease = pool.acquire(mergeRuns([span('a', 0, 100)]), '', 99)!
    pool.extend(lease, 64)
    expect(() => pool.flush()).toThrow(/flushed while/)
    expect(() => pool.extend(lease, 65)).toThrow(/fewer blocks/)
  })
})

const spans = fc.array(
  fc
    .record({
      stream: fc.constantFrom('a', 'b', 'c'),
      from: fc.integer({ min: 0, max: 12 }),
      length: fc.integer({ min: 1, max: 40 }),
    })
    .map(({ stream, from, length }) => span(stream, from, from + length)),
  { minLength: 1, maxLength: 5 },
)

describe('properties of a prefix cache', () => {
  it('K5: in a pool that is large enough a hit is the whole blocks of the longest prefix ever computed', () => {
    fc.assert(
      fc.property(
        fc.array(spans, { maxLength: 15 }),
        fc.constantFrom(1, 4, 16),
        fc.integer({ min: 1, max: 30 }),
        (sequences, blockTokens, chunk) => {
          const pool = new PrefixCache({ blockTokens, totalBlocks: 10_000 })
          const computed: string[][] = []
          const chains = new Set<string>()
          for (const sequence of sequences) {
            const tokens = flat(sequence)
            const longest = Math.max(
              0,
              ...computed.map((other) => {
                const common = commonPrefix(tokens, other)
                return common - (common % blockTokens)
              }),
            )
            const cap = tokens.length - 1
            const hit = compute(pool, sequence, { chunk })
            expect(hit).toBe(Math.min(longest, cap - (cap % blockTokens)))
            computed.push(tokens)
            for (let end = blockTokens; end <= tokens.length; end += blockTokens) {
              chains.add(tokens.slice(0, end).join())
            }
            // K1, K2: the arithmetic counts exactly the distinct chains of full blocks.
            expect(pool.blocks).toEqual({
              total: 10_000,
              live: 0,
              cached: chains.size,
              free: 10_000 - chains.size,
            })
          }
        },
      ),
    )
  })

  it('K1: blocks never leak or go negative while leases overlap and the pool is too small', () => {
    const steps = fc.array(
      fc.record({
        lease: fc.nat({ max: 5 }),
        spans,
        action: fc.constantFrom('extend', 'cover', 'release'),
        by: fc.integer({ min: 1, max: 40 }),
      }),
      { maxLength: 80 },
    )
    fc.assert(
      fc.property(steps, fc.constantFrom(1, 4, 16), (actions, blockTokens) => {
        const pool = new PrefixCache({ blockTokens, totalBlocks: Math.ceil(160 / blockTokens) })
        const everComputed: string[][] = []
        const leases = new Map<number, { lease: Lease; all: string[]; held: number }>()
        const check = (): void => {
          const { total, live, cached, free } = pool.blocks
          expect(live + cached + free).toBe(total)
          expect(Math.min(live, cached, free)).toBeGreaterThanOrEqual(0)
        }
        for (const action of actions) {
          const holder = leases.get(action.lease)
          if (holder === undefined) {
            const all = flat(action.spans)
            const lease = pool.acquire(mergeRuns(action.spans), '', all.length - 1)!
            expect(lease.depth % blockTokens).toBe(0)
            expect(lease.depth).toBeLessThanOrEqual(
              Math.max(0, ...everComputed.map((other) => commonPrefix(all, other))),
            )
            leases.set(action.lease, { lease, all, held: lease.depth })
          } else if (action.action === 'release') {
            pool.release(holder.lease, holder.held)
            leases.delete(action.lease)
          } else {
            const target = Math.min(holder.all.length, holder.held + action.by)
            if (pool.lacking(holder.lease, target) > pool.availableBlocks) continue
            // Prefill goes into the tree; decode stays private and ends the prefill.
            const inTree = holder.lease.depth === holder.held
            if (action.action === 'extend' && inTree) pool.extend(holder.lease, target)
            else pool.cover(holder.lease, target)
            holder.held = target
            everComputed.push(holder.all.slice(0, target))
          }
          check()
        }
        for (const { lease, held } of leases.values()) {
          pool.release(lease, held)
          check()
        }
        expect(pool.blocks.live).toBe(0)
        pool.flush()
        expect(pool.blocks).toMatchObject({ free: pool.blocks.total })
      }),
      { numRuns: 300 },
    )
  })
})
