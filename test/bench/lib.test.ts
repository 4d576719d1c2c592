import { expect, test } from 'vitest'
import { inLanes, inLanesFor } from '../../bench/lib/cost.ts'
import { medianOf, slopeOf } from '../../bench/lib/measure.ts'
import { sectionOf, withSection } from '../../bench/lib/section.ts'
import { alternate } from '../../bench/lib/rounds.ts'

test('rounds go forwards and backwards, and samples come back by subject', async () => {
  const order: string[] = []
  const samples = await alternate(['a', 'b', 'c'], 3, (subject, round) => {
    order.push(subject)
    return Promise.resolve(`${subject}${round}`)
  })
  expect(order.join('')).toBe('abccbaabc')
  expect(samples).toEqual([
    ['a0', 'a1', 'a2'],
    ['b0', 'b1', 'b2'],
    ['c0', 'c1', 'c2'],
  ])
})

test('lanes do what they are told, never more at once', async () => {
  let running = 0
  let most = 0
  const work = async (): Promise<void> => {
    most = Math.max(most, ++running)
    await Promise.resolve()
    running--
  }
  expect(await inLanes(10, 3, work)).toBe(10)
  expect(most).toBe(3)
  expect(await inLanes(2, 5, work)).toBe(2)
  expect(await inLanesFor(0, 4, work)).toBe(4)
})

test('the slope is that of the line through the points, and the median the middle', () => {
  expect(slopeOf([0, 1, 2, 3].map((x) => ({ x, y: 5 + 2 * x })))).toBeCloseTo(2)
  expect(slopeOf([0, 1, 2, 3].map((x) => ({ x, y: x % 2 })))).toBeCloseTo(0.2)
  expect(medianOf([9, 1, 4, 2])).toBe(3)
})

const env = { node: 'v24.0.0', cpu: 'a cpu', cores: 2, loadAverage: 0.5, commit: 'abc', date: '2026-01-02T03:04:05Z' }

test('a run replaces its own section of a page and nothing else', () => {
  const page = 'before\n<!-- bench:a -->\nold\n<!-- /bench:a -->\n<!-- bench:b -->\nother\n<!-- /bench:b -->\n'
  const report = { rows: [{ case: 'x', us: 1 }], notes: ['a note'], settings: { rounds: 3 }, versions: { p: '1.0.0' } }
  const made = withSection(page, 'a', sectionOf(env, false, report))
  expect(made).toContain(
    'Node 24.0.0, 2 x a cpu, load average 0.5, commit abc, 2026-01-02. Settings: rounds 3. Versions: p 1.0.0.',
  )
  expect(made).toContain('| case | us |\n| --- | --: |\n| x | 1 |')
  expect(made).toContain('- a note')
  expect(made).toContain('other')
  expect(made).not.toContain('old')
  expect(withSection(made, 'a', sectionOf(env, false, report))).toBe(made)
  expect(() => withSection(page, 'c', '')).toThrow('<!-- bench:c -->')
})
