// One scenario, played on a virtual clock
//
// Owns: the runtime under test, and what is done to it.
// Does not own: what must hold (oracles), what is asked of it (subject).
// Invariants
//   S1. Equal scenarios and subjects make equal traces, in any process.
//   S2. Faults strike until `calmAtMs` and never after; then backends are put right, and everything has to end.

import { createHash } from 'node:crypto'
import { randomStream, virtualClock, type VirtualClock } from '../../clock.ts'
import type { BackendDefinition } from '../../engines/backend-definition.ts'
import { messageOf } from '../../errors.ts'
import type { Logger } from '../../log.ts'
import { createRuntime } from '../../runtime.ts'
import type { Run, Runtime, RuntimeOptions } from '../../runtime-api.ts'
import type { RunEvent } from '../../schema/transition.ts'
import type { RunOutcome } from '../../workflow/report.ts'
import { SimCrashes } from './crashes.ts'
import { faultyBackend } from './faulty-backend.ts'
import { SimOracles, type SimViolation } from './oracles.ts'
import { Draw, type Scenario, type SimDeed, type SimFaultName, type SimRun } from './scenario.ts'
import type { SimAnswer, SimKit, SimSetup, SimSubject } from './subject.ts'

/** What came of one scenario. */
export interface SimTrace {
  /** SHA-256 of every event in order: the same in every process. */
  hash: string
  events: number
  virtualMs: number
  outcomes: Record<RunOutcome['state'], number>
  /** Faults that struck, by kind. */
  struck: Partial<Record<SimFaultName, number>>
  /** Codes of errors that runs ended with, and how often. */
  codes: Record<string, number>
  violations: readonly SimViolation[]
  /** The last events before the end. */
  tail: readonly RunEvent[]
}

/** Virtual ms that everything may take to end after faults did. */
const livenessMs = 30 * 60_000
/** Virtual ms after the end of faults, by which breakers have healed and deadlines passed. */
const recoveryMs = 5 * 60_000
/** Runs that begin after that, and have to complete. */
const recoveryRuns = 2
/** How backends are set once faults have ended. */
const calm = { windowRequests: 4, queueCapacity: 1_000 }
/** Events that are kept for people. */
const tailMax = 40

/** Plays a scenario. Never throws: what goes wrong is a violation. */
export async function playScenario(scenario: Scenario, subject: SimSubject): Promise<SimTrace> {
  const play = new Play(scenario, subject)
  return await play.toEnd()
}

class Play {
  readonly #scenario: Scenario
  readonly #clock: VirtualClock
  readonly #oracles: SimOracles
  readonly #crashes: SimCrashes
  readonly #setup: SimSetup
  readonly #hash = createHash('sha256')
  readonly #struck: SimTrace['struck'] = {}
  readonly #streams = new Map<SimFaultName, () => number>()
  readonly #runs = new Map<number, Run>()
  readonly #answers = new Map<string, SimAnswer[]>()
  readonly #ended: Promise<void>[] = []
  readonly #outcomes: SimTrace['outcomes'] = { completed: 0, failed: 0, cancelled: 0 }
  readonly #codes: SimTrace['codes'] = {}
  readonly #tail: RunEvent[] = []
  #events = 0
  #isCalm = false
  #isClosed = false
  #runtime: Runtime | undefined

