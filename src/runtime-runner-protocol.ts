// What the control thread and a runner thread say to each other.
//
// Control calls (start, close) go through Comlink. Everything a run does travels on one port in arrays, one array a turn
// of the loop: waking a thread costs 30 us whatever it carries, a message among 64 costs 0.5 us (Node 24).

import type { MessagePort } from 'node:worker_threads'
import type { ActorMessage, Address } from '../actors/messages.ts'
import type { RunAgain } from '../actors/workflow.ts'
import type { CancelledBy, ErrorFacts } from './errors.ts'
import type { StageHistory } from './prediction/stage-history.ts'
import type { Answered } from './runtime-shadows.ts'
import type { Prices } from './schema/backend.ts'
import type { LogLine } from './runtime-thread-log.ts'
import type { TokenEvent, Transition } from './schema/transition.ts'
import type { RunOutcome } from './workflow/report.ts'
import type { ToolContext } from './workflow/tool.ts'
import type { TurnFacts } from './workflow/recorder.ts'

/** A run as its runner makes it. */
export interface RemoteStart {
  runId: string
  workflow: string
  definitionId: string
  tenant: string
  priority: number
  deadlineMs: number | undefined
  targetMs: number | undefined
  budgetUsd: number | undefined
  /** Whether somebody sees its token events. */
  watched: boolean
  again?: RunAgain
}

/** A backend as runners know it. */
export interface BackendGlimpse {
  name: string
  model: string
  /** Whether it takes requests now. */
  serves: boolean
  /** What tokens cost there; absent where nobody says. */
  prices?: Prices
}

/** From the control thread to a runner. */
export type ToRunner =
  | { type: 'begin'; run: RemoteStart; input: unknown }
  | { type: 'refuse'; run: RemoteStart; error: ErrorFacts }
  | { type: 'cancel'; runId: string; by: CancelledBy; reason: string }
  | { type: 'post'; to: Address; message: ActorMessage }
  | { type: 'watch'; runId: string | undefined; watched: boolean }
  | { type: 'backends'; backends: BackendGlimpse[]; forecasts: boolean }
  | { type: 'heard'; tokens: number }
  | {
      type: 'tool'
      call: number
      workflow: string
      stage: string
      tool: string
      args: unknown
      context: Omit<ToolContext, 'signal'>
    }
  | { type: 'abortTool'; call: number }

/** From a runner to the control thread. */
export type FromRunner =
  | { type: 'post'; to: Address; message: ActorMessage }
  | { type: 'transition'; transition: Transition }
  | { type: 'token'; event: TokenEvent }
  | { type: 'dropped'; runId: string; atMs: number; count: number }
  | { type: 'ended'; outcome: RunOutcome }
  | { type: 'turn'; facts: TurnFacts }
  | { type: 'shadow'; answered: Answered }
  | { type: 'answered'; told: Parameters<StageHistory['answered']> }
  | { type: 'completed'; told: Parameters<StageHistory['completed']> }
  | { type: 'toolDone'; call: number; ok: true; value: unknown }
  | { type: 'toolDone'; call: number; ok: false; message: string }
  | LogLine
  | { type: 'dead'; message: string }

/** What a runner is started with. */
export interface RunnerBoot {
  index: number
  /** The module that exports workflows and backends. */
  module: string
  seed: number
  clockOriginMs: number
  /** What drivers of the control thread said in `elsewhere`, by backend. */
  elsewhere: Record<string, string>
  backends: BackendGlimpse[]
  /** Whether any policy reads forecasts. */
  forecasts: boolean
  failover: Readonly<Record<string, readonly string[]>>
  /** Names of pools. */
  pools: readonly string[]
  prompts: { threads?: number; thresholdChars?: number; queueMax?: number }
  watched: boolean
  /** Whether somebody records turns. */
  records: boolean
  /** Shares of requests that are copied to shadow variants, by stage class. */
  shadows: Readonly<Record<string, number>>
}

/** Control calls of a runner, over Comlink. */
export interface RunnerCalls {
  /** Loads the module and connects its backends. */
  boot(boot: RunnerBoot): Promise<void>
  /** CPU time of the thread so far, us. */
  cpuUs(): number
  /** Gives back what its drivers hold. */
  close(): Promise<void>
}

/** The ports that a runner thread is made with. */
export interface RunnerPorts {
  calls: MessagePort
  hot: MessagePort
}

/** Pushes what is to be sent of a message, in one piece or several. */
export type Pack<Message> = (message: Message, push: (packed: unknown, message: Message) => void) => void

/** Sends messages in arrays, one a turn of the loop, in order. */
export class Outbox<Message extends object> {
  readonly #port: MessagePort
  readonly #uncloneable: (message: Message, error: unknown) => void
  readonly #pack: Pack<Message>
  #batch: unknown[] = []
  /** The message that each of them came from. */
  #messages: Message[] = []
  readonly #push = (packed: unknown, message: Message): void => {
    this.#batch.push(packed)
    this.#messages.push(message)
  }
  #closed = false
  /** Arrays and messages sent so far. */
  batches = 0
  messages = 0

  /**
   * @param uncloneable - hears of a message that cannot cross threads, and may send another in its place
   * @param pack - pushes the short form of a message, or the message as it is
   */
  constructor(
    port: MessagePort,
    uncloneable: (message: Message, error: unknown) => void,
    pack: Pack<Message> = (message, push) => push(message, message),
  ) {
    this.#port = port
    this.#uncloneable = uncloneable
    this.#pack = pack
  }

  send(message: Message): void {
    if (this.#closed) return
    if (this.#batch.length === 0) setImmediate(() => this.#flush())
    this.#pack(message, this.#push)
  }

  /** Nothing more is sent. */
  close(): void {
    this.#closed = true
    this.#batch = []
    this.#messages = []
  }

  #flush(): void {
    const batch = this.#batch
    const messages = this.#messages
    this.#batch = []
    this.#messages = []
    if (batch.length === 0) return
    this.batches++
    this.messages += batch.length
    try {
      this.#port.postMessage(batch)
    } catch {
      // One of them holds what cannot be cloned: the others must not suffer for it.
      for (const [i, packed] of batch.entries()) {
        try {
          this.#port.postMessage([packed])
        } catch (error) {
          this.#uncloneable(messages[i]!, error)
        }
      }
    }
  }
}
