// The paper's stage-mapping experiment (section 4): one backend with Qwen3-8B against two, Qwen3-8B and Qwen3-4B, on one
// RTX PRO 6000, with the simple requests mapped to the 4B; and the ablations that say where the gain comes from.
//
// The paper gives 2,294 requests, 956 of them simple, answers of at most 4,096 tokens and the memory split. Arrivals,
// window and lengths are not given: Poisson 2.4 a second, 64 a backend, and lognormals around what the oracle prompts of
// SWE-bench are like, are assumptions under which its figures come out.

import { virtualClock } from '../../src/clock.ts'
import { enginePreset } from '../../src/simulator/presets/engines.ts'
import type { ModelName } from '../../src/simulator/presets/models.ts'
import type { EngineModel } from '../../src/simulator/engine-model.ts'
import type { EngineProfile } from '../../src/simulator/step-model/profile.ts'
import { gpu, type Sharing } from '../../src/simulator/step-model/gpu.ts'
import { lognormal, shuffled } from './draw.ts'

/** Who serves what. */
export type Arm =
  /** All on Qwen3-8B: the baseline. */
  | 'single'
  /** Simple requests on Qwen3-4B, as the paper's one-bit mapper would have them. */
  | 'one-bit'
  /** As many requests on Qwen3-4B, drawn at random. */
  | 'random'
  /** The one-bit split, with a second Qwen3-8B in place of the 4B. */
  | 'second-8b'
  /** The one-bit split, with both engines taking turns on the GPU instead of each having its own. */
  | 'one-bit, time-sliced'

/** Outcome of one arm. */
export interface MappingOutcome {
  /** Until the last request is done, s. */
  wallSeconds: number
  /** Mean time from arrival to completion, s. */
  meanSeconds: number
  /** Share of requests on the light backend. */
  lightShare: number
  preemptions: number
}

const requestsDefault = 2_294
const simpleShare = 956 / 2_294
/** Arrivals a second. */
const arrivalRate = 2.4
const windowRequests = 64
const promptSigma = 0.8
const promptMax = 28_000
const outputSigma = 0.9
const outputMax = 4_096
/** Tokens of the KV pools at 60 % and 35 % of the memory. */
const heavyKvTokens = 290_000
const lightKvTokens = 178_000

interface Job {
  id: string
  arrivesAtMs: number
  simple: boolean
  promptTokens: number
  outputTokens: number
}

function draw(seed: number, count: number): Job[] {
  const clock = virtualClock({ seed })
  const arrivals = clock.random('arrivals')
  const lengths = clock.random('lengths')
  const kinds = shuffled(
    clock.random('kinds'),
    Array.from({ length: count }, (_, i) => i < Math.round(count * simpleShare)),
  )
  let atMs = 0
  return kinds.map((simple, i) => {
    atMs -= (Math.log(1 - arrivals()) * 1_000) / arrivalRate
    return {
      id: `r${i}`,
      arrivesAtMs: atMs,
      simple,
      promptTokens: lognormal(lengths, simple ? 7_700 : 8_250, promptSigma, promptMax),
      outputTokens: lognormal(lengths, simple ? 570 : 628, outputSigma, outputMax),
    }
  })
}

function profile(model: ModelName, kvTokens: number): EngineProfile {
  return enginePreset({ gpu: 'rtx-pro-6000-max-q', model, engine: 'vllm', kvTokens, contextTokens: 32_768 })
}

/** Runs one arm in virtual time. Equal seeds give equal requests in every arm. */
export async function runMapping(arm: Arm, seed: number, count = requestsDefault): Promise<MappingOutcome> {
  const clock = virtualClock({ seed })
  const jobs = draw(seed, count)
  const sharing: Sharing = arm === 'one-bit, time-sliced' ? 'time-sliced' : 'independent'
  const heavy = profile('qwen3-8b', heavyKvTokens)
  const light = profile(arm === 'second-8b' ? 'qwen3-8b' : 'qwen3-4b', lightKvTokens)
  const device = gpu({ clock, sharing, engines: { heavy, light } })
  const toLight = new Set(
    arm === 'single'
      ? []
      : arm === 'random'
        ? shuffled(clock.random('split'), jobs).slice(0, jobs.filter((job) => job.simple).length)
        : jobs.filter((job) => job.simple),
  )
  const done = Promise.withResolvers<void>()
  let finished = 0
  let totalMs = 0
  /** A window in front of an engine, first come first served. */
  const backend = (engine: EngineModel): ((job: Job) => void) => {
    const queue: Job[] = []
    let inFlight = 0
    const pump = (): void => {
      while (inFlight < windowRequests) {
        const job = queue.shift()
        if (job === undefined) return
        inFlight++
        engine.submit(
          {
            id: job.id,
            prompt: [{ stream: job.id, from: 0, to: job.promptTokens }],
            output: { stream: `${job.id}/answer`, from: 0, to: job.outputTokens },
            watched: false,
          },
          {
            started: () => {},
            tokens: () => {},
            finished: () => {
              inFlight--
              totalMs += clock.nowMs() - job.arrivesAtMs
              if (++finished === jobs.length) done.resolve()
              pump()
            },
          },
        )
      }
    }
    return (job) => {
      queue.push(job)
      pump()
    }
  }
  const engines = { heavy: device.engine('heavy'), light: device.engine('light') }
  const backends = { heavy: backend(engines.heavy), light: backend(engines.light) }
  for (const job of jobs) {
    clock.setTimer(job.arrivesAtMs, () => (toLight.has(job) ? backends.light : backends.heavy)(job))
  }
  await clock.run(done.promise)
  return {
    wallSeconds: clock.nowMs() / 1_000,
    meanSeconds: totalMs / jobs.length / 1_000,
    lightShare: toLight.size / jobs.length,
    preemptions: engines.heavy.stats().preemptions + engines.light.stats().preemptions,
  }
}
