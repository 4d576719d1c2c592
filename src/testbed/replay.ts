// Replaying a workload through the whole runtime, in virtual time, on the step-level engine model.

import { z } from 'zod'
import { realClock, virtualClock } from '../clock.ts'
import { assert, OptionsError } from '../errors.ts'
import { openAi } from '../engines/openai.ts'
import type { JsonValue } from '../schema/json.ts'
import { parseOptions } from '../schema/options.ts'
import { utf8BytesEstimator } from '../prompts/estimator.ts'
import { memoryPolicyNames, type MemoryPolicyName } from '../memory/plan.ts'
import { createRuntime } from '../runtime.ts'
import { schedulingPolicyNames, type SchedulingPolicyName } from '../scheduling/registry.ts'
import { enginePreset } from '../simulator/presets/engines.ts'
import { createSimulated } from '../simulator/simulated.ts'
import { stepEngineModel, type StepEngineModel } from '../simulator/step-model/gpu.ts'
import type { Arrivals } from '../simulator/workloads/arrivals.ts'
import type { Workload } from '../simulator/workloads/workload.ts'
import { engineNames, gpuNames, modelNameOf, modelNames } from './engine-names.ts'
import { playWorkload, type PlayOptions } from './play.ts'
import { recordTo } from './record.ts'
import { summarize, type ReplaySummary } from './summary.ts'

/** Deadline of one request, ms: longer than any that a replay can take. In overload a first token may need hours. */
const timeoutMs = 1e12
/** Requests that may wait: as many as a runtime may have runs, with room for DAGs. */
const queueCapacity = 10_000_000
/** Live sessions where neither options nor the workload say when runs begin. */
const concurrencyDefault = 16

const Name = z.enum(schedulingPolicyNames)
const Settings = z.strictObject({
  sessions: z.int().min(1).optional(),
  concurrency: z.int().min(1).max(100_000).optional(),
  ratePerSecond: z.number().positive().max(1e6).optional(),
  burstiness: z.number().positive().max(1e3).default(1),
  gpu: z.enum(gpuNames as [string, ...string[]]).default('h200'),
  model: z.string().default('qwen3-coder-30b-a3b'),
  engine: z.enum(engineNames).default('vllm'),
  contextScale: z.number().positive().max(100).default(1),
  kvScale: z.number().positive().max(1e3).default(1),
  stagePolicy: Name.optional(),
  requestPolicy: Name.optional(),
  memoryPolicy: z.enum(memoryPolicyNames as [MemoryPolicyName, ...MemoryPolicyName[]]).optional(),
  windowRequests: z.int().min(1).max(100_000).optional(),
  turnsMax: z.int().min(1).optional(),
  waitMsMax: z.number().min(0).optional(),
  seed: z
    .int()
    .min(0)
    .max(2 ** 31 - 1)
    .default(1),
})

/** Options of a replay. */
export interface ReplayOptions extends z.input<typeof Settings> {
  /** Runs of the workload to play, from its beginning. Default: all. */
  sessions?: number
  /** Closed loop: so many runs are live, the next starts when one ends. Either this or a rate. */
  concurrency?: number
  /** Open loop: runs that begin each second, whatever becomes of those before. */
  ratePerSecond?: number
  /** Shape of the gaps of an open loop, default 1 (Poisson); less comes in bursts. */
  burstiness?: number
  /** GPU of the engine, default `h200`. */
  gpu?: string
  /** Model of the engine, default `qwen3-coder-30b-a3b`; the short `qwen3-coder-30b` will do. */
  model?: string
  /** Engine, default `vllm`. */
  engine?: 'vllm' | 'sglang'
  /** Factor on every token count of the workload, default 1. */
  contextScale?: number
  /** Factor on the engine's KV pool, default 1. */
  kvScale?: number
  /** Policy among stage classes, default `fcfs`. A workload of sessions has one class: then the next one matters. */
  stagePolicy?: SchedulingPolicyName
  /** Policy among the requests of a class, default `fcfs`. */
  requestPolicy?: SchedulingPolicyName
  /** Who manages the KV cache, default `lru`: the engine by itself. */
  memoryPolicy?: MemoryPolicyName
  /** Requests that the runtime lets into the engine at once. Default: as many as the engine runs. */
  windowRequests?: number
  /** Turns of a session that are played at most. Default: all. */
  turnsMax?: number
  /** Longest wait between two turns, ms. Default: as the workload says. */
  waitMsMax?: number
  /** Equal seeds give equal outcomes. Default 1. */
  seed?: number
  /** Records the replay to this file, to be replayed itself. */
  recordTo?: string
  /** Hears of each run that ends. */
  onRun?: PlayOptions['onRun']
  /** Hears why a run failed. */
  onFailure?: PlayOptions['onFailure']
}

