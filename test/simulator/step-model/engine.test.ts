import { describe, expect, it } from 'vitest'
import { realClock } from '../../../src/clock.ts'
import { OptionsError } from '../../../src/errors.ts'
import { gpu, stepEngineModel } from '../../../src/simulator/step-model/gpu.ts'
import { Recorder, request, smallProfile, stage } from './support.ts'

const system = { stream: 'system', from: 0, to: 64 }

describe('the life of a request', () => {
  it('is reported as started, first token, the rest and the end, at the times the costs say', async () => {
    const { clock, recorder } = stage()
    const model = stepEngineModel({ clock, profile: smallProfile() })
    recorder.submit(model, request('a', 100, 11))
    await clock.runAll()
    // 5 ms in front; chunks of 64 and 36 tokens take 4 + 16 and 4 + 9 ms; ten decode steps 4 + 1 + 6 each.
    expect(recorder.heard).toEqual([
      { atMs: 5, id: 'a', what: 'started', count: 0 },
      { atMs: 38, id: 'a', what: 'tokens', count: 1 },
      { atMs: 148, id: 'a', what: 'tokens', count: 10 },
      { atMs: 148, id: 'a', what: 'completed', count: 0 },
    ])
    expect(model.stats()).toMatchObject({
      running: 0,
      waiting: 0,
      promptTokens: 100,
      outputTokens: 11,
      busyMs: 143,
      kvTokensLive: 0,
      kvTokensCached: 96,
    })
  })

  it('is reported token by token when somebody watches, at the same times', async () => {
    const { clock, recorder } = stage()
    const model = stepEngineModel({ clock, profile: smallProfile() })
    recorder.submit(model, { ...request('a', 64, 5), watched: true })
    await clock.runAll()
    const tokens = recorder.heard.filter((heard) => heard.what === 'tokens')
    expect(tokens.map((heard) => [heard.atMs, heard.count])).toEqual([
      [25, 1],
      [36, 1],
      [47, 1],
      [58, 1],
      [69, 1],
    ])
  })

  it('keeps one timer pending at most, and none when idle', async () => {
    const { clock, recorder } = stage()
    const model = stepEngineModel({ clock, profile: smallProfile() })
    for (let i = 0; i < 20; i++) recorder.submit(model, request(`r${i}`, 50 + i, 5 + i))
    expect(clock.pendingTimers).toBe(1)
    for (let i = 0; i < 50; i++) {
      await clock.advance(7)
      expect(clock.pendingTimers).toBeLessThanOrEqual(1)
    }
    await clock.runAll()
    expect(clock.pendingTimers).toBe(0)
    expect(recorder.heard.filter((heard) => heard.what === 'completed')).toHaveLength(20)
  })

  it('ends at once, and asynchronously, for a prompt that can never fit', async () => {
    const { clock } = stage()
    const model = stepEngineModel({ clock, profile: smallProfile({ contextTokens: 200, kvTokens: 160 }) })
    const messages: string[] = []
    const listen = {
      started: () => messages.push('started'),
      tokens: () => messages.push('tokens'),
      finished: (outcome: { outcome: string; message?: string }) =>
        void messages.push(`${outcome.outcome}: ${outcome.message ?? ''}`),
    }
    model.submit(request('context', 195, 6), listen)
    model.submit(request('pool', 155, 7), listen)
    model.submit(request('empty', 0, 7), listen)
    model.submit(request('mute', 10, 0), listen)
    expect(messages).toEqual([])
    await clock.runAll()
    expect(messages).toEqual([
      expect.stringMatching(/^refused: .*context of 200/),
      expect.stringMatching(/^refused: .*pool of 160/),
      expect.stringMatching(/^refused: the prompt is empty/),
      expect.stringMatching(/^refused: an answer has at least one token/),
    ])
    expect(model.stats()).toMatchObject({ running: 0, waiting: 0, kvTokensLive: 0, busyMs: 0 })
  })

  it('may fill the pool to the last block', async () => {
    const { clock, recorder } = stage()
    const model = stepEngineModel({ clock, profile: smallProfile({ kvTokens: 160 }) })
    recorder.submit(model, request('a', 155, 6))
    await clock.runAll()
    expect(recorder.of('a').at(-1)?.what).toBe('completed')
    expect(recorder.tokensOf('a')).toBe(6)
  })
})

