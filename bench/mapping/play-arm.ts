// One arm of the mapping bench: the paper's experiment (section 4) through the whole runtime.
//
// The paper gives 2,294 requests, 956 of them simple, answers of at most 4,096 tokens, Qwen3-8B and Qwen3-4B on one RTX
// PRO 6000 and the split of its memory. Arrivals, windows and lengths are not given; they are those of the preset
// `swe-oneshot` and 64 a backend, under which the published figures come out.

import { virtualClock, type Clock } from '../../src/clock.ts'
import { openAi } from '../../src/engines/openai.ts'
import { leastLoaded } from '../../src/mapping/least-loaded.ts'
import { loadAware } from '../../src/mapping/load-aware.ts'
import type { Mapper } from '../../src/mapping/mapper.ts'
import { modelBit, oneBit } from '../../src/mapping/one-bit.ts'
import { utf8BytesEstimator } from '../../src/prompts/estimator.ts'
import type { Prices } from '../../src/schema/backend.ts'
import { createRuntime } from '../../src/runtime.ts'
import type { SchedulingPolicyName } from '../../src/scheduling/registry.ts'
import { enginePreset } from '../../src/simulator/presets/engines.ts'
import type { ModelName } from '../../src/simulator/presets/models.ts'
import type { Responder } from '../../src/simulator/responder.ts'
import { createSimulated } from '../../src/simulator/simulated.ts'
import { gpu, type StepGpu } from '../../src/simulator/step-model/gpu.ts'
import type { EngineProfile } from '../../src/simulator/step-model/profile.ts'
import type { RunPlayer } from '../../src/simulator/workloads/run-player.ts'
import { workloadPreset } from '../../src/simulator/workloads/presets.ts'
import { playWorkload } from '../../src/testbed/play.ts'

/** One arm. */
export interface Arm {
  name: string
  /** What it is, in a sentence. */
  about: string
  /** Model and KV tokens of each engine. */
  engines: Readonly<Record<string, { model: ModelName; kvTokens: number }>>
  sharing?: 'time-sliced'
  mapper: (options: { random: () => number }) => Mapper<RunPlayer> | string
  /** Order of the requests that wait; default first come first served. Decisions of a router go first in any. */
  policy?: SchedulingPolicyName
}

/** What came of one arm and seed. */
export interface ArmOutcome {
  wallSeconds: number
  /** Time from arrival to completion of each request, ms. */
  durationsMs: number[]
  complexOnLight: number
  simpleOnHeavy: number
  /** Dollars, decisions included. */
  costUsd: number
  /** The part of it that is for tokens of the 4B. */
  lightUsd: number
  /** Mean time that a decision took, ms. */
  decisionMs: number
  failed: number
}

const windowRequests = 64
/** Tokens of the KV pools at 60 % and 35 % of the GPU's memory. */
const heavyKvTokens = 290_000
const lightKvTokens = 178_000
/** The weights of Qwen3-8B less those of Qwen3-4B, and those of Qwen3-4B, in tokens of KV cache: 8.3 and 8 GB at 147 kB. */
const weightDifferenceTokens = 56_000
const lightWeightTokens = 55_000

const heavy = { model: 'qwen3-8b', kvTokens: heavyKvTokens } as const
const light = { model: 'qwen3-4b', kvTokens: lightKvTokens } as const
const second = { model: 'qwen3-8b', kvTokens: lightKvTokens - weightDifferenceTokens } as const
const whole = { model: 'qwen3-8b', kvTokens: heavyKvTokens + lightKvTokens + lightWeightTokens } as const
const simpleShare = 956 / 2_294

/** What the router reads of an issue: its number, and some three hundred tokens. */
const about = ({ input }: { input: RunPlayer }): string =>
  `Issue #${numberOf(input.run.id)}. ${'Something does not work as the documentation says. '.repeat(30)}`
const router = { router: 'light', about, aboutCharsMax: 4_000 } as const
const byBit = (): Mapper<RunPlayer> => oneBit<RunPlayer>({ ...router, light: 'light', heavy: 'heavy' })
/** What is complex has to be done again at the 8B when the 4B does it. */
const aware = (): Mapper<RunPlayer> =>
  loadAware<RunPlayer>({
    // A batch of issues: an hour is worth seven cents.
    secondUsd: 0.00002,
    hardness: modelBit<RunPlayer>(router),
    risk: ({ name }, hardness) => (name === 'light' ? hardness : 0),
  })

/** All arms; the first seven are what the bench is about, the others say where the difference comes from. */
export const arms: readonly Arm[] = [
  { name: 'single-8b', about: 'one Qwen3-8B: the baseline', engines: { heavy }, mapper: () => 'heavy' },
  {
    name: 'one-bit',
    about: 'Qwen3-4B for what a router calls simple; the router is the 4B itself, its calls wait in its queue',
    engines: { heavy, light },
    mapper: byBit,
  },
  {
    name: 'random',
    about: 'as many to the 4B, drawn at random',
    engines: { heavy, light },
    mapper:
      ({ random }) =>
      () => ({
        backend: random() < simpleShare ? 'light' : 'heavy',
        reason: 'drawn',
        by: 'random',
      }),
  },
  {
    name: 'two-8b',
    about: 'a second Qwen3-8B in the memory of the 4B; the least loaded takes a request',
    engines: { heavy, second },
    mapper: () => leastLoaded(),
  },
  {
    name: 'time-sliced',
    about: 'one-bit, with both engines taking turns on one GPU',
    engines: { heavy, light },
    sharing: 'time-sliced',
    mapper: byBit,
  },
  {
    name: 'equal-memory',
    about: 'one Qwen3-8B with the memory of both',
    engines: { heavy: whole },
    mapper: () => 'heavy',
  },
  {
    name: 'load-aware',
    about: 'the load-aware mapper with the router of one-bit, and the shortest expected request first',
    engines: { heavy, light },
    mapper: aware,
    policy: 'wsjf',
  },
  {
    name: 'load-aware, fcfs',
    about: 'the same mapper, first come first served',
    engines: { heavy, light },
    mapper: aware,
  },
  {
    name: 'one-bit, wsjf',
    about: 'one-bit, and the shortest expected request first',
    engines: { heavy, light },
    mapper: byBit,
    policy: 'wsjf',
  },
  {
    name: 'two-8b, wsjf',
    about: 'the two 8B, and the shortest expected request first',
    engines: { heavy, second },
    mapper: () => leastLoaded(),
    policy: 'wsjf',
  },
]

