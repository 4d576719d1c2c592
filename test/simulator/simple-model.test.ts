import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { virtualClock } from '../../src/clock.ts'
import { spanTokens, type EngineOutcome, type EngineRequest } from '../../src/simulator/engine-model.ts'
import type { TokenSpan } from '../../src/schema/message.ts'
import { simpleEngineModel, simpleSpeeds, type SimpleSpeed } from '../../src/simulator/simple-model.ts'

const speed: SimpleSpeed = {
  overheadMs: 10,
  prefillMsPerToken: 1,
  decodeMsPerToken: 10,
  requestsMax: 2,
  kvTokensMax: 1_000,
}
const span = (stream: string, from: number, to: number): TokenSpan => ({ stream, from, to })

/** An engine on a virtual clock, and what it reports: `[id, what, value, atMs]`. */
function setup(given: Partial<SimpleSpeed> = {}) {
  const clock = virtualClock()
  const model = simpleEngineModel({ clock, ...speed, ...given })
  const log: [id: string, what: string, value: unknown, atMs: number][] = []
  const submit = (id: string, prompt: TokenSpan[], outputTokens: number, more: Partial<EngineRequest> = {}) =>
    model.submit(
      { id, prompt, output: span(`${id}-answer`, 0, outputTokens), watched: true, ...more },
      {
        started: (cached) => log.push([id, 'started', cached, clock.nowMs()]),
        tokens: (count) => log.push([id, 'tokens', count, clock.nowMs()]),
        finished: (end: EngineOutcome) => log.push([id, 'finished', end.outcome, clock.nowMs()]),
      },
    )
  const cachedOf = (id: string) => log.find(([of, what]) => of === id && what === 'started')?.[2]
  return { clock, model, log, submit, cachedOf }
}

describe('simple engine model', () => {
  test('S4: reports start, every token and the end at their times', async () => {
    const { clock, log, submit } = setup()
    submit('a', [span('s', 0, 100)], 3)
    await clock.runAll()
    expect(log).toEqual([
      ['a', 'started', 0, 0],
      ['a', 'tokens', 1, 110],
      ['a', 'tokens', 1, 120],
      ['a', 'tokens', 1, 130],
      ['a', 'finished', 'completed', 130],
    ])
  })

  test('S4: reports at least once a second what nobody watches, first and last token at their times', async () => {
    const { clock, log, submit } = setup()
    submit('a', [span('s', 0, 90)], 250, { watched: false })
    await clock.runAll()
    expect(log.slice(1)).toEqual([
      ['a', 'tokens', 1, 100],
      ['a', 'tokens', 100, 1_100],
      ['a', 'tokens', 100, 2_100],
      ['a', 'tokens', 49, 2_590],
      ['a', 'finished', 'completed', 2_590],
    ])
  })

  test('S1: runs at most requestsMax and starts the others in order of arrival', async () => {
    const { clock, model, log, submit } = setup()
    for (const id of ['a', 'b', 'c', 'd']) submit(id, [span(id, 0, 10)], 1)
    expect(model.stats()).toMatchObject({ running: 2, waiting: 2 })
    await clock.runAll()
    expect(log.filter(([, what]) => what === 'started').map(([id]) => id)).toEqual(['a', 'b', 'c', 'd'])
    expect(model.stats()).toMatchObject({ running: 0, waiting: 0, busyMs: 40, promptTokens: 40, outputTokens: 4 })
  })

  test('S2, S3: waits until the pool has room for prompt and answer, and evicts idle prefixes for it', async () => {
    const { clock, model, submit, cachedOf } = setup({ requestsMax: 9 })
    submit('old', [span('old', 0, 300)], 100)
    await clock.runAll()
    expect(model.stats()).toMatchObject({ kvTokensLive: 0, kvTokensCached: 400 })
    submit('a', [span('a', 0, 600)], 100)
    submit('b', [span('b', 0, 300)], 1)
    expect(model.stats()).toMatchObject({ running: 1, waiting: 1, kvTokensLive: 700, kvTokensCached: 300 })
    await clock.runAll()
    submit('again', [span('old', 0, 300)], 1)
    await clock.runAll()
    expect(cachedOf('again')).toBe(0)
  })

  test('refuses at once what can never fit', () => {
    const { log, submit } = setup()
    const abort = submit('a', [span('s', 0, 999)], 2)
    expect(log).toEqual([['a', 'finished', 'refused', 0]])
    abort()
  })

  test('S5: finds prompts from the first token on and answers from their end on, all but the last token', async () => {
    const { clock, submit, cachedOf } = setup({ requestsMax: 9 })
    submit('a', [span('s', 0, 100)], 10)
    submit('b', [span('s', 0, 100)], 10)
    await clock.advance(115)
    submit('c', [span('s', 0, 100)], 10)
    submit('d', [span('s', 0, 50), span('s', 50, 80), span('t', 0, 20)], 1)
    await clock.runAll()
    submit('e', [span('s', 0, 100), span('a-answer', 0, 14)], 1)
    submit('f', [span('s', 0, 100)], 1, { salt: 'other' })
    expect(['a', 'b', 'c', 'd', 'e', 'f'].map(cachedOf)).toEqual([0, 0, 99, 80, 110, 0])
  })

  test('S5: an aborted prefill leaves nothing, an aborted answer leaves its prompt', async () => {
    const { clock, model, log, submit, cachedOf } = setup({ requestsMax: 1 })
    const abortFirst = submit('a', [span('s', 0, 100)], 10)
    const abortWaiting = submit('w', [span('s', 0, 100)], 10)
    submit('b', [span('s', 0, 100)], 10)
    await clock.advance(50)
    abortWaiting()
    abortFirst()
    await clock.advance(115)
    const before = log.length
    expect(cachedOf('b')).toBe(0)
    expect(log.filter(([id]) => id === 'w')).toEqual([])
    submit('c', [span('s', 0, 100)], 1)
    expect(log).toHaveLength(before)
    await clock.runAll()
    expect(cachedOf('c')).toBe(99)
    expect(model.stats()).toMatchObject({ kvTokensLive: 0, running: 0, waiting: 0 })
  })

  test('lets the next ones go when the one that held them up is aborted while it waits', async () => {
    const { clock, model, submit, cachedOf } = setup({ requestsMax: 9 })
    submit('a', [span('a', 0, 600)], 100)
    const abort = submit('b', [span('b', 0, 600)], 1)
    submit('c', [span('c', 0, 50)], 1)
    expect(cachedOf('c')).toBeUndefined()
    abort()
    abort()
    expect(cachedOf('c')).toBe(0)
    await clock.runAll()
    expect(model.stats().running).toBe(0)
  })

  test('takes empty prompts, and no time at all', async () => {
    const { clock, log, submit } = setup(simpleSpeeds.instant)
    submit('a', [], 5)
    await clock.runAll()
    expect(log).toEqual([
      ['a', 'started', 0, 0],
      ['a', 'tokens', 5, 0],
      ['a', 'finished', 'completed', 0],
    ])
  })

  test('flushes only when idle', async () => {
    const { clock, model, submit } = setup()
    submit('a', [span('s', 0, 100)], 10)
    expect(model.flush()).toBe(false)
    await clock.runAll()
    expect(model.stats().kvTokensCached).toBe(110)
    expect(model.flush()).toBe(true)
    expect(model.stats().kvTokensCached).toBe(0)
  })
})