describe('prefix reuse', () => {
  it('skips the prefill of what is cached, in whole blocks, and says so', async () => {
    const { clock, recorder } = stage()
    const model = stepEngineModel({ clock, profile: smallProfile() })
    recorder.submit(model, request('a', [system, { stream: 'a', from: 0, to: 20 }], 5))
    await clock.runAll()
    recorder.submit(model, request('b', [system, { stream: 'b', from: 0, to: 20 }], 5))
    await clock.runAll()
    expect(recorder.of('b')[0]).toMatchObject({ what: 'started', count: 64 })
    expect(model.stats()).toMatchObject({ promptTokens: 168, cachedTokens: 64 })
  })

  it('reaches over the answer of the turn before', async () => {
    const { clock, recorder } = stage()
    const model = stepEngineModel({ clock, profile: smallProfile({ blockTokens: 1 }) })
    const first = request('a', 40, 10)
    recorder.submit(model, first)
    await clock.runAll()
    recorder.submit(model, request('b', [...first.prompt, first.output, { stream: 'b', from: 0, to: 5 }], 5))
    await clock.runAll()
    // The last token of an answer is never fed back, so its KV does not exist.
    expect(recorder.of('b')[0]?.count).toBe(49)
  })

  it('works while the first of two still runs', async () => {
    const { clock, recorder } = stage()
    const model = stepEngineModel({ clock, profile: smallProfile() })
    recorder.submit(model, request('a', [system], 50))
    await clock.advance(40)
    recorder.submit(model, request('b', [system], 5))
    await clock.runAll()
    expect(recorder.of('b')[0]?.count).toBe(48)
  })

  it('does not cross salts', async () => {
    const { clock, recorder } = stage()
    const model = stepEngineModel({ clock, profile: smallProfile() })
    for (const [id, salt] of [
      ['a', 'x'],
      ['b', 'y'],
      ['c', 'x'],
    ] as const) {
      recorder.submit(model, { ...request(id, [system], 2), salt })
      await clock.runAll()
    }
    expect(['a', 'b', 'c'].map((id) => recorder.of(id)[0]?.count)).toEqual([0, 0, 48])
  })

  it('ends with a flush, which is refused while a request runs or waits', async () => {
    const { clock, recorder } = stage()
    const model = stepEngineModel({ clock, profile: smallProfile() })
    recorder.submit(model, request('a', [system], 5))
    expect(model.flush()).toBe(false)
    await clock.advance(10)
    expect(model.flush()).toBe(false)
    await clock.runAll()
    expect(model.stats().kvTokensCached).toBe(64)
    expect(model.flush()).toBe(true)
    expect(model.stats().kvTokensCached).toBe(0)
    recorder.submit(model, request('b', [system], 5))
    await clock.runAll()
    expect(recorder.of('b')[0]?.count).toBe(0)
  })
})

