// One workload under one memory policy, through the whole runtime in virtual time, and what clients and engine saw.
//
// Figures are those of a stretch of virtual time after a warm-up, with the closed loop still full, rather than of a
// number of runs: the last runs of a batch would have the engine to themselves. Turns that are still held when the
// stretch ends count with the time that they have waited by then.

import { virtualClock } from '../../src/clock.ts'
import { openAi } from '../../src/engines/openai.ts'
import type { MemoryOptions } from '../../src/memory/plan.ts'
import { utf8BytesEstimator } from '../../src/prompts/estimator.ts'
import { createRuntime } from '../../src/runtime.ts'
import type { RunEvent } from '../../src/schema/transition.ts'
import { enginePreset, type EnginePresetOptions } from '../../src/simulator/presets/engines.ts'
import { createSimulated } from '../../src/simulator/simulated.ts'
import { stepEngineModel, type StepEngineModel } from '../../src/simulator/step-model/gpu.ts'
import type { Workload } from '../../src/simulator/workloads/workload.ts'
import { playWorkload } from '../../src/testbed/play.ts'

/** One arm at one setting. */
export interface ArmOptions {
  workload: Workload
  /** Runs that are live at once. */
  concurrency: number
  engine: Omit<EnginePresetOptions, 'kvTokens' | 'kvScale'>
  /** Tokens of the engine's KV pool. */
  kvTokens: number
  policy: NonNullable<MemoryOptions['policy']>
  holdMsMax?: number
  /** Longest wait between turns, ms. */
  waitMsMax: number
  contextScale: number
  /** Virtual seconds that are not counted, and that are. Infinite: until the workload is over. */
  warmUpSeconds: number
  seconds: number
  seed: number
}

/** What came of it. */
export interface ArmOutcome {
  runs: number
  turns: number
  seconds: number
  runsPerSecond: number
  outputTokensPerSecond: number
  hitRatio: number
  rePrefilledTokens: number
  ttftsMs: number[]
  /** Longest hold, ms; those under way at the end included. */
  maxHoldMs: number
  holds: number
  /** Jain's index over the turns that each run had for each second it was live, 0..1. */
  fairness: number
  /** Mean tokens of all live contexts, shared beginnings once. */
  workingSetTokens: number
  busyShare: number
  failed: number
  flushes: number
  refusedFlushes: number
  /** Prefills ahead that gave way, failed or were given up. */
  stoppedPrefills?: number
}

/** Plays one arm. */
export async function playArm(options: ArmOptions): Promise<ArmOutcome> {
  const { workload, kvTokens, seed, warmUpSeconds, seconds } = options
  const clock = virtualClock({ seed })
  const pool = Math.floor(kvTokens)
  const profile = enginePreset({ ...options.engine, kvTokens: pool })
  let model: StepEngineModel | undefined
  let flushes = 0
  let refusedFlushes = 0
  const engine = createSimulated(openAi)({
    model: options.engine.model,
    contextLength: profile.contextTokens,
    transport: 'in-process',
    engine(engineClock) {
      const made = (model = stepEngineModel({ clock: engineClock, profile }))
      const flush = (): boolean => {
        const done = made.flush()
        if (done) flushes++
        else refusedFlushes++
        return done
      }
      return { ...made, flush }
    },
    windowRequests: profile.sequencesMax,
    queueCapacity: 10_000_000,
  })
  const runtime = await createRuntime({
    backends: { engine },
    clock,
    estimator: utf8BytesEstimator,
    memory: {
      policy: options.policy,
      kvTokens: { engine: pool },
      ...(options.holdMsMax !== undefined && { holdMsMax: options.holdMsMax }),
    },
  })
  const fromMs = warmUpSeconds * 1_000
  const record = new Record(fromMs, () => clock.nowMs())
  runtime.subscribe((event) => record.hear(event, () => runtime.backends()[0]!.residency.distinctTokens))
  const whole = playWorkload(runtime, workload, {
    backend: 'engine',
    arrivals: { kind: 'closed', concurrency: options.concurrency },
    timeoutMs: 1e12,
    contextScale: options.contextScale,
    contextTokens: Math.min(profile.contextTokens, pool - (pool % profile.blockTokens)),
    turnsMax: Infinity,
    waitMsMax: options.waitMsMax,
  })
  let busyFromMs = 0
  const stretch = new Promise<void>((resolve) => {
    if (seconds === Infinity) return
    clock.setTimer(fromMs, () => void (busyFromMs = model!.stats().busyMs))
    clock.setTimer(fromMs + seconds * 1_000, resolve)
  })
  await clock.run(Promise.race([whole, stretch]))
  const endMs = clock.nowMs()
  const busyMs = model!.stats().busyMs - busyFromMs
  const outcome = record.outcome(endMs, busyMs)
  await clock.run(runtime.close())
  return { ...outcome, flushes, refusedFlushes }
}

