// What one seed plays: which faults there are and how strong, who runs what, and what happens at work.
//
// A scenario is plain data, so that it can be printed, compared and made smaller.

import { randomStream, type Random } from '../../clock.ts'
import { memoryPolicyNames, type MemoryPolicyName } from '../../memory/plan.ts'
import { schedulingPolicyNames, type SchedulingPolicyName } from '../../scheduling/registry.ts'

/** Faults, and what each does. */
export const simFaults = {
  refuse: 'the engine refuses: no connection, an error status, a prompt too long',
  cut: 'answers end in the middle',
  stall: 'answers never come, or stop for ever after some tokens',
  slow: 'answers begin late',
  babble: 'the driver breaks its contract: throws, lies, speaks after its end',
  cache: 'cache commands fail, hang or lie',
  tool: 'tools throw, hang, take long, return what is no JSON',
  mapper: 'mappers throw, take long, name backends that there are not',
  cancel: 'callers cancel',
  change: 'backends are reconfigured, drained, replaced, added and removed at work',
  crash: 'actors of backends, tools and the memory manager break in the middle of a message',
  delay: 'messages between runs and the actors that they share take their time',
} as const

/** A kind of fault. */
export type SimFaultName = keyof typeof simFaults

/** Names of all kinds of faults. */
export const simFaultNames = Object.keys(simFaults) as SimFaultName[]

/** A backend of a scenario. */
export interface SimBackend {
  name: string
  model: string
  windowRequests: number
  queueCapacity: number
  prefillMsPerToken: number
  decodeMsPerToken: number
  stagePolicy: SchedulingPolicyName
  requestPolicy: SchedulingPolicyName
}

/** A stage of a run. */
export interface SimStage {
  name: string
  /** Indexes of earlier stages that it waits for. */
  after: readonly number[]
  /** Backend or pool by name; absent: a mapper chooses. */
  backend?: string
  /** How a mapper chooses: by load alone, or with the bit of a model that is asked at this backend. */
  chooses: 'load' | 'bit' | 'aware'
  router: string
  /** Backends that make its answer again when it is not accepted. */
  cascade: readonly string[]
  fallback: readonly string[]
  /** Tool calls that the model makes before it answers. */
  toolCalls: number
  /** The answer is JSON under a schema. */
  json: boolean
  /** Tokens that its prompt begins with in every run, about. */
  headTokens: number
  /** Tokens of the answer, about. */
  answerTokens: number
  attempts: number
  appends: boolean
  skipped: boolean
}

/** One run. */
export interface SimRun {
  /** Its number, which it keeps when others are taken out. */
  index: number
  atMs: number
  deadlineMs?: number
  priority: number
  tenant: string
  stages: readonly SimStage[]
}

/** Something that a person does at work. */
export type SimDeed =
  | { atMs: number; do: 'cancel'; run: number }
  | { atMs: number; do: 'reconfigure'; backend: string; windowRequests: number; queueCapacity: number }
  | { atMs: number; do: 'schedule'; backend: string; stage: SchedulingPolicyName; request: SchedulingPolicyName }
  | { atMs: number; do: 'drain' | 'resume' | 'replace' | 'remove' | 'add'; backend: string }
  | { atMs: number; do: 'close' }

/** What one seed plays. */
export interface Scenario {
  seed: number
  /** Chance of each kind of fault where it can strike, 0..1. Absent: none of it. */
  faults: Partial<Record<SimFaultName, number>>
  backends: readonly SimBackend[]
  failover: boolean
  /** Backends of one model have a common name. */
  pools: boolean
  /** Between two crashes of actors, ms at least. With less than supervisors tolerate, the runtime may give up. */
  crashGapMs: number
  memory?: { policy: MemoryPolicyName; kvTokens?: number; holdMsMax: number; prewarm?: boolean }
  runs: readonly SimRun[]
  deeds: readonly SimDeed[]
  /** When faults end: from here on everything has to come to its end. */
  calmAtMs: number
}

/** Ways to draw from a stream. */
export class Draw {
  readonly #random: Random

  constructor(random: Random) {
    this.#random = random
  }

  /** True with a chance of `share`. */
  chance(share: number): boolean {
    return this.#random() < share
  }

