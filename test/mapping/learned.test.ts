// A mapper that learns, asked directly.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { randomStream } from '../../src/clock.ts'
import {
  learned,
  limits,
  MappingError,
  OptionsError,
  type LearnedMapper,
  type LearnedOptions,
} from '../../src/index.ts'
import type { BackendView, MappingDecision, MappingOutcome, MappingRequest } from '../../src/mapping/mapper.ts'
import { mappingContext } from '../support/mapping.ts'

const view = (name: string, changes: Partial<BackendView> = {}): BackendView => ({
  name,
  model: `model-of-${name}`,
  inFlight: 0,
  waiting: 0,
  windowRequests: 1,
  health: 'healthy',
  capabilities: {
    engine: 'test',
    tools: false,
    jsonSchema: false,
    cachedTokens: 'never',
    sharedPrefix: false,
    kv: { flushAll: 'none', releaseSession: 'none', isolate: 'none', retain: 'none' },
  },
  ...changes,
})
const backends = [view('light'), view('heavy')]

function request(input: unknown, changes: Partial<MappingRequest> = {}): MappingRequest {
  const requirements = { tools: false, jsonSchema: false }
  const rest = { runId: 'r', tenant: 't', results: {}, requirements, outputTokens: 10, backends }
  return { ...rest, workflow: 'w', stage: 's', stageClass: 'w/s', input, ...changes }
}

let runs = 0
/** Asks once and says what came of it. */
async function once(
  mapper: LearnedMapper,
  input: unknown,
  judge: (decision: MappingDecision) => Partial<MappingOutcome>,
  random: () => number = () => 0,
): Promise<MappingDecision> {
  const decision = await mapper(request(input), mappingContext({ random }))
  const { backend, reason, by = '', features } = decision
  mapper.observe({
    runId: `run-${++runs}`,
    workflow: 'w',
    stage: 's',
    stageClass: 'w/s',
    decision: { backend, model: `model-of-${backend}`, reason, by, ...(features !== undefined && { features }) },
    state: 'completed',
    durationMs: 100,
    ...judge(decision),
  })
  return decision
}

/** One feature: how hard it is, 0 or 1. The heavy one is always right, the light one when it is easy. */
const hardness = ({ input }: { input: unknown }): number[] => [Number(input)]
const judge =
  (hard: number) =>
  ({ backend }: MappingDecision) => ({
    rating: backend === 'heavy' || hard === 0 ? 1 : 0,
    costUsd: backend === 'heavy' ? 0.01 : 0.001,
  })

async function taught(options: LearnedOptions = {}, rounds = 200): Promise<LearnedMapper> {
  const mapper = learned({ features: hardness, costWeight: 20, ...options })
  const random = randomStream(1, 'test')
  for (let i = 0; i < rounds; i++) await once(mapper, i % 2, judge(i % 2), random)
  return mapper
}
/** Its best guess: from here on it is frozen. */
async function chosen(mapper: LearnedMapper, input: unknown): Promise<string> {
  mapper.freeze()
  return (await mapper(request(input), mappingContext())).backend
}

