// Rerouting as a plan, what an engine is measured to do, and the choice among places.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { startActor } from '../../actors/logic.ts'
import type { ActorMessage } from '../../actors/messages.ts'
import { rerouterLogic } from '../../actors/rerouter.ts'
import { virtualClock, type VirtualClock } from '../../src/clock.ts'
import { betterPlace, choosePlace, placesOf } from '../../src/mapping/place.ts'
import { WarmHeads } from '../../src/mapping/warm-heads.ts'
import { planMoves, rerouteDefaults, type Queue } from '../../src/scheduling/reroute.ts'
import { ServiceMeter } from '../../src/scheduling/service-meter.ts'

const names = ['a', 'b', 'c', 'd']
const queue = (name: string, fields: Partial<Queue> = {}): Queue => ({
  name,
  serves: true,
  inFlight: 0,
  waiting: 0,
  windowRequests: 1,
  queueCapacity: 1_000,
  pace: { waitMs: 0, turnMs: 100 },
  movable: [],
  ...fields,
})
/** A queue of `waiting` requests that may all go to any other. */
const full = (name: string, waiting: number, fields: Partial<Queue> = {}): Queue =>
  queue(name, {
    waiting,
    inFlight: 1,
    movable: Array.from({ length: waiting }, (_, i) => ({
      requestId: `${name}${waiting - 1 - i}`,
      position: waiting - 1 - i,
      cachedTokens: 0,
      among: names.filter((other) => other !== name),
    })),
    ...fields,
  })

const queues = fc.uniqueArray(
  fc.record({
    name: fc.constantFrom(...names),
    serves: fc.boolean(),
    waiting: fc.nat(30),
    windowRequests: fc.nat(8),
    queueCapacity: fc.nat(40),
    turnMs: fc.option(fc.integer({ min: 1, max: 10_000 }), { nil: undefined }),
  }),
  { selector: ({ name }) => name },
)

describe('a plan of moves', () => {
  test('moves nothing twice, and nothing to a backend that is full, does not serve, or is not named', () => {
    fc.assert(
      fc.property(queues, (drawn) => {
        const all = drawn.map(({ name, waiting, turnMs, ...rest }) =>
          full(name, waiting, { ...rest, pace: { waitMs: 0, ...(turnMs !== undefined && { turnMs }) } }),
        )
        const moves = planMoves(all)
        expect(new Set(moves.map(({ requestId }) => requestId)).size).toBe(moves.length)
        for (const each of all) {
          const came = moves.filter(({ to }) => to === each.name).length
          const left = moves.filter(({ from }) => from === each.name).length
          if (!each.serves) expect(came).toBe(0)
          if (came > 0)
            expect(each.waiting + came - left).toBeLessThanOrEqual(Math.max(each.queueCapacity, each.waiting))
        }
      }),
    )
  })

  test('what is planned once is not undone by the next plan', () => {
    fc.assert(
      fc.property(fc.nat(60), fc.nat(60), fc.integer({ min: 1, max: 20 }), (left, right, times) => {
        const paceOf = (turnMs: number): Queue['pace'] => ({ waitMs: 0, turnMs })
        const counts = { a: left, b: right }
        const plan = (): ReturnType<typeof planMoves> =>
          planMoves([full('a', counts.a, { pace: paceOf(100) }), full('b', counts.b, { pace: paceOf(100 * times) })])
        for (const { to, from } of plan()) {
          counts[to as 'a']++
          counts[from as 'a']--
        }
        expect(plan()).toEqual([])
      }),
    )
  })

  test('takes the last of a line, and says why', () => {
    const moves = planMoves([full('a', 10, { pace: { waitMs: 0, turnMs: 1_000 } }), queue('b')])
    expect(moves[0]).toEqual({
      requestId: 'a9',
      from: 'a',
      to: 'b',
      reason: 'done in about 100 ms at "b", against 11000 ms at "a"',
    })
    expect(moves.map(({ requestId }) => requestId)).toEqual([
      'a9',
      'a8',
      'a7',
      'a6',
      'a5',
      'a4',
      'a3',
      'a2',
      'a1',
      'a0',
    ])
  })

  test('a cache that would be lost keeps a request where it is; a backend that drains keeps none', () => {
    const cached = full('a', 1, { movable: [{ requestId: 'r', position: 0, cachedTokens: 50_000, among: ['b'] }] })
    expect(planMoves([cached, queue('b')])).toEqual([])
    expect(planMoves([{ ...cached, serves: false }, queue('b')])).toMatchObject([
      { requestId: 'r', to: 'b', reason: expect.stringMatching(/^"a" takes nothing now/) },
    ])
    expect(planMoves([full('a', 50), queue('b')], { ...rerouteDefaults, movesMax: 3 })).toHaveLength(3)
  })
})

