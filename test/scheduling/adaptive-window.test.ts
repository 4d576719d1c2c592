// A window that finds its size: as a search, at the backend actor, and on the simulated engine.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BackendError } from '../../src/errors.ts'
import { enginePreset } from '../../src/simulator/presets/engines.ts'
import { createSimulated } from '../../src/simulator/simulated.ts'
import { openAi } from '../../src/engines/openai.ts'
import { AdaptiveWindow } from '../../src/scheduling/adaptive-window.ts'
import { workflow } from '../../src/workflow/builder.ts'
import { testRuntime } from '../support/runtime.ts'
import { scripted } from '../support/scripted-backend.ts'

interface Live {
  left: number
  prompt: number
  output: number
  atMs: number
  inFlight: number
}

/** An engine that does the work of `capacity` requests at a time; beyond that each one more costs `thrash` of it. */
function drive(
  window: AdaptiveWindow,
  turns: number,
  capacity: (turn: number) => number,
  thrash: number,
  random: () => number,
): number[] {
  const sizes: number[] = []
  let nowMs = 0
  let live: Live[] = []
  for (let turn = 0; turn < turns; turn++) {
    while (live.length < window.size) {
      const [prompt, output] = [Math.exp(5 + 2 * random()), Math.exp(3 + 2 * random())]
      live.push({ left: prompt * 0.1 + output * 10, prompt, output, atMs: nowMs, inFlight: live.length + 1 })
    }
    const inFlight = live.length
    const most = capacity(turn)
    const rate = Math.min(1, most / inFlight) / (1 + (thrash * Math.max(0, inFlight - most)) / most)
    const first = live.reduce((a, b) => (b.left < a.left ? b : a))
    const passed = first.left / rate
    for (const each of live) each.left -= first.left === each.left && each !== first ? 0 : passed * rate
    nowMs += passed
    live = live.filter((each) => each !== first)
    const durationMs = nowMs - first.atMs
    const ttftMs = (durationMs * first.prompt) / (first.prompt + first.output * 100)
    const tokens = { promptTokens: first.prompt, uncachedTokens: first.prompt, outputTokens: first.output }
    window.served({ ...tokens, ttftMs, durationMs, inFlight: (first.inFlight + inFlight) / 2 }, nowMs)
    sizes.push(window.size)
  }
  return sizes
}