describe('a learned mapper', () => {
  test('sends easy requests to the light backend and hard ones to the heavy one, once it has seen both', async () => {
    const mapper = await taught()
    expect([await chosen(mapper, 0), await chosen(mapper, 1)]).toEqual(['light', 'heavy'])
  })

  test('goes by what quality is worth in dollars and in seconds', async () => {
    const dear = await taught({ costWeight: 200 }, 400)
    expect([await chosen(dear, 0), await chosen(dear, 1)]).toEqual(['light', 'light'])
    const hurried = learned({ features: hardness, latencyWeight: 1, explore: 0.5 })
    const random = randomStream(1, 'test')
    for (let i = 0; i < 200; i++) {
      await once(
        hurried,
        1,
        ({ backend }) => ({ rating: backend === 'heavy' ? 1 : 0.5, durationMs: backend === 'heavy' ? 2_000 : 100 }),
        random,
      )
    }
    expect(await chosen(hurried, 1)).toBe('light')
  })

  test('begins with what backends say of themselves', async () => {
    const said = [
      view('light', { quality: 0.5, prices: { inputUsdPerMTok: 1, outputUsdPerMTok: 1 } }),
      view('heavy', { quality: 0.9, prices: { inputUsdPerMTok: 100, outputUsdPerMTok: 100 } }),
    ]
    const ask = (mapper: LearnedMapper) => mapper(request('x', { backends: said }), mappingContext())
    expect(await ask(learned())).toMatchObject({
      backend: 'heavy',
      by: 'learned',
      reason: expect.stringContaining('0.90') as string,
    })
    expect(await ask(learned({ costWeight: 1_000 }))).toMatchObject({ backend: 'light' })
    expect(await ask(learned({ among: ['light'], name: 'mine' }))).toMatchObject({ backend: 'light', by: 'mine' })
  })

  test('learns anew what has changed, the sooner the shorter its memory', async () => {
    const roundsUntilHeavy = async (halfLife: number): Promise<number> => {
      const mapper = learned({ features: () => [], costWeight: 20, explore: 0, priorQuality: 0.9, halfLife })
      for (let i = 0; i < 200; i++) await once(mapper, 0, judge(0))
      for (let i = 1; i < 200; i++) {
        const { backend } = await once(mapper, 0, judge(1))
        if (backend === 'heavy') return i
      }
      return Infinity
    }
    const [short, long] = [await roundsUntilHeavy(32), await roundsUntilHeavy(1e9)]
    expect(short).toBeLessThan(20)
    expect(long).toBeGreaterThan(2 * short)
  })

  test('learns from what fails, though nobody rates it, and not from what is cancelled', async () => {
    const one = learned({ features: hardness, priorQuality: 0.8, explore: 0 })
    for (let i = 0; i < 20; i++) await once(one, 0, () => ({ state: 'cancelled' }))
    expect(await chosen(one, 0)).toBe('light')
    const other = learned({ features: hardness, priorQuality: 0.8, explore: 0 })
    for (let i = 0; i < 20; i++) {
      await once(other, 0, ({ backend }) => ({ state: backend === 'light' ? 'failed' : 'completed' }))
    }
    expect(await chosen(other, 0)).toBe('heavy')
  })

  test('B1: explores no more than its share, over all and in a row, whatever comes of it', async () => {
    const step = fc.record({
      hard: fc.nat(1),
      rating: fc.double({ min: 0, max: 1, noNaN: true }),
      draw: fc.double({ min: 0, max: 0.999, noNaN: true }),
    })
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(0, 0.05, 0.1, 0.3, 0.5),
        fc.array(step, { maxLength: 120 }),
        async (explore, steps) => {
          const mapper = learned({ features: hardness, explore, optimism: 5 })
          const explored: number[] = []
          for (const { hard, rating, draw } of steps) {
            const { figures } = await once(
              mapper,
              hard,
              () => ({ rating }),
              () => draw,
            )
            explored.push(figures!['explored']!)
            const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0)
            expect(sum(explored)).toBeLessThanOrEqual(explore * explored.length + 1e-6)
            expect(sum(explored.slice(-30))).toBeLessThanOrEqual(explore * 30 + 10 + 1e-6)
          }
          const [facts] = mapper.facts()
          expect(facts?.explored ?? 0).toBe(explored.reduce((a, b) => a + b, 0))
        },
      ),
      { numRuns: 40 },
    )
  })

  test('B1: saves up ten explorations at most while there is nothing to explore', async () => {
    const mapper = learned({ features: () => [], explore: 0.1, optimism: 100 })
    const one = { backends: [view('light')] }
    const explored = async (count: number, changes: Partial<MappingRequest> = {}): Promise<number> => {
      let sum = 0
      for (let i = 0; i < count; i++) {
        const { figures } = await mapper(request(0, changes), mappingContext({ random: () => 0 }))
        sum += figures!['explored']!
      }
      return sum
    }
    for (let i = 0; i < 10; i++) await once(mapper, 0, () => ({ rating: 0.6 }))
    expect(await explored(300, one)).toBe(0)
    // Nothing is heard of the other backend: it stays worth a try.
    expect(await explored(40)).toBe(13)
  })

  test('does explore, and says so', async () => {
    const mapper = learned({ features: hardness, explore: 0.5, optimism: 5 })
    const decisions: MappingDecision[] = []
    for (let i = 0; i < 20; i++) decisions.push(await once(mapper, 0, () => ({ rating: 0.6 })))
    const explored = decisions.filter(({ figures }) => figures!['explored'] === 1)
    expect(explored.length).toBeGreaterThan(3)
    expect(explored[0]!.reason).toMatch(/^to learn more: expected .*, rather than /)
  })

  test('L2: decides the same for ever once it is frozen', async () => {
    const mapper = await taught({ explore: 0.5, optimism: 5 })
    mapper.freeze()
    const before = JSON.stringify(mapper.export())
    for (let i = 0; i < 50; i++) {
      const { backend, figures } = await once(mapper, i % 2, () => ({ rating: 0, state: 'failed' }))
      expect([backend, figures!['explored']]).toEqual([i % 2 === 0 ? 'light' : 'heavy', 0])
    }
    expect(JSON.stringify(mapper.export())).toBe(before)
  })

  test('L3: decides the same as JSON in another process', async () => {
    const one = await taught()
    one.freeze()
    const from = JSON.parse(JSON.stringify(one.export()))
    const other = learned({ features: hardness, costWeight: 20, from, frozen: true })
    for (const input of [0, 0.2, 0.4, 0.45, 0.5, 0.6, 1]) {
      const ask = (mapper: LearnedMapper) => mapper(request(input), mappingContext())
      expect(await ask(other)).toEqual(await ask(one))
    }
    expect(other.facts()).toEqual(one.facts())
    expect(other.export()).toEqual(one.export())
  })

  test('L4: counts the first rating of an outcome once, whenever it comes', async () => {
    const learn = async (parts: Partial<MappingOutcome>[]): Promise<unknown> => {
      const mapper = learned({ features: hardness })
      const { backend, reason, features } = await mapper(request(0), mappingContext())
      const whole = {
        runId: 'one',
        workflow: 'w',
        stage: 's',
        stageClass: 'w/s',
        decision: { backend, model: `model-of-${backend}`, reason, by: 'learned', features: features! },
        state: 'completed' as const,
        durationMs: 5,
        costUsd: 0.5,
      }
      for (const part of parts) mapper.observe({ ...whole, ...part })
      return mapper.export()
    }
    const together = await learn([{ rating: 1 }])
    expect(await learn([{}, { rating: 1 }])).toEqual(together)
    expect(await learn([{}, { rating: 1 }, { rating: 0 }])).toEqual(together)
    expect(await learn([{ rating: 1 }, { rating: 1 }])).toEqual(together)
    expect(await learn([{}])).not.toEqual(together)
  })

  test('counts runs of one name in two runtimes as two', async () => {
    const mapper = learned({ features: () => [] })
    const { backend, reason, features } = await mapper(request(0), mappingContext())
    const outcome: MappingOutcome = {
      runId: 'one',
      workflow: 'w',
      stage: 's',
      stageClass: 'w/s',
      state: 'completed',
      durationMs: 5,
      decision: { backend, model: `model-of-${backend}`, reason, by: 'learned', features: features! },
    }
    for (let runtime = 0; runtime < 2; runtime++) {
      mapper.observe(outcome)
      mapper.observe({ ...outcome, rating: 1 })
    }
    const [arm] = mapper.export().classes[0]!.arms
    expect(arm!.completed).toBeCloseTo(2, 2)
    expect(arm!.quality.weight).toBeCloseTo(2, 2)
  })

  test('ignores decisions of others, of other features and of models that are gone', async () => {
    const mapper = await taught({}, 20)
    const before = mapper.export()
    const decision = { backend: 'light', model: 'model-of-light', reason: '', by: 'learned', features: [1] }
    const outcome = {
      workflow: 'w',
      stage: 's',
      stageClass: 'w/s',
      state: 'completed' as const,
      durationMs: 1,
      rating: 0,
    }
    const wrong: Partial<MappingOutcome>[] = [
      { decision: { ...decision, by: 'one-bit' } },
      { decision: { ...decision, features: [1, 2] } },
      { decision: { backend: 'light', model: 'model-of-light', reason: '', by: 'learned' } },
      { decision: { ...decision, model: 'another' } },
      { decision: { ...decision, backend: 'gone' } },
      { decision, stageClass: 'w/other' },
    ]
    wrong.forEach((changes, i) => mapper.observe({ runId: `wrong-${i}`, ...outcome, decision, ...changes }))
    expect(mapper.export()).toEqual(before)
  })

  test('B3: begins anew with a backend that has another model', async () => {
    const mapper = await taught()
    const renamed = [view('light', { model: 'better' }), view('heavy')]
    const { figures } = await mapper(request(1, { backends: renamed }), mappingContext())
    expect(figures!['quality']).toBeGreaterThan(0.4)
    const only = await mapper(request(1, { backends: renamed.slice(0, 1) }), mappingContext())
    expect(only.figures!['quality']).toBe(0.5)
  })

  test('starts warm from a table', async () => {
    const row = (hard: number, backend: string) => ({
      workflow: 'w',
      stage: 's',
      input: hard,
      results: {},
      backend,
      ...judge(hard)({ backend, reason: '' }),
    })
    const table = [0, 1].flatMap((hard) => ['light', 'heavy'].map((backend) => row(hard, backend)))
    const mapper = learned<unknown, unknown>({
      features: hardness,
      costWeight: 20,
      ridge: 0.01,
      warmStart: [...table, ...table],
      frozen: true,
    })
    expect([await chosen(mapper, 0), await chosen(mapper, 1)]).toEqual(['light', 'heavy'])
  })

  test('L1, B2: knows so many stage classes and backends, and forgets the one not asked about for longest', async () => {
    const mapper = learned({ features: () => [] })
    const ask = (stageClass: string, names = ['a']) =>
      mapper(request('x', { stageClass, backends: names.map((name) => view(name)) }), mappingContext())
    for (let i = 0; i <= limits.learnedClassesMax; i++) await ask(`w/${i}`)
    const { classes } = mapper.export()
    expect(classes).toHaveLength(limits.learnedClassesMax)
    expect(classes[0]!.stageClass).toBe('w/1')
    for (let i = 0; i <= limits.learnedArmsMax; i++) await ask('w/9', [`b${i}`])
    const { arms } = mapper.export().classes.at(-1)!
    expect(arms).toHaveLength(limits.learnedArmsMax)
    expect(arms.map(({ name }) => name)).not.toContain('a')
  })

  test('names what is wrong with its options and its data, all at once', async () => {
    const wrong = () =>
      learned({
        explore: 0.9,
        costWeight: -1,
        priorQuality: 2,
        warmStart: [{ workflow: 'w', stage: 's', input: 0, results: {}, backend: 'b', rating: 7 }],
      })
    expect(wrong).toThrow(OptionsError)
    expect(wrong).toThrow(/4 problem\(s\)[^]*costWeight[^]*explore[^]*priorQuality[^]*warmStart\[0\]\.rating/)
    const data = (await taught({}, 10)).export()
    const [first] = data.classes
    const arm = first!.arms[0]!
    const broken = (changes: object) => ({ ...data, classes: [{ ...first!, arms: [{ ...arm, ...changes }] }] })
    expect(() => learned({ from: broken({ quality: { ...arm.quality, gram: [1] } }) })).toThrow(
      /arms\[0\]\.quality[^]*need 3 and 2 numbers/,
    )
    expect(() => learned({ from: broken({ cost: { ...arm.cost, gram: [-9, 0, -9] } }) })).toThrow(
      /from\.classes\[0\]\.arms\[0\]\.cost[^]*export\(\)/,
    )
    expect(() => learned({ from: { version: 2 } as never })).toThrow(/version/)
  })

  test.each([
    ['too many', () => Array.from({ length: limits.learnedFeaturesMax + 1 }, () => 0)],
    ['no number', () => [Number.NaN]],
    ['too large', () => [1e9]],
    ['no list', () => 'x' as never],
  ])('fails a stage whose features are %s', (_, features) => {
    expect(() => learned({ features })(request(0), mappingContext())).toThrow(MappingError)
  })

  test('learns by models where it is told to, and goes to the replica where the stage is done first', async () => {
    const options = { features: hardness, costWeight: 20, per: 'model' as const, explore: 0.5 }
    const pace = (waitMs: number) => ({ turnMs: 100, waitMs, answeredAtMs: 0 })
    const pool = [
      view('light', { model: 'small', pace: pace(0) }),
      view('heavy1', { model: 'large', pace: pace(500) }),
      view('heavy2', { model: 'large', pace: pace(50) }),
    ]
    const example = (hard: number, model: string, backend: string) => {
      const { rating, costUsd } = judge(hard)({ backend: model === 'large' ? 'heavy' : 'light', reason: '' })
      return { workflow: 'w', stage: 's', input: hard, results: {}, backend, model, rating, costUsd }
    }
    const warmStart = [0, 1, 0, 1, 0, 1].flatMap((hard) => [
      example(hard, 'small', 'light'),
      example(hard, 'large', hard === 0 ? 'heavy1' : 'heavy2'),
    ])
    const mapper = learned<unknown, unknown>({ ...options, warmStart, ridge: 0.01, frozen: true })
    const ask = (input: number) => mapper(request(input, { backends: pool }), mappingContext())
    expect(await ask(0)).toMatchObject({ backend: 'light' })
    expect(await ask(1)).toMatchObject({ backend: 'heavy2', among: ['heavy1', 'heavy2'] })

    const live = learned({ ...options, explore: 0, priorQuality: 0.9 })
    const { reason, features } = await live(request(1, { backends: pool.slice(1) }), mappingContext())
    const decision = { backend: 'heavy2', model: 'large', reason, by: 'learned', features: features! }
    const outcome = {
      workflow: 'w',
      stage: 's',
      stageClass: 'w/s',
      state: 'completed' as const,
      durationMs: 1,
      rating: 0,
    }
    live.observe({ runId: 'one', ...outcome, decision })
    live.observe({ runId: 'two', ...outcome, decision: { ...decision, backend: 'heavy1' } })
    expect(live.export().classes[0]!.arms).toMatchObject([{ name: 'large', completed: expect.closeTo(2, 1) as number }])
    expect(() => learned({ from: live.export() })).toThrow(/from\.per[^]*learned by model, and this learns by backend/)
    const unnamed = [{ workflow: 'w', stage: 's', input: 1, results: {}, backend: 'b' }]
    expect(() => learned<unknown, unknown>({ ...options, warmStart: unnamed })).toThrow(/warmStart\[0\]\.model/)
  })

  test('names every example whose features do not fit', () => {
    const table = [[1], [2, 3], ['x'], [4]].map((input) => ({
      workflow: 'w',
      stage: 's',
      input,
      results: {},
      backend: 'b',
    }))
    const features = ({ input }: { input: unknown }) => input as number[]
    expect(() => learned<unknown, unknown>({ features, warmStart: table })).toThrow(
      /2 problem\(s\)[^]*warmStart\[1\][^]*learned with 1 features, now there are 2[^]*warmStart\[2\][^]*1 values, x among them/,
    )
  })

  test('fails a stage whose features have another length than those it learned from', async () => {
    const data = (await taught({}, 4)).export()
    const mapper = learned({ features: () => [1, 2, 3], from: data })
    expect(() => mapper(request(0), mappingContext())).toThrow(/learned with 1 features, now there are 3/)
  })
})
