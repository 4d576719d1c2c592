import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { InvariantError } from '../../src/errors.ts'
import { RequestWindow } from '../../src/scheduling/window.ts'

// The same cases in every run; another seed finds others.
fc.configureGlobal({ seed: 1 })

describe('request window', () => {
  it('W1: takes up to its size and no further', () => {
    const window = new RequestWindow(2)
    expect([window.take(), window.take(), window.take()]).toEqual([true, true, false])
    expect(window).toMatchObject({ size: 2, inFlight: 2, free: 0 })
    window.give()
    expect(window.free).toBe(1)
  })

  it('W2: refuses a slot that nobody took', () => {
    const window = new RequestWindow(1)
    expect(() => window.give()).toThrow(InvariantError)
    expect(window.inFlight).toBe(0)
  })

  it('W3: lets what runs finish when it shrinks, and frees nothing until then', () => {
    const window = new RequestWindow(3)
    for (let i = 0; i < 3; i++) window.take()
    window.resize(1)
    expect(window).toMatchObject({ size: 1, inFlight: 3, free: 0 })
    window.give()
    window.give()
    expect(window.take()).toBe(false)
    window.give()
    expect(window.take()).toBe(true)
  })

  it('lets nothing in at size zero', () => {
    expect(new RequestWindow(0).take()).toBe(false)
  })

  it.each([-1, 1.5, Number.NaN, Infinity])('refuses a size of %s', (size) => {
    expect(() => new RequestWindow(size)).toThrow(InvariantError)
    const window = new RequestWindow(4)
    expect(() => window.resize(size)).toThrow(InvariantError)
    expect(window.size).toBe(4)
  })

  it('agrees with two plain counters under any takes, gives and resizes', () => {
    const step = fc.oneof(fc.constant('take' as const), fc.constant('give' as const), fc.nat(6))
    fc.assert(
      fc.property(fc.nat(6), fc.array(step, { maxLength: 100 }), (initial, steps) => {
        const window = new RequestWindow(initial)
        let size = initial
        let inFlight = 0
        for (const each of steps) {
          if (each === 'take') {
            const taken = window.take()
            expect(taken).toBe(inFlight < size)
            if (taken) inFlight++
          } else if (each === 'give') {
            if (inFlight === 0) expect(() => window.give()).toThrow(InvariantError)
            else {
              window.give()
              inFlight--
            }
          } else {
            size = each
            window.resize(size)
          }
          expect(window).toMatchObject({ size, inFlight, free: Math.max(0, size - inFlight) })
        }
      }),
    )
  })
})