  constructor(scenario: Scenario, subject: SimSubject) {
    this.#scenario = scenario
    this.#clock = virtualClock({ seed: scenario.seed })
    this.#oracles = new SimOracles(() => this.#clock.nowMs(), {
      isBroken: () => this.#crashes.any,
      look: (backend) =>
        scenario.faults.delay === undefined
          ? this.#runtime?.backends().find(({ name }) => name === backend)
          : undefined,
    })
    this.#crashes = new SimCrashes({
      strikes: () => this.#strikes('crash'),
      nowMs: () => this.#clock.nowMs(),
      gapMs: scenario.crashGapMs,
    })
    this.#setup = subject.setUp(this.#kit())
  }

  async toEnd(): Promise<SimTrace> {
    try {
      const runtime = await createRuntime(this.#options())
      this.#runtime = runtime
      runtime.subscribe((event) => this.#hear(event))
      for (const run of this.#scenario.runs) this.#at(run.atMs, () => this.#start(runtime, run))
      for (const deed of this.#scenario.deeds) this.#at(deed.atMs, () => this.#do(runtime, deed))
      await this.#safety(runtime)
      await this.#liveness(runtime)
      this.#oracles.finish(runtime, {
        closed: this.#closed,
        allCompleted: this.#outcomes.failed + this.#outcomes.cancelled === 0,
      })
      await this.#close(runtime)
    } catch (error) {
      this.#oracles.violated('crash', `it threw ${messageOf(error)}`)
    }
    return {
      hash: this.#hash.digest('hex'),
      events: this.#events,
      virtualMs: this.#clock.nowMs(),
      outcomes: this.#outcomes,
      struck: this.#struck,
      codes: this.#codes,
      violations: this.#oracles.violations,
      tail: this.#tail,
    }
  }

  /** Faults are there, and people do what they do. */
  async #safety(runtime: Runtime): Promise<void> {
    await this.#clock.advance(this.#scenario.calmAtMs)
    this.#isCalm = true
    for (const { name } of runtime.backends()) {
      this.#oracles.window(name, calm.windowRequests)
      runtime.resume(name)
      runtime.reconfigure(name, calm)
    }
  }

  /** Faults have ended: what began must end, and what begins must complete. */
  async #liveness(runtime: Runtime): Promise<void> {
    const fromMs = this.#clock.nowMs()
    await this.#clock.advance(recoveryMs)
    const { runs } = this.#scenario
    for (let i = 0; i < Math.min(recoveryRuns, runs.length); i++) {
      const { deadlineMs: _none, ...run } = runs[i]!
      this.#start(runtime, { ...run, index: 1_000 + i, atMs: this.#clock.nowMs() })
    }
    let over = false
    void Promise.all(this.#ended).then(() => (over = true))
    await this.#clock.advance(0)
    while (!over && this.#clock.nowMs() - fromMs < livenessMs) await this.#clock.advance(1_000)
    if (!over) {
      const left = [...this.#runs].filter(([, run]) => !this.#judged.has(run.id)).map(([index]) => index)
      this.#oracles.violated('liveness', `run(s) ${left.join(', ')} did not end within ${livenessMs} ms of calm`)
    }
    // What is done after the end of a run, slots and the ledger, takes as long as messages do; copies of its requests end
    // by themselves.
    await this.#clock.advance(40_000)
  }

  async #close(runtime: Runtime): Promise<void> {
    let closed = false
    void runtime.close().finally(() => (closed = true))
    for (let i = 0; i < 100 && !closed; i++) await this.#clock.advance(1_000)
    if (!closed) this.#oracles.violated('liveness', 'the runtime did not close')
    // Tools that never end have no timer; deadlines and delayed messages must be gone.
    await this.#clock.advance(60_000)
    const { pendingTimers } = this.#clock
    if (pendingTimers > 0) this.#oracles.violated('forgotten', `${pendingTimers} timers are left of a closed runtime`)
  }

  readonly #judged = new Set<string>()

  #start(runtime: Runtime, run: SimRun): void {
    let started: Run
    try {
      started = this.#setup.start(runtime, run)
    } catch (error) {
      // A backend that the workflow names may be gone: then the start is refused, which is an answer.
      if (!('code' in (error as object))) this.#oracles.violated('typed', `start threw ${messageOf(error)}`)
      else if (run.index >= 1_000 && !this.#hasLosses()) this.#oracles.violated('recovery', messageOf(error))
      return
    }
    this.#runs.set(run.index, started)
    this.#ended.push(started.outcome.then((outcome) => this.#judge(run, outcome)))
  }

  #judge(run: SimRun, outcome: RunOutcome): void {
    this.#judged.add(outcome.runId)
    this.#outcomes[outcome.state]++
    if (outcome.error !== undefined) {
      this.#codes[outcome.error.code] = (this.#codes[outcome.error.code] ?? 0) + 1
    }
    this.#oracles.outcome(outcome)
    const answers = this.#answers.get(outcome.runId) ?? []
    this.#answers.delete(outcome.runId)
    if (outcome.state === 'completed') {
      const wrong = this.#setup.judge?.(run, outcome, answers)
      if (wrong !== undefined) this.#oracles.violated('truth', `run ${run.index}: ${wrong}`)
    } else if (run.index >= 1_000 && !this.#hasLosses()) {
      this.#oracles.violated('recovery', `run ${run.index} is ${outcome.state}: ${outcome.error?.message}`)
    }
  }

  /** Whether what a run needs may be gone for good. */
  #hasLosses(): boolean {
    return this.#closed || this.#scenario.deeds.some((deed) => deed.do === 'remove')
  }

  /** Whether the runtime was closed, or closed itself, before its time. */
  get #closed(): boolean {
    return this.#isClosed || this.#crashes.gaveUp
  }

  #do(runtime: Runtime, deed: SimDeed): void {
    const refused = (error: unknown): void => {
      if (!('code' in (error as object))) this.#oracles.violated('typed', `${deed.do} threw ${messageOf(error)}`)
    }
    const definition = (name: string): BackendDefinition => this.#faulty(name, this.#setup.backends[name]!)
    const fault = deed.do === 'cancel' ? 'cancel' : 'change'
    this.#struck[fault] = (this.#struck[fault] ?? 0) + 1
    try {
      switch (deed.do) {
        case 'cancel':
          return this.#runs.get(deed.run)?.cancel()
        case 'reconfigure':
          this.#oracles.window(deed.backend, deed.windowRequests)
          return runtime.reconfigure(deed.backend, deed)
        case 'schedule':
          return runtime.setScheduling(deed.backend, deed)
        case 'drain':
          return runtime.drain(deed.backend)
        case 'resume':
          return runtime.resume(deed.backend)
        case 'replace':
          // Calls at the engine before end there: beside them a whole window opens.
          this.#oracles.window(deed.backend, 2 * 6)
          return void runtime.replaceBackend(deed.backend, definition(deed.backend)).catch(refused)
        case 'remove':
          return void runtime.removeBackend(deed.backend).catch(refused)
        case 'close':
          this.#isClosed = true
          return void runtime.close().catch(refused)
        case 'add':
          return void runtime.addBackend(deed.backend, definition(deed.backend)).catch(refused)
      }
    } catch (error) {
      refused(error)
    }
  }

  #hear(event: RunEvent): void {
    this.#events++
    this.#hash.update(JSON.stringify(event))
    this.#tail.push(event)
    if (this.#tail.length > 2 * tailMax) this.#tail.splice(0, tailMax)
    this.#oracles.event(event)
  }

  #options(): RuntimeOptions {
    const { backends, options } = this.#setup
    return {
      ...options,
      backends: Object.fromEntries(
        Object.entries(backends).map(([name, definition]) => [name, this.#faulty(name, definition)]),
      ),
      clock: this.#clock,
      log: this.#log(),
      ...(this.#scenario.faults.delay !== undefined && { delivery: this.#delivery() }),
    }
  }

  #faulty(name: string, definition: BackendDefinition): BackendDefinition {
    this.#oracles.window(name, definition.settings.windowRequests)
    return faultyBackend(definition, {
      strikes: (fault) => this.#strikes(fault),
      draw: this.#draw(`forms of ${name}`),
      onCall: (request, context) => {
        const call = this.#oracles.called(name, context)
        return {
          cancelled: () => call.cancelled(),
          ended: (result) => {
            call.ended()
            // A driver that breaks its contract gives what is no result.
            if (typeof result !== 'object') return
            const { runId, requestId } = context
            // What a copy says goes nowhere.
            if (requestId.endsWith('/shadow')) return
            const answers = this.#answers.get(runId) ?? []
            answers.push({ runId, stage: requestId.split('/')[1]!, request, result })
            this.#answers.set(runId, answers)
          },
        }
      },
    })
  }

  /** Messages of one direction keep their order, however long each takes. */
  #delivery(): NonNullable<RuntimeOptions['delivery']> {
    const draw = this.#draw('delays')
    const atMs = { 'from-runs': 0, 'to-runs': 0 }
    return (deliver, direction) => {
      const delayMs = this.#strikes('delay') ? draw.one([0, 1, 20, 300]) : 0
      atMs[direction] = Math.max(atMs[direction], this.#clock.nowMs() + delayMs)
      this.#clock.setTimer(atMs[direction] - this.#clock.nowMs(), deliver)
    }
  }

  #log(): Logger {
    return {
      debug() {},
      info() {},
      warn() {},
      error: (details, message) => {
        const { error } = details as { error?: unknown }
        if (this.#crashes.explains(error, message)) return
        this.#oracles.violated('crash', error === undefined ? message : `${message}: ${messageOf(error)}`)
      },
    }
  }

  #kit(): SimKit {
    return {
      scenario: this.#scenario,
      clock: this.#clock,
      draw: (label) => this.#draw(label),
      strikes: (fault) => this.#strikes(fault),
      crash: () => this.#crashes.break(),
      effect: ({ idempotencyKey }) => this.#oracles.effect(idempotencyKey),
      answered: ({ idempotencyKey }) => this.#oracles.answered(idempotencyKey),
    }
  }

  #strikes(fault: SimFaultName): boolean {
    const chance = this.#scenario.faults[fault]
    if (chance === undefined || this.#isCalm) return false
    let stream = this.#streams.get(fault)
    // A stream for each kind: taking one kind out of a scenario does not move the others.
    if (stream === undefined) {
      stream = randomStream(this.#scenario.seed, `strikes of ${fault}`)
      this.#streams.set(fault, stream)
    }
    if (stream() >= chance) return false
    this.#struck[fault] = (this.#struck[fault] ?? 0) + 1
    return true
  }

  #draw(label: string): Draw {
    return new Draw(randomStream(this.#scenario.seed, label))
  }

  #at(atMs: number, then: () => void): void {
    this.#clock.setTimer(atMs, then)
  }
}
