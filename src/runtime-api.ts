// The face of a runtime: its options, its runs, and what it can be asked.

import { z } from 'zod'
import type { BackendLoad } from '../actors/backend.ts'
import type { ActorDefinition } from '../actors/extension.ts'
import type { Account } from './accounting/accounts.ts'
import type { DecisionRecord } from './accounting/decisions.ts'
import { BudgetsSchema, type BudgetsOptions, type BudgetStatus } from './accounting/shared-budgets.ts'
import type { CacheDecision, WindowStatus } from '../actors/memory-manager.ts'
import type { PrewarmTotals } from '../actors/memory-prewarm.ts'
import { shadowIssues, type Shadows } from './accounting/shadow-plan.ts'
import type { ShadowStatus } from './runtime-shadows.ts'
import type { Clock } from './clock.ts'
import type { BackendDefinition } from './engines/backend-definition.ts'
import type { ProbeResult } from './engines/driver.ts'
import { OptionsError, type Issue } from './errors.ts'
import type { Observer } from './feed.ts'
import { isUnsafeKey } from './ids.ts'
import { limits } from './limits.ts'
import type { Logger } from './log.ts'
import type { Pressure } from './memory/cache-policy.ts'
import type { LedgerEntry, LedgerTotals } from './memory/ledger.ts'
import { memoryIssues, type MemoryOptions } from './memory/plan.ts'
import type { StageClassFacts } from './prediction/stage-history.ts'
import { poolIssues, type Pools } from './runtime-pools.ts'
import type { TokenEstimator } from './prompts/estimator.ts'
import type { SchedulingPolicy } from './scheduling/policy.ts'
import { schedulingPolicyNames, type SchedulingPolicyName } from './scheduling/registry.ts'
import type { SubQueueLoad } from './scheduling/sub-queues.ts'
import type { PriceOptions, PriceStatus } from './services/price-source.ts'
import type { Prices } from './schema/backend.ts'
import { RuntimeOptionsShape } from './runtime-options.ts'
import { issuesOf } from './schema/options.ts'
import { TenantsOptions } from './schema/tenants.ts'
import type { RunEvent } from './schema/transition.ts'
import type { Workflow } from './workflow/builder.ts'
import type { RunRecorder } from './workflow/recorder.ts'
import type { RunOutcome } from './workflow/report.ts'

/** A scheduling policy as options give it: the name of a stock one, a policy, or a function that makes one. */
export type PolicyOption = SchedulingPolicyName | SchedulingPolicy | (() => SchedulingPolicy)

/** The two levels of one backend; FCFS where absent. */
export interface SchedulingOptions {
  /** Level 1: which stage class is served next. */
  stage?: PolicyOption
  /** Level 2: which of its requests. */
  request?: PolicyOption
}

/** Runner threads in detail. */
export interface ThreadsOptions {
  /** 1 to 64. */
  count: number
  /** Heap that one thread may have, MB; default: as Node decides. */
  heapMb?: number
  /** Threads that may be started again within `withinMs` before the runtime closes, default 10. */
  restartsMax?: number
  /** Default 10,000 ms. */
  withinMs?: number
}

/** One runner thread as people see it. */
export interface RunnerStatus {
  index: number
  state: 'starting' | 'running' | 'ended'
  liveRuns: number
  /** Times it was started again. */
  restarts: number
  /** Messages to this thread since it started, and the arrays they travelled in. */
  sent: number
  batchesSent: number
  /** Messages from it. */
  heard: number
}