describe('batching', () => {
  it('decodes while it prefills, within the token budget', async () => {
    const { clock, recorder } = stage()
    const model = stepEngineModel({ clock, profile: smallProfile() })
    recorder.submit(model, { ...request('a', 10, 10), watched: true })
    await clock.advance(16)
    recorder.submit(model, request('b', 120, 2))
    await clock.runAll()
    // a's tokens keep coming between the chunks of b: 63 and 57 tokens beside one decoding sequence.
    const gaps = recorder
      .of('a')
      .filter((heard) => heard.what === 'tokens')
      .map((heard, i, all) => heard.atMs - (all[i - 1]?.atMs ?? 0))
    expect(gaps.slice(1)).toContain(4 + 1 + 16)
    expect(recorder.firstTokenAtMs('b')).toBeLessThan(recorder.endedAtMs('a')!)
  })

  it('of a prefill-first engine lets decode wait for prefill', async () => {
    const { clock, recorder } = stage()
    const model = stepEngineModel({ clock, profile: smallProfile({ batching: 'prefill-first' }) })
    recorder.submit(model, { ...request('a', 10, 10), watched: true })
    await clock.advance(16)
    recorder.submit(model, request('b', 120, 2))
    await clock.runAll()
    const gaps = recorder
      .of('a')
      .filter((heard) => heard.what === 'tokens')
      .map((heard, i, all) => heard.atMs - (all[i - 1]?.atMs ?? 0))
    // Two prefill steps of 64 and 56 tokens, then one decode step of two sequences.
    expect(Math.max(...gaps.slice(1))).toBe(20 + 18 + 12)
  })

  it('runs at most so many sequences, first come first served', async () => {
    const { clock, recorder } = stage()
    const model = stepEngineModel({ clock, profile: smallProfile({ sequencesMax: 2 }) })
    for (let i = 0; i < 6; i++) recorder.submit(model, request(`r${i}`, 20, 10 + i))
    await clock.advance(20)
    expect(model.stats()).toMatchObject({ running: 2, waiting: 4 })
    await clock.runAll()
    const started = recorder.heard.filter((heard) => heard.what === 'started').map((heard) => heard.id)
    expect(started).toEqual(['r0', 'r1', 'r2', 'r3', 'r4', 'r5'])
  })

  it('goes by priority when the engine has priorities, else by arrival', async () => {
    for (const priorities of [true, false]) {
      const { clock, recorder } = stage()
      const model = stepEngineModel({ clock, profile: smallProfile({ sequencesMax: 1, priorities }) })
      for (const [id, priority] of [
        ['low', 1],
        ['middle', 5],
        ['high', 9],
      ] as const) {
        recorder.submit(model, { ...request(id, 20, 5), priority })
      }
      await clock.runAll()
      const started = recorder.heard.filter((heard) => heard.what === 'started').map((heard) => heard.id)
      expect(started).toEqual(priorities ? ['high', 'middle', 'low'] : ['low', 'middle', 'high'])
    }
  })

  it('admits whole prompts or chunks, as the engine does', async () => {
    const running = await Promise.all(
      (['chunk', 'prompt'] as const).map(async (admission) => {
        const { clock, recorder } = stage()
        const model = stepEngineModel({ clock, profile: smallProfile({ admission, kvTokens: 160 }) })
        recorder.submit(model, request('a', 90, 20))
        recorder.submit(model, request('b', 90, 20))
        await clock.advance(30)
        return model.stats().running
      }),
    )
    expect(running).toEqual([2, 1])
  })
})

describe('preemption', () => {
  it('puts the newest back when the pool is exhausted, and it still completes with each token reported once', async () => {
    const { clock, recorder } = stage()
    const model = stepEngineModel({ clock, profile: smallProfile({ kvTokens: 160 }) })
    recorder.submit(model, request('a', 60, 40))
    recorder.submit(model, request('b', 60, 40))
    await clock.runAll()
    expect(model.stats().preemptions).toBeGreaterThan(0)
    expect(recorder.tokensOf('a')).toBe(40)
    expect(recorder.tokensOf('b')).toBe(40)
    expect(recorder.of('b').filter((heard) => heard.what === 'started')).toHaveLength(1)
    expect(recorder.endedAtMs('a')).toBeLessThan(recorder.endedAtMs('b')!)
    const { prefilledTokens, cachedTokens, cachedLaterTokens, decodedTokens } = model.counters()
    expect(prefilledTokens + cachedTokens + cachedLaterTokens + decodedTokens).toBe(2 * 99)
  })

  it('spares the higher priority when the engine has priorities', async () => {
    const { clock, recorder } = stage()
    const model = stepEngineModel({ clock, profile: smallProfile({ kvTokens: 160, priorities: true }) })
    recorder.submit(model, request('low', 60, 40))
    await clock.advance(100)
    recorder.submit(model, { ...request('high', 60, 40), priority: 1 })
    await clock.runAll()
    expect(model.stats().preemptions).toBeGreaterThan(0)
    expect(recorder.endedAtMs('high')).toBeLessThan(recorder.endedAtMs('low')!)
  })
})

