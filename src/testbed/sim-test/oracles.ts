// What must hold of a runtime whatever happens, checked on every event and at the end
//
// Owns: what was seen of runs, engines and tools.
// Does not own: what is true of an answer (the subject says).
// Each oracle has a name, so that a smaller scenario can be looked for that breaks the same one.

import { stageTransitions } from '../../workflow/stage-lifecycle.ts'
import type { RunOutcome } from '../../workflow/report.ts'
import type { BackendStatus, Runtime } from '../../runtime-api.ts'
import { MoneyOracle } from './money-oracle.ts'
import type { ChatContext } from '../../engines/driver.ts'
import type { RunEvent, StageState, Transition } from '../../schema/transition.ts'

/** Oracles, and what each holds. */
export const simOracles = {
  order: 'transitions of a run are numbered, in time, and each begins where the last of its stage ended',
  lifecycle: 'a stage moves only as its lifecycle says',
  end: 'a run ends once, and nothing follows',
  once: 'a request is granted at most once, ends its wait in one way, and gives its slot back once',
  window: 'an engine never has more calls open than its window, and no request twice at once',
  turn: 'where first come is first served, nobody is passed over',
  letters: 'where all runs complete and no actor breaks, every message finds its actor',
  slots: 'when all is over, no slot is taken, nothing waits, no call is open',
  typed: 'every failure has a documented code, and none is a bug of ours',
  effects: 'an effect happens at most once, and a tool that answered has had it',
  truth: 'what a run gives is what its engines said, and mappers are told once of each stage that they mapped',
  money: 'accounts add up to what transitions said, and nothing stays set aside of budgets that runs share',
  liveness: 'once faults end, everything ends',
  recovery: 'runs that begin after the faults complete',
  forgotten: 'runs that ended leave nothing: no live run, no ledger entry, no timer',
  crash: 'no actor breaks',
} as const

/** Name of an oracle. */
export type SimOracleName = keyof typeof simOracles

/** Something that did not hold. */
export interface SimViolation {
  oracle: SimOracleName
  message: string
  /** On the virtual clock, ms. */
  atMs: number
}

/** Virtual ms within which a call has to end once it is cancelled. */
const cancelMsMax = 10
/** What is said of an actor that another took the place of. */
const restarted = 'broke and was started again'
/** Violations that are kept; the first says most. */
const violationsMax = 20

const legalMoves = new Set(
  Object.entries(stageTransitions).flatMap(([from, events]) => Object.values(events).map((to) => `${from}>${to}`)),
)

interface RunSeen {
  seq: number
  atMs: number
  runState: string
  stages: Map<string, StageState>
  ended: boolean
}

interface RequestSeen {
  state: 'queued' | 'granted' | 'over'
}

/** What oracles need to know of the world. */
export interface SimWorld {
  /** Whether an actor of ours was broken on purpose: then runs may say so. */
  readonly isBroken: () => boolean
  /** A backend as it is now; undefined where messages take their time, so that now is not when it decided. */
  readonly look: (backend: string) => BackendStatus | undefined
}

/** Watches one runtime. */
export class SimOracles {
  readonly violations: SimViolation[] = []
  readonly #nowMs: () => number
  readonly #isBroken: () => boolean
  readonly #look: SimWorld['look']
  /** Requests that wait at each backend, in the order in which they came. */
  readonly #waiting = new Map<string, Set<string>>()
  readonly #runs = new Map<string, RunSeen>()
  readonly #requests = new Map<string, RequestSeen>()
  readonly #open = new Map<string, Set<string>>()
  readonly #windows = new Map<string, number>()
  /** Calls that were cancelled and have not ended. */
  #cancelled = 0
  readonly #effects = new Map<string, number>()
  readonly #answered: string[] = []
  readonly #money = new MoneyOracle()

  constructor(nowMs: () => number, { isBroken, look }: SimWorld) {
    this.#nowMs = nowMs
    this.#isBroken = isBroken
    this.#look = look
  }