function randomOf(seed: number): () => number {
  let state = seed
  return () => (state = (state * 1_103_515_245 + 12_345) % 2_147_483_648) / 2_147_483_648
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length

describe('the search', () => {
  test('never leaves its bounds, whatever it is told', () => {
    const steps = fc.array(
      fc.oneof(
        fc.record({
          uncachedTokens: fc.nat(1_000),
          outputTokens: fc.nat(500),
          ttftMs: fc.option(fc.double({ min: 0, max: 1e4, noNaN: true }), { nil: undefined }),
          durationMs: fc.double({ min: 0, max: 1e5, noNaN: true }),
          inFlight: fc.integer({ min: 1, max: 300 }),
        }),
        fc.constant('failed' as const),
        fc.record({ waiting: fc.nat(50), usedFraction: fc.double({ min: 0, max: 1 }), preemptions: fc.nat(5) }),
      ),
      { maxLength: 400, size: 'max' },
    )
    fc.assert(
      fc.property(steps, fc.integer({ min: 1, max: 20 }), fc.nat(40), fc.nat(100), (all, min, more, initial) => {
        const window = new AdaptiveWindow({ min, max: min + more, askEveryMs: 0 }, initial)
        let nowMs = 0
        for (const step of all) {
          nowMs += 100
          if (step === 'failed') window.failed(nowMs)
          else if ('waiting' in step) window.told(step)
          else {
            const { ttftMs, ...rest } = step
            window.served({ promptTokens: 0, ...rest, ...(ttftMs !== undefined && { ttftMs }) }, nowMs)
          }
          expect(window.size).toBeGreaterThanOrEqual(min)
          expect(window.size).toBeLessThanOrEqual(min + more)
          expect(Number.isInteger(window.size)).toBe(true)
        }
      }),
      { numRuns: 60 },
    )
  })

  test.each([
    [40, 0, 8],
    [40, 1, 8],
    [40, 0.5, 120],
    [10, 0.5, 37],
    [3, 0, 16],
  ])('finds what an engine of capacity %i and thrash %d holds, from %i', (capacity, thrash, initial) => {
    const window = new AdaptiveWindow({ min: 1, max: 256, askEveryMs: 0 }, initial)
    const sizes = drive(window, 14_000, () => capacity, thrash, randomOf(7))
    const settled = mean(sizes.slice(-5_000))
    expect(settled).toBeGreaterThanOrEqual(0.6 * capacity)
    expect(settled).toBeLessThanOrEqual(1.7 * capacity)
  })

  test('comes down when the engine holds less, and goes up again when it holds more', () => {
    const window = new AdaptiveWindow({ min: 1, max: 256, askEveryMs: 0 }, 16)
    const capacity = (turn: number): number => (turn < 8_000 ? 40 : turn < 16_000 ? 10 : 60)
    const sizes = drive(window, 30_000, capacity, 0.5, randomOf(3))
    expect(mean(sizes.slice(6_000, 8_000))).toBeGreaterThan(24)
    expect(mean(sizes.slice(13_000, 16_000))).toBeLessThan(17)
    expect(mean(sizes.slice(-4_000))).toBeGreaterThan(36)
  })

  test('does not grow while the engine says that it is full, and is cut at once when it fails', () => {
    for (const word of [{ waiting: 20 }, { usedFraction: 0.99 }, { preemptions: 2 }]) {
      const window = new AdaptiveWindow({ min: 1, max: 256, askEveryMs: 0 }, 8)
      window.told({ preemptions: 1 })
      window.told(word)
      drive(window, 200, () => 100, 0, randomOf(1))
      expect(window.size).toBeLessThanOrEqual(8)
    }
    const window = new AdaptiveWindow({ min: 2, max: 256, askEveryMs: 0 }, 100)
    expect(window.failed(0)).toBe(true)
    expect(window.size).toBe(70)
    for (let i = 0; i < 30; i++) window.failed(i)
    expect(window.size).toBe(2)
    expect(window.failed(99)).toBe(false)
  })

  test('an engine that is not full teaches nothing', () => {
    const window = new AdaptiveWindow({ min: 1, max: 256, askEveryMs: 0 }, 32)
    const tokens = { promptTokens: 10, uncachedTokens: 10, outputTokens: 10 }
    for (let i = 1; i < 2_000; i++) window.served({ ...tokens, ttftMs: 10, durationMs: 100, inFlight: 4 }, i * 100)
    expect(window.size).toBe(32)
  })
})

const ask = workflow('ask').stage('s', {
  backend: 'main',
  maxTokens: 50,
  prompt: () => 'hello',
  retry: { attempts: 1 },
})

describe('at a backend', () => {
  test('requests in the engine follow the search, within its bounds', async () => {
    // An engine that holds 12: beyond that each takes longer.
    const main = scripted(
      (call) => {
        const usage = { promptTokens: 100, cachedTokens: 0, completionTokens: 50 }
        call.answer({ content: 'x', usage }, 100 * Math.max(1, main.open.length / 12) ** 1.2)
      },
      { windowRequests: 2, queueCapacity: 100_000, adaptiveWindow: { min: 2, max: 64 } },
    )
    const runtime = await testRuntime({ main }, { watch: false })
    const inEngine: number[] = []
    const runs = Array.from({ length: 6_000 }, () => runtime.start(ask, undefined).outcome)
    const all = Promise.all(runs.map((run) => run.then(() => void inEngine.push(main.open.length))))
    await runtime.until(all)
    expect(main.openMax).toBeLessThanOrEqual(64)
    const late = mean(inEngine.slice(3_000, 5_500))
    expect(late).toBeGreaterThan(6)
    expect(late).toBeLessThan(24)
    expect(runtime.backends()[0]!.windowRequests).toBeGreaterThan(2)
    await runtime.clock.advance(2_000)
    runtime.audit()
  })

  test('a fixed window is the default; one that is set goes on from there, and failures cut it', async () => {
    const fails = new BackendError('ORLA_BACKEND_HTTP', 'busy', { retryable: true, details: { status: 503 } })
    const adaptive = scripted((call) => call.fail(fails, 10), { adaptiveWindow: { min: 4, max: 64 } })
    const fixed = scripted((call) => call.fail(fails, 10))
    const runtime = await testRuntime({ main: adaptive, fixed })
    runtime.reconfigure('main', { windowRequests: 50 })
    runtime.reconfigure('fixed', { windowRequests: 50 })
    const onFixed = workflow('f').stage('s', { backend: 'fixed', prompt: () => 'x', retry: { attempts: 1 } })
    const runs = [ask, ask, onFixed, onFixed].map((flow) => runtime.start(flow, undefined).outcome)
    await runtime.until(Promise.all(runs))
    expect(runtime.backends().map(({ windowRequests }) => windowRequests)).toEqual([24, 50])
    runtime.reconfigure('main', { windowRequests: 100 })
    expect(runtime.backends()[0]!.windowRequests).toBe(64)
    await runtime.clock.advance(2_000)
    await runtime.replaceBackend(
      'main',
      scripted((call) => call.fail(fails), { windowRequests: 9 }),
    )
    await runtime.until(runtime.start(ask, undefined).outcome)
    expect(runtime.backends()[0]!.windowRequests).toBe(9)
    await runtime.close()
  })

  test('bounds that do not fit are said', async () => {
    expect(() => scripted(() => {}, { adaptiveWindow: { min: 9, max: 3 } })).toThrow(/adaptiveWindow/)
    await Promise.resolve()
  })

  test('comes close to the best fixed window on the simulated engine', async () => {
    const profile = enginePreset({ gpu: 'h100', model: 'qwen3-8b', engine: 'vllm' })
    const chat = workflow('chat').stage('s', {
      backend: 'main',
      prompt: ({ input }) => `${'word '.repeat(200)}${String(input)}`,
    })
    /** Output tokens a second between the 1,200th and the 1,900th answer, and the size of the window then. */
    const measure = async (windowRequests: number, adaptive: boolean): Promise<[number, number]> => {
      const main = createSimulated(openAi)({
        model: 'qwen3-8b',
        contextLength: profile.contextTokens,
        transport: 'in-process',
        engine: { profile },
        windowRequests,
        queueCapacity: 100_000,
        responder: (_request, { random }) => ({ content: 'word '.repeat(20 + Math.floor(random() * 200)) }),
        ...(adaptive && { adaptiveWindow: { min: 1, max: 512, askEveryMs: 1_000 } }),
      })
      const runtime = await testRuntime({ main }, { watch: false })
      let [answers, tokens, fromMs, toMs, size] = [0, 0, 0, 0, 0]
      runtime.subscribe((event) => {
        if (event.type !== 'stage.released') return
        if (++answers === 1_200) fromMs = runtime.clock.nowMs()
        if (answers < 1_200 || answers > 1_900) return
        tokens += event.usage.completionTokens ?? 0
        toMs = runtime.clock.nowMs()
        size = runtime.backends()[0]!.windowRequests
      })
      const runs = Array.from({ length: 2_200 }, (_, i) => runtime.start(chat, i).outcome)
      await runtime.until(Promise.all(runs))
      await runtime.close()
      return [tokens / ((toMs - fromMs) / 1_000), size]
    }
    const fixed = [(await measure(8, false))[0], (await measure(256, false))[0]]
    const [found, size] = await measure(8, true)
    expect(found).toBeGreaterThan(0.85 * Math.max(...fixed))
    expect(found).toBeGreaterThan(1.5 * fixed[0]!)
    expect(size).toBeGreaterThan(16)
  })
})
