// A run on another thread, seen from the control thread
//
// Owns: what is needed to start the run again or to end it when its thread does, and its observers on this thread.
// Does not own: where it runs, and what that thread holds (runners).
// Invariants
//   M1. What it is told reaches its thread in the order it was said; to a thread that has ended nothing is said.

import type { Worker } from 'node:worker_threads'
import type { Remote } from 'comlink'
import type { Address, RunMessage, StageMessage, ToolCallMessage } from '../actors/messages.ts'
import type { CancelledError, OrlaError } from './errors.ts'
import { Feed } from './feed.ts'
import type { Outbox, RemoteStart, RunnerCalls, ToRunner } from './runtime-runner-protocol.ts'
import type { RunState } from './schema/transition.ts'
import type { WorkflowDefinition } from './workflow/definition.ts'

/** A thread, from its start to its end. */
export interface Shard {
  index: number
  worker: Worker
  calls: Remote<RunnerCalls>
  ready: Promise<void>
  isReady: boolean
  /** Settles when the thread has ended. */
  gone: Promise<void>
  outbox: Outbox<ToRunner>
  alive: boolean
  /** Turns that wait at a backend or hold a slot of it, by request. */
  requests: Map<string, string>
  /** Tool calls that wait or run. */
  toolCalls: Map<string, { to: Address; message: ToolCallMessage }>
  heard: number
}

/** Names a call of a tool: what a thread holds is kept by it. */
export function toolKey(runId: string, stage: string, callId: string): string {
  return `${runId}/${stage}/${callId}`
}

/** A run on another thread: takes what a workflow actor takes, and hands it on. */
export class RemoteRun {
  readonly definition: WorkflowDefinition
  readonly startedAtMs: number
  /** Observers on this thread. */
  readonly feed = new Feed()
  /** Resolves when it is over. */
  readonly over = Promise.withResolvers<void>()
  /** Tools with effects that were called. */
  readonly effects: string[] = []
  shard: Shard | undefined
  seq = 0
  state: RunState = 'pending'
  begun = false
  restarts = 0
  /** Why it is to stop, once it is. */
  stop: CancelledError | undefined
  readonly #start: Omit<RemoteStart, 'watched' | 'again'>
  readonly #isLive: (run: RemoteRun) => boolean
  #input: unknown

  constructor(
    start: Omit<RemoteStart, 'watched' | 'again'>,
    definition: WorkflowDefinition,
    startedAtMs: number,
    isLive: (run: RemoteRun) => boolean,
  ) {
    this.#start = start
    this.definition = definition
    this.startedAtMs = startedAtMs
    this.#isLive = isLive
    this.feed.observedChanged = (watched) => {
      if (this.begun && isLive(this)) this.#send({ type: 'watch', runId: this.id, watched })
    }
  }

  get id(): string {
    return this.#start.runId
  }

  get definitionId(): string {
    return this.#start.definitionId
  }

  /** Begins, with an input that was checked. */
  start(input: unknown): void {
    this.begun = true
    this.#input = input
    this.#send({ type: 'begin', run: { ...this.#start, watched: this.feed.observed }, input })
  }

  /** Begins once more, on another thread. */
  resume(reason: string): void {
    this.restarts++
    const again = { seq: this.seq, startedAtMs: this.startedAtMs, reason }
    this.#send({ type: 'begin', run: { ...this.#start, watched: this.feed.observed, again }, input: this.#input })
  }

  /** Ends it before it began: its input is not valid. */
  refuse(error: OrlaError): void {
    this.begun = true
    this.#send({ type: 'refuse', run: { ...this.#start, watched: this.feed.observed }, error: error.toJSON() })
  }

  /** Stops it wherever it is. */
  cancel(error: CancelledError): void {
    if (!this.#isLive(this) || this.stop !== undefined) return
    this.stop = error
    if (!this.begun) return this.refuse(error)
    this.#send({ type: 'cancel', runId: this.id, by: error.by, reason: error.message })
  }

  /** Takes a decision of the memory manager. */
  receive(message: RunMessage): void {
    this.#send({ type: 'post', to: { actor: 'run', runId: this.id }, message })
  }

  /** Takes a message to one of its stages. */
  deliver(stage: string, message: StageMessage): boolean {
    const { shard } = this
    // Its thread has ended, and took the stage with it.
    if (shard === undefined) return true
    if (message.type === 'stage.rejected') shard.requests.delete(message.requestId)
    else if (message.type === 'stage.toolResult') shard.toolCalls.delete(toolKey(this.id, stage, message.callId))
    this.#send({ type: 'post', to: { actor: 'stage', runId: this.id, stage }, message })
    return true
  }

  #send(message: ToRunner): void {
    this.shard?.outbox.send(message)
  }
}