describe('a meter', () => {
  const nobody = { size: 0, uncachedTokens: 0, outputTokens: 0 }

  test('knows what turns take, and the wait behind what is there', () => {
    const meter = new ServiceMeter()
    expect(meter.pace(0, nobody, 0, 1)).toEqual({ waitMs: 0 })
    expect(meter.pace(0, nobody, 1, 1).waitMs).toBe(1_000)
    for (let i = 0; i < 10; i++) {
      meter.granted(i * 1_000)
      meter.ended(i * 1_000, i * 1_000 + 500, {
        promptTokens: 1_000,
        uncachedTokens: 1_000,
        outputTokens: 41,
        ttftMs: 100,
        durationMs: 500,
      })
    }
    expect(meter.pace(10_000, nobody, 3, 2)).toEqual({
      waitMs: expect.closeTo(500, 6),
      turnMs: expect.closeTo(500, 6),
      answeredAtMs: 9_500,
    })
  })

  test('counts what waits by its tokens: a hundred bits of a router are not a hundred answers', () => {
    const meter = new ServiceMeter()
    expect(meter.speed).toBeUndefined()
    let nowMs = 0
    const serve = (turns: number, outputTokens: number, msPerToken: number): void => {
      for (let i = 0; i < turns; i++) {
        const [uncachedTokens, durationMs] = [300, 30 + msPerToken * outputTokens]
        meter.granted(nowMs)
        meter.ended(nowMs, nowMs + durationMs, { promptTokens: 300, uncachedTokens, outputTokens, durationMs })
        nowMs += durationMs
      }
    }
    const bits = { size: 100, uncachedTokens: 30_000, outputTokens: 100 }
    const answers = { size: 100, uncachedTokens: 30_000, outputTokens: 40_000 }
    const waitsMs = (): number[] => [bits, answers].map((queued) => meter.pace(nowMs, queued, 0, 1).waitMs)
    for (let i = 0; i < 20; i++) {
      serve(1, 400, 20)
      serve(4, 1, 20)
    }
    expect(waitsMs()).toEqual([expect.closeTo(5_000, -3), expect.closeTo(803_000, -5)])
    // It slows down: ten turns say so, though fifty are remembered.
    for (let i = 0; i < 3; i++) {
      serve(1, 400, 200)
      serve(4, 1, 200)
    }
    expect(waitsMs()[1]).toBeGreaterThan(5 * 803_000)
    meter.forget()
    expect([meter.speed, meter.pace(nowMs, answers, 0, 1).waitMs]).toEqual([undefined, 100_000])
  })

  test('learns nothing of tokens from an engine that does not count them', () => {
    const meter = new ServiceMeter()
    meter.granted(0)
    meter.ended(0, 100, { promptTokens: 10, uncachedTokens: 10, outputTokens: 0, durationMs: 100 })
    expect(meter.speed).toBeUndefined()
    expect(meter.pace(100, { size: 9, uncachedTokens: 9e6, outputTokens: 9e6 }, 0, 1).waitMs).toBe(900)
  })

  test('an engine that answers no more grows slower all the time', () => {
    const meter = new ServiceMeter()
    meter.granted(0)
    expect(meter.pace(0, nobody, 0, 1).turnMs).toBeUndefined()
    meter.ended(0, 100, { promptTokens: 0, uncachedTokens: 0, outputTokens: 0, durationMs: 100 })
    meter.granted(100)
    expect([150, 200, 5_100].map((nowMs) => meter.pace(nowMs, nobody, 0, 1).turnMs)).toEqual([100, 100, 5_000])
    meter.ended(100, 6_000, undefined)
    expect(meter.pace(6_000, nobody, 0, 1).turnMs).toBe(100)
  })
})

