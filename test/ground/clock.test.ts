import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { randomStream, realClock, virtualClock, type Timer } from '../../src/clock.ts'

describe('virtual clock', () => {
  test('fires timers like a stable sort by time due, whatever is set, cleared or set from within a timer', async () => {
    const step = fc.record({
      delayMs: fc.oneof(fc.integer({ min: -5, max: 50 }), fc.double({ min: 0, max: 50, noNaN: true })),
      clears: fc.option(fc.nat(30)),
      spawnMs: fc.option(fc.integer({ min: 0, max: 20 })),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const clock = virtualClock()
        const fired: [name: string, atMs: number][] = []
        const timers: Timer[] = []
        const naive: { name: string; atMs: number; order: number }[] = []
        let order = 0
        steps.forEach(({ delayMs, clears, spawnMs }, i) => {
          const atMs = Math.max(0, delayMs)
          naive.push({ name: `t${i}`, atMs, order: order++ })
          timers.push(
            clock.setTimer(delayMs, () => {
              fired.push([`t${i}`, clock.nowMs()])
              if (spawnMs !== null) clock.setTimer(spawnMs, () => fired.push([`s${i}`, clock.nowMs()]))
            }),
          )
          if (clears !== null && clears < timers.length) {
            clock.clearTimer(timers[clears])
            clock.clearTimer(timers[clears])
            const at = naive.findIndex(({ name }) => name === `t${clears}`)
            if (at >= 0) naive.splice(at, 1)
          }
        })
        expect(clock.pendingTimers).toBe(naive.length)
        const expected: [string, number][] = []
        while (naive.length > 0) {
          const next = naive.toSorted((a, b) => a.atMs - b.atMs || a.order - b.order)[0]!
          naive.splice(naive.indexOf(next), 1)
          expected.push([next.name, next.atMs])
          const spawnMs = next.name.startsWith('t') ? steps[Number(next.name.slice(1))]!.spawnMs : null
          if (spawnMs !== null) {
            naive.push({ name: `s${next.name.slice(1)}`, atMs: next.atMs + spawnMs, order: order++ })
          }
        }
        await clock.runAll()
        expect(fired).toEqual(expected)
        expect(clock.pendingTimers).toBe(0)
      }),
      { numRuns: 150 },
    )
  })

  test('keeps its order when thousands of timers are cleared and swept', async () => {
    const clock = virtualClock()
    const fired: number[] = []
    const timers = Array.from({ length: 5_000 }, (_, i) =>
      clock.setTimer((i * 7919) % 5_000, () => fired.push(clock.nowMs())),
    )
    timers.forEach((timer, i) => i % 4 !== 0 && clock.clearTimer(timer))
    expect(clock.pendingTimers).toBe(1_250)
    await clock.advance(5_000)
    expect(fired).toHaveLength(1_250)
    expect(fired).toEqual(fired.toSorted((a, b) => a - b))
  })

  test('lets microtasks and immediates finish before time moves', async () => {
    const clock = virtualClock()
    const log: string[] = []
    clock.setTimer(1, () => {
      log.push('timer 1')
      void Promise.resolve()
        .then(() => Promise.resolve())
        .then(() => log.push(`microtask at ${clock.nowMs()}`))
      setImmediate(() => log.push(`immediate at ${clock.nowMs()}`))
    })
    clock.setTimer(2, () => log.push('timer 2'))
    await clock.runAll()
    expect(log).toEqual(['timer 1', 'microtask at 1', 'immediate at 1', 'timer 2'])
  })

  test('advance stops at its time exactly, and fires what is due there', async () => {
    const clock = virtualClock()
    const fired: number[] = []
    for (const atMs of [10, 20, 20.5]) clock.setTimer(atMs, () => fired.push(atMs))
    await clock.advance(20)
    expect([clock.nowMs(), ...fired]).toEqual([20, 10, 20])
    expect(clock.epochMs()).toBe(Date.UTC(2026, 0, 1) + 20)
  })

  test('run says where time stands still, and with which seed', async () => {
    const clock = virtualClock({ seed: 42 })
    clock.setTimer(5, () => {})
    await expect(clock.run(new Promise(() => {}))).rejects.toThrow(/stands still at 5 ms.*seed 42/)
  })

  test('run returns and throws what it waited for', async () => {
    const clock = virtualClock()
    const later = new Promise<string>((resolve) => void clock.setTimer(1_000, () => resolve('done')))
    expect(await clock.run(later)).toBe('done')
    expect(clock.nowMs()).toBe(1_000)
    await expect(clock.run(Promise.reject(new Error('no')))).rejects.toThrow('no')
  })

  test.each([Number.NaN, Infinity, -Infinity])('refuses no delay and keeps its order: %s', async (delayMs) => {
    const clock = virtualClock()
    const fired: string[] = []
    clock.setTimer(2, () => fired.push('b'))
    clock.setTimer(delayMs, () => fired.push('odd'))
    clock.setTimer(1, () => fired.push('a'))
    clock.setTimer(3, () => fired.push('c'))
    await clock.advance(10)
    expect(fired.filter((name) => name !== 'odd')).toEqual(['a', 'b', 'c'])
    expect(clock.nowMs()).toBe(10)
    expect(fired.includes('odd')).toBe(delayMs !== Infinity)
  })
})