describe('simple engine model, in any order of events', () => {
  const request = fc.record({
    spans: fc.array(
      fc
        .tuple(fc.constantFrom('p', 'q', 'r'), fc.integer({ min: 0, max: 20 }), fc.integer({ min: 1, max: 60 }))
        .map(([stream, from, length]) => span(stream, from, from + length)),
      { minLength: 1, maxLength: 4 },
    ),
    outputTokens: fc.integer({ min: 1, max: 30 }),
    watched: fc.boolean(),
    salt: fc.constantFrom('', '', 'x'),
    pauseMs: fc.integer({ min: 0, max: 200 }),
    abortAfterMs: fc.option(fc.integer({ min: 0, max: 400 })),
  })

  test('S1 to S5 hold: the pool is never overfull, hits were computed before, all ends once and frees all', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(request, { maxLength: 25 }),
        fc.integer({ min: 1, max: 5 }),
        async (requests, requestsMax) => {
          const clock = virtualClock()
          const kvTokensMax = 320
          const model = simpleEngineModel({ clock, ...speed, requestsMax, kvTokensMax })
          /** Every token list that the engine has computed, by salt: naive, one string a token. */
          const computed: Record<string, string[][]> = { '': [], x: [] }
          const tokensOf = (spans: readonly TokenSpan[]): string[] =>
            spans.flatMap(({ stream, from, to }) => Array.from({ length: to - from }, (_, i) => `${stream}${from + i}`))
          const check = (): void => {
            const { running, kvTokensLive, kvTokensCached } = model.stats()
            expect(running).toBeLessThanOrEqual(requestsMax)
            expect(kvTokensLive).toBeGreaterThanOrEqual(0)
            expect(kvTokensCached).toBeGreaterThanOrEqual(0)
            expect(kvTokensLive + kvTokensCached).toBeLessThanOrEqual(kvTokensMax)
          }
          let open = 0
          for (const [i, { spans, outputTokens, watched, salt, pauseMs, abortAfterMs }] of requests.entries()) {
            const output = span(i % 3 === 0 ? 'p' : `out${i}`, 500, 500 + outputTokens)
            let got = 0
            let ended = false
            open++
            const abort = model.submit(
              { id: String(i), prompt: spans, output, watched, salt },
              {
                started(cached) {
                  const mine = tokensOf(spans)
                  const common = computed[salt]!.map((other) => {
                    const at = mine.findIndex((token, k) => token !== other[k])
                    return at === -1 ? mine.length : at
                  })
                  expect(cached).toBeLessThanOrEqual(Math.max(0, ...common))
                  expect(cached).toBeLessThan(spanTokens(spans))
                  check()
                },
                tokens(count) {
                  expect(ended).toBe(false)
                  expect(count).toBeGreaterThan(0)
                  got += count
                  computed[salt]!.push(tokensOf([...spans, span(output.stream, 500, 500 + got)]))
                  check()
                },
                finished(end) {
                  expect(ended).toBe(false)
                  if (end.outcome === 'completed') expect(got).toBe(outputTokens)
                  else expect(spanTokens(spans) + outputTokens).toBeGreaterThan(kvTokensMax)
                  ended = true
                  open--
                },
              },
            )
            if (abortAfterMs !== null) {
              clock.setTimer(abortAfterMs, () => {
                abort()
                if (!ended) open--
                ended = true
                check()
              })
            }
            await clock.advance(pauseMs)
          }
          await clock.runAll()
          expect(open).toBe(0)
          expect(model.stats()).toMatchObject({ running: 0, waiting: 0, kvTokensLive: 0 })
          expect(model.flush()).toBe(true)
          expect(model.stats().kvTokensCached).toBe(0)
        },
      ),
      { numRuns: 300, seed: 20_261_121 },
    )
  })
})