/** Options of a runtime. */
export interface RuntimeOptions {
  /** Backends by name, at least one. With `threads` they come from the module instead. */
  backends?: Readonly<Record<string, BackendDefinition>>
  /** Runner threads on which runs live, sharded by run id; default 0: everything on this thread. */
  threads?: number | ThreadsOptions
  /** With `threads`: the module that exports workflows, and `backends`. Every thread imports it. */
  workflows?: URL
  /** Actors of your own: see `defineActor`. */
  actors?: readonly ActorDefinition[]
  /** Scheduling policies by backend name; FCFS at both levels where absent. */
  scheduling?: Readonly<Record<string, SchedulingOptions>>
  /** Backends that serve the same model, by the backend whose turns they take when it cannot serve them, best first. */
  failover?: Readonly<Record<string, readonly string[]>>
  /**
   * Dollars that stage classes and tenants may spend at backends with prices, over all runs. A turn that might cost more
   * than what is left is not sent, and its run fails with `ORLA_BUDGET`, as with a run's own `budgetUsd`.
   */
  budgets?: BudgetsOptions
  /**
   * Backends that serve one model, by the name that stages and mappers call all of them: a stage goes to the one where
   * it is done first, and moves while it waits if that changes.
   */
  pools?: Pools
  /** What tenants may have, and their shares, by name; `*` is for each one that is not named. */
  tenants?: TenantsOptions
  /** Whether requests that wait at a replica may be moved to another, default true. */
  reroute?: boolean
  /**
   * Stage classes (`workflow/stage`) of whose requests a share is copied to another backend, after they were answered. What
   * it says is accounted for as the variant `shadow:<backend>`; no run waits for it, pays for it, or sees it.
   */
  shadows?: Shadows
  /** Prices from a URL, by name of a backend or model, which go before those of backends' settings. */
  prices?: PriceOptions
  /** Time and chance. Default: the computer's own time. */
  clock?: Clock
  /** Who manages KV caches, and how. Default: the engines by themselves. */
  memory?: MemoryOptions
  /** Seed of chance, when no clock is given. */
  seed?: number
  log?: Logger
  /** Counts prompt tokens. Default: the o200k_base vocabulary; corrected by what engines report. */
  estimator?: TokenEstimator
  /** Where prompts are measured: `PromptPoolOptions` has the ranges and defaults. */
  prompts?: { threads?: number; thresholdChars?: number; queueMax?: number }
  /** Milliseconds that probing the backends may take at the start, default 2,000. 0 skips it. */
  probeTimeoutMs?: number
  /** Hears every turn and every run's end, for recordings (`recordTo` of `orla/testing`). */
  recorder?: RunRecorder
  /** Copies every message between actors with structuredClone, as other threads would get it. For tests. */
  cloneMessages?: boolean
  /**
   * Decides when messages between runs and the actors that they share arrive, as if those were on different threads.
   * For tests. It must call every `deliver`, those of each direction in order.
   */
  delivery?: (deliver: () => void, direction: 'from-runs' | 'to-runs') => void
}

/** Options of one run. */
export interface StartOptions {
  /** Whose run it is, for fairness and isolation; default `default`. */
  tenant?: string
  /** Added to every stage's priority hints, higher is sooner; default 0. */
  priority?: number
  /** Milliseconds from now within which the run must be done: then it is cancelled. */
  deadlineMs?: number
  /** Milliseconds from now within which it should be done: policies go by it, and it goes on if it is late. */
  targetMs?: number
  /**
   * Dollars that it may spend at backends with prices. A turn that might cost more than what is left is not sent, and the
   * run fails with `ORLA_BUDGET`; a stage without `maxTokens` counts with 8,192 tokens.
   */
  budgetUsd?: number
  /** Aborting it cancels the run. */
  signal?: AbortSignal
}

/** One execution of a workflow. */
export interface Run<Output = unknown> {
  readonly id: string
  /** Transitions and tokens from the moment it is iterated; iterate right after `start` to miss nothing. */
  readonly events: AsyncIterable<RunEvent>
  /**
   * The run's result. Rejects with an OrlaError when it fails or is cancelled; `outcome` has what it got done.
   * An unobserved rejection does not end the process.
   */
  readonly result: Promise<Output>
  /** How it ended, with reports and partial results. Never rejects. */
  readonly outcome: Promise<RunOutcome<Output>>
  /** Stops the run: queued requests leave, sockets close, tools are told. */
  cancel(reason?: string): void
  /** Says what its result is worth: see `Runtime.feedback`. */
  feedback(feedback: Feedback): void
}

/** What somebody thinks of a result. At least one of rating and labels. */
export interface Feedback {
  /** 0 (useless) to 1 (as wanted). */
  rating?: number
  /** Words of one's own: `resolved`, `wrong-tone`. At most 32. */
  labels?: readonly string[]
  /** The stage that is meant; absent: every stage that completes in the run. */
  stage?: string
}

/** One backend as people see it. */
export interface BackendStatus extends BackendLoad {
  name: string
  engine: string
  model: string
  /** What probing found; undefined if it was skipped. */
  probe: ProbeResult | undefined
  residency: Readonly<LedgerTotals>
  /** Its KV window; absent without one. */
  kvWindow?: WindowStatus
  /** How full its KV cache is, and who says so; absent where nobody knows. */
  pressure?: Pick<Pressure, 'utilisation' | 'source'>
  /** What prewarming came to there; absent where nothing was prefilled. */
  prewarm?: PrewarmTotals
  /** What tokens cost there; absent where nobody says. */
  prices?: Prices
  /** What waits, by stage class. */
  subQueues: SubQueueLoad[]
}

