import fc from 'fast-check'
import { expect, test } from 'vitest'
import { compileWorkflow } from '../../src/workflow/compile.ts'
import { RunProgress, type Settlement } from '../../src/workflow/progress.ts'
import { criticalPath, findCycles } from '../../src/workflow/graph.ts'
import { joinConversations } from '../../src/workflow/context.ts'
import { addTurns, emptyReport, type StageReport, type TurnReport } from '../../src/workflow/report.ts'
import { assistant, system, user } from '../../src/schema/message.ts'
import type { StageDefinition } from '../../src/workflow/definition.ts'

function stagesOf(after: readonly (readonly number[])[]): readonly StageDefinition[] {
  const stages = after.map((dependencies, i) => ({
    name: `s${i}`,
    options: { backend: 'b', prompt: () => '', after: dependencies.map((index) => `s${index}`) },
  }))
  return compileWorkflow({ name: 'w', input: undefined, stages, result: undefined }).stages
}

/** Any DAG: each stage waits for some before it. */
const dag = fc
  .array(fc.array(fc.nat(1_000), { maxLength: 4 }), { minLength: 1, maxLength: 25 })
  .map((rows) => rows.map((row, i) => (i === 0 ? [] : [...new Set(row.map((pick) => pick % i))])))

test('stages become ready once, after all they wait for, in every order of endings; only the skipped skip others', () => {
  fc.assert(
    fc.property(
      dag,
      fc.array(fc.boolean(), { minLength: 25, maxLength: 25 }),
      fc.array(fc.nat(1_000), { minLength: 60, maxLength: 60 }),
      (after, skips, picks) => {
        const progress = new RunProgress(stagesOf(after))
        const ready = after.flatMap((dependencies, i) => (dependencies.length === 0 ? [i] : []))
        const seen = new Set(ready)
        const ended = new Map<number, Settlement>()
        for (let step = 0; ready.length > 0; step++) {
          const [stage] = ready.splice(picks[step % picks.length]! % ready.length, 1)
          const settlement = skips[stage!] === true ? 'skipped' : 'completed'
          const { ready: next, skipped } = progress.settle(stage!, settlement)
          ended.set(stage!, settlement)
          for (const each of skipped) {
            expect(after[each.stage]!.every((dependency) => ended.get(dependency) === 'skipped')).toBe(true)
            expect(ended.has(each.stage) || seen.has(each.stage)).toBe(false)
            ended.set(each.stage, 'skipped')
          }
          for (const each of next) {
            expect(seen.has(each)).toBe(false)
            expect(after[each]!.every((dependency) => ended.has(dependency))).toBe(true)
            expect(after[each]!.some((dependency) => ended.get(dependency) === 'completed')).toBe(true)
            seen.add(each)
          }
          ready.push(...next)
          expect(progress.unsettled).toBe(after.length - ended.size)
        }
        expect(ended.size).toBe(after.length)
        for (const [stage, settlement] of ended) expect(progress.settlement(stage)).toBe(settlement)
      },
    ),
  )
})

test('a failed stage unlocks nothing, and settling twice is a bug', () => {
  const progress = new RunProgress(stagesOf([[], [0], [0]]))
  expect(progress.settle(0, 'failed')).toEqual({ ready: [], skipped: [] })
  expect(() => progress.settle(0, 'completed')).toThrow(expect.objectContaining({ code: 'ORLA_INVARIANT' }))
})

test('a skip runs down a chain of 100,000 stages without recursion', () => {
  const progress = new RunProgress(stagesOf(Array.from({ length: 100_000 }, (_, i) => (i === 0 ? [] : [i - 1]))))
  const { skipped } = progress.settle(0, 'skipped')
  expect(skipped).toHaveLength(99_999)
  expect(skipped.at(-1)).toEqual({ stage: 99_999, reason: 'all it depends on was skipped: s99998' })
  expect(progress.unsettled).toBe(0)
})

test('findCycles finds a cycle exactly where an order is impossible, and what it names is one', () => {
  const graph = fc
    .array(fc.array(fc.nat(1_000), { maxLength: 3 }), { minLength: 1, maxLength: 12 })
    .map((rows) => rows.map((row) => [...new Set(row.map((pick) => pick % rows.length))]))
  fc.assert(
    fc.property(graph, (after) => {
      const reaches = (from: number, to: number, seen = new Set<number>()): boolean =>
        after[from]!.some((next) => next === to || (!seen.has(next) && reaches(next, to, seen.add(next))))
      const cyclic = after.some((_, i) => reaches(i, i))
      const cycles = findCycles(after)
      expect(cycles.length > 0).toBe(cyclic)
      for (const cycle of cycles) {
        cycle.forEach((stage, i) => expect(after[stage]).toContain(cycle[(i + 1) % cycle.length]))
        expect(new Set(cycle).size).toBe(cycle.length)
      }
    }),
  )
})

test('the critical path goes back along what ended last', () => {
  const timed = (
    name: string,
    endedAtMs: number,
    after: string[] = [],
  ): Parameters<typeof criticalPath>[0][number] => ({ name, after, startedAtMs: 0, endedAtMs })
  expect(criticalPath([timed('a', 5), timed('b', 9), timed('c', 20, ['a', 'b']), timed('d', 12, ['a'])])).toEqual([
    'b',
    'c',
  ])
  expect(criticalPath([])).toEqual([])
  expect(criticalPath([timed('a', 1, ['unknown'])])).toEqual(['a'])
})

test('conversations of several parents are joined without repeating what they share', () => {
  const [s, u, x, y] = [system('s'), user('u'), assistant('x'), assistant('y')]
  expect(joinConversations([])).toEqual([])
  expect(
    joinConversations([
      [s, u, x],
      [s, u, y],
    ]),
  ).toEqual([s, u, x, y])
  // Equal text in another object is another message.
  expect(
    joinConversations([
      [s, x],
      [system('s'), y],
    ]),
  ).toEqual([s, x, system('s'), y])
})

test('figures of a stage are sums of its turns, and unknown only where every turn is', () => {
  const turn = {
    queueWaitMs: 1,
    ttftMs: 2,
    promptTokens: null,
    cachedTokens: 3,
    completionTokens: null,
    finishReason: 'stop',
    attempts: 1,
  } as const
  const summed = (...turns: TurnReport[]): StageReport => {
    const report = { ...emptyReport(), turns }
    addTurns(report)
    return report
  }
  expect(
    summed(turn, { ...turn, ttftMs: 9, cachedTokens: null, completionTokens: 4, finishReason: 'length' }),
  ).toMatchObject({
    queueWaitMs: 2,
    ttftMs: 2,
    promptTokens: null,
    cachedTokens: 3,
    completionTokens: 4,
    finishReason: 'length',
  })
  expect(summed()).toMatchObject({
    queueWaitMs: 0,
    ttftMs: null,
    promptTokens: null,
    cachedTokens: null,
    completionTokens: null,
    finishReason: null,
  })
})
