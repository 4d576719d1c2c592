// A runtime for tests: on a virtual clock, with every message copied as other threads would get it, and with an audit
// of what must hold whatever happened.

import { expect } from 'vitest'
import { virtualClock, type VirtualClock } from '../../src/clock.ts'
import type { BackendDefinition } from '../../src/engines/backend-definition.ts'
import { OrlaError } from '../../src/errors.ts'
import type { Logger } from '../../src/log.ts'
import { utf8BytesEstimator } from '../../src/prompts/estimator.ts'
import { createRuntime } from '../../src/runtime.ts'
import type { Runtime, RuntimeOptions } from '../../src/runtime-api.ts'
import type { RunEvent, Transition } from '../../src/schema/transition.ts'

/** A runtime on a virtual clock, and what was heard of it. */
export interface TestRuntime extends Runtime {
  readonly clock: VirtualClock
  /** Every event so far; empty with `watch: false`. */
  readonly heard: RunEvent[]
  /** Transitions so far, of all runs or of one. */
  transitions(runId?: string): Transition[]
  /** What was logged as an error. */
  readonly errors: { details: object; message: string }[]
  /** Turns the clock until `done` settles. */
  until<T>(done: Promise<T>): Promise<T>
  /** Lets everything that is due now happen. */
  settle(): Promise<void>
  /** Checks what must hold once every run has ended. */
  audit(expected?: { deadLetters?: number; pendingTimers?: number }): void
}

/** Options of a test runtime. */
interface TestRuntimeOptions extends Omit<Partial<RuntimeOptions>, 'backends' | 'clock'> {
  /** False: nobody observes, so that no token events are made. */
  watch?: boolean
}

/** Makes a runtime for a test. */
export async function testRuntime(
  backends: Readonly<Record<string, BackendDefinition>>,
  { watch = true, seed = 1, ...options }: TestRuntimeOptions = {},
): Promise<TestRuntime> {
  const clock = virtualClock({ seed })
  const errors: { details: object; message: string }[] = []
  const log: Logger = {
    debug() {},
    info() {},
    warn() {},
    error: (details, message) => void errors.push({ details, message }),
  }
  const runtime = await createRuntime({
    backends,
    clock,
    log,
    estimator: utf8BytesEstimator,
    cloneMessages: true,
    ...options,
  })
  const heard: RunEvent[] = []
  if (watch) runtime.subscribe((event) => void heard.push(event))
  const transitions = (runId?: string): Transition[] =>
    heard.filter((event): event is Transition => 'seq' in event && (runId === undefined || event.runId === runId))
  const extra = {
    heard,
    errors,
    transitions,
    until: <T>(done: Promise<T>) => clock.run(done),
    settle: () => clock.advance(0),
    audit({ deadLetters = 0, pendingTimers = 0 } = {}) {
      auditTransitions(heard)
      expect(errors).toEqual([])
      expect(runtime.liveRuns).toBe(0)
      expect(runtime.deadLetters).toBe(deadLetters)
      expect(clock.pendingTimers).toBe(pendingTimers)
      for (const backend of runtime.backends()) {
        expect(backend).toMatchObject({ inFlight: 0, waiting: 0, subQueues: [] })
        expect(backend.residency).toMatchObject({ runs: 0, residentTokens: 0 })
      }
    },
  }
  return Object.defineProperties(runtime, Object.getOwnPropertyDescriptors(extra)) as TestRuntime
}

const finalTypes = new Set(['run.completed', 'run.failed'])

/** Checks the feed of runs that ended: numbers, order, continuity, one end, plain data. */
function auditTransitions(events: readonly RunEvent[]): void {
  const byRun = Map.groupBy(events, (event) => event.runId)
  for (const [runId, all] of byRun) {
    const transitions = all.filter((event): event is Transition => 'seq' in event)
    const states = new Map<string, string>()
    transitions.forEach((transition, i) => {
      const at = `${runId} #${i + 1} ${transition.type}`
      if (transition.seq !== i + 1) expect.fail(`${at}: seq is ${transition.seq}`)
      const before = transitions[i - 1]
      if (before !== undefined && transition.atMs < before.atMs) expect.fail(`${at}: time goes back`)
      const key = 'stage' in transition ? `stage ${transition.stage}` : 'run'
      const state = states.get(key) ?? 'pending'
      if (transition.from !== state) expect.fail(`${at}: ${key} was ${state}, not ${transition.from}`)
      states.set(key, transition.to)
      if (transition.reason === '') expect.fail(`${at}: no reason`)
      if (finalTypes.has(transition.type) !== (i === transitions.length - 1)) expect.fail(`${at}: not the only end`)
    })
    if (all.at(-1) !== transitions.at(-1)) expect.fail(`${runId}: a token after the end`)
    expect(JSON.parse(JSON.stringify(transitions))).toEqual(transitions)
  }
}

/** Everything that an async iterable yields. */
export async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = []
  for await (const item of source) items.push(item)
  return items
}

/** The OrlaError that `promise` rejects with; throws if it does anything else. */
export async function rejection(promise: Promise<unknown>): Promise<OrlaError> {
  try {
    await promise
  } catch (error) {
    if (error instanceof OrlaError) return error
    throw error
  }
  throw new Error('resolved where a rejection was expected')
}