/** A runtime: the actors, and the face they show. */
export interface Runtime extends AsyncDisposable {
  readonly clock: Clock
  /** Events of all runs. */
  readonly events: AsyncIterable<RunEvent>
  /** Runs that are live. */
  readonly liveRuns: number
  /** Messages that found nobody. */
  readonly deadLetters: number
  /**
   * Starts a run. With `threads` the workflow is one that the module exports, or its name.
   *
   * @throws {WorkflowInvalidError} `ORLA_WORKFLOW_INVALID`: all problems of the definition, unknown backends included
   * @throws {MappingError} `ORLA_MAPPING_INCOMPATIBLE`: an explicit mapping that cannot work
   * @throws {InputError} `ORLA_INPUT`: the input does not match its schema (a schema that checks asynchronously rejects
   *   `result` instead)
   * @throws {OrlaError} `ORLA_CLOSED`, `ORLA_LIMIT`, `ORLA_TENANT_LIMIT`
   */
  start<Input, Output>(workflow: Workflow<Input, Output> | string, input: Input, options?: StartOptions): Run<Output>
  /** Calls `observer` with every event of every run. Returns how to stop. */
  subscribe(observer: Observer): () => void
  /** Checks a workflow against this runtime's backends without running it. Throws as `start` does. */
  verify(workflow: Workflow): void
  backends(): BackendStatus[]
  /** What stages of each class took so far, and how right predictions of it were. */
  stageClasses(): StageClassFacts[]
  /** What stages cost, took and were worth, by stage class, backend, and who decided that they run there. */
  accounts(): Account[]
  /** Shadow variants, and how many copies there were. */
  shadows(): ShadowStatus[]
  /** How the list of prices is that options name; undefined without one. */
  prices(): PriceStatus | undefined
  /** Budgets of stage classes and tenants, and what is left of them. */
  budgets(): BudgetStatus[]
  /**
   * Puts other budgets in the place of those of the options, while runs go on. One that stays keeps what was spent.
   *
   * @throws {OptionsError} `ORLA_OPTIONS` with every problem; then nothing has changed
   */
  setBudgets(budgets: BudgetsOptions): void
  /**
   * Says what the result of a run, or of one of its stages, is worth. It is kept with the decisions where they ran, counts
   * in `accounts`, and is told to the mappers that decided and to the recorder. Works while the run is live, and after its
   * end for the last 20,000 stages.
   *
   * @throws {OptionsError} `ORLA_OPTIONS`: a run that is not remembered, a stage that got no backend, a wrong rating
   */
  feedback(runId: string, feedback: Feedback): void
  /** Decisions that have feedback, the one that got it last at the end; at most 1,024. */
  ratedDecisions(): DecisionRecord[]
  /**
   * Sends a message to an actor of yours. False if it is gone, or has too much waiting.
   *
   * @throws {OptionsError} `ORLA_OPTIONS` for an actor that this runtime was not given, and for a wrong message
   */
  tell<Message>(actor: ActorDefinition<Message>, message: Message): boolean
  /** The runner threads; empty without. */
  runners(): RunnerStatus[]
  /** CPU time of each runner thread since it started, us. */
  runnerCpuUs(): Promise<number[]>
  /** What is believed to be in a backend's KV cache, by run. */
  residents(backend: string): LedgerEntry[]
  /** The memory manager's last decisions over all backends, oldest first; at most 256. */
  cacheDecisions(): readonly CacheDecision[]
  /** Replaces policies of a backend while requests wait. */
  setScheduling(backend: string, policies: SchedulingOptions): void
  /** Changes a backend at work. Requests that wait keep waiting. */
  reconfigure(backend: string, change: { windowRequests?: number; queueCapacity?: number }): void
  /** Adds a backend. Throws as `createRuntime` does. */
  addBackend(name: string, definition: BackendDefinition): Promise<void>
  /**
   * Puts another engine, or another address, in the place of a backend's. Requests that wait keep waiting and go to the
   * new one; those in flight finish at the old one, which is closed after them. Resolves once the new one serves.
   */
  replaceBackend(name: string, definition: BackendDefinition): Promise<void>
  /**
   * Removes a backend: its requests that wait go to where their stages may fall back to, or fail with
   * `ORLA_BACKEND_DRAINING`; those in flight finish. Resolves once they have.
   *
   * @throws {OptionsError} `ORLA_OPTIONS` for an unknown backend, and for the last one
   */
  removeBackend(name: string): Promise<void>
  /** A draining backend takes nothing new and finishes what it has. */
  drain(backend: string): void
  resume(backend: string): void
  /** Cancels what runs, and releases threads and sockets. */
  close(): Promise<void>
}

/** Checks the options of a run. */
export const StartOptionsSchema = z.strictObject({
  tenant: z.string().min(1).max(limits.nameLengthMax).default('default'),
  priority: z.number().default(0),
  deadlineMs: z.number().positive().optional(),
  targetMs: z.number().positive().optional(),
  budgetUsd: z.number().min(0).optional(),
  signal: z.instanceof(AbortSignal).optional(),
})