describe('aborts', () => {
  it('are silent and free everything, wherever the request is', async () => {
    for (const atMs of [0, 3, 5, 10, 30, 60, 200, 10_000]) {
      const { clock, recorder } = stage()
      const model = stepEngineModel({ clock, profile: smallProfile({ sequencesMax: 1 }) })
      const aborts = [request('a', 100, 50), request('b', 100, 50)].map((what) => recorder.submit(model, what))
      await clock.advance(atMs)
      for (const abort of aborts) abort()
      const heard = recorder.heard.length
      expect(model.stats()).toMatchObject({ running: 0, waiting: 0, kvTokensLive: 0 })
      await clock.runAll()
      expect(recorder.heard).toHaveLength(heard)
      expect(clock.pendingTimers).toBe(0)
      for (const abort of aborts) abort()
      expect(model.flush()).toBe(true)
    }
  })

  it('let the others go on after the step under way', async () => {
    const { clock, recorder } = stage()
    const model = stepEngineModel({ clock, profile: smallProfile() })
    const abort = recorder.submit(model, request('a', 10, 100))
    recorder.submit(model, { ...request('b', 10, 20), watched: true })
    await clock.advance(100)
    abort()
    await clock.runAll()
    const gaps = recorder
      .of('b')
      .filter((heard) => heard.what === 'tokens')
      .map((heard, i, all) => heard.atMs - (all[i - 1]?.atMs ?? 0))
    expect(gaps.filter((gap) => gap === 12).length).toBeGreaterThan(3)
    expect(gaps.at(-1)).toBe(11)
  })

  it('of a head that does not fit let the next one in with the next step', async () => {
    const { clock, recorder } = stage()
    const model = stepEngineModel({ clock, profile: smallProfile({ kvTokens: 160, admission: 'prompt' }) })
    recorder.submit(model, request('long', 60, 90))
    const abort = recorder.submit(model, request('head', 130, 5))
    recorder.submit(model, request('small', 10, 5))
    await clock.advance(103)
    expect(model.stats()).toMatchObject({ running: 1, waiting: 2 })
    abort()
    await clock.runAll()
    // Steps of 11 ms from 24 on.
    expect(recorder.of('small')[0]?.atMs).toBeCloseTo(112)
  })

  it('from within a report are heard before the next report', async () => {
    const { clock, recorder } = stage()
    const model = stepEngineModel({ clock, profile: smallProfile() })
    const reports: string[] = []
    model.submit(request('a', 10, 5), {
      started: () => {},
      tokens: () => abortB(),
      finished: () => reports.push('a'),
    })
    const abortB = recorder.submit(model, request('b', 10, 5))
    await clock.runAll()
    expect(reports).toEqual(['a'])
    expect(recorder.of('b').map((heard) => heard.what)).toEqual(['started'])
  })
})

describe('listeners', () => {
  it('may submit, flush and ask for stats from within a report', async () => {
    const { clock, recorder } = stage()
    const model = stepEngineModel({ clock, profile: smallProfile({ frontOverheadMs: 0 }) })
    const flushed: boolean[] = []
    let turns = 0
    const next = (): void => {
      flushed.push(model.flush())
      expect(model.stats().running).toBe(0)
      if (++turns < 5) recorder.submit(model, request(`r${turns}`, 20, 3), next)
    }
    recorder.submit(model, request('r0', 20, 3), next)
    await clock.runAll()
    expect(turns).toBe(5)
    expect(flushed).toEqual([true, true, true, true, true])
  })

  it('that throw do not keep others from being told', async () => {
    for (const when of ['started', 'tokens', 'finished'] as const) {
      const { clock, recorder } = stage()
      const model = stepEngineModel({ clock, profile: smallProfile() })
      const fail = (what: string): void => {
        if (what === when) throw new Error(`a listener of mine failed when ${what}`)
      }
      model.submit(request('bad', 10, 5), {
        started: () => fail('started'),
        tokens: () => fail('tokens'),
        finished: () => fail('finished'),
      })
      recorder.submit(model, request('good', 10, 5))
      // Whoever turns the clock sees the error; the engine goes on.
      await expect(clock.runAll()).rejects.toThrow(`a listener of mine failed when ${when}`)
      let failures = 0
      while (clock.pendingTimers > 0) await clock.runAll().catch(() => failures++)
      expect(failures).toBe(when === 'tokens' ? 1 : 0)
      expect(recorder.of('good').at(-1)?.what).toBe('completed')
    }
  })
})

