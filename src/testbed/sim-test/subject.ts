// What a simulation is about: workflows, their backends, and what is true of their results.

import type { VirtualClock } from '../../clock.ts'
import type { BackendDefinition } from '../../engines/backend-definition.ts'
import type { ChatRequest, ChatResult } from '../../schema/chat.ts'
import type { Run, Runtime, RuntimeOptions } from '../../runtime-api.ts'
import type { RunOutcome } from '../../workflow/report.ts'
import type { ToolContext } from '../../workflow/tool.ts'
import type { Draw, Scenario, SimFaultName, SimRun } from './scenario.ts'

/** An answer that an engine gave, in whole. */
export interface SimAnswer {
  runId: string
  stage: string
  request: ChatRequest
  result: ChatResult
}

/** What a subject may use while it is set up, and while it runs. */
export interface SimKit {
  scenario: Scenario
  clock: VirtualClock
  /** Draws from a stream of its own for each label. */
  draw(label: string): Draw
  /** Whether a fault of that kind strikes now; false once faults have ended. Counted as injected if it does. */
  strikes(fault: SimFaultName): boolean
  /** Call it in a policy: it breaks the actor that runs it, if a crash strikes. */
  crash(): void
  /** Call it where a tool has its effect, once a call: an effect that happens twice is a violation. */
  effect(context: ToolContext): void
  /** Call it where a tool is about to return its answer: it must have had its effect. */
  answered(context: ToolContext): void
}

/** A subject that is set up for one seed. */
export interface SimSetup {
  /** Backends; faults of engines are wrapped around them. All by names of the scenario's backends for `change` to bite. */
  backends: Readonly<Record<string, BackendDefinition>>
  /** Everything else that the runtime needs. */
  options?: Omit<RuntimeOptions, 'backends' | 'clock' | 'delivery' | 'log'>
  /** Starts a run. */
  start(runtime: Runtime, run: SimRun): Run
  /**
   * What is wrong with the result of a run that completed; undefined if it is true.
   *
   * @param answers - what engines said to the run
   */
  judge?(run: SimRun, outcome: RunOutcome, answers: readonly SimAnswer[]): string | undefined
}

/** What a simulation is about. Equal scenarios must be set up equally: chance comes from the kit only. */
export interface SimSubject {
  name: string
  setUp(kit: SimKit): SimSetup
}
