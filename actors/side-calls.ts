// Side calls: short inferences that are no stage's turn, such as a router's
//
// Owns: side calls that wait for a slot or run.
// Does not own: the queues they wait in (backends), what is asked (whoever asks).
// In:  ask; stage.granted, stage.rejected   Out: backend.request, backend.withdraw, backend.release
// Invariants
//   S1. A slot that was granted is given back exactly once, on every path.
//   S2. Every call settles exactly once; once its signal is aborted, at once.
//   S3. At most `sideCallsMax` at a time; the next is refused, retryable.

import type { Clock } from '../src/clock.ts'
import type { ChatCall, ChatContext, ChatSink } from '../src/engines/driver.ts'
import { CancelledError, errorFromFacts, healthVerdict, OrlaError, toOrlaError } from '../src/errors.ts'
import { limits } from '../src/limits.ts'
import { costUsd } from '../src/mapping/cost.ts'
import type { PromptMeasure } from '../src/prompts/conversation.ts'
import type { Prices } from '../src/schema/backend.ts'
import type { ChatRequest, ChatResult, ToolSpec } from '../src/schema/chat.ts'
import type { Message } from '../src/schema/message.ts'
import type { StageDefinition } from '../src/workflow/definition.ts'
import type { CallerAddress, Post, StageGranted, StageRejected } from './messages.ts'

/** What side calls need of the runtime. */
export interface SideCallsInput {
  clock: Clock
  post: Post
  measure(messages: readonly Message[], tools: readonly ToolSpec[] | undefined): PromptMeasure | Promise<PromptMeasure>
  pricesOf(backend: string): Prices | undefined
  infer(
    backend: string,
    request: ChatRequest,
    context: ChatContext,
    sink: ChatSink,
    timeouts: StageDefinition['timeouts'],
  ): ChatCall
}

/** One side call. */
export interface SideCall {
  backend: string
  request: ChatRequest
  /** In whose name: `ChatContext.runId`, and what policies go by. */
  runId: string
  tenant: string
  /** Sub-queue that it waits in. */
  stageClass: string
  priority: number
  /** Dollars that it may cost. */
  budgetUsd?: number | undefined
  signal: AbortSignal
}

/** What came of one. */
export interface SideAnswer {
  result: ChatResult
  queueWaitMs: number
  /** From grant to answer, ms. */
  serviceMs: number
  /** Absent where nobody can say. */
  costUsd?: number
}

/** An answer of one word counts as this many tokens where nobody bounds it. */
const outputTokensGuess = 16

interface Pending {
  call: SideCall
  queuedAtMs: number
  resolve(answer: SideAnswer): void
  reject(error: unknown): void
  /** Set once it runs. */
  inference: ChatCall | undefined
  onAbort: () => void
}

/** Side calls of one runtime. */
export class SideCalls {
  readonly #input: SideCallsInput
  readonly #pending = new Map<string, Pending>()
  #count = 0

  constructor(input: SideCallsInput) {
    this.#input = input
  }

  /** Calls that wait or run. */
  get size(): number {
    return this.#pending.size
  }

