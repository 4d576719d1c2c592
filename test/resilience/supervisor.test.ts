// Supervision as Erlang/OTP has it: who restarts with whom, in which order, and when it is too much.

import { describe, expect, test } from 'vitest'
import { Supervisor, type ChildSpec, type SupervisorOptions } from '../../actors/supervisor.ts'
import { virtualClock, type VirtualClock } from '../../src/clock.ts'
import { silentLogger } from '../../src/log.ts'

interface Stage {
  clock: VirtualClock
  supervisor: Supervisor
  /** `+a` a start, `-a` a stop, `!` gave up. */
  log: string[]
  child: (
    name: string,
    options?: Partial<ChildSpec> & { failsAtStart?: () => boolean; failsAtStop?: boolean },
  ) => ChildSpec
}

function stage(options: Partial<SupervisorOptions> = {}, names = ['a', 'b', 'c']): Stage {
  const clock = virtualClock()
  const log: string[] = []
  const supervisor = new Supervisor({
    name: 'test',
    strategy: 'one-for-one',
    clock,
    log: silentLogger,
    gaveUp: () => void log.push('!'),
    ...options,
  })
  const child: Stage['child'] = (name, { failsAtStart, failsAtStop, ...spec } = {}) => ({
    name,
    start() {
      log.push(`+${name}`)
      if (failsAtStart?.() === true) throw new Error('cannot start')
      return {
        stop() {
          log.push(`-${name}`)
          if (failsAtStop === true) throw new Error('cannot stop')
        },
      }
    },
    ...spec,
  })
  for (const name of names) supervisor.add(child(name))
  log.length = 0
  return { clock, supervisor, log, child }
}

const failure = { error: new Error('broken') }

describe('who restarts with whom', () => {
  test.each([
    ['one-for-one', 'a', '-a +a'],
    ['one-for-one', 'b', '-b +b'],
    ['one-for-all', 'a', '-c -b -a +a +b +c'],
    ['one-for-all', 'c', '-c -b -a +a +b +c'],
    ['rest-for-one', 'a', '-c -b -a +a +b +c'],
    ['rest-for-one', 'b', '-c -b +b +c'],
    ['rest-for-one', 'c', '-c +c'],
  ] as const)('%s: %s fails', (strategy, name, expected) => {
    const { supervisor, log } = stage({ strategy })
    supervisor.ended(name, failure)
    expect(log.join(' ')).toBe(expected)
    expect(supervisor.running).toEqual(['a', 'b', 'c'])
    expect(supervisor.restarts).toBe(1)
  })

  test.each([
    ['permanent', failure, '-x +x'],
    ['permanent', undefined, '-x +x'],
    ['transient', failure, '-x +x'],
    ['transient', undefined, '-x'],
    ['temporary', failure, '-x'],
    ['temporary', undefined, '-x'],
  ] as const)('a %s child that ends (failure: %o)', (kind, how, expected) => {
    const { supervisor, log, child } = stage({}, [])
    supervisor.add(child('x', { kind }))
    log.length = 0
    supervisor.ended('x', how)
    expect(log.join(' ')).toBe(expected)
  })
})

describe('order', () => {
  test('starts in order, stops in reverse, also past a child that will not stop', () => {
    const { supervisor, log, child } = stage({}, [])
    for (const name of ['a', 'b', 'c']) supervisor.add(child(name, { failsAtStop: name === 'b' }))
    supervisor.stop()
    expect(log.join(' ')).toBe('+a +b +c -c -b -a')
    supervisor.ended('a', failure)
    expect(log).toHaveLength(6)
  })

  test('a child whose first start fails is not kept, and whoever adds it hears why', () => {
    const { supervisor, child } = stage()
    expect(() => supervisor.add(child('d', { failsAtStart: () => true }))).toThrow('cannot start')
    expect(supervisor.running).toEqual(['a', 'b', 'c'])
  })

  test('a failure during a restart waits for its turn', () => {
    const log: string[] = []
    const { supervisor } = stage({ restartsMax: 5 }, [])
    const add = (name: string, onStart: () => void): void =>
      supervisor.add({
        name,
        start() {
          log.push(`+${name}`)
          onStart()
          return { stop: () => void log.push(`-${name}`) }
        },
      })
    let starts = 0
    add('a', () => {})
    add('b', () => void (++starts === 2 && supervisor.ended('a', failure)))
    log.length = 0
    supervisor.ended('b', failure)
    expect(log.join(' ')).toBe('-b +b -a +a')
  })

  test('a removed child is stopped, and what it reports later is of no interest', () => {
    const { supervisor, log } = stage()
    supervisor.remove('b')
    supervisor.remove('b')
    supervisor.ended('b', failure)
    expect(log.join(' ')).toBe('-b')
    expect(supervisor.running).toEqual(['a', 'c'])
  })
})

describe('intensity', () => {
  test.each([0, 1, 3, 10])('a child that dies at once for ever is started exactly %i + 1 times', (restartsMax) => {
    const { supervisor, log, child } = stage({ restartsMax })
    const storm = child('storm')
    supervisor.add({
      ...storm,
      start() {
        const running = storm.start()
        supervisor.ended('storm', failure)
        return running
      },
    })
    expect(log.filter((entry) => entry === '+storm')).toHaveLength(restartsMax + 1)
    expect(log.slice(-5)).toEqual(['-storm', '-c', '-b', '-a', '!'])
    expect(supervisor.running).toEqual([])
  })

  test('a child that cannot be started again counts as failing again', () => {
    const { supervisor, log, child } = stage({ restartsMax: 3, strategy: 'rest-for-one' }, [])
    let failing = false
    supervisor.add(child('a', { failsAtStart: () => failing }))
    supervisor.add(child('b'))
    failing = true
    log.length = 0
    supervisor.ended('a', failure)
    expect(log.join(' ')).toBe('-b -a +a +a +a !')
  })

  test('one restart in five seconds is tolerated by default, a second is not, a later one is', async () => {
    const { supervisor, log, clock } = stage()
    supervisor.ended('a', failure)
    await clock.advance(5_000)
    supervisor.ended('b', failure)
    await clock.advance(4_999)
    expect(log).not.toContain('!')
    supervisor.ended('a', failure)
    expect(log.at(-1)).toBe('!')
  })
})

test('ten thousand children of which one in a hundred crashes leave the others as if nothing had happened', () => {
  const results = (crashes: boolean): Map<string, string> => {
    const { supervisor } = stage({ restartsMax: 10_000 }, [])
    const states = new Map<string, { starts: number; sum: number }>()
    for (let i = 0; i < 10_000; i++) {
      const name = `child-${i}`
      supervisor.add({
        name,
        start() {
          states.set(name, { starts: (states.get(name)?.starts ?? 0) + 1, sum: 0 })
          return { stop() {} }
        },
      })
    }
    for (let round = 1; round <= 3; round++) {
      for (let i = 0; i < 10_000; i++) {
        states.get(`child-${i}`)!.sum += i * round
        if (crashes && round === 2 && i % 100 === 7) supervisor.ended(`child-${i}`, failure)
      }
    }
    return new Map([...states].map(([name, state]) => [name, JSON.stringify(state)]))
  }
  const [calm, stormy] = [results(false), results(true)]
  const differing = [...calm].filter(([name, state]) => stormy.get(name) !== state).map(([name]) => name)
  expect(differing).toHaveLength(100)
  expect(differing.every((name) => Number(name.slice(6)) % 100 === 7)).toBe(true)
})
