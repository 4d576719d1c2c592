// Playing a workload on a runtime
//
// Owns: which runs have begun, and the figures of those that ended.
// Does not own: the runtime, or the time in which it runs.
// Invariants
//   P1. In a closed loop never more than `concurrency` runs are live; in an open one nobody waits for anybody.
//   P2. Every run of the workload is counted once: completed, truncated or failed.

import { toOrlaError, type OrlaError } from '../errors.ts'
import type { Mapper } from '../mapping/mapper.ts'
import type { Runtime } from '../runtime-api.ts'
import { arrivalGaps, type Arrivals } from '../simulator/workloads/arrivals.ts'
import { RunPlayer, type PlayLimits } from '../simulator/workloads/run-player.ts'
import type { Workload, WorkloadRun } from '../simulator/workloads/workload.ts'
import type { RunOutcome } from '../workflow/report.ts'
import { workloadWorkflows } from './workload-workflow.ts'

/** How to play a workload. */
export interface PlayOptions extends PlayLimits {
  /** Where its stages run: a backend, or what decides. */
  backend: string | Mapper<RunPlayer>
  arrivals: Arrivals
  /** Milliseconds that one request may take. */
  timeoutMs: number
  /** Hears of each run that ends. */
  onRun?: ((done: number, total: number, run: WorkloadRun, outcome: RunOutcome) => void) | undefined
  /** Hears why a run failed. */
  onFailure?: ((runId: string, error: { code: string; message: string }) => void) | undefined
}

/** Figures of a workload that was played. Times in ms, one entry a turn or a run. */
export interface Played {
  completed: number
  failed: number
  truncated: number
  ttftsMs: number[]
  queueWaitsMs: number[]
  runsMs: number[]
  turns: number
  promptTokens: number
  cachedTokens: number
  outputTokens: number
}

/** Plays every run of a workload. Resolves when the last has ended. */
export async function playWorkload(runtime: Runtime, workload: Workload, options: PlayOptions): Promise<Played> {
  return await new Playing(runtime, workload, options).done
}

class Playing {
  readonly done: Promise<Played>
  readonly #runtime: Runtime
  readonly #runs: readonly WorkloadRun[]
  readonly #options: PlayOptions
  readonly #workflowOf: ReturnType<typeof workloadWorkflows>
  readonly #resolve: (played: Played) => void
  readonly #reject: (error: OrlaError) => void
  readonly #played: Played = {
    completed: 0,
    failed: 0,
    truncated: 0,
    ttftsMs: [],
    queueWaitsMs: [],
    runsMs: [],
    turns: 0,
    promptTokens: 0,
    cachedTokens: 0,
    outputTokens: 0,
  }
  #next = 0
  #ended = 0

  constructor(runtime: Runtime, workload: Workload, options: PlayOptions) {
    const { promise, resolve, reject } = Promise.withResolvers<Played>()
    this.done = promise
    this.#resolve = resolve
    this.#reject = reject
    this.#runtime = runtime
    this.#runs = workload.runs
    this.#options = options
    this.#workflowOf = workloadWorkflows(workload.name, options)
    this.#guarded(() => this.#begin())
  }

  #begin(): void {
    const { arrivals } = this.#options
    const { clock } = this.#runtime
    if (this.#runs.length === 0) return this.#resolve(this.#played)
    switch (arrivals.kind) {
      case 'closed':
        for (let i = 0; i < Math.min(arrivals.concurrency, this.#runs.length); i++) this.#start()
        return
      case 'open': {
        const gap = arrivalGaps(arrivals.ratePerSecond, arrivals.burstiness, clock.random('arrivals'))
        return this.#arrive(() => clock.nowMs() + gap())
      }
      case 'trace': {
        const beganAtMs = clock.nowMs()
        return this.#arrive(() => beganAtMs + (this.#runs[this.#next]!.arrivalMs ?? 0))
      }
    }
  }

  /** Starts runs at their times, one timer at a time. */
  #arrive(nextAtMs: () => number): void {
    const { clock } = this.#runtime
    clock.setTimer(Math.max(0, nextAtMs() - clock.nowMs()), () =>
      this.#guarded(() => {
        this.#start()
        if (this.#next < this.#runs.length) this.#arrive(nextAtMs)
      }),
    )
  }

  #start(): void {
    const run = this.#runs[this.#next++]
    if (run === undefined) return
    const player = new RunPlayer(run, this.#options)
    const { tenant, priority, targetMs } = run
    const { outcome } = this.#runtime.start(this.#workflowOf(run.steps), player, {
      ...(tenant !== undefined && { tenant }),
      ...(priority !== undefined && { priority }),
      ...(targetMs !== undefined && { targetMs }),
    })
    void outcome.then((ended) => this.#guarded(() => this.#onEnded(run, player.truncated, ended)))
  }

  #onEnded(run: WorkloadRun, truncated: boolean, outcome: RunOutcome): void {
    const played = this.#played
    if (outcome.state !== 'completed') {
      played.failed++
      this.#options.onFailure?.(run.id, outcome.error ?? { code: '', message: outcome.state })
    } else if (truncated) played.truncated++
    else played.completed++
    played.runsMs.push(outcome.durationMs)
    for (const { turns } of Object.values(outcome.stages)) {
      for (const turn of turns) {
        if (turn.finishReason === null) continue
        played.turns++
        played.queueWaitsMs.push(turn.queueWaitMs)
        if (turn.ttftMs !== null) played.ttftsMs.push(turn.ttftMs)
        played.promptTokens += turn.promptTokens ?? 0
        played.cachedTokens += turn.cachedTokens ?? 0
        played.outputTokens += turn.completionTokens ?? 0
      }
    }
    this.#ended++
    this.#options.onRun?.(this.#ended, this.#runs.length, run, outcome)
    if (this.#ended === this.#runs.length) this.#resolve(played)
    else if (this.#options.arrivals.kind === 'closed') this.#start()
  }

  /** A run that cannot even be started is a mistake in the workload: it ends everything. */
  #guarded(act: () => void): void {
    try {
      act()
    } catch (error) {
      this.#reject(toOrlaError(error, 'ORLA_INVARIANT', 'the workload cannot be played'))
    }
  }
}
