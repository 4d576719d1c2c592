import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Prewarmer, type Foreseen, type PrewarmKnowledge } from '../../src/memory/prewarmer.ts'

const foreseen = (run: number, other: Partial<Foreseen> = {}): Foreseen => ({
  runId: `r${run}`,
  stage: 'next',
  stageClass: 'w/next',
  backend: 'b',
  model: 'm',
  tokens: 10_000,
  of: 'class',
  ...other,
})
const knowing =
  (other: Partial<PrewarmKnowledge> = {}) =>
  (): PrewarmKnowledge => ({
    residentTokens: 0,
    idleMs: Infinity,
    survival: () => 1,
    reloadMs: (tokens) => tokens / 10,
    roomTokens: Infinity,
    ...other,
  })

describe('prewarming', () => {
  test('P3: pays where much is missing, and not where the engine has it or the room is not there', () => {
    const next = (knowledge: Partial<PrewarmKnowledge>, other: Partial<Foreseen> = {}) => {
      const prewarmer = new Prewarmer()
      prewarmer.foresee(foreseen(1, other))
      return prewarmer.next('b', knowing(knowledge))
    }
    expect(next({})).toMatchObject({ runId: 'r1', figures: { savedMs: 900, likelihood: 0.9, missingTokens: 10_000 } })
    expect(next({}, { tokens: 500 })).toBeUndefined()
    expect(next({ residentTokens: 9_900 })).toBeUndefined()
    expect(next({ idleMs: 1_000 })).toBeUndefined()
    expect(next({ idleMs: 1_000 }, { of: 'run' })).toBeDefined()
    expect(next({ idleMs: 1_000, survival: () => 0.2 })?.figures).toMatchObject({ missingTokens: 8_000 })
    expect(next({ roomTokens: 9_999 })).toBeUndefined()
  })

  test('P1: waits until nobody waits for a prompt, one at a time, and gives way to others', () => {
    const prewarmer = new Prewarmer()
    prewarmer.asked('other', 's', 'b')
    prewarmer.foresee(foreseen(1))
    prewarmer.foresee(foreseen(2))
    expect(prewarmer.next('b', knowing())).toBeUndefined()
    prewarmer.computed('other', 's', 'b')
    expect(prewarmer.next('b', knowing())?.runId).toBe('r1')
    expect(prewarmer.next('b', knowing())).toBeUndefined()
    expect(prewarmer.asked('r1', 'next', 'b')).toMatchObject({ runId: 'r1', isOwn: true })
    expect(prewarmer.asked('other', 's', 'b')).toMatchObject({ runId: 'r1', isOwn: false })
    expect(prewarmer.asked('other', 's', 'elsewhere')).toBeUndefined()
    prewarmer.ended('b')
    prewarmer.computed('other', 's', 'b')
    expect(prewarmer.next('b', knowing())).toBeUndefined()
    prewarmer.computed('r1', 'next', 'b')
    expect(prewarmer.next('b', knowing())?.runId).toBe('r2')
  })

  test('learns which stages are not taken, and stops computing for them', () => {
    const prewarmer = new Prewarmer()
    let sent = 0
    for (let run = 0; run < 100; run++) {
      prewarmer.foresee(foreseen(run))
      if (prewarmer.next('b', knowing()) !== undefined) sent++
      prewarmer.ended('b')
      prewarmer.forget(`r${run}`)
    }
    expect(sent).toBeGreaterThan(10)
    expect(sent).toBeLessThan(40)
  })

  test('learns again what an engine has when its cache is emptied', () => {
    const prewarmer = new Prewarmer()
    prewarmer.served('w/next', 'b', 1_000)
    expect(prewarmer.idleMs('w/next', 'b', 3_000)).toBe(2_000)
    prewarmer.emptied('b')
    expect(prewarmer.idleMs('w/next', 'b', 3_000)).toBe(Infinity)
  })

  test('P1, P2: never two at a backend, and nothing stays of runs that ended', () => {
    const step = fc.record({
      what: fc.constantFrom('foresee', 'asked', 'computed', 'next', 'ended', 'forget'),
      run: fc.nat(4),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const prewarmer = new Prewarmer()
        let underWay = false
        const asking = new Set<number>()
        for (const { what, run } of steps) {
          if (what === 'foresee') prewarmer.foresee(foreseen(run))
          if (what === 'asked') prewarmer.asked(`r${run}`, 'next', 'b')
          if (what === 'asked') asking.add(run)
          if (what === 'computed') prewarmer.computed(`r${run}`, 'next', 'b')
          if (what === 'forget') prewarmer.forget(`r${run}`)
          if (what === 'computed' || what === 'forget') asking.delete(run)
          if (what === 'ended') prewarmer.ended('b')
          if (what === 'ended') underWay = false
          if (what === 'next' && prewarmer.next('b', knowing()) !== undefined) {
            expect([underWay, asking.size]).toEqual([false, 0])
            underWay = true
          }
        }
        for (let run = 0; run <= 4; run++) prewarmer.forget(`r${run}`)
        expect(prewarmer.size).toBe(0)
      }),
    )
  })
})
