// Which sequence a request gets, and in what order those that wait are served.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { SequenceTable, type SequenceLease } from '../../../src/engines/llama-cpp/sequences.ts'

const never = new AbortController().signal

describe('a session', () => {
  test('comes back to the sequence that keeps its context', async () => {
    const table = new SequenceTable(['x', 'y'], 0)
    const first = await table.take('a', 0, never)
    first.release()
    ;(await table.take('b', 0, never)).release()
    expect((await table.take('a', 0, never)).sequence).toBe(first.sequence)
  })

  test('takes an empty sequence before anybody else gives way', async () => {
    const table = new SequenceTable(['x', 'y', 'z'], 0)
    ;(await table.take('a', 0, never)).release()
    ;(await table.take('b', 0, never)).release()
    expect((await table.take('c', 0, never)).sequence).toBe('z')
  })

  test('with two requests at once has two sequences', async () => {
    const table = new SequenceTable(['x', 'y'], 0)
    const leases = [await table.take('a', 0, never), await table.take('a', 0, never)]
    expect(leases.map(({ sequence }) => sequence).toSorted()).toEqual(['x', 'y'])
    for (const lease of leases) lease.release()
    expect(table.end('a').leases).toHaveLength(2)
  })

  test('that ended is no longer kept, and a lease given back twice counts once', async () => {
    const table = new SequenceTable(['x'], 1)
    const lease = await table.take('a', 0, never)
    expect(table.end('a')).toEqual({ leases: [], busy: 1 })
    expect(table.kept('a')).toBeUndefined()
    const next = table.take('b', 0, never)
    lease.release()
    lease.release()
    expect((await next).sequence).toBe('x')
    expect(table.running).toBe(1)
    expect(table.idle()).toEqual([])
  })
})

describe('a request that waits', () => {
  test('is not taken when its signal has aborted, and leaves when it aborts', async () => {
    const table = new SequenceTable(['x'], 2)
    const lease = await table.take('a', 0, never)
    const stop = new AbortController()
    const waiting = table.take('b', 0, stop.signal)
    expect(table.waiting).toBe(1)
    stop.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
    await expect(table.take('c', 0, stop.signal)).rejects.toThrow('enough')
    expect(table.waiting).toBe(0)
    lease.release()
    expect(table.running).toBe(0)
  })

  test('is one of at most waitingMax', async () => {
    const table = new SequenceTable(['x'], 1)
    await table.take('a', 0, never)
    void table.take('b', 0, never)
    await expect(table.take('c', 0, never)).rejects.toMatchObject({ code: 'ORLA_QUEUE_FULL', details: { limit: 1 } })
  })
})

test('whatever comes: one holder a sequence, none waits while one is free, order by priority and arrival', async () => {
  const command = fc.oneof(
    fc.record({ type: fc.constant('take' as const), session: fc.nat(4), priority: fc.nat(2) }),
    fc.record({ type: fc.constant('release' as const), which: fc.nat(10) }),
    fc.record({ type: fc.constant('end' as const), session: fc.nat(4) }),
  )
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 3 }), fc.array(command, { maxLength: 60 }), async (size, commands) => {
      const table = new SequenceTable(
        Array.from({ length: size }, (_, index) => index),
        1_000,
      )
      const held: SequenceLease<number>[] = []
      let waiting: { arrival: number; priority: number }[] = []
      let arrivals = 0
      const expectNext: number[] = []
      for (const step of commands) {
        if (step.type === 'take') {
          const arrival = ++arrivals
          const isFree = held.length < size
          if (!isFree) waiting.push({ arrival, priority: step.priority })
          void table.take(String(step.session), step.priority, never).then((lease) => {
            held.push(lease)
            if (!isFree) expectNext.push(arrival)
          })
        } else if (step.type === 'release') {
          held.splice(step.which % Math.max(1, held.length), 1)[0]?.release()
        } else {
          for (const lease of table.end(String(step.session)).leases) lease.release()
        }
        await new Promise((resolve) => void setImmediate(resolve))
        const inUse = held.map(({ sequence }) => sequence)
        expect(new Set(inUse).size).toBe(inUse.length)
        expect(table.running).toBe(inUse.length)
        for (const served of expectNext.splice(0)) {
          const best = waiting.toSorted((a, b) => b.priority - a.priority || a.arrival - b.arrival)[0]
          expect(served).toBe(best?.arrival)
          waiting = waiting.filter(({ arrival }) => arrival !== served)
        }
        expect(table.waiting).toBe(waiting.length)
        if (waiting.length > 0) expect(inUse.length).toBe(size)
      }
    }),
    { numRuns: 200 },
  )
})