describe('stats', () => {
  it('are right in the middle of a long decode', async () => {
    const { clock, recorder } = stage()
    const model = stepEngineModel({ clock, profile: smallProfile() })
    recorder.submit(model, request('a', 64, 1_000))
    // Front 5, prefill 20; then 11 ms a step.
    await clock.advance(25 + 100 * 11 + 5)
    expect(model.stats()).toMatchObject({ running: 1, outputTokens: 101, kvTokensLive: 176, busyMs: 1_125 })
    expect(model.counters().decodedTokens).toBe(100)
  })
})

describe('a real clock', () => {
  it('drives the same model in real time', async () => {
    const clock = realClock({ seed: 1 })
    const fast = smallProfile({ frontOverheadMs: 1 })
    const model = stepEngineModel({ clock, profile: fast })
    const order: string[] = []
    await new Promise<void>((resolve) => {
      model.submit(request('a', 10, 3), {
        started: () => order.push('started'),
        tokens: (count) => order.push(`tokens ${count}`),
        finished: () => resolve(),
      })
    })
    expect(order).toEqual(['started', 'tokens 1', 'tokens 2'])
    expect(clock.nowMs()).toBeGreaterThan(30)
  })
})

describe('profiles', () => {
  it('are checked all at once', () => {
    const { clock } = stage()
    const bad = smallProfile({ blockTokens: 0, kvTokens: -1, tokenBudget: 4, sequencesMax: 8 })
    const make = (): unknown => gpu({ clock, engines: { one: bad, two: smallProfile({ frontOverheadMs: -1 }) } })
    expect(make).toThrow(OptionsError)
    expect(make).toThrow(/engines\.one\.blockTokens[^]*engines\.one\.kvTokens[^]*engines\.two\.frontOverheadMs/)
    expect(() => gpu({ clock, engines: { one: smallProfile({ tokenBudget: 4 }) } })).toThrow(/at least sequencesMax/)
    expect(() => gpu({ clock, engines: { one: smallProfile({ kvTokens: 8 }) } })).toThrow(/at least one block/)
    expect(() => gpu({ clock, engines: {} })).toThrow(/at least one engine/)
    expect(() => gpu({ clock, engines: { one: smallProfile() } }).engine('other')).toThrow(/no engine "other"/)
  })
})

describe('several engines on one GPU', () => {
  const run = async (sharing: 'independent' | 'time-sliced', both: boolean): Promise<Recorder> => {
    const { clock, recorder } = stage()
    const device = gpu({ clock, sharing, engines: { a: smallProfile(), b: smallProfile() } })
    recorder.submit(device.engine('a'), request('a', 64, 101))
    if (both) recorder.submit(device.engine('b'), request('b', 64, 51))
    await clock.runAll()
    expect(device.engine('a').stats().busyMs).toBeCloseTo(recorder.endedAtMs('a')! - 5)
    return recorder
  }

  it('run as if alone when independent', async () => {
    expect((await run('independent', true)).endedAtMs('a')).toBe((await run('independent', false)).endedAtMs('a'))
  })

  it('run at half their speed while both are busy when time-sliced, and at full speed alone', async () => {
    const alone = await run('time-sliced', false)
    const together = await run('time-sliced', true)
    // b needs 570 ms of the GPU and gets half until it is done; a has lost as much.
    expect(together.endedAtMs('b')).toBeCloseTo(5 + 2 * 570)
    expect(together.endedAtMs('a')).toBeCloseTo(alone.endedAtMs('a')! + 570)
  })
})