  /** A whole number from `min` to `max`, both included. */
  int(min: number, max: number): number {
    return min + Math.floor(this.#random() * (max - min + 1))
  }

  one<T>(items: readonly T[]): T {
    return items[this.int(0, items.length - 1)]!
  }

  /** A selection of `items`, each with a chance of `share`. */
  some<T>(items: readonly T[], share: number): T[] {
    return items.filter(() => this.chance(share))
  }
}

/** Longest safety phase, ms of virtual time. */
const calmAtMsMax = 60_000

/**
 * Draws a scenario. A swarm: each seed has its own selection of faults and features, because what is always there hides
 * what only happens without it.
 *
 * @param allowed - kinds of faults to draw from
 */
export function drawScenario(seed: number, allowed: readonly SimFaultName[]): Scenario {
  const draw = new Draw(randomStream(seed, 'scenario'))
  const faults: Scenario['faults'] = {}
  for (const name of draw.some(allowed, 0.4)) faults[name] = draw.one([0.02, 0.1, 0.3, 0.8])
  const models = draw.chance(0.5) ? ['m'] : ['m', 'n']
  const backends = Array.from({ length: draw.int(1, 3) }, (_, i): SimBackend => ({
    name: `b${i + 1}`,
    model: models[i % models.length]!,
    windowRequests: draw.int(1, 6),
    queueCapacity: draw.one([2, 20, 1_000]),
    prefillMsPerToken: draw.one([0.01, 0.5, 3]),
    decodeMsPerToken: draw.one([1, 10, 40]),
    stagePolicy: draw.one(schedulingPolicyNames),
    requestPolicy: draw.one(schedulingPolicyNames),
  }))
  const calmAtMs = draw.int(5_000, calmAtMsMax)
  const names = backends.map(({ name }) => name)
  const pools = draw.chance(0.3)
  const places = pools ? [...names, ...models.filter((_, i) => i < names.length).map(poolOf)] : names
  const runs = Array.from({ length: draw.int(1, 16) }, (_, index): SimRun => ({
    index,
    atMs: draw.int(0, calmAtMs),
    ...(draw.chance(0.15) && { deadlineMs: draw.one([draw.int(100, 20_000), 3_600_000]) }),
    priority: draw.int(0, 3),
    tenant: draw.one(['default', 'red', 'blue']),
    stages: drawStages(draw, names, places),
  })).sort((a, b) => a.atMs - b.atMs)
  const memory = draw.chance(0.5) ? drawMemory(draw) : undefined
  return {
    seed,
    faults,
    backends,
    failover: draw.chance(0.5),
    pools,
    crashGapMs: draw.one([0, 6_000, 6_000]),
    ...(memory !== undefined && { memory }),
    runs,
    deeds: drawDeeds(draw, faults, { runs, names, calmAtMs }),
    calmAtMs,
  }
}

function drawMemory(draw: Draw): NonNullable<Scenario['memory']> {
  return {
    policy: draw.one(memoryPolicyNames),
    prewarm: draw.chance(0.5),
    ...(draw.chance(0.7) && { kvTokens: draw.one([300, 1_000, 5_000]) }),
    holdMsMax: draw.one([500, 5_000, 60_000]),
  }
}

/** Name of the pool of a model's backends. */
export function poolOf(model: string): string {
  return `pool-${model}`
}

function drawStages(draw: Draw, backends: readonly string[], places: readonly string[]): SimStage[] {
  return Array.from({ length: draw.int(1, 5) }, (_, i): SimStage => {
    const after = draw.some(
      Array.from({ length: i }, (__, j) => j),
      0.5,
    )
    return {
      name: `s${i}`,
      after,
      ...(draw.chance(0.7) && { backend: draw.one(places) }),
      chooses: draw.one(['load', 'load', 'bit', 'aware']),
      router: draw.one(backends),
      cascade: draw.chance(0.15) ? draw.some(backends, 0.5) : [],
      fallback: draw.some(backends, 0.2),
      toolCalls: draw.chance(0.3) ? draw.int(1, 2) : 0,
      json: draw.chance(0.2),
      headTokens: draw.one([0, 0, 0, 200]),
      answerTokens: draw.one([1, 10, 60]),
      attempts: draw.int(1, 3),
      appends: after.length > 0 && draw.chance(0.5),
      skipped: draw.chance(0.05),
    }
  })
}

function drawDeeds(
  draw: Draw,
  faults: Scenario['faults'],
  { runs, names, calmAtMs }: { runs: readonly SimRun[]; names: readonly string[]; calmAtMs: number },
): SimDeed[] {
  const deeds: SimDeed[] = []
  for (const run of faults.cancel === undefined ? [] : draw.some(runs, 0.4)) {
    deeds.push({
      atMs: run.atMs + draw.one([0, 1, draw.int(0, 500), draw.int(0, 10_000)]),
      do: 'cancel',
      run: run.index,
    })
  }
  for (let left = faults.change === undefined ? 0 : draw.int(1, 12); left > 0; left--) {
    const atMs = draw.int(0, calmAtMs)
    const backend = draw.one(names)
    const kind = draw.one(['reconfigure', 'schedule', 'drain', 'resume', 'replace', 'remove', 'add'] as const)
    if (kind === 'reconfigure') {
      deeds.push({ atMs, do: kind, backend, windowRequests: draw.int(1, 6), queueCapacity: draw.one([0, 2, 100]) })
    } else if (kind === 'schedule') {
      deeds.push({
        atMs,
        do: kind,
        backend,
        stage: draw.one(schedulingPolicyNames),
        request: draw.one(schedulingPolicyNames),
      })
    } else deeds.push({ atMs, do: kind, backend })
  }
  if (faults.change !== undefined && draw.chance(0.1)) deeds.push({ atMs: draw.int(0, calmAtMs), do: 'close' })
  return deeds.sort((a, b) => a.atMs - b.atMs)
}