/** Dollars per million tokens that the 8B costs: three times as much for an answer as for a prompt (assumed). */
export const heavyPrices: Prices = { inputUsdPerMTok: 0.1, outputUsdPerMTok: 0.3 }
/** Price of a token of the 4B for one of the 8B, at which the paper's 35 % come out; it does not give its prices. */
export const priceRatio = 0.13

function pricesOf(model: ModelName): Prices {
  const ratio = model === 'qwen3-4b' ? priceRatio : 1
  const { inputUsdPerMTok, outputUsdPerMTok } = heavyPrices
  return { inputUsdPerMTok: inputUsdPerMTok * ratio, outputUsdPerMTok: outputUsdPerMTok * ratio }
}

function numberOf(id: string): string {
  return id.split('-')[1]!
}

function isSimple(id: string): boolean {
  return id.endsWith('-simple')
}

function profileOf({ model, kvTokens }: { model: ModelName; kvTokens: number }): EngineProfile {
  return enginePreset({ gpu: 'rtx-pro-6000-max-q', model, engine: 'vllm', kvTokens, contextTokens: 32_768 })
}

/**
 * Plays one arm.
 *
 * @param accuracy - share of requests of which the router says what they are; 1: what it says is what they are, as in the
 *   paper
 */
export async function playArm(
  arm: Arm,
  { seed, sessions, accuracy = 1 }: { seed: number; sessions: number; accuracy?: number },
): Promise<ArmOutcome> {
  const clock = virtualClock({ seed })
  const workload = workloadPreset('swe-oneshot', { sessions, seed })
  const labels = new Map(workload.runs.map(({ id }) => [numberOf(id), isSimple(id)]))
  const mistakes = clock.random('router')
  // The model of the router, not a mapper, knows what requests are.
  const responder: Responder = ({ messages }) => {
    const [, number] = /Issue #(\d+)/.exec(messages.at(-1)?.content ?? '') ?? []
    if (number === undefined) return { content: '' }
    const simple = labels.get(number)! === mistakes() < accuracy
    return { content: simple ? '0' : '1' }
  }
  const profiles = Object.fromEntries(Object.entries(arm.engines).map(([name, plan]) => [name, profileOf(plan)]))
  let device: StepGpu | undefined
  const engineOn = (name: string) => (engineClock: Clock) =>
    (device ??= gpu({ clock: engineClock, sharing: arm.sharing ?? 'independent', engines: profiles })).engine(name)
  const backends = Object.fromEntries(
    Object.entries(arm.engines).map(([name, { model }]) => [
      name,
      createSimulated(openAi)({
        model,
        contextLength: 32_768,
        transport: 'in-process',
        engine: engineOn(name),
        responder,
        prices: pricesOf(model),
        windowRequests,
        queueCapacity: 10_000_000,
        timeouts: { firstTokenMs: 1e12, idleMs: 1e12, totalMs: 1e12 },
      }),
    ]),
  )
  const request = arm.policy ?? 'fcfs'
  await using runtime = await createRuntime({
    backends,
    // Decisions are a stage class of their own, before the work.
    scheduling: Object.fromEntries(Object.keys(backends).map((name) => [name, { stage: 'priority', request }])),
    clock,
    estimator: utf8BytesEstimator,
  })
  const outcome: ArmOutcome = {
    wallSeconds: 0,
    durationsMs: [],
    complexOnLight: 0,
    simpleOnHeavy: 0,
    costUsd: 0,
    lightUsd: 0,
    decisionMs: 0,
    failed: 0,
  }
  const mapper = arm.mapper({ random: clock.random('split') })
  const played = await clock.run(
    playWorkload(runtime, workload, {
      backend: mapper,
      arrivals: { kind: 'trace' },
      timeoutMs: 1e12,
      contextScale: 1,
      contextTokens: 32_768,
      turnsMax: Infinity,
      waitMsMax: Infinity,
      onRun(_done, _total, { id }, { durationMs, stages }) {
        const [stage] = Object.values(stages)
        const onLight = stage!.backend === 'light'
        outcome.durationsMs.push(durationMs)
        if (onLight && !isSimple(id)) outcome.complexOnLight++
        if (!onLight && isSimple(id)) outcome.simpleOnHeavy++
        const decisionUsd = stage!.mapping?.costUsd ?? 0
        outcome.costUsd += stage!.costUsd!
        outcome.lightUsd += onLight ? stage!.costUsd! : decisionUsd
        outcome.decisionMs += (stage!.mapping?.decisionMs ?? 0) / sessions
      },
    }),
  )
  outcome.failed = played.failed
  outcome.wallSeconds = clock.nowMs() / 1_000
  return outcome
}
