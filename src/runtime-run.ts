// A run as its caller holds it
//
// Owns: the promises of one run, and the caller's signal as far as this run listens to it.
// Does not own: the run (workflow actor).
// Invariants
//   H1. When the run is over nothing here leads to its actor, however long the caller keeps this.
//   H2. The signal is listened to until then, and no longer.
// A class, not an object literal: a literal with a getter has a hidden class of its own each time, which V8 keeps with
// the getter and all that it closes over until its next full collection. That was the whole run, some 12 kB, and 1 us a
// stage for copying it from generation to generation.

import type { WorkflowActor } from '../actors/workflow.ts'
import { CancelledError, errorFromFacts, messageOf, type OrlaError } from './errors.ts'
import { Feed } from './feed.ts'
import type { Feedback, Run, Runtime } from './runtime-api.ts'
import type { RemoteRun } from './runtime-remote-run.ts'
import type { RunEvent } from './schema/transition.ts'
import type { RunOutcome } from './workflow/report.ts'

/** What a run's handle is made with. */
export interface RunHandleInput {
  id: string
  tenant: string
  actor: WorkflowActor | RemoteRun
  signal: AbortSignal | undefined
  runtime: Pick<Runtime, 'feedback'>
}

/** One run, as `Runtime.start` returns it. */
export class RunHandle<Output> implements Run<Output> {
  readonly id: string
  readonly outcome: Promise<RunOutcome<Output>>
  readonly result: Promise<Output>
  readonly #tenant: string
  readonly #runtime: Pick<Runtime, 'feedback'>
  readonly #settle: (outcome: RunOutcome<Output>) => void
  #actor: WorkflowActor | RemoteRun | undefined
  #signal: AbortSignal | undefined
  #onAbort: (() => void) | undefined

  constructor({ id, tenant, actor, signal, runtime }: RunHandleInput) {
    this.id = id
    this.#tenant = tenant
    this.#actor = actor
    this.#runtime = runtime
    const { promise, resolve } = Promise.withResolvers<RunOutcome<Output>>()
    this.outcome = promise
    this.#settle = resolve
    this.result = promise.then(resultOf)
    this.result.catch(ignore)
    if (signal === undefined) return
    this.#signal = signal
    this.#onAbort = () => this.cancel(`the caller's signal was aborted: ${messageOf(signal.reason)}`)
    signal.addEventListener('abort', this.#onAbort, { once: true })
  }

  /** The run, while it is live. */
  get actor(): WorkflowActor | RemoteRun | undefined {
    return this.#actor
  }

  /** Whose run it is. */
  get tenant(): string {
    return this.#tenant
  }

  get events(): AsyncIterable<RunEvent> {
    return this.#actor?.feed ?? ended
  }

  /** Begins, with an input that was checked, unless the caller's signal was aborted already. */
  begin(input: unknown): void {
    if (this.#signal?.aborted === true) this.#onAbort!()
    else this.#actor?.start(input)
  }

  /** Ends it before it begins: its input is not valid. */
  refuse(error: OrlaError): void {
    if (this.#signal?.aborted === true) this.#onAbort!()
    else this.#actor?.refuse(error)
  }

  cancel(reason: string = 'cancelled by the caller'): void {
    this.#actor?.cancel(new CancelledError('caller', reason))
  }

  feedback(feedback: Feedback): void {
    this.#runtime.feedback(this.id, feedback)
  }

  /** The run is over. */
  ended(outcome: RunOutcome): void {
    this.#actor = undefined
    if (this.#onAbort !== undefined) this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#signal = undefined
    this.#settle(outcome as RunOutcome<Output>)
  }
}

/** What happens in a run that is over. */
const ended = new Feed()
ended.close()

function resultOf<Output>(outcome: RunOutcome<Output>): Output {
  if (outcome.state === 'completed') return outcome.result as Output
  throw errorFromFacts(outcome.error!)
}

function ignore(): void {
  // Whoever reads `result` hears of it; a run that nobody waits for does not end the process.
}
