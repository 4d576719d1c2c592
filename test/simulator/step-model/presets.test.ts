import { describe, expect, it } from 'vitest'
import { OptionsError } from '../../../src/errors.ts'
import { enginePreset, type EngineName } from '../../../src/simulator/presets/engines.ts'
import { gpus, type GpuName } from '../../../src/simulator/presets/gpus.ts'
import { kvBytesPerToken, models, type ModelName } from '../../../src/simulator/presets/models.ts'
import { checkProfiles } from '../../../src/simulator/step-model/profile.ts'
import { StepRun } from '../../../src/simulator/step-model/step-cost.ts'
import { virtualClock } from '../../../src/clock.ts'
import { stepEngineModel } from '../../../src/simulator/step-model/gpu.ts'
import { points } from '../../../bench/simulator/points.ts'
import { replay } from '../../../bench/simulator/replay.ts'
import { runSessions } from '../../../bench/simulator/sessions.ts'

const keys = <Name extends string>(record: Record<Name, unknown>): Name[] => Object.keys(record) as Name[]

describe('engine presets', () => {
  it('exist for every GPU, model and engine whose weights fit, and are valid', () => {
    let made = 0
    for (const gpu of keys<GpuName>(gpus)) {
      for (const model of keys<ModelName>(models)) {
        for (const engine of ['vllm', 'sglang'] satisfies EngineName[]) {
          if (gpu === 'rtx-pro-5000' && model === 'qwen3-coder-30b-a3b') continue
          checkProfiles({ [`${gpu} ${model} ${engine}`]: enginePreset({ gpu, model, engine }) })
          made++
        }
      }
    }
    expect(made).toBe(38)
  })

  it('leave the KV pools that the weights and the working memory leave', () => {
    const pool = (gpu: GpuName, model: ModelName, memoryShare: number): number =>
      enginePreset({ gpu, model, engine: 'vllm', memoryShare }).kvTokens
    // The split of the paper's GPU (appendix C.1), and a whole H100.
    expect(pool('rtx-pro-6000-max-q', 'qwen3-8b', 0.6)).toBeGreaterThan(280_000)
    expect(pool('rtx-pro-6000-max-q', 'qwen3-8b', 0.6)).toBeLessThan(300_000)
    expect(pool('rtx-pro-6000-max-q', 'qwen3-4b', 0.35)).toBeGreaterThan(168_000)
    expect(pool('rtx-pro-6000-max-q', 'qwen3-4b', 0.35)).toBeLessThan(183_000)
    expect(pool('h100', 'qwen3-8b', 0.9) / 398_000).toBeCloseTo(1, 1)
  })

  it('count 144 KiB of KV a token for Qwen3-4B and 8B alike, and 96 KiB for the mixture of experts', () => {
    expect(kvBytesPerToken(models['qwen3-8b'])).toBe(147_456)
    expect(kvBytesPerToken(models['qwen3-4b'])).toBe(147_456)
    expect(kvBytesPerToken(models['qwen3-coder-30b-a3b'])).toBe(98_304)
  })

  it('take a pool, a factor on it and a context instead of their own', () => {
    const preset = enginePreset({
      gpu: 'h100',
      model: 'qwen3-coder-30b-a3b',
      engine: 'sglang',
      kvTokens: 600_000,
      kvScale: 0.5,
      contextTokens: 200_000,
    })
    expect(preset).toMatchObject({ kvTokens: 300_000, contextTokens: 200_000, blockTokens: 1 })
    expect(enginePreset({ gpu: 'h200', model: 'qwen3-coder-30b-a3b', engine: 'vllm' }).contextTokens).toBe(262_144)
    expect(enginePreset({ gpu: 'h100', model: 'qwen3-8b', engine: 'vllm', kvTokens: 9_000 }).contextTokens).toBe(9_000)
  })

  it('decode with a mixture of experts from the speed of its active weights towards that of all', () => {
    const { costs } = enginePreset({ gpu: 'h200', model: 'qwen3-coder-30b-a3b', engine: 'vllm' })
    const stepMs = (decoding: number): number =>
      new StepRun(costs, { decoding, contextTokens: 0, prefillTokens: 0, attentionPairs: 0 }).elapsedMs(1)
    expect(stepMs(64)).toBeGreaterThan(1.8 * stepMs(1))
    expect(stepMs(64)).toBeLessThan(5 * stepMs(1))
  })

  it('say everything that is wrong at once', () => {
    const wrong = { gpu: 'abacus', model: 'qwen9', engine: 'vllm', memoryShare: 2, kvScale: -1 } as never
    expect(() => enginePreset(wrong)).toThrow(OptionsError)
    expect(() => enginePreset(wrong)).toThrow(/gpu[^]*h100[^]*model[^]*memoryShare[^]*kvScale/)
    expect(() => enginePreset({ gpu: 'h100', model: 'qwen3-8b', engine: 'other' } as never)).toThrow(/vllm, sglang/)
    expect(() => enginePreset({ gpu: 'rtx-pro-5000', model: 'qwen3-coder-30b-a3b', engine: 'vllm' })).toThrow(
      /leave no memory for KV/,
    )
    expect(() => enginePreset({ gpu: 'h100', model: 'qwen3-8b', engine: 'vllm', kvTokens: 3 })).toThrow(
      /does not hold a block/,
    )
  })
})

describe('calibration', () => {
  it('comes within 15 % of published measurements that nothing was fitted on, and within 7 % of the others', async () => {
    expect(points.filter((point) => !point.fitted).length).toBeGreaterThan(10)
    for (const point of points) {
      const replayed = await replay(enginePreset(point), point.requests, point.concurrency)
      const error = Math.abs(point.measure(replayed) / point.publishedMs - 1)
      expect(error, point.point).toBeLessThan(point.fitted ? 0.07 : 0.15)
    }
  })
})

describe('a preset under long sessions', () => {
  it('comes to the same state analytically as step by step', async () => {
    const outcomes = await Promise.all(
      [false, true].map(async (stepwise) => {
        const clock = virtualClock({ seed: 3 })
        const kvTokens = 500_000
        const preset = enginePreset({ gpu: 'h200', model: 'qwen3-coder-30b-a3b', engine: 'vllm', kvTokens })
        const model = stepEngineModel({ clock, profile: preset, stepwise })
        await clock.run(runSessions({ clock, model, sessions: 16, turns: 600 }))
        const { busyMs, ...counts } = model.stats()
        return { busyMs, atMs: clock.nowMs(), counts, counters: model.counters() }
      }),
    )
    const [analytic, stepwise] = outcomes
    expect(analytic!.counts).toEqual(stepwise!.counts)
    expect(analytic!.counters).toEqual(stepwise!.counters)
    expect(analytic!.atMs / stepwise!.atMs).toBeCloseTo(1, 9)
    expect(analytic!.busyMs / stepwise!.busyMs).toBeCloseTo(1, 9)
    expect(analytic!.counts.preemptions).toBeGreaterThan(0)
  })
})
