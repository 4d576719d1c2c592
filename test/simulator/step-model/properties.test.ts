import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { virtualClock } from '../../../src/clock.ts'
import type { TokenSpan } from '../../../src/schema/message.ts'
import type { EngineRequest } from '../../../src/simulator/engine-model.ts'
import { gpu, type Sharing } from '../../../src/simulator/step-model/gpu.ts'
import type { EngineProfile } from '../../../src/simulator/step-model/profile.ts'
import { Recorder, smallProfile, type Heard } from './support.ts'

/** One request of a random workload. */
interface Planned {
  gapMs: number
  engine: 'a' | 'b'
  request: EngineRequest
  /** Aborted this long after it was submitted. */
  abortAfterMs: number | undefined
}

const streams = ['system', 'doc', 'chat']

const prompts: fc.Arbitrary<TokenSpan[]> = fc.array(
  fc
    .record({
      stream: fc.constantFrom(...streams),
      from: fc.constantFrom(0, 0, 7),
      length: fc.integer({ min: 1, max: 90 }),
    })
    .map(({ stream, from, length }) => ({ stream, from, to: from + length })),
  { minLength: 1, maxLength: 3 },
)

/** Times with fractions that no cost divides, so that no two things are due at one instant by accident. */
const times = (max: number): fc.Arbitrary<number> => fc.integer({ min: 0, max: max * 1_000 }).map((n) => n / 997)

const workloads = (aborts: boolean): fc.Arbitrary<Planned[]> =>
  fc
    .array(
      fc.record({
        gapMs: times(80),
        engine: fc.constantFrom('a' as const, 'a' as const, 'b' as const),
        prompt: prompts,
        output: fc.integer({ min: 1, max: 120 }),
        watched: fc.boolean(),
        priority: fc.nat({ max: 2 }),
        salt: fc.constantFrom('', '', 'tenant'),
        abortAfterMs: aborts ? fc.option(times(1_500), { nil: undefined }) : fc.constant(undefined),
      }),
      { minLength: 1, maxLength: 25 },
    )
    .map((plans) =>
      plans.map(({ gapMs, engine, abortAfterMs, prompt, output, ...rest }, i) => ({
        gapMs,
        engine,
        abortAfterMs,
        request: { id: `r${i}`, prompt, output: { stream: `r${i}`, from: 0, to: output }, ...rest },
      })),
    )

const profiles: fc.Arbitrary<EngineProfile> = fc
  .record({
    blockTokens: fc.constantFrom(1, 16),
    kvTokens: fc.integer({ min: 400, max: 1_500 }),
    tokenBudget: fc.integer({ min: 8, max: 200 }),
    sequencesMax: fc.integer({ min: 1, max: 8 }),
    batching: fc.constantFrom('mixed' as const, 'prefill-first' as const),
    admission: fc.constantFrom('chunk' as const, 'prompt' as const),
    priorities: fc.boolean(),
    frontOverheadMs: fc.constantFrom(0, 4.3),
  })
  .map((changes) =>
    smallProfile({
      ...changes,
      costs: { ...smallProfile().costs, contextTokenMs: 0.0031, attentionPairMs: 0.00011, stepMs: 3.7 },
    }),
  )

const worlds = (aborts: boolean) =>
  fc.record({
    plan: workloads(aborts),
    profile: profiles,
    sharing: fc.constantFrom<Sharing>('independent', 'time-sliced'),
  })

interface Outcome {
  heard: Heard[]
  counters: ReturnType<ReturnType<ReturnType<typeof gpu>['engine']>['counters']>[]
}

/** Runs a workload and checks the pool after every event. */
async function run(
  world: { plan: Planned[]; profile: EngineProfile; sharing: Sharing },
  stepwise: boolean,
): Promise<Outcome> {
  const clock = virtualClock()
  const recorder = new Recorder(clock)
  const device = gpu({
    clock,
    sharing: world.sharing,
    engines: { a: world.profile, b: { ...world.profile, kvTokens: world.profile.kvTokens + 64 } },
    stepwise,
  })
  const engines = [device.engine('a'), device.engine('b')]
  const check = (): void => {
    for (const engine of engines) {
      const { live, cached, free, total } = engine.counters().blocks
      expect(live + cached + free).toBe(total)
      expect(Math.min(live, cached, free)).toBeGreaterThanOrEqual(0)
      if (engine.stats().running === 0) expect(live).toBe(0)
    }
  }
  let atMs = 0
  for (const planned of world.plan) {
    atMs += planned.gapMs
    clock.setTimer(atMs, () => {
      const abort = recorder.submit(device.engine(planned.engine), planned.request, check)
      check()
      if (planned.abortAfterMs === undefined) return
      clock.setTimer(planned.abortAfterMs, () => {
        abort()
        check()
      })
    })
  }
  await clock.runAll()
  check()
  for (const engine of engines) {
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, kvTokensLive: 0 })
  }
  return { heard: recorder.heard, counters: engines.map((engine) => engine.counters()) }
}

const promptTokens = (request: EngineRequest): number =>
  request.prompt.reduce((sum, span) => sum + span.to - span.from, 0)

