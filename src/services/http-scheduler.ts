// An order that a service decides: asked over HTTP in batches, while the queue goes on with what it knows
//
// Owns: the ranks that the service gave, what it is to be asked about, and whether it is to be asked at all.
// Does not own: the queue, which asks for keys and is told when they change.
// Invariants
//   H1. Nothing waits for the service: a key is what is known now. A request is asked about once, or again after the
//       service was down.
//   H2. At most `questionsMax` questions are open at once, of at most `batchMax` requests each; at most `pendingMax`
//       requests wait to be asked about, and as many ranks are kept. What is beyond has the middle rank.
//   H3. Nothing is passed by what arrives more than `patienceMs` after it, whatever the service says.
//   H4. While the service is down all keys are the fallback's.

import { z } from 'zod'
import { realClock, type Clock } from '../clock.ts'
import { OptionsError, type Issue } from '../errors.ts'
import { fcfs } from '../scheduling/fcfs.ts'
import { isPickPolicy, type KeyedPolicy, type SchedulingLevel } from '../scheduling/policy.ts'
import { schedulingPolicy, type SchedulingPolicyName } from '../scheduling/registry.ts'
import type { RequestView } from '../scheduling/request-view.ts'
import { askService, checkServiceUrl } from './json-service.ts'

/** How to ask a scheduling service. */
export interface HttpSchedulerOptions {
  /** Where it takes questions by POST. */
  url: string | URL
  headers?: Readonly<Record<string, string>>
  /** From a question to its answer, ms, default 50 (the reference system's). */
  timeoutMs?: number
  /** How long requests are gathered before a question, ms, default 5. */
  batchMs?: number
  /** Requests of one question, default 256. */
  batchMax?: number
  /** Questions that may be open at once, default 4. */
  questionsMax?: number
  /** What a rank of 1 costs against one of 0, in ms of waiting, default 600,000. */
  patienceMs?: number
  /** The order while the service is down: the name of a policy with fixed keys, or such a policy; default `fcfs`. */
  fallback?: SchedulingPolicyName | KeyedPolicy
  /** Hears when the service goes down, with why, and when it is back. */
  onChange?(state: 'up' | 'down', why: string): void
  /** Default: the computer's own time. */
  clock?: Clock
}

/** Requests that wait to be asked about, and ranks that are kept. */
const pendingMax = 16_384
/** Rank of what the service has not ranked. */
const middleRank = 0.5
/** Pause after the service failed, ms; doubles with each failure in a row. */
const pauseMsFirst = 1_000
const pauseMsMax = 30_000

/** What a service answers: a rank for each request, or their order. */
const Answer = z.union([
  z.strictObject({ ranks: z.record(z.string(), z.number().min(0).max(1)) }),
  z.strictObject({ order: z.array(z.string()).max(100_000) }),
])

const Numbers = z.strictObject({
  timeoutMs: z.number().positive().max(60_000).default(50),
  batchMs: z.number().min(0).max(10_000).default(5),
  batchMax: z.int().min(1).max(10_000).default(256),
  questionsMax: z.int().min(1).max(64).default(4),
  patienceMs: z.number().positive().max(86_400_000).default(600_000),
})

/**
 * A policy whose order a service of yours decides. Use one object for both levels of one backend.
 *
 * A question is a POST of `{ pending: [{ id, runId, stage, tenant, stagePriority, requestPriority, promptTokens,
 * uncachedTokens, outputTokens, attainedTokens, waitMs, deadlineInMs? }] }`: requests that arrived since the last one. The
 * answer is `{ ranks: { id: 0..1 } }`, 0 is first, or `{ order: [id] }`. The key of a request is its arrival and its rank
 * times `patienceMs`. Requests that are not ranked yet, or were left out, have the middle rank.
 *
 * A service that is late, broken or answers nonsense is down: requests are ordered by `fallback`, and it is asked again
 * after 1 s, then 2, up to 30.
 *
 * @throws {OptionsError} `ORLA_OPTIONS`
 * @example
 * const order = httpScheduler({ url: 'http://127.0.0.1:9000/rank' })
 * await createRuntime({ backends, scheduling: { main: { stage: order, request: order } } })
 */
export function httpScheduler(options: HttpSchedulerOptions): KeyedPolicy {
  return new ServiceOrder(options)
}

class ServiceOrder implements KeyedPolicy {
  readonly name = 'http'
  readonly forecast?: true
  readonly #url: URL
  readonly #options: HttpSchedulerOptions
  readonly #numbers: z.output<typeof Numbers>
  readonly #fallback: KeyedPolicy
  readonly #clock: Clock
  readonly #watchers = new Set<(requestIds: readonly string[] | undefined) => void>()
  /** In order of last answer. */
  readonly #ranks = new Map<string, number>()
  readonly #pending = new Map<string, RequestView>()
  /** Asked about, and not answered yet. */
  readonly #asked = new Set<string>()
  #questions = 0
  #gathering = false
  #failures = 0
  #askAgainAtMs = 0

  constructor(options: HttpSchedulerOptions) {
    const what = 'options of httpScheduler()'
    this.#url = checkServiceUrl(options.url, what)
    const { timeoutMs, batchMs, batchMax, questionsMax, patienceMs } = options
    const numbers = Numbers.safeParse(defined({ timeoutMs, batchMs, batchMax, questionsMax, patienceMs }))
    if (!numbers.success) {
      const issues = numbers.error.issues.map(({ path, code, message }): Issue => ({
        path: path.join('.'),
        code,
        message,
      }))
      throw new OptionsError(what, issues)
    }
    const { fallback = fcfs() } = options
    const local = typeof fallback === 'string' ? schedulingPolicy(fallback) : fallback
    if (isPickPolicy(local)) {
      const message = `"${local.name}" chooses when asked; take a policy with fixed keys, or fcfs`
      throw new OptionsError(what, [{ path: 'fallback', code: 'not_keyed', message }])
    }
    this.#options = options
    this.#numbers = numbers.data
    this.#fallback = local
    if (local.forecast === true) this.forecast = true
    this.#clock = options.clock ?? realClock()
  }