interface Live {
  startedMs: number
  turns: number
}

/** Listens to the feed. */
class Record {
  readonly #fromMs: number
  readonly #nowMs: () => number
  readonly #ttfts: number[] = []
  /** Turns that are ready and have no first token, by run and stage: when they were ready. */
  readonly #waiting = new Map<string, number>()
  readonly #heldSince = new Map<string, number>()
  readonly #live = new Map<string, Live>()
  readonly #rates: number[] = []
  #runs = 0
  #turns = 0
  #failed = 0
  #outputTokens = 0
  #promptTokens = 0
  #cachedTokens = 0
  #rePrefilled = 0
  #expected = new Map<string, number>()
  #maxHoldMs = 0
  #holds = 0
  #sampled = 0
  #samples = 0

  constructor(fromMs: number, nowMs: () => number) {
    this.#fromMs = fromMs
    this.#nowMs = nowMs
  }

  hear(event: RunEvent, workingSet: () => number): void {
    const nowMs = this.#nowMs()
    const counted = nowMs >= this.#fromMs
    const { runId } = event
    switch (event.type) {
      case 'run.started':
        this.#live.set(runId, { startedMs: nowMs, turns: 0 })
        return
      case 'stage.queued':
        this.#waiting.set(`${runId}/${event.stage}`, nowMs)
        this.#expected.set(`${runId}/${event.stage}`, event.promptTokens - event.addedTokens)
        return
      case 'stage.firstToken':
        this.#waiting.delete(`${runId}/${event.stage}`)
        if (counted) this.#ttfts.push(event.ttftMs)
        return
      case 'stage.released': {
        const live = this.#live.get(runId)
        if (live !== undefined) live.turns++
        if (!counted) return
        this.#turns++
        if ((this.#samples++ & 15) === 0) {
          this.#sampled++
          this.#workingSet += workingSet()
        }
        const { promptTokens = 0, cachedTokens = 0, completionTokens = 0 } = event.usage
        this.#promptTokens += promptTokens
        this.#cachedTokens += cachedTokens
        this.#outputTokens += completionTokens
        this.#rePrefilled += Math.max(0, (this.#expected.get(`${runId}/${event.stage}`) ?? 0) - cachedTokens)
        return
      }
      case 'cache.held':
        if (!this.#heldSince.has(runId)) this.#heldSince.set(runId, nowMs)
        if (counted) this.#holds++
        return
      case 'cache.admitted':
        this.#hold(runId, nowMs)
        return
      case 'run.completed':
      case 'run.failed': {
        const live = this.#live.get(runId)
        this.#live.delete(runId)
        this.#heldSince.delete(runId)
        if (event.type === 'run.failed') this.#failed++
        if (!counted) return
        this.#runs++
        if (live !== undefined) this.#rates.push(live.turns / Math.max(1, nowMs - live.startedMs))
        return
      }
      default:
    }
  }

  #workingSet = 0

  #hold(runId: string, nowMs: number): void {
    const since = this.#heldSince.get(runId)
    this.#heldSince.delete(runId)
    if (since !== undefined && nowMs >= this.#fromMs) this.#maxHoldMs = Math.max(this.#maxHoldMs, nowMs - since)
  }

  outcome(endMs: number, busyMs: number): Omit<ArmOutcome, 'flushes' | 'refusedFlushes'> {
    for (const runId of Array.from(this.#heldSince.keys())) this.#hold(runId, endMs)
    // Still waiting: at least so long.
    for (const sinceMs of this.#waiting.values()) this.#ttfts.push(endMs - sinceMs)
    for (const { startedMs, turns } of this.#live.values()) {
      if (endMs - startedMs > 60_000) this.#rates.push(turns / (endMs - startedMs))
    }
    const seconds = (endMs - this.#fromMs) / 1_000
    const sum = this.#rates.reduce((a, b) => a + b, 0)
    const squares = this.#rates.reduce((a, b) => a + b * b, 0)
    return {
      runs: this.#runs,
      turns: this.#turns,
      seconds,
      runsPerSecond: this.#runs / seconds,
      outputTokensPerSecond: this.#outputTokens / seconds,
      hitRatio: this.#cachedTokens / Math.max(1, this.#promptTokens),
      rePrefilledTokens: this.#rePrefilled,
      ttftsMs: this.#ttfts.toSorted((a, b) => a - b),
      maxHoldMs: this.#maxHoldMs,
      holds: this.#holds,
      fairness: squares === 0 ? 1 : sum ** 2 / (this.#rates.length * squares),
      workingSetTokens: this.#workingSet / Math.max(1, this.#sampled),
      busyShare: busyMs / 1_000 / seconds,
      failed: this.#failed,
    }
  }
}
