// Copies of requests at shadow variants
//
// Owns: the copies under way, and what they may cost.
// Does not own: which requests are copied (ShadowSampler, where the stage lives), accounts, backends.
// Invariants
//   S1. A copy begins after its stage has its answer, takes a slot that nobody wants, and is in no queue. It gives way to
//       the next request that needs the slot. Nothing of a run waits for it, pays for it, or sees it.
//   S2. Copies under way are bounded, by stage class and in all. A copy there is no room for is left out, and counted.
//   S3. A copy ends by itself, also after its run; when the runtime closes, it is cancelled.

import type { BackendMessage } from '../actors/messages.ts'
import type { Shadow } from '../actors/stage-host.ts'
import type { AccountBook, Accounts } from './accounting/accounts.ts'
import { ShadowSampler, type ShadowPlan } from './accounting/shadow-plan.ts'
import type { Clock, Random } from './clock.ts'
import type { ChatCall, ChatContext } from './engines/driver.ts'
import { CancelledError } from './errors.ts'
import { limits } from './limits.ts'
import type { Logger } from './log.ts'
import { RunBudget } from './mapping/budget.ts'
import { costUsd } from './mapping/cost.ts'
import type { Prices } from './schema/backend.ts'
import type { ChatRequest, ChatResult } from './schema/chat.ts'

/** A request that was answered. Plain data. */
export interface Answered {
  stageClass: string
  request: ChatRequest
  context: ChatContext
  result: ChatResult
}

/** A shadow variant as people see it. Plain data; what its answers cost and took is in `accounts`. */
export interface ShadowStatus {
  stageClass: string
  backend: string
  inFlight: number
  /** Copies that were drawn; those left out included. */
  drawn: number
  /** Left out: its backend was busy or sick, too many were under way, or the money was spent. */
  skipped: number
  /** Begun, and stopped for a request that somebody waits for. */
  gaveWay: number
}

/** What a stage needs to have requests copied; undefined where no share is above nothing. */
export function shadowOf(
  shares: Readonly<Record<string, number>>,
  random: Random,
  copy: (answered: Answered) => void,
): Shadow | undefined {
  if (Object.keys(shares).length === 0) return undefined
  const sampler = new ShadowSampler(shares, random)
  return {
    draws: (stageClass) => sampler.draws(stageClass),
    take: (stageClass, request, context, result) => copy({ stageClass, request, context, result }),
  }
}

interface ShadowsInput {
  plan: ShadowPlan
  clock: Clock
  log: Logger
  accounts: Accounts
  modelOf(backend: string): string
  pricesOf(backend: string): Prices | undefined
  freeSlots(backend: string): number
  /** Starts a request, or says why the backend has no room for it. */
  chat(backend: string, request: ChatRequest, context: ChatContext): ChatCall | string
}

interface Variant extends ShadowStatus {
  readonly plan: ShadowPlan[string]
  readonly budget: RunBudget
}

/** Lower than any priority that a run can have. */
const lowestPriority = -1_000_000

/** The shadow variants of one runtime. */
export class RuntimeShadows {
  readonly #input: ShadowsInput
  readonly #variants: ReadonlyMap<string, Variant>
  /** By backend, the one that began last at the end. */
  readonly #calls = new Map<string, Set<ChatCall>>()
  #inFlight = 0
  #closed = false