  key(request: RequestView, level: SchedulingLevel): number {
    const { requestId, arrivalMs } = request
    const rank = this.#ranks.get(requestId)
    if (rank === undefined && !this.#asked.has(requestId)) this.#wonder(request)
    if (this.#failures > 0) return this.#fallback.key(request, level)
    return arrivalMs + (rank ?? middleRank) * this.#numbers.patienceMs
  }

  served(request: RequestView, nowMs: number, level: SchedulingLevel): void {
    this.#ranks.delete(request.requestId)
    this.#pending.delete(request.requestId)
    this.#fallback.served?.(request, nowMs, level)
  }

  watch(changed: (requestIds: readonly string[] | undefined) => void): () => void {
    this.#watchers.add(changed)
    return () => void this.#watchers.delete(changed)
  }

  #wonder(request: RequestView): void {
    if (!this.#pending.has(request.requestId) && this.#pending.size >= pendingMax) return
    this.#pending.set(request.requestId, request)
    this.#gather()
  }

  #gather(): void {
    const { batchMs, batchMax, questionsMax } = this.#numbers
    if (this.#gathering || this.#pending.size === 0 || this.#questions >= questionsMax) return
    const pauseMs = this.#askAgainAtMs - this.#clock.nowMs()
    // While it is down, what arrives after the pause asks again: no timer keeps a program alive for it.
    if (pauseMs > 0) return
    if (this.#pending.size >= batchMax) return void this.#ask()
    this.#gathering = true
    this.#clock.setTimer(batchMs, () => {
      this.#gathering = false
      void this.#ask()
    })
  }

  async #ask(): Promise<void> {
    const { batchMax, timeoutMs } = this.#numbers
    const { headers } = this.#options
    const nowMs = this.#clock.nowMs()
    const batch = [...this.#pending.values().take(batchMax)]
    if (batch.length === 0) return
    for (const { requestId } of batch) {
      this.#pending.delete(requestId)
      this.#asked.add(requestId)
    }
    this.#questions++
    try {
      const service = { url: this.#url, timeoutMs, ...(headers !== undefined && { headers }) }
      const answered = await askService(this.#clock, service, {
        body: { pending: batch.map((each) => told(each, nowMs)) },
      })
      const parsed = Answer.safeParse(answered)
      if (parsed.success) this.#answered(batch, ranksOf(parsed.data))
      else this.#failed(batch, `answered nonsense: ${parsed.error.issues[0]?.message ?? ''}`)
    } catch (error) {
      this.#failed(batch, error instanceof Error ? error.message : String(error))
    } finally {
      this.#questions--
      this.#gather()
    }
  }

  #answered(batch: readonly RequestView[], ranks: ReadonlyMap<string, number>): void {
    const wasDown = this.#failures > 0
    this.#failures = 0
    this.#askAgainAtMs = 0
    for (const { requestId } of batch) {
      this.#asked.delete(requestId)
      this.#ranks.set(requestId, ranks.get(requestId) ?? middleRank)
    }
    for (const requestId of this.#ranks.keys()) {
      if (this.#ranks.size <= pendingMax) break
      this.#ranks.delete(requestId)
    }
    if (wasDown) this.#say('up', 'it answered')
    this.#tell(wasDown ? undefined : batch.map(({ requestId }) => requestId))
  }

  #failed(batch: readonly RequestView[], why: string): void {
    for (const request of batch) {
      this.#asked.delete(request.requestId)
      // Those that still wait are asked about when it is back.
      if (this.#pending.size < pendingMax) this.#pending.set(request.requestId, request)
    }
    const pauseMs = Math.min(pauseMsMax, pauseMsFirst * 2 ** this.#failures)
    this.#askAgainAtMs = this.#clock.nowMs() + pauseMs
    if (this.#failures++ > 0) return
    this.#say('down', why)
    this.#tell(undefined)
  }

  #say(state: 'up' | 'down', why: string): void {
    try {
      this.#options.onChange?.(state, why)
    } catch {
      // Whoever listens does so at their own risk: the order is not theirs to break.
    }
  }

  /** Keys are others now: those of these requests, or all. */
  #tell(requestIds: readonly string[] | undefined): void {
    for (const changed of this.#watchers) changed(requestIds)
  }
}

/** A request as the service sees it. */
function told(request: RequestView, nowMs: number): object {
  const { requestId: id, runId, stageClass: stage, tenant, arrivalMs, deadlineMs } = request
  const { stagePriority, requestPriority, promptTokens, uncachedTokens, outputTokens, attainedTokens } = request
  return {
    id,
    runId,
    stage,
    tenant,
    stagePriority,
    requestPriority,
    promptTokens,
    uncachedTokens,
    outputTokens,
    attainedTokens,
    waitMs: Math.max(0, nowMs - arrivalMs),
    ...(deadlineMs !== Infinity && { deadlineInMs: deadlineMs - nowMs }),
  }
}

function ranksOf(answer: z.output<typeof Answer>): Map<string, number> {
  if ('ranks' in answer) return new Map(Object.entries(answer.ranks))
  const last = Math.max(1, answer.order.length - 1)
  return new Map(answer.order.map((id, i) => [id, i / last]))
}

function defined<T extends object>(fields: T): Partial<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<T>
}
