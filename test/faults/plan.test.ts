import { describe, expect, test } from 'vitest'
import { faultEntry, faultNames } from '../../src/simulator/faults/catalogue.ts'
import { FaultPicker, FaultPlan, parseFaultHeader, type FaultPlanInput } from '../../src/simulator/faults/plan.ts'

/** What meets each of `count` requests. */
function picks(plan: FaultPlanInput, count: number, headers: Record<string, string> = {}, seed = 1): string[] {
  const picker = new FaultPicker(FaultPlan.parse(plan), seed)
  return Array.from({ length: count }, () => {
    const fault = picker.pick('chat', headers)
    if (fault === undefined) return '-'
    return 'problem' in fault ? 'problem' : `${fault.fault}.${fault.kind}.${fault.at}`
  })
}

describe('a fault plan', () => {
  test('strikes the nth requests, and every so many', () => {
    expect(picks([{ when: { nth: [1, 3] }, fault: 'B6', at: 'last' }], 4)).toEqual([
      'B6.bare.last',
      '-',
      'B6.bare.last',
      '-',
    ])
    expect(picks([{ when: { every: 2 }, fault: 'B2' }], 4)).toEqual(['-', 'B2.silent.first', '-', 'B2.silent.first'])
  })

  test('strikes requests with a header, of one value or of any', () => {
    const plan: FaultPlanInput = [{ when: { header: { name: 'X-Tenant', value: 'a' } }, fault: 'B3' }]
    expect(picks(plan, 1, { 'x-tenant': 'a' })).toEqual(['B3.reset.first'])
    expect(picks(plan, 1, { 'x-tenant': 'b' })).toEqual(['-'])
    expect(picks([{ when: { header: { name: 'x-tenant' } }, fault: 'B3' }], 1, { 'x-tenant': 'b' })).toEqual([
      'B3.reset.first',
    ])
  })

  test('draws by rate from a seed: the same each time, and near the rate', () => {
    const plan: FaultPlanInput = [{ when: { rate: 0.1 }, fault: ['B4', 'B6', 'B7'], at: 'any' }]
    const first = picks(plan, 2_000)
    expect(picks(plan, 2_000)).toEqual(first)
    expect(picks(plan, 2_000, {}, 2)).not.toEqual(first)
    const struck = first.filter((pick) => pick !== '-')
    expect(struck.length).toBeGreaterThan(140)
    expect(struck.length).toBeLessThan(260)
    // Three faults at three places.
    expect(new Set(struck).size).toBe(9)
  })

  test('is decided by the first rule that applies, and the header of a request before all rules', () => {
    const plan: FaultPlanInput = [{ when: { nth: 1 }, fault: 'B2' }, { fault: 'B13' }]
    expect(picks(plan, 2)).toEqual(['B2.silent.first', 'B13.html.first'])
    expect(picks(plan, 1, { 'x-orla-fault': 'B6;kind=done;at=middle' })).toEqual(['B6.done.middle'])
    expect(picks(plan, 1, { 'x-orla-fault': 'B99' })).toEqual(['problem'])
  })

  test('keeps faults of answers and faults beside them apart', () => {
    const picker = new FaultPicker(FaultPlan.parse([{ fault: ['B36', 'B6'] }]), 1)
    expect(picker.pick('beside', {})).toMatchObject({ fault: 'B36' })
    expect(picker.pick('chat', {})).toMatchObject({ fault: 'B6' })
    expect(picker.pick('chat', { 'x-orla-fault': 'B36' })).toBeUndefined()
  })

  test('names every mistake in it', () => {
    const parsed = FaultPlan.safeParse([
      { fault: 'B99' },
      { fault: 'B6', kind: 'html' },
      { fault: 'B6', when: { rate: 2 } },
      { fault: 'B6', at: 'end' },
    ])
    expect(parsed.error?.issues.map(({ path }) => path.join('.'))).toEqual(
      expect.arrayContaining(['0.fault', '1.kind', '2.when.rate', '3.at']),
    )
  })
})

describe('the header', () => {
  test.each(faultNames)('asks for every kind of %s', (fault) => {
    for (const kind of faultEntry(fault).kinds) {
      expect(parseFaultHeader(`${fault};kind=${kind};at=last`)).toEqual({ fault, kind, at: 'last' })
    }
    expect(parseFaultHeader(fault)).toEqual({ fault, kind: faultEntry(fault).kinds[0], at: 'first' })
  })

  test.each(['', 'B0', 'B6;at=any', 'B6;at=end', 'B6;kind=no', 'B6;when=now', 'B6;at'])('%j is refused', (text) => {
    expect(parseFaultHeader(text)).toHaveProperty('problem')
  })
})