describe('the step model', () => {
  it('gives the same outcome analytically as step by step', async () => {
    await fc.assert(
      fc.asyncProperty(worlds(true), async (world) => {
        const analytic = await run(world, false)
        const stepwise = await run(world, true)
        const shape = ({ id, what, count }: Heard): string => `${id} ${what} ${count}`
        const byRequest = (outcome: Outcome, id: string): Heard[] => outcome.heard.filter((heard) => heard.id === id)
        for (const { request } of world.plan) {
          const fast = byRequest(analytic, request.id)
          const slow = byRequest(stepwise, request.id)
          expect(fast.map(shape)).toEqual(slow.map(shape))
          for (const [i, heard] of fast.entries()) {
            expect(Math.abs(heard.atMs - slow[i]!.atMs)).toBeLessThanOrEqual(1e-6 * Math.max(1, heard.atMs))
          }
        }
        expect(analytic.counters).toEqual(stepwise.counters)
      }),
      { numRuns: 300 },
    )
  })

  it('conserves work: what is not cached is computed, and each token of an answer exists once', async () => {
    await fc.assert(
      fc.asyncProperty(worlds(false), async (world) => {
        const { heard, counters } = await run(world, false)
        for (const [i, engine] of (['a', 'b'] as const).entries()) {
          const served = world.plan.filter((planned) => planned.engine === engine)
          const completed = served.filter(({ request }) =>
            heard.some((event) => event.id === request.id && event.what === 'completed'),
          )
          const prompt = completed.reduce((sum, { request }) => sum + promptTokens(request), 0)
          const output = completed.reduce((sum, { request }) => sum + request.output.to, 0)
          const count = counters[i]!
          expect(count.promptTokens).toBe(prompt)
          expect(count.outputTokens).toBe(output)
          // The last token of an answer is never fed back.
          const computed = count.cachedTokens + count.cachedLaterTokens + count.prefilledTokens + count.decodedTokens
          expect(computed).toBe(prompt + output - completed.length)
          if (count.preemptions === 0) {
            expect(count).toMatchObject({
              recomputedTokens: 0,
              cachedLaterTokens: 0,
              prefilledTokens: prompt - count.cachedTokens,
              decodedTokens: output - completed.length,
            })
          }
        }
      }),
      { numRuns: 200 },
    )
  })

  it('completes every request that fits, reports each token once, and in order', async () => {
    await fc.assert(
      fc.asyncProperty(worlds(false), async (world) => {
        const { heard } = await run(world, false)
        for (const { request } of world.plan) {
          const events = heard.filter((event) => event.id === request.id)
          const kinds = events.map((event) => event.what)
          if (kinds[0] === 'refused') {
            expect(kinds).toEqual(['refused'])
            continue
          }
          expect(kinds[0]).toBe('started')
          expect(kinds.at(-1)).toBe('completed')
          expect(new Set(kinds.slice(1, -1))).toEqual(new Set(['tokens']))
          const counts = events.filter((event) => event.what === 'tokens').map((event) => event.count)
          expect(counts[0]).toBe(1)
          expect(counts.reduce((sum, count) => sum + count, 0)).toBe(request.output.to)
          if (!request.watched) expect(counts.length).toBe(Math.min(2, request.output.to))
        }
      }),
      { numRuns: 200 },
    )
  })

  it('starts requests in order of arrival when it has no priorities', async () => {
    await fc.assert(
      fc.asyncProperty(worlds(false), async (world) => {
        const { heard } = await run({ ...world, profile: { ...world.profile, priorities: false } }, false)
        for (const engine of ['a', 'b'] as const) {
          const submitted = world.plan.filter((planned) => planned.engine === engine).map(({ request }) => request.id)
          const started = heard.filter((event) => event.what === 'started' && submitted.includes(event.id))
          const order = started.map((event) => submitted.indexOf(event.id))
          expect(order).toEqual(order.toSorted((x, y) => x - y))
        }
      }),
      { numRuns: 100 },
    )
  })

  it('never finds more cached than another request may have computed', async () => {
    await fc.assert(
      fc.asyncProperty(worlds(true), async (world) => {
        const { heard } = await run(world, false)
        const flat = (spans: readonly TokenSpan[]): string[] =>
          spans.flatMap(({ stream, from, to }) => Array.from({ length: to - from }, (_, i) => `${stream}${from + i}`))
        for (const { request, engine } of world.plan) {
          const started = heard.findIndex((event) => event.id === request.id && event.what === 'started')
          if (started === -1) continue
          const mine = flat(request.prompt)
          const before = new Set(heard.slice(0, started).map((event) => event.id))
          let longest = 0
          for (const other of world.plan) {
            const comparable = other.engine === engine && other.request.salt === request.salt
            if (!comparable || !before.has(other.request.id)) continue
            const theirs = flat([...other.request.prompt, other.request.output])
            let common = 0
            while (common < mine.length && mine[common] === theirs[common]) common++
            longest = Math.max(longest, common)
          }
          expect(heard[started]!.count).toBeLessThanOrEqual(Math.min(longest, mine.length - 1))
        }
      }),
      { numRuns: 100 },
    )
  })

  it('repeats itself event for event', async () => {
    await fc.assert(
      fc.asyncProperty(worlds(true), async (world) => {
        expect(await run(world, false)).toEqual(await run(world, false))
      }),
      { numRuns: 30 },
    )
  })
})