  /** Notes that something does not hold. */
  violated(oracle: SimOracleName, message: string): void {
    if (this.violations.length >= violationsMax) return
    this.violations.push({ oracle, message, atMs: this.#nowMs() })
  }

  /** A window is, or becomes, so wide. */
  window(backend: string, requests: number): void {
    this.#windows.set(backend, Math.max(requests, this.#windows.get(backend) ?? 0))
  }

  /** The engine has a call. Returns what to tell of it. */
  called(backend: string, { requestId }: ChatContext): { cancelled(): void; ended(): void } {
    let open = this.#open.get(backend)
    if (open === undefined) this.#open.set(backend, (open = new Set()))
    if (open.has(requestId)) this.violated('window', `${backend} has request ${requestId} twice at once`)
    open.add(requestId)
    const windowMax = this.#look(backend)?.windowRequests ?? this.#windows.get(backend) ?? Infinity
    if (open.size > windowMax) {
      this.violated('window', `${backend} has ${open.size} calls open, and its window is ${windowMax}`)
    }
    let cancelledAtMs: number | undefined
    let isOver = false
    return {
      cancelled: () => {
        if (isOver || cancelledAtMs !== undefined) return
        // Its place is free at once: whoever cancels may begin the next call before a promise tells.
        open.delete(requestId)
        cancelledAtMs = this.#nowMs()
        this.#cancelled++
      },
      ended: () => {
        isOver = true
        if (cancelledAtMs === undefined) {
          open.delete(requestId)
          return
        }
        this.#cancelled--
        const lateMs = this.#nowMs() - cancelledAtMs
        if (lateMs > cancelMsMax)
          this.violated('slots', `a call at ${backend} ended ${lateMs} ms after it was cancelled`)
      },
    }
  }

  /** A tool has had an effect. */
  effect(idempotencyKey: string): void {
    const times = (this.#effects.get(idempotencyKey) ?? 0) + 1
    this.#effects.set(idempotencyKey, times)
    if (times > 1) this.violated('effects', `the effect ${idempotencyKey} happened ${times} times`)
  }

  /** A tool returns its answer, after its effect. */
  answered(idempotencyKey: string): void {
    this.#answered.push(idempotencyKey)
  }

  /** Something happened. */
  event(event: RunEvent): void {
    this.#money.event(event)
    const run = this.#runOf(event.runId)
    const what = `${event.runId} ${event.type}`
    if (run.ended) this.violated('end', `${what} after the end of its run`)
    if (!('seq' in event)) {
      if (event.type === 'stage.token' && run.stages.get(event.stage) !== 'inferring') {
        this.violated('lifecycle', `${what} of stage ${event.stage}, which is ${run.stages.get(event.stage)}`)
      }
      return
    }
    if (event.seq !== run.seq + 1) this.violated('order', `${what}: number ${event.seq} follows ${run.seq}`)
    if (event.atMs < run.atMs) this.violated('order', `${what}: time goes back from ${run.atMs} to ${event.atMs} ms`)
    run.seq = event.seq
    run.atMs = event.atMs
    if ('stage' in event) this.#stageMoved(run, event, what)
    else {
      if (event.from !== run.runState) this.violated('order', `${what}: the run was ${run.runState}, not ${event.from}`)
      run.runState = event.to
    }
    if (event.type === 'run.completed' || event.type === 'run.failed') this.#runEnded(run, what)
    if ('requestId' in event) this.#requestMoved(event, what)
    if ('stage' in event && event.from === 'queued' && event.to !== 'queued') this.#leaves(event)
    if ('error' in event && event.error !== undefined) this.#checkCode(event.error.code, event.error.message, what)
  }

  /** All is over: nothing may be left. What the actors of a closed runtime count is of no interest. */
  finish(runtime: Runtime, { closed, allCompleted }: { closed: boolean; allCompleted: boolean }): void {
    if (!closed && allCompleted && !this.#isBroken() && runtime.deadLetters > 0) {
      this.violated('letters', `${runtime.deadLetters} messages found nobody`)
    }
    for (const problem of this.#money.problems(runtime)) this.violated('money', problem)
    if (runtime.liveRuns > 0) this.violated('forgotten', `${runtime.liveRuns} runs are live`)
    for (const { name, inFlight, waiting, held, residency } of closed ? [] : runtime.backends()) {
      if (inFlight + waiting + held > 0) {
        this.violated('slots', `${name} has ${inFlight} in flight, ${waiting} waiting, ${held} held`)
      }
      if (residency.runs > 0) this.violated('forgotten', `the ledger has ${residency.runs} runs at ${name}`)
    }
    for (const [backend, open] of this.#open) {
      if (open.size > 0) this.violated('slots', `${backend} has ${open.size} calls open: ${[...open].join(', ')}`)
    }
    if (this.#cancelled > 0) this.violated('slots', `${this.#cancelled} calls never ended after they were cancelled`)
    for (const key of this.#answered) {
      if (!this.#effects.has(key)) this.violated('effects', `a tool answered without its effect ${key}`)
    }
  }

  /** How a run ended, as its caller hears it. */
  outcome({ runId, state, error }: RunOutcome): void {
    if (!this.#runOf(runId).ended) this.violated('end', `${runId} is ${state} without an end in its transitions`)
    if (state !== 'completed') this.#checkCode(error?.code, error?.message, runId)
  }

  #stageMoved(run: RunSeen, event: Extract<Transition, { stage: string }>, what: string): void {
    const state = run.stages.get(event.stage) ?? 'pending'
    if (event.from !== state) this.violated('order', `${what}: stage ${event.stage} was ${state}, not ${event.from}`)
    // Some transitions tell of something within a state.
    if (event.from !== event.to && !legalMoves.has(`${event.from}>${event.to}`)) {
      this.violated('lifecycle', `${what}: stage ${event.stage} went from ${event.from} to ${event.to}`)
    }
    run.stages.set(event.stage, event.to)
  }

  #runEnded(run: RunSeen, what: string): void {
    run.ended = true
    for (const [stage, state] of run.stages) {
      if (!['completed', 'failed', 'skipped', 'cancelled'].includes(state)) {
        this.violated('end', `${what} while its stage ${stage} is ${state}`)
      }
    }
  }

  #requestMoved(event: Extract<Transition, { requestId: string }>, what: string): void {
    const request = this.#requests.get(event.requestId)
    const at = `${what}: request ${event.requestId}`
    switch (event.type) {
      case 'stage.queued':
        if (request !== undefined && request.state !== 'over') this.violated('once', `${at} waits already`)
        this.#requests.set(event.requestId, { state: 'queued' })
        this.#line(event.backend).add(event.requestId)
        return
      case 'stage.granted':
        if (request?.state !== 'queued') this.violated('once', `${at} is granted and was ${request?.state}`)
        this.#checkTurn(event, at)
        this.#requests.set(event.requestId, { state: 'granted' })
        return
      case 'stage.rejected':
        if (request?.state !== 'queued') this.violated('once', `${at} is rejected and was ${request?.state}`)
        this.#requests.set(event.requestId, { state: 'over' })
        return
      case 'stage.released':
        if (request?.state !== 'granted') this.violated('once', `${at} is released and was ${request?.state}`)
        this.#requests.set(event.requestId, { state: 'over' })
        return
    }
  }

  /** A stage that goes on from its wait, to whatever, waits no more. */
  #leaves({ runId, stage }: { runId: string; stage: string }): void {
    for (const line of this.#waiting.values()) {
      for (const requestId of line) if (requestId.startsWith(`${runId}/${stage}/`)) line.delete(requestId)
    }
  }

  #checkTurn({ backend, requestId }: { backend: string; requestId: string }, at: string): void {
    const [first] = this.#line(backend)
    if (first === requestId) return
    const now = this.#look(backend)
    if (now === undefined || now.kvWindow !== undefined) return
    if (now.stagePolicy === 'fcfs' && now.requestPolicy === 'fcfs') {
      this.violated('turn', `${at} is granted at ${backend} before ${first}, which came first`)
    }
  }

  #line(backend: string): Set<string> {
    let line = this.#waiting.get(backend)
    if (line === undefined) this.#waiting.set(backend, (line = new Set()))
    return line
  }

  #checkCode(code: string | undefined, message: string | undefined, what: string): void {
    if (code === undefined || !code.startsWith('ORLA_')) this.violated('typed', `${what} has the code ${code}`)
    // A bug of ours is never the answer to a fault of others.
    else if (code === 'ORLA_INVARIANT' && !(this.#isBroken() && message?.endsWith(restarted) === true)) {
      this.violated('typed', `${what}: ${message}`)
    }
  }

  #runOf(runId: string): RunSeen {
    let run = this.#runs.get(runId)
    if (run === undefined) {
      run = { seq: 0, atMs: 0, runState: 'pending', stages: new Map(), ended: false }
      this.#runs.set(runId, run)
    }
    return run
  }
}