describe('a place', () => {
  test('what is not known of one is taken from the others, and what is old fades', () => {
    const slow = { name: 'a', pace: { waitMs: 0, turnMs: 900, answeredAtMs: 0 } }
    const quick = { name: 'b', pace: { waitMs: 0, turnMs: 100, answeredAtMs: 0 } }
    const fresh = { name: 'c', pace: { waitMs: 0 } }
    expect(placesOf([slow, quick, fresh], 0).map(({ doneMs }) => doneMs)).toEqual([900, 100, 100])
    expect(placesOf([slow, quick], 30_000)[0]!.doneMs).toBe(500)
    const busy = { ...slow, pace: { ...slow.pace, waitMs: 10 } }
    expect(placesOf([busy, quick], 30_000)[0]!.doneMs).toBe(910)
    expect(placesOf([fresh], 0)).toEqual([{ backend: 'c', doneMs: 1_000, waitMs: 0, msPerPromptToken: 0.1 }])
  })

  test('weighs the wait against what is cached, and what all have counts for none', () => {
    const places = [
      { backend: 'a', doneMs: 100, waitMs: 0, msPerPromptToken: 0.1 },
      { backend: 'b', doneMs: 150, waitMs: 0, msPerPromptToken: 0.1 },
    ]
    const choose = (a: number, b: number) => choosePlace(places, (name) => (name === 'a' ? a : b))
    expect(choose(0, 400)).toEqual({ place: places[0], savedTokens: 0 })
    expect(choose(0, 600)).toEqual({ place: places[1], savedTokens: 600 })
    expect(choose(9_000, 9_400)).toEqual({ place: places[0], savedTokens: 0 })
    expect(choosePlace([], () => 0)).toBeUndefined()
    const asleep = placesOf([{ name: 'a', health: 'open' }, { name: 'b', health: 'draining' }, { name: 'c' }], 0)
    expect(asleep.map(({ doneMs }) => doneMs)).toEqual([Infinity, Infinity, 1_000])
    expect(choosePlace(asleep, () => 0)!.place.backend).toBe('c')
    expect(choosePlace(asleep.slice(0, 2), () => 0)!.place.backend).toBe('a')
  })

  test('a later turn moves where it is done in half the time, its lost cache counted', () => {
    const place = (backend: string, waitMs: number, msPerOutputToken?: number) => ({
      backend,
      doneMs: 0,
      waitMs,
      msPerPromptToken: 0.1,
      ...(msPerOutputToken !== undefined && { msPerOutputToken }),
    })
    const turn = (cached: number) => ({
      promptTokens: cached,
      outputTokens: 100,
      knownTokens: (backend: string) => (backend === 'here' ? cached : 0),
    })
    const choose = (cached: number, ...places: ReturnType<typeof place>[]) => betterPlace(places, 'here', turn(cached))
    const slow = place('here', 0, 100)
    expect(choose(1_000, slow, place('b', 0, 10))).toMatchObject({
      place: { backend: 'b' },
      doneMs: 1_100,
      hereMs: 10_000,
    })
    expect(choose(1_000, slow, place('b', 5_000, 10), place('c', 500, 10))!.place.backend).toBe('c')
    // 50,000 tokens are computed again in 5 s.
    expect(choose(50_000, slow, place('b', 0, 10))).toBeUndefined()
    expect(choose(0, place('here', 0, 15), place('b', 0, 10))).toBeUndefined()
    expect(choose(0, slow, place('b', 0))).toBeUndefined()
    expect(choose(0, place('here', Infinity, 10), place('b', 0, 10))).toBeUndefined()
    expect(choose(0, place('b', 0, 10))).toBeUndefined()
  })

  test('warm beginnings are of one tenant, are forgotten after a while, and are bounded', () => {
    const heads = new WarmHeads(1_000)
    const marks = [
      { hash: 't', tokens: 5 },
      { hash: 'ts', tokens: 105 },
      { hash: 'tsu', tokens: 115 },
    ]
    heads.computed('a', 'x', marks, 0)
    const other = [...marks.slice(0, 2), { hash: 'tsv', tokens: 112 }]
    expect(heads.tokens('a', 'x', marks, 0)).toBe(115)
    expect(heads.tokens('a', 'x', other, 1_000)).toBe(105)
    expect(heads.tokens('a', 'x', other, 1_001)).toBe(0)
    expect(heads.tokens('a', 'y', marks, 0)).toBe(0)
    expect(heads.tokens('b', 'x', marks, 0)).toBe(0)
    for (let i = 0; i < 5_000; i++) heads.computed('a', 'x', [{ hash: `${i}`, tokens: 1 }], 0)
    expect(heads.tokens('a', 'x', marks, 0)).toBe(0)
    expect(heads.tokens('a', 'x', [{ hash: '4999', tokens: 1 }], 0)).toBe(1)
  })
})

describe('the rerouter', () => {
  const input = (clock: VirtualClock, queues: () => Queue[], again = false) => {
    const errors: object[] = []
    const posted: ActorMessage[] = []
    const log = { debug() {}, info() {}, warn() {}, error: (details: object) => void errors.push(details) }
    const actor = startActor(rerouterLogic, {
      clock,
      log,
      queues,
      again,
      post: (_to, message) => void posted.push(message),
    })
    return { actor, errors, posted, state: actor.state }
  }

  test('reviews at most every 250 ms, while something waits that may move, and then sleeps', async () => {
    const clock = virtualClock()
    let waits = 3
    let reviews = 0
    const { actor, posted } = input(
      clock,
      () => (reviews++, [full('a', waits, { pace: { waitMs: 0, turnMs: 9_000 } }), queue('b')]),
    )
    for (let i = 0; i < 10; i++) actor.send({ type: 'rerouter.wake' })
    await clock.advance(1_000)
    expect(reviews).toBe(4)
    expect(posted[0]).toMatchObject({ type: 'backend.reroute', moves: [{ requestId: 'a2', to: 'b' }, {}, {}] })
    waits = 0
    await clock.advance(10_000)
    expect(reviews).toBe(5)
    expect(clock.pendingTimers).toBe(0)
  })

  test('a review that breaks is said and brings it down; the next one begins with a review', async () => {
    const clock = virtualClock()
    const { actor, errors, state } = input(clock, () => {
      throw new Error('no')
    })
    const crashes: unknown[] = []
    state.onCrash = (error) => void crashes.push(error)
    actor.send({ type: 'rerouter.wake' })
    await clock.advance(250)
    expect([errors.length, crashes.length]).toEqual([1, 1])
    let reviews = 0
    const next = input(clock, () => (reviews++, []), true)
    await clock.advance(250)
    expect(reviews).toBe(1)
    next.actor.send({ type: 'rerouter.wake' })
    next.state.stop()
    expect(clock.pendingTimers).toBe(0)
  })
})
