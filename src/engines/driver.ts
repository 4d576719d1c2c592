// The driver contract: what the runtime needs of an engine.
//
// A driver turns one ChatRequest into one stream on the engine's wire, and the stream back into deltas and a result.
// It holds no policy: no queue, no retry, no deadline. Those live above, once, for all engines.
// A driver keeps these promises
//   D1. It streams from the engine always, whether or not anybody watches, and aggregates by itself.
//   D2. `result` resolves only for an answer that carries a finish reason. A stream that ends without one, or an error
//       inside a 200, rejects. Nothing is ever a success by default.
//   D3. `cancel` closes the connection to the engine at once and rejects `result` with the reason. After `result` has
//       settled no delta is delivered.
//   D4. It rejects with OrlaError only, and says in `retryable` whether the same request may succeed later.

import type { OrlaError } from '../errors.ts'
import type { Clock } from '../clock.ts'
import type { Logger } from '../log.ts'
import type { Capabilities } from '../schema/capabilities.ts'
import type { ChatRequest, ChatResult, DeltaChannel } from '../schema/chat.ts'
import type { KvControl, KvOptions } from './kv-control.ts'

/** What a driver is told about a request besides what is asked of the model. */
export interface ChatContext {
  requestId: string
  runId: string
  /** The run's priority, higher is sooner. Drivers map it to the engine's own sign. */
  priority?: number
  /** Isolates the prefix cache of a tenant from others, where an engine can. */
  salt?: string
  /** Requests of one session share a growing context: the run's id. Engines that can keep it together do. */
  sessionId?: string
}

/** Receives the stream of one request. Called synchronously; must not throw. */
export interface ChatSink {
  /** A piece of text: of the answer, of the thinking, or of a tool call's arguments. Never empty. */
  delta(channel: DeltaChannel, text: string): void
}

/** A request under way. */
export interface ChatCall {
  result: Promise<ChatResult>
  /** Stops the request. Does nothing once `result` has settled. */
  cancel(reason: OrlaError): void
}

/** What a probe found. `unreachable` keeps the error, so that a person can be told. */
export type ProbeResult = { state: 'ready'; capabilities: Capabilities } | { state: 'unreachable'; error: OrlaError }

/** An engine, as the runtime sees it. */
export interface Driver {
  /** What is known without asking the engine. */
  readonly capabilities: Capabilities
  /** Asks the engine what it serves. Bounded by `timeoutMs`; never throws. */
  probe(timeoutMs: number): Promise<ProbeResult>
  chat(request: ChatRequest, context: ChatContext, sink: ChatSink): ChatCall
  /**
   * Tokens of the prompt as the engine itself counts them. Absent where an engine cannot say without running it.
   *
   * @throws {OrlaError} as `chat` rejects
   */
  countTokens?(request: ChatRequest, options?: KvOptions): Promise<number>
  /**
   * How another thread reaches the same engine: text that goes to its `DriverEnvironment.elsewhere`; false if it cannot.
   * Absent: by connecting the same way again.
   */
  readonly elsewhere?: string | false
  /** What can be done with the engine's KV cache. Absent: nothing. */
  readonly kv?: KvControl
  /** Releases sockets, threads and processes. Requests under way are cancelled. */
  close(): Promise<void>
}

/** What the runtime hands to a driver. */
export interface DriverEnvironment {
  /** Name of the backend in the runtime. */
  backend: string
  clock: Clock
  log: Logger
  /** On a runner thread: what the control thread's driver said in `elsewhere`. */
  elsewhere?: string
}
