import { describe, expect, test } from 'vitest'
import { createActor, type ActorRefFrom } from 'xstate'
import { actorClock } from '../../actors/logic.ts'
import { backendMachine, breakerDefaults, openDelayMs } from '../../machines/backend.ts'
import { virtualClock, type VirtualClock } from '../../src/clock.ts'

interface Health {
  clock: VirtualClock
  actor: ActorRefFrom<typeof backendMachine>
  state: () => string
  send: (
    type: 'request.succeeded' | 'request.failed' | 'probe.inconclusive' | 'backend.drain' | 'backend.resume',
    times?: number,
  ) => void
}

function health(): Health {
  const clock = virtualClock()
  const actor = createActor(backendMachine, { input: breakerDefaults, clock: actorClock(clock) }).start()
  return {
    clock,
    actor,
    state: () => actor.getSnapshot().value,
    send(type, times = 1) {
      for (let i = 0; i < times; i++) actor.send({ type })
    },
  }
}

describe('health of a backend', () => {
  test('opens after five failures in a row, not after five with a success between', () => {
    const { send, state } = health()
    send('request.failed', 4)
    send('request.succeeded')
    send('request.failed', 4)
    expect(state()).toBe('healthy')
    send('request.failed')
    expect(state()).toBe('open')
  })

  test('half-opens after its time, and heals with one success', async () => {
    const { clock, send, state } = health()
    send('request.failed', 5)
    await clock.advance(1_999)
    expect(state()).toBe('open')
    await clock.advance(1)
    expect(state()).toBe('halfOpen')
    send('request.succeeded')
    expect(state()).toBe('healthy')
    send('request.failed', 4)
    expect(state()).toBe('healthy')
  })

  test('stays open twice as long after each failed probe, up to a minute, and starts anew once healthy', async () => {
    const { clock, send, state } = health()
    send('request.failed', 5)
    for (const openMs of [2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]) {
      await clock.advance(openMs - 1)
      expect(state()).toBe('open')
      await clock.advance(1)
      expect(state()).toBe('halfOpen')
      send('request.failed')
      expect(state()).toBe('open')
    }
    await clock.advance(60_000)
    send('request.succeeded')
    send('request.failed', 5)
    await clock.advance(2_000)
    expect(state()).toBe('halfOpen')
    expect(openDelayMs(breakerDefaults, 0)).toBe(2_000)
    expect(openDelayMs(breakerDefaults, 2_000)).toBe(60_000)
  })

  test('a probe that tells nothing changes nothing', async () => {
    const { clock, send, state } = health()
    send('request.failed', 5)
    await clock.advance(2_000)
    send('probe.inconclusive')
    expect(state()).toBe('halfOpen')
    send('request.failed')
    await clock.advance(3_999)
    expect(state()).toBe('open')
  })

  test('requests that were in flight when it opened may heal it, and cannot open it further', async () => {
    const { clock, send, state } = health()
    send('request.failed', 8)
    await clock.advance(2_000)
    expect(state()).toBe('halfOpen')
    const other = health()
    other.send('request.failed', 5)
    other.send('request.succeeded')
    expect(other.state()).toBe('healthy')
  })

  test('drains from any state and comes back healthy, without a timer left', async () => {
    const { clock, send, state } = health()
    send('backend.drain')
    expect(state()).toBe('draining')
    send('request.failed', 9)
    expect(state()).toBe('draining')
    send('backend.resume')
    expect(state()).toBe('healthy')
    send('request.failed', 5)
    send('backend.drain', 2)
    expect(clock.pendingTimers).toBe(0)
    await clock.advance(100_000)
    expect(state()).toBe('draining')
    send('backend.resume')
    send('request.failed', 4)
    expect(state()).toBe('healthy')
  })
})