/**
 * Replays a workload through the whole runtime on a simulated engine, in virtual time.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` with every problem of the options
 */
export async function replay(workload: Workload, options: ReplayOptions = {}): Promise<ReplaySummary> {
  const { recordTo: recordPath, onRun, onFailure, ...given } = options
  const settings = parseOptions(Settings, given, 'options of replay()')
  const arrivals = arrivalsOf(workload, settings)
  const model = modelNameOf(settings.model)
  if (model === undefined) {
    const message = `there is no preset "${settings.model}"; there are ${modelNames.join(', ')}`
    throw new OptionsError('options of replay()', [{ path: 'model', code: 'unknown', message }])
  }
  const { gpu, engine, kvScale, contextScale, seed } = settings
  const profile = enginePreset({ gpu: gpu as (typeof gpuNames)[number], model, engine, kvScale })
  const clock = virtualClock({ seed })
  let engineModel: StepEngineModel | undefined
  const backend = createSimulated(openAi)({
    model,
    contextLength: profile.contextTokens,
    transport: 'in-process',
    engine: (engineClock) => (engineModel = stepEngineModel({ clock: engineClock, profile })),
    windowRequests: settings.windowRequests ?? profile.sequencesMax,
    queueCapacity,
  })
  const runs = settings.sessions === undefined ? workload.runs : workload.runs.slice(0, settings.sessions)
  using recorder =
    recordPath === undefined
      ? undefined
      : recordTo(recordPath, {
          seed,
          source: `replay of ${workload.name}: ${workload.source}`.slice(0, 1_000),
          settings: { ...(plain(settings) as Record<string, JsonValue>), workload: plain(workload.settings ?? {}) },
        })
  await using runtime = await createRuntime({
    backends: { engine: backend },
    memory: { policy: settings.memoryPolicy ?? 'lru', kvTokens: { engine: profile.kvTokens } },
    scheduling: {
      engine: {
        ...(settings.stagePolicy !== undefined && { stage: settings.stagePolicy }),
        ...(settings.requestPolicy !== undefined && { request: settings.requestPolicy }),
      },
    },
    clock,
    // Tokens without text are counted exactly; no estimator is asked.
    estimator: utf8BytesEstimator,
    ...(recorder !== undefined && { recorder }),
  })
  const wall = realClock({ seed })
  const played = await clock.run(
    playWorkload(
      runtime,
      { ...workload, runs },
      {
        backend: 'engine',
        arrivals,
        timeoutMs,
        contextScale,
        // The engine refuses what does not fit its pool in whole blocks.
        contextTokens: Math.min(profile.contextTokens, profile.kvTokens - (profile.kvTokens % profile.blockTokens)),
        turnsMax: settings.turnsMax ?? Infinity,
        waitMsMax: settings.waitMsMax ?? Infinity,
        onRun,
        onFailure,
      },
    ),
  )
  const wallSeconds = wall.nowMs() / 1_000
  assert(engineModel !== undefined, 'the engine was never made')
  return summarize(played, {
    virtualSeconds: clock.nowMs() / 1_000,
    busySeconds: engineModel.stats().busyMs / 1_000,
    wallSeconds,
    contextScale,
    seed,
  })
}

/** When runs begin: as asked, else as the workload says, else in a closed loop. */
function arrivalsOf(workload: Workload, settings: z.output<typeof Settings>): Arrivals {
  const { concurrency, ratePerSecond, burstiness } = settings
  if (concurrency !== undefined && ratePerSecond !== undefined) {
    const message = 'give a concurrency (closed loop) or a rate (open loop), not both'
    throw new OptionsError('options of replay()', [{ path: 'ratePerSecond', code: 'concurrency_and_rate', message }])
  }
  if (ratePerSecond !== undefined) return { kind: 'open', ratePerSecond, burstiness }
  if (concurrency !== undefined) return { kind: 'closed', concurrency }
  if (workload.runs.every(({ arrivalMs }) => arrivalMs !== undefined)) return { kind: 'trace' }
  return { kind: 'closed', concurrency: concurrencyDefault }
}

/** A copy without what JSON has no word for. */
function plain(value: object): JsonValue {
  return JSON.parse(JSON.stringify(value)) as JsonValue
}