  constructor(input: ShadowsInput) {
    this.#input = input
    this.#variants = new Map(
      Object.entries(input.plan).map(([stageClass, plan]) => {
        const budget = new RunBudget(plan.budgetUsd ?? Infinity)
        const counts = { inFlight: 0, drawn: 0, skipped: 0, gaveWay: 0 }
        return [stageClass, { stageClass, backend: plan.backend, plan, budget, ...counts }]
      }),
    )
  }

  /** Shares of requests that are copied, by stage class. */
  get shares(): Record<string, number> {
    return Object.fromEntries([...this.#variants].map(([stageClass, { plan }]) => [stageClass, plan.share]))
  }

  /** Copies a request that was answered, once what follows from its answer is done. */
  copy(answered: Answered): void {
    const variant = this.#variants.get(answered.stageClass)
    if (variant === undefined) return
    variant.drawn++
    queueMicrotask(() => this.#begin(variant, answered))
  }

  /** Takes a message to a backend before the backend does: a request may need the slot that a copy has. */
  makesWay(backend: string, message: BackendMessage): void {
    const calls = this.#calls.get(backend)
    if (calls === undefined || (message.type !== 'backend.request' && message.type !== 'backend.admitted')) return
    const wanted = message.type === 'backend.admitted' ? message.requestIds.length : 1
    const why = new CancelledError('sibling', 'the slot of a copy is needed for a request that somebody waits for')
    for (const call of [...calls].toReversed()) {
      if (this.#input.freeSlots(backend) - calls.size >= wanted) return
      calls.delete(call)
      call.cancel(why)
    }
  }

  status(): ShadowStatus[] {
    return [...this.#variants.values()].map(({ stageClass, backend, inFlight, drawn, skipped, gaveWay }) => ({
      stageClass,
      backend,
      inFlight,
      drawn,
      skipped,
      gaveWay,
    }))
  }

  /** Cancels what is under way. */
  close(): void {
    this.#closed = true
    const why = new CancelledError('shutdown', 'the runtime is closing')
    for (const calls of this.#calls.values()) for (const call of calls) call.cancel(why)
  }

  #begin(variant: Variant, answered: Answered): void {
    const { plan, budget, backend } = variant
    const input = this.#input
    const { params } = answered.request
    const underWay = this.#calls.get(backend)?.size ?? 0
    const isFull = variant.inFlight >= plan.inFlightMax || this.#inFlight >= limits.shadowsInFlightMax
    // A closed runtime has no use for what a copy would say.
    if (this.#closed || isFull || input.freeSlots(backend) - underWay < 1) return void variant.skipped++
    const asked = {
      promptTokens: answered.result.usage.promptTokens ?? 0,
      completionTokens: params.maxTokens ?? limits.budgetOutputTokens,
    }
    const mostUsd = costUsd(asked, input.pricesOf(backend)) ?? 0
    if (!budget.reserve(mostUsd)) return void variant.skipped++
    const request = { ...answered.request, model: plan.model ?? input.modelOf(backend) }
    const { requestId, runId, salt } = answered.context
    const context: ChatContext = {
      requestId: `${requestId}/shadow`,
      runId,
      priority: lowestPriority,
      ...(salt !== undefined && { salt }),
    }
    const startedAtMs = input.clock.nowMs()
    const call = input.chat(backend, request, context)
    if (typeof call === 'string') {
      budget.settle(mostUsd, 0)
      return void variant.skipped++
    }
    this.#holds(backend, call)
    variant.inFlight++
    this.#inFlight++
    const over = (spentUsd: number): void => {
      budget.settle(mostUsd, spentUsd)
      variant.inFlight--
      this.#inFlight--
      this.#letGo(backend, call)
    }
    const book = this.#input.accounts.book({
      stageClass: answered.stageClass,
      backend,
      variant: `shadow:${backend}`,
    })
    call.result.then(
      (result) => {
        const spentUsd = costUsd(result.usage, input.pricesOf(backend))
        over(spentUsd ?? mostUsd)
        book.answered(result.usage, spentUsd)
        book.ended('completed', input.clock.nowMs() - startedAtMs)
        void this.#compare(variant, book, answered, request, result)
      },
      (error: unknown) => {
        over(0)
        if (error instanceof CancelledError) {
          book.ended('cancelled', 0)
          if (error.by === 'sibling') variant.gaveWay++
          return
        }
        book.erred()
        book.ended('failed', 0)
      },
    )
  }

  async #compare(
    { plan: { compare }, stageClass }: Variant,
    book: AccountBook,
    { result: answer }: Answered,
    request: ChatRequest,
    shadow: ChatResult,
  ): Promise<void> {
    if (compare === undefined) return
    try {
      const rating = await compare({ stageClass, request, answer, shadow })
      if (!(rating >= 0 && rating <= 1)) throw new RangeError(`it returned ${String(rating)}, which is not from 0 to 1`)
      book.rated(rating)
    } catch (error) {
      this.#input.log.error({ stageClass, error }, 'a comparison with a shadow variant failed')
    }
  }

  #holds(backend: string, call: ChatCall): void {
    const calls = this.#calls.get(backend)
    if (calls === undefined) this.#calls.set(backend, new Set([call]))
    else calls.add(call)
  }

  #letGo(backend: string, call: ChatCall): void {
    const calls = this.#calls.get(backend)
    calls?.delete(call)
    if (calls?.size === 0) this.#calls.delete(backend)
  }
}
