import fc from 'fast-check'
import { expect, test } from 'vitest'
import { LruModel } from '../../src/memory/lru-model.ts'

const capacityTokens = 100
const own = (key: string, tokens: number) => [{ hash: `own ${key}`, tokens }]
const use = fc.record({ key: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'), tokens: fc.integer({ min: 1, max: 60 }) })

/** An LRU over whole contexts, as one would write it: what does not fit goes, the oldest first. */
function residents(uses: readonly { key: string; tokens: number }[]): Set<string> {
  const latest = [...uses].toReversed().filter(({ key }, i, all) => all.findIndex((each) => each.key === key) === i)
  const there = new Set<string>()
  let sum = 0
  for (const { key, tokens } of latest) if ((sum += tokens) <= capacityTokens) there.add(key)
  return there
}

test('S1: what is not deeper than the capacity is what an LRU still has', () => {
  fc.assert(
    fc.property(fc.array(use, { maxLength: 40 }), (uses) => {
      const model = new LruModel(capacityTokens)
      for (const { key, tokens } of uses) model.used(key, tokens, own(key, tokens))
      const there = [...model.depths(() => false)].filter(([, depth]) => depth <= capacityTokens).map(([key]) => key)
      expect(new Set(there)).toEqual(residents(uses))
    }),
  )
})

test('S1: contexts at work count as used last, and what contexts share counts once', () => {
  const model = new LruModel(capacityTokens)
  const shared = { hash: 'system', tokens: 20 }
  model.used('a', 50, [shared])
  model.used('b', 40, [shared])
  expect([...model.depths(() => false)]).toEqual([
    ['b', 40],
    ['a', 70],
  ])
  expect(model.depths((key) => key === 'a').get('b')).toBe(70)
})

test('S2: what is evicted for long is forgotten', () => {
  const model = new LruModel(capacityTokens)
  for (let i = 0; i < 25_000; i++) model.used(`run-${i}`, 10, own(`run-${i}`, 10))
  expect(model.size).toBe(20_000)
  model.depths(() => false)
  expect(model.size).toBe(20)
})