  /**
   * Takes a call through its backend's queue.
   *
   * Rejects with what the backend or the engine says; with `ORLA_BUDGET` if it might cost more than it may; with
   * `ORLA_LIMIT` if too many wait; with the signal's reason.
   */
  async ask(call: SideCall): Promise<SideAnswer> {
    const { request, backend, signal } = call
    if (this.#pending.size >= limits.sideCallsMax) {
      const what = `${this.#pending.size} side calls wait or run already`
      throw new OrlaError('ORLA_LIMIT', what, { retryable: true, details: { sideCallsMax: limits.sideCallsMax } })
    }
    const { tokens: promptTokens } = await this.#input.measure(request.messages, request.tools)
    if (signal.aborted) throw reasonOf(signal)
    const outputTokens = request.params.maxTokens ?? outputTokensGuess
    const mostUsd = costUsd({ promptTokens, completionTokens: outputTokens }, this.#input.pricesOf(backend)) ?? 0
    if (call.budgetUsd !== undefined && mostUsd > call.budgetUsd) {
      const what = `a call of "${backend}" may cost $${mostUsd.toPrecision(3)}, and $${call.budgetUsd.toPrecision(3)} are left`
      throw new OrlaError('ORLA_BUDGET', what, { details: { backend, mostUsd, leftUsd: call.budgetUsd } })
    }
    const requestId = `${call.runId}/aside/${++this.#count}`
    const { promise, resolve, reject } = Promise.withResolvers<SideAnswer>()
    const queuedAtMs = this.#input.clock.nowMs()
    const onAbort = (): void => this.#abandon(requestId, reasonOf(signal))
    this.#pending.set(requestId, { call, queuedAtMs, resolve, reject, inference: undefined, onAbort })
    signal.addEventListener('abort', onAbort, { once: true })
    this.#input.post(
      { actor: 'backend', name: backend },
      {
        type: 'backend.request',
        replyTo: { actor: 'aside', runId: call.runId, requestId },
        aside: true,
        request: {
          requestId,
          runId: call.runId,
          stageClass: call.stageClass,
          tenant: call.tenant,
          stagePriority: call.priority,
          requestPriority: call.priority,
          promptTokens,
          uncachedTokens: promptTokens,
          outputTokens,
          askedTokens: outputTokens,
          serviceMs: 0,
          remainingMs: 0,
          runStartedAtMs: queuedAtMs,
          attainedTokens: 0,
          deadlineMs: Infinity,
        },
      },
    )
    return promise
  }

  /** Takes a backend's answer. */
  receive({ requestId }: Extract<CallerAddress, { actor: 'aside' }>, message: StageGranted | StageRejected): void {
    const pending = this.#pending.get(requestId)
    if (message.type === 'stage.rejected')
      return this.#settle(requestId, () => pending?.reject(errorFromFacts(message.error)))
    // Nobody wants it any more: the slot goes back at once. `withdraw` may have given it back already, which is harmless.
    if (pending === undefined) return
    this.#infer(requestId, pending)
  }

  #infer(requestId: string, pending: Pending): void {
    const { clock } = this.#input
    const { backend, request, runId, tenant, priority } = pending.call
    const grantedAtMs = clock.nowMs()
    const context: ChatContext = {
      requestId,
      runId,
      priority,
      ...(tenant !== 'default' && { salt: tenant }),
    }
    const call = this.#input.infer(backend, request, context, { delta() {} }, {})
    pending.inference = call
    const release = (verdict: 'ok' | 'faulty' | 'inconclusive', cost: { costUsd?: number }): void =>
      this.#input.post({ actor: 'backend', name: backend }, { type: 'backend.release', requestId, verdict, ...cost })
    call.result.then(
      (result) => {
        const cost = costUsd(result.usage, this.#input.pricesOf(backend))
        release('ok', cost === undefined ? {} : { costUsd: cost })
        const answer: SideAnswer = {
          result,
          queueWaitMs: grantedAtMs - pending.queuedAtMs,
          serviceMs: clock.nowMs() - grantedAtMs,
          ...(cost !== undefined && { costUsd: cost }),
        }
        this.#settle(requestId, () => pending.resolve(answer))
      },
      (cause: unknown) => {
        const error = toOrlaError(cause, 'ORLA_BACKEND_PROTOCOL', 'the driver failed')
        release(healthVerdict(error), { costUsd: 0 })
        this.#settle(requestId, () => pending.reject(error))
      },
    )
  }

  /** Whoever asked is told at once; the slot of a call that runs comes back when its connection is closed. */
  #abandon(requestId: string, why: OrlaError): void {
    const pending = this.#pending.get(requestId)
    if (pending === undefined) return
    const { backend } = pending.call
    this.#settle(requestId, () => pending.reject(why))
    if (pending.inference === undefined) {
      this.#input.post({ actor: 'backend', name: backend }, { type: 'backend.withdraw', requestId })
    } else pending.inference.cancel(why)
  }

  #settle(requestId: string, tell: () => void): void {
    const pending = this.#pending.get(requestId)
    if (pending === undefined) return
    this.#pending.delete(requestId)
    pending.call.signal.removeEventListener('abort', pending.onAbort)
    tell()
  }
}

function reasonOf(signal: AbortSignal): OrlaError {
  return signal.reason instanceof OrlaError
    ? signal.reason
    : new CancelledError('caller', 'the call is not wanted any more')
}
