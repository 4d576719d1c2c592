import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Feed } from '../../src/feed.ts'
import type { RunEvent } from '../../src/schema/transition.ts'

const transition = (seq: number): RunEvent => ({
  type: 'stage.completed',
  seq,
  atMs: seq,
  runId: 'run-1',
  stage: 's',
  from: 'validating',
  to: 'completed',
  reason: 'r',
  turns: 1,
})
const token = (text: string): RunEvent => ({
  type: 'stage.token',
  atMs: 0,
  runId: 'run-1',
  stage: 's',
  turn: 1,
  channel: 'content',
  text,
})

async function rest(iterator: AsyncIterator<RunEvent>): Promise<RunEvent[]> {
  const events: RunEvent[] = []
  for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) events.push(next.value)
  return events
}

describe('readers', () => {
  test('get every transition in order, and every token or a count of what was dropped, in its place', async () => {
    const action = fc.oneof(fc.constant('token'), fc.constant('transition'), fc.constant('read'))
    await fc.assert(
      fc.asyncProperty(
        fc.array(action, { maxLength: 120 }),
        fc.integer({ min: 1, max: 6 }),
        async (actions, backlogMax) => {
          const feed = new Feed(backlogMax)
          const reader = feed[Symbol.asyncIterator]()
          const sent: RunEvent[] = []
          const read: Promise<IteratorResult<RunEvent>>[] = []
          let seq = 0
          for (const what of actions) {
            if (what === 'read') {
              read.push(reader.next())
              await Promise.resolve()
              continue
            }
            // Few enough transitions that nobody is let go.
            if (what === 'transition' && seq >= backlogMax * 9) continue
            const event = what === 'token' ? token(String(sent.length)) : transition(++seq)
            sent.push(event)
            feed.publish(event)
          }
          sent.push(transition(++seq))
          feed.publish(sent.at(-1)!)
          feed.close()
          const got = [
            ...(await Promise.all(read)).flatMap((each) => (each.done === true ? [] : [each.value])),
            ...(await rest(reader)),
          ]
          // What was read, with gaps filled by as many as were said to be dropped, is what was sent.
          let at = 0
          for (const event of got) {
            if (event.type === 'events.dropped') {
              for (let i = 0; i < event.count; i++) expect(sent[at++]!.type).toBe('stage.token')
            } else {
              expect(event).toBe(sent[at++])
            }
          }
          expect(at).toBe(sent.length)
        },
      ),
    )
  })

  test('is told of dropped tokens before the event that follows them, also when it has caught up', async () => {
    const feed = new Feed(2)
    const reader = feed[Symbol.asyncIterator]()
    for (const text of ['a', 'b', 'c', 'd']) feed.publish(token(text))
    await reader.next()
    await reader.next()
    const next = reader.next()
    feed.publish(token('e'))
    expect((await next).value).toMatchObject({ type: 'events.dropped', count: 2 })
    expect((await reader.next()).value).toMatchObject({ text: 'e' })
  })

  test('is let go with an error when it is ten times the backlog behind', async () => {
    const feed = new Feed(3)
    const reader = feed[Symbol.asyncIterator]()
    for (let seq = 1; seq <= 31; seq++) feed.publish(transition(seq))
    expect(feed.observed).toBe(false)
    await expect(reader.next()).rejects.toMatchObject({ code: 'ORLA_LIMIT', details: { behind: 30 } })
    expect(await reader.next()).toEqual({ value: undefined, done: true })
  })

  test('leaving the loop unsubscribes', async () => {
    const feed = new Feed()
    const loop = (async () => {
      for await (const event of feed) if ('seq' in event && event.seq === 2) break
    })()
    expect(feed.observed).toBe(true)
    for (let seq = 1; seq <= 3; seq++) feed.publish(transition(seq))
    await loop
    expect(feed.observed).toBe(false)
  })

  test('questions that are asked at once are answered in order', async () => {
    const feed = new Feed()
    const reader = feed[Symbol.asyncIterator]()
    const asked = [reader.next(), reader.next(), reader.next()]
    feed.publish(transition(1))
    feed.publish(transition(2))
    feed.close()
    expect(
      (await Promise.all(asked)).map(({ value, done }) => (done === true ? 'done' : (value as { seq: number }).seq)),
    ).toEqual([1, 2, 'done'])
  })

  test('one that waits when it is told to return is done', async () => {
    const feed = new Feed()
    const reader = feed[Symbol.asyncIterator]()
    const waiting = reader.next()
    await reader.return?.()
    expect((await waiting).done).toBe(true)
    feed.publish(transition(1))
    expect((await reader.next()).done).toBe(true)
  })

  test('two readers do not disturb each other, and a late one starts where it came in', async () => {
    const feed = new Feed()
    const early = feed[Symbol.asyncIterator]()
    feed.publish(transition(1))
    const late = feed[Symbol.asyncIterator]()
    feed.publish(transition(2))
    feed.close()
    const seqs = (events: RunEvent[]): unknown[] => events.map((event) => 'seq' in event && event.seq)
    expect([seqs(await rest(early)), seqs(await rest(late))]).toEqual([[1, 2], [2]])
    expect(await rest(feed[Symbol.asyncIterator]())).toEqual([])
  })
})

describe('observers', () => {
  test('one that throws harms neither the others nor the publisher', () => {
    const feed = new Feed()
    const heard: RunEvent[] = []
    feed.subscribe(() => {
      throw new Error('observer')
    })
    feed.subscribe((event) => heard.push(event))
    expect(() => feed.publish(transition(1))).not.toThrow()
    expect(heard).toHaveLength(1)
  })

  test('one that stops within its call hears no more, and a closed feed takes none', () => {
    const feed = new Feed()
    let heard = 0
    const stop = feed.subscribe(() => {
      heard++
      stop()
    })
    feed.publish(transition(1))
    feed.publish(transition(2))
    expect(heard).toBe(1)
    feed.close()
    feed.subscribe(() => heard++)
    feed.publish(transition(3))
    expect([heard, feed.observed]).toEqual([1, false])
  })

  test('one that subscribes another while it is called does not loop', () => {
    const feed = new Feed()
    let heard = 0
    const again = (): void => {
      heard++
      if (heard < 1_000) feed.subscribe(() => again())
    }
    feed.subscribe(again)
    feed.publish(transition(1))
    expect(heard).toBe(1)
  })
})