describe('real clock', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] }))
  afterEach(() => void vi.useRealTimers())

  test('honours delays beyond what setTimeout can', () => {
    const clock = realClock({ seed: 1 })
    let fired = 0
    clock.setTimer(2 ** 31 * 3, () => fired++)
    vi.advanceTimersByTime(2 ** 31 * 3 - 10)
    expect(fired).toBe(0)
    vi.advanceTimersByTime(20)
    expect(fired).toBe(1)
    expect(vi.getTimerCount()).toBe(0)
  })

  test('clears a long timer after it was armed anew', () => {
    const clock = realClock({ seed: 1 })
    let fired = 0
    const timer = clock.setTimer(2 ** 31 * 3, () => fired++)
    vi.advanceTimersByTime(2 ** 31 + 5)
    clock.clearTimer(timer)
    clock.clearTimer(undefined)
    vi.advanceTimersByTime(2 ** 34)
    expect(fired).toBe(0)
  })

  test('counts monotonic milliseconds from when it was made', () => {
    const clock = realClock()
    expect(clock.nowMs()).toBe(0)
    vi.advanceTimersByTime(1_234)
    expect(clock.nowMs()).toBe(1_234)
    expect(clock.epochMs()).toBe(Date.now())
    expect(clock.virtual).toBe(false)
    expect(Number.isInteger(clock.seed)).toBe(true)
  })
})

test('random streams are equal for equal seed and label, and else independent', () => {
  const draw = (seed: number, label: string): number[] => {
    const random = randomStream(seed, label)
    return Array.from({ length: 20 }, () => random())
  }
  expect(draw(1, 'a')).toEqual(draw(1, 'a'))
  expect(draw(1, 'a')).not.toEqual(draw(1, 'b'))
  expect(draw(1, 'a')).not.toEqual(draw(2, 'a'))
  expect(draw(3, 'x').every((value) => value >= 0 && value < 1)).toBe(true)
  const clock = virtualClock({ seed: 7 })
  expect([clock.random('a')(), clock.random('a')()]).toEqual([draw(7, 'a')[0], draw(7, 'a')[0]])
})

describe('timers of the real clock', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  test('fire in the order in which they are due, each once, whatever is set and cleared meanwhile', () => {
    const step = fc.record({
      delayMs: fc.integer({ min: -2, max: 20 }),
      clears: fc.option(fc.nat(20)),
      spawnMs: fc.option(fc.integer({ min: 0, max: 10 })),
      pauseMs: fc.integer({ min: 0, max: 5 }),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const clock = realClock({ seed: 1 })
        const due = new Map<string, number>()
        const fired: [name: string, lateMs: number][] = []
        const timers: { name: string; timer: Timer }[] = []
        const set = (name: string, delayMs: number, then: () => void): void => {
          due.set(name, clock.nowMs() + Math.max(0, delayMs))
          const fire = (): void => {
            fired.push([name, clock.nowMs() - due.get(name)!])
            due.delete(name)
            then()
          }
          timers.push({ name, timer: clock.setTimer(delayMs, fire) })
        }
        for (const [i, { delayMs, clears, spawnMs, pauseMs }] of steps.entries()) {
          set(`t${i}`, delayMs, () => {
            if (spawnMs !== null) set(`s${i}`, spawnMs, () => {})
            const other = clears === null ? undefined : timers[clears]
            if (other === undefined) return
            clock.clearTimer(other.timer)
            due.delete(other.name)
          })
          vi.advanceTimersByTime(pauseMs)
        }
        vi.advanceTimersByTime(100)
        expect([...due]).toEqual([])
        expect(new Set(fired.map(([name]) => name)).size).toBe(fired.length)
        // A timer of Node's takes at least a millisecond.
        for (const [, lateMs] of fired) expect(lateMs >= 0 && lateMs <= 2).toBe(true)
      }),
    )
  })

  test('are as good as none once all are cleared: the process may end', () => {
    vi.useRealTimers()
    const waiting = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
    const before = waiting()
    const clock = realClock()
    const timers = [60_000, 70_000, 80_000].map((delayMs) => clock.setTimer(delayMs, () => {}))
    expect(waiting()).toBe(before + 1)
    for (const timer of timers) clock.clearTimer(timer)
    expect(waiting()).toBe(before)
    const later = clock.setTimer(90_000, () => {})
    expect(waiting()).toBe(before + 1)
    clock.clearTimer(later)
    expect(waiting()).toBe(before)
  })

  test('go on after one whose callback throws', () => {
    const clock = realClock()
    let fired = 0
    clock.setTimer(5, () => {
      throw new Error('a callback that breaks')
    })
    clock.setTimer(5, () => fired++)
    clock.setTimer(6, () => fired++)
    expect(() => vi.advanceTimersByTime(5)).toThrow('a callback that breaks')
    vi.advanceTimersByTime(10)
    expect(fired).toBe(2)
  })
})