/** Checks feedback. */
export const FeedbackSchema = z
  .strictObject({
    rating: z.number().min(0).max(1).optional(),
    labels: z.array(z.string().min(1).max(limits.nameLengthMax)).max(limits.feedbackLabelsMax).default([]),
    stage: z.string().optional(),
  })
  .refine(({ rating, labels }) => rating !== undefined || labels.length > 0, 'give a rating, or labels, or both')

/**
 * Checks the options of a runtime.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` with every problem
 */
export function checkRuntimeOptions(options: RuntimeOptions): void {
  const shape = RuntimeOptionsShape.safeParse(options)
  // What is of another kind than it should be cannot be looked into.
  if (!shape.success) throw new OptionsError('runtime options', issuesOf(shape.error, '', RuntimeOptionsShape))
  const issues: Issue[] = []
  const names = Object.keys(options.backends ?? {})
  if (names.length === 0) issues.push({ path: 'backends', code: 'no_backends', message: 'give at least one backend' })
  for (const name of names) {
    const path = `backends.${name}`
    if (isUnsafeKey(name)) issues.push({ path, code: 'unsafe_key', message: `"${name}" cannot be a name` })
    if (typeof options.backends?.[name]?.connect !== 'function') {
      const message = 'not a backend: use openAi({ ... }), simulated({ ... }) or another definition'
      issues.push({ path, code: 'not_a_backend', message })
    }
  }
  for (const [name, policies] of Object.entries(options.scheduling ?? {})) {
    const path = `scheduling.${name}`
    if (!names.includes(name)) {
      issues.push({
        path,
        code: 'unknown_backend',
        message: `there is no backend "${name}"; there are: ${names.join(', ')}`,
      })
    }
    for (const level of ['stage', 'request'] as const) {
      const option = policies[level]
      if (typeof option === 'string' && !schedulingPolicyNames.includes(option)) {
        const message = `there is no policy "${option}"; there are: ${schedulingPolicyNames.join(', ')}`
        issues.push({ path: `${path}.${level}`, code: 'unknown_policy', message })
      }
    }
  }
  options.actors?.forEach(({ module, name }, i) => {
    if (module === undefined || options.clock?.virtual !== true) return
    const message = `virtual time is of one thread: give "${name}" without onThread`
    issues.push({ path: `actors[${i}]`, code: 'not_with_virtual_time', message })
  })
  issues.push(...failoverIssues(options))
  issues.push(...poolIssues(options.pools ?? {}, options.backends ?? {}))
  issues.push(...memoryIssues(options.memory, names))
  issues.push(...shadowIssues(options.shadows, names))
  const tenants = TenantsOptions.optional().safeParse(options.tenants)
  if (!tenants.success) issues.push(...issuesOf(tenants.error, 'tenants', TenantsOptions))
  const budgets = BudgetsSchema.optional().safeParse(options.budgets)
  if (!budgets.success) issues.push(...issuesOf(budgets.error, 'budgets', BudgetsSchema))
  if (issues.length > 0) throw new OptionsError('runtime options', issues)
}

/** What is wrong with the failover lists: they name other backends that exist, and that serve the same model. */
function failoverIssues({ failover = {}, backends }: RuntimeOptions): Issue[] {
  const issues: Issue[] = []
  const names = Object.keys(backends ?? {})
  const modelOf = (name: string): string | undefined =>
    names.includes(name) ? backends?.[name]?.settings?.model : undefined
  for (const [name, others] of Object.entries(failover)) {
    const path = `failover.${name}`
    const unknown = (at: string, what: string): number =>
      issues.push({
        path: at,
        code: 'unknown_backend',
        message: `there is no backend "${what}"; there are: ${names.join(', ')}`,
      })
    if (!names.includes(name)) {
      unknown(path, name)
      continue
    }
    if (!Array.isArray(others) || others.length > limits.fallbacksMax) {
      issues.push({ path, code: 'invalid_list', message: `give a list of at most ${limits.fallbacksMax} backends` })
      continue
    }
    ;(others as readonly string[]).forEach((other, i) => {
      const at = `${path}[${i}]`
      if (!names.includes(other)) return unknown(at, other)
      if (other === name)
        return issues.push({ path: at, code: 'same_backend', message: 'it cannot take its own place' })
      if (modelOf(other) === modelOf(name)) return undefined
      const message = `"${other}" serves ${modelOf(other)}, "${name}" ${modelOf(name)}; for another model use a stage's \`fallback\``
      return issues.push({ path: at, code: 'other_model', message })
    })
  }
  return issues
}
