// The composition root: the only file that wires actors, machines, drivers and the prompt pool together
//
// Owns: the actors of one runtime and their addresses, the runs that are live, the feed of everything.
// Does not own: any policy; backends at work and definitions in use have files of their own.
// Invariants
//   R1. Every message goes through `post`; one to an actor that is gone is counted as a dead letter.
//   R2. A run's transition reaches the memory manager before anything that follows from it.
//   R3. A run that is over leaves nothing behind: no entry in the registry, no listener on the caller's signal.

import type { AnyActorRef } from 'xstate'
import { z } from 'zod'
import { Extensions, type ActorDefinition } from '../actors/extension.ts'
import { startActor } from '../actors/logic.ts'
import { mapperLogic, type MapperState } from '../actors/mapper.ts'
import { memoryManagerLogic, type CacheDecision, type MemoryManagerState } from '../actors/memory-manager.ts'
import type {
  ActorMessage,
  Address,
  BackendMessage,
  MapperMessage,
  MemoryMessage,
  RerouterMessage,
  RunMessage,
  StageGranted,
  StageRejected,
  ToolMessage,
} from '../actors/messages.ts'
import type { Account } from './accounting/accounts.ts'
import type { DecisionRecord } from './accounting/decisions.ts'
import { shadowPlan } from './accounting/shadow-plan.ts'
import type { BudgetsOptions, BudgetStatus } from './accounting/shared-budgets.ts'
import { rerouterLogic, type RerouterState } from '../actors/rerouter.ts'
import { startRoot } from '../actors/root.ts'
import { SupervisedActor } from '../actors/supervised.ts'
import { Supervisor, type SupervisionStrategy } from '../actors/supervisor.ts'
import { WorkflowActor, type WorkflowServices } from '../actors/workflow.ts'
import { clockOrigin, type Clock } from './clock.ts'
import type { BackendDefinition } from './engines/backend-definition.ts'
import { CancelledError, InputError, OptionsError, OrlaError } from './errors.ts'
import { Feed, type Observer } from './feed.ts'
import { limits } from './limits.ts'
import { type Logger } from './log.ts'
import { WarmHeads } from './mapping/warm-heads.ts'
import type { LedgerEntry } from './memory/ledger.ts'
import { memoryPlan } from './memory/plan.ts'
import { CriticalPaths } from './prediction/critical-path.ts'
import { StageHistory, type StageClassFacts } from './prediction/stage-history.ts'
import { createTokenCorrection } from './prompts/correction.ts'
import { type TokenEstimator } from './prompts/estimator.ts'
import {
  StartOptionsSchema,
  type BackendStatus,
  type Feedback,
  type Run,
  type RunnerStatus,
  type Runtime,
  type RuntimeOptions,
  type SchedulingOptions,
  type StartOptions,
} from './runtime-api.ts'
import { RuntimeAccounting } from './runtime-accounting.ts'
import { ActorThread } from './runtime-actor-thread.ts'
import { Backends, closedError, type Connected } from './runtime-backends.ts'
import { CacheActions } from './runtime-cache-actions.ts'
import { Definitions } from './runtime-definitions.ts'
import { workflowOf, type ThreadsPlan, type WorkflowModule } from './runtime-modules.ts'
import { RuntimeForesight } from './runtime-foresight.ts'
import { RuntimeMapping } from './runtime-mapping.ts'
import { PolicyNames } from './runtime-policies.ts'
import { RuntimeTenants } from './runtime-tenants.ts'
import { RunHandle } from './runtime-run.ts'
import type { Runners } from './runtime-runners.ts'
import { RuntimeShadows, shadowOf, type ShadowStatus } from './runtime-shadows.ts'
import { PriceSource, type PriceStatus } from './services/price-source.ts'
import { parseOptions } from './schema/options.ts'
import { check, type Checked } from './schema/standard.ts'
import type { RunEvent, Transition } from './schema/transition.ts'
import { TurnoverMap } from './turnover-map.ts'
import { createPromptPool, type PromptPool } from './workers/prompt-pool.ts'
import type { Workflow } from './workflow/builder.ts'
import type { RunOutcome } from './workflow/report.ts'

const soon = Promise.resolve()
/** Options of a run that was given none. */
const defaultStart = StartOptionsSchema.parse({})

/** What a runtime is made of, besides its options. */
export interface RuntimeParts {
  clock: Clock
  log: Logger
  estimator: TokenEstimator
  probeTimeoutMs: number
  connected: Connected[]
  prices: PriceSource | undefined
  remote?:
    | {
        plan: ThreadsPlan
        module: WorkflowModule
        url: string
        elsewhere: Record<string, string>
        make: typeof Runners
      }
    | undefined
}

const memoryAddress = { actor: 'memory' } as const

/** The actors of one runtime, and the face they show. Made by `createRuntime`. */
export class OrlaRuntime implements Runtime {
  readonly clock: Clock
  readonly #log: Logger
  readonly #feed = new Feed()
  readonly #root: AnyActorRef
  /** Long-lived actors by who restarts with whom. What cannot be kept alive closes the runtime. */
  readonly #supervisors: { backends: Supervisor; managers: Supervisor; tools: Supervisor }
  readonly #tenants: RuntimeTenants
  readonly #policies: PolicyNames
  readonly #history = new StageHistory()
  readonly #accounting: RuntimeAccounting
  readonly #shadows: RuntimeShadows | undefined
  readonly #prices: PriceSource | undefined
  readonly #backends: Backends
  readonly #definitions: Definitions
  readonly #mapping: RuntimeMapping
  readonly #mapper: SupervisedActor<MapperState, MapperMessage>
  readonly #rerouter: SupervisedActor<RerouterState, RerouterMessage>
  readonly #memory: SupervisedActor<MemoryManagerState, MemoryMessage>
  readonly #prompts: PromptPool
  readonly #foresight: RuntimeForesight | undefined
  readonly #cache: CacheActions
  readonly #services: WorkflowServices
  readonly #module: WorkflowModule | undefined
  readonly #runners: Runners | undefined
  readonly #extensions: Extensions
  readonly #runs = new TurnoverMap<string, RunHandle<unknown>>()
  readonly #cloneMessages: boolean
  readonly #delivery: RuntimeOptions['delivery']
  readonly #runIdSuffix: string
  #runCount = 0
  #deadLetters = 0
  #closed: Promise<void> | undefined

  constructor(
    options: RuntimeOptions & Required<Pick<RuntimeOptions, 'backends'>>,
    { clock, log, estimator, probeTimeoutMs, connected, prices, remote }: RuntimeParts,
  ) {
    this.clock = clock
    this.#log = log
    this.#cloneMessages = options.cloneMessages ?? false
    this.#delivery = options.delivery
    this.#runIdSuffix = Math.floor(clock.random('run-ids')() * 36 ** 4)
      .toString(36)
      .padStart(4, '0')
    this.#prompts = createPromptPool({ estimator, mode: clock.virtual ? 'inline' : 'pool', ...options.prompts })
    this.#root = startRoot(log)
    this.#prices = prices
    if (prices !== undefined) prices.changed = () => this.#runners?.backendsChanged()
    this.#accounting = new RuntimeAccounting({
      clock,
      log,
      recorder: options.recorder,
      budgets: options.budgets,
      pricesOf: (backend) => this.#backends.pricesOf(backend),
    })
    const shadows =
      options.shadows &&
      new RuntimeShadows({
        plan: shadowPlan(options.shadows),
        clock,
        log,
        accounts: this.#accounting.books,
        modelOf: (backend) => this.#backends.modelOf(backend),
        pricesOf: (backend) => this.#backends.pricesOf(backend),
        freeSlots: (backend) => this.#backends.freeSlots(backend),
        chat: (backend, request, context) => this.#backends.chatAhead(backend, request, context),
      })
    this.#shadows = shadows

    this.#tenants = new RuntimeTenants(options.tenants)
    this.#policies = new PolicyNames(this.#tenants.weights)
    const post = this.#post.bind(this)
    const pools = options.pools ?? {}
    const isPool = (name: string): boolean => Object.hasOwn(pools, name)
    const memory = memoryPlan(options.memory)
    this.#foresight = !memory.prewarm
      ? undefined
      : new RuntimeForesight({
          measure: (messages, tools) => this.#prompts.measure(messages, { tools }),
          modelOf: (backend) => this.#backends.modelOf(backend),
          isPool,
          chat: (backend, request, context) => this.#backends.chatAhead(backend, request, context),
          foreseen: (prompt) => post({ actor: 'memory' }, { type: 'memory.foreseen', prompt }),
        })
    this.#supervisors = {
      backends: this.#supervisor('backends', 'one-for-one'),
      managers: this.#supervisor('managers', 'rest-for-one'),
      tools: this.#supervisor('tools', 'one-for-one'),
    }
    const { managers } = this.#supervisors
    this.#backends = new Backends({
      clock,
      log,
      post,
      supervisor: this.#supervisors.backends,
      policies: this.#policies,
      tenants: this.#tenants.gate,
      probeTimeoutMs,
      prices,
      changed: () => this.#runners?.backendsChanged(),
      holdMsMax: (name) => memory.windows.get(name)?.holdMsMax,
    })
    this.#definitions = new Definitions({
      clock,
      log,
      post,
      backends: this.#backends,
      pools,
      supervisor: this.#supervisors.tools,
      proxyOf:
        remote === undefined
          ? undefined
          : (workflow, stage, name, definition) => this.#runners!.toolProxy(workflow, stage, name, definition),
    })
    Object.entries(options.backends).forEach(([name, definition], i) => {
      this.#backends.put(name, definition, connected[i]!, options.scheduling?.[name] ?? {})
    })
    this.#cache = new CacheActions({
      prefilled: (backend, action, usage) => this.#accounting.prefilled(backend, action, usage),
      post,
      kvControl: (backend) => this.#backends.kvControl(backend),
      foresight: this.#foresight,
    })
    let actions = 0
    this.#memory = new SupervisedActor(managers, 'memory', (broken) => {
      const actor = startActor(memoryManagerLogic, {
        log,
        clock,
        post,
        ...memory,
        kvOf: (backend) => this.#backends.kvCapabilities(backend),
        actionId: () => ++actions,
        act: (backend, action, actionId) => this.#cache.act(backend, action, actionId),
        stop: (actionId, why) => this.#foresight?.stop(actionId, why),
        freeSlots: (backend) => this.#backends.freeSlots(backend),
      })
      if (broken !== undefined) this.#foresight?.abandon()
      // It knows nothing of what the one before it held back.
      if (broken !== undefined)
        for (const name of this.#backends.names) this.#backends.tell(name, { type: 'backend.readmit' })
      return actor
    })
    const measure: WorkflowServices['measure'] = (messages, tools, signal) =>
      this.#prompts.measure(messages, { tools, signal })
    const render: WorkflowServices['render'] = (prompt, context, signal) => {
      const built = this.#prompts.render(prompt, context, { signal })
      return built instanceof Promise ? built.then(({ messages }) => messages) : built.messages
    }
    this.#mapping = new RuntimeMapping({
      clock,
      post,
      measure,
      render,
      ledger: () => this.#memory.state.ledger,
      modelOf: (backend) => this.#backends.modelOf(backend),
      pricesOf: (backend) => this.#backends.pricesOf(backend),
      infer: (...call) => this.#backends.chat(...call),
    })
    this.#mapper = new SupervisedActor<MapperState, MapperMessage>(managers, 'mapper', (broken) =>
      startActor(mapperLogic, {
        clock,
        random: clock.random('mapping'),
        stageOf: (definitionId, stage) => this.#definitions.stage(definitionId, stage),
        backends: () => this.#backends.views(),
        poolOf: (name) => (isPool(name) ? pools[name] : undefined),
        history: this.#history,
        calls: this.#mapping.calls,
        promptOf: (stage, runId, context) => this.#mapping.promptOf(stage, runId, context),
        decided: (replyTo, learner) => this.#accounting.decided(replyTo, learner),
        adopts: broken?.leave(),
        post,
      }),
    )
    this.#rerouter = new SupervisedActor(managers, 'rerouter', (broken) =>
      startActor(rerouterLogic, {
        clock,
        log,
        post,
        queues: () => (options.reroute === false ? [] : this.#backends.queues()),
        again: broken !== undefined,
      }),
    )

    this.#services = {
      clock,
      random: clock.random('retries'),
      post: this.#delivery === undefined ? post : this.#postOfRun.bind(this),
      root: this.#root,
      log,
      feed: this.#feed,
      correction: createTokenCorrection(),
      history: this.#history,
      paths: new CriticalPaths(this.#history),
      forecasts: () => this.#policies.forecasts,
      recorder: options.recorder,
      shadow: shadows && shadowOf(shadows.shares, clock.random('shadows'), (answered) => shadows.copy(answered)),
      foresight: this.#foresight,
      measure,
      render,
      modelOf: (backend) => this.#backends.modelOf(backend),
      pricesOf: (backend) => this.#backends.pricesOf(backend),
      peersOf: (backend) => options.failover?.[backend] ?? [],
      isPool,
      placesNow: (names) => (options.reroute === false ? undefined : this.#backends.places(names)),
      warmHeads: new WarmHeads(),
      canServe: (backend) => this.#backends.canServe(backend),
      infer: (backend, request, context, sink, timeouts) =>
        this.#backends.chat(backend, request, context, sink, timeouts),
      transition: (transition, nowMs) => this.#onTransition(transition, nowMs),
      ended: (outcome, definitionId) => this.#onEnded(outcome, definitionId),
    }
    this.#extensions = new Extensions({
      definitions: options.actors ?? [],
      clock,
      log,
      backends: () => this.#backends.names,
      load: (backend) => this.#backends.get(backend).actor.state.load(),
      tellBackend: (backend, message) => this.#backends.tell(backend, message),
      onThread: ({ name }, file) =>
        new ActorThread({
          name,
          module: file,
          clock,
          log,
          loads: () => Object.fromEntries([...this.#backends].map(([each, { actor }]) => [each, actor.state.load()])),
          tellBackend: (backend, message) => this.#backends.tell(backend, message),
        }),
    })
    this.#module = remote?.module
    if (remote === undefined) return
    const { plan, url, elsewhere, make } = remote
    this.#runners = new make({
      plan,
      boot: {
        module: url,
        seed: clock.seed,
        clockOriginMs: clockOrigin(clock),
        elsewhere,
        failover: options.failover ?? {},
        pools: Object.keys(pools),
        prompts: options.prompts ?? {},
        records: options.recorder !== undefined,
        shadows: shadows?.shares ?? {},
      },
      clock,
      log,
      supervisor: this.#supervisor('runners', 'one-for-one', plan),
      feed: this.#feed,
      recorder: options.recorder,
      shadow: (answered) => shadows?.copy(answered),
      history: this.#history,
      backends: () => this.#backends.glimpses(),
      forecasts: () => this.#policies.forecasts,
      post,
      transition: (transition, nowMs) => this.#onTransition(transition, nowMs),
      ended: (outcome, definitionId) => this.#onEnded(outcome, definitionId),
      undelivered: (type) => this.#undelivered({ type }),
    })
  }

  /** Resolves when every thread is there. */
  async ready(): Promise<void> {
    await Promise.all([this.#runners?.ready(), this.#extensions.ready()])
  }

  tell<Message>(actor: ActorDefinition<Message>, message: Message): boolean {
    return this.#extensions.tell(actor, this.#cloneMessages ? structuredClone(message) : message)
  }

  runners(): RunnerStatus[] {
    return this.#runners?.status() ?? []
  }

  async runnerCpuUs(): Promise<number[]> {
    return (await this.#runners?.cpuUs()) ?? []
  }

  get events(): AsyncIterable<RunEvent> {
    return this.#feed
  }

  get liveRuns(): number {
    return this.#runs.size
  }

  get deadLetters(): number {
    return this.#deadLetters
  }

  subscribe(observer: Observer): () => void {
    return this.#feed.subscribe(observer)
  }

  start<Input, Output>(asked: Workflow<Input, Output> | string, input: Input, options?: StartOptions): Run<Output> {
    if (this.#closed !== undefined) throw closedError()
    if (this.#runs.size >= limits.liveRunsMax) {
      throw new OrlaError('ORLA_LIMIT', `${this.#runs.size} runs are live already; wait for some to end`, {
        retryable: true,
        details: { liveRunsMax: limits.liveRunsMax },
      })
    }
    const workflow = this.#workflowOf(asked)
    const start =
      options === undefined
        ? defaultStart
        : parseOptions(StartOptionsSchema, options, `options of a run of "${workflow.name}"`)
    const definition = this.#definitions.of(workflow)
    const checked = definition.input === undefined ? undefined : check(definition.input, input, 'input')
    if (checked !== undefined && !(checked instanceof Promise) && !checked.ok) {
      throw new InputError(workflow.name, checked.issues)
    }

    this.#tenants.began(start.tenant)
    const runId = `run-${++this.#runCount}-${this.#runIdSuffix}`
    const { tenant, priority, deadlineMs, targetMs, budgetUsd } = start
    const made = {
      runId,
      definitionId: this.#definitions.keep(definition),
      tenant,
      priority,
      deadlineMs,
      targetMs,
      budgetUsd,
    }
    const actor =
      this.#runners?.run({ ...made, workflow: workflow.name }, definition) ??
      new WorkflowActor({ ...made, definition }, this.#services)
    const run = new RunHandle<Output>({ id: runId, tenant, actor, signal: start.signal, runtime: this })
    this.#runs.set(runId, run as RunHandle<unknown>)
    const begin = (settled: Checked): void =>
      settled.ok ? run.begin(settled.value) : run.refuse(new InputError(workflow.name, settled.issues))
    // Starting in a microtask gives the caller the time to iterate `events` before the first one.
    if (checked instanceof Promise) void checked.then(begin)
    else void soon.then(() => begin(checked ?? { ok: true, value: input }))
    return run
  }

  verify(workflow: Workflow): void {
    this.#definitions.of(this.#workflowOf(workflow))
  }

  /** The workflow that is meant: with threads one that the module exports. */
  #workflowOf(asked: Workflow | string): Workflow {
    if (this.#module !== undefined) return workflowOf(this.#module, asked)
    if (typeof asked !== 'string') return asked
    const message = `a workflow is named where its module is known: give "${asked}" itself, or \`threads\` and \`workflows\``
    throw new OptionsError('workflow', [{ path: 'workflow', code: 'without_threads', message }])
  }

  backends(): BackendStatus[] {
    const memory = this.#memory.state
    return [...this.#backends].map(([name, { definition, probe, actor }]) => {
      const kvWindow = memory.window(name)
      const pressure = memory.pressure(name)
      const prewarm = memory.prewarmed(name)
      const prices = this.#backends.pricesOf(name)
      return {
        name,
        engine: definition.engine,
        model: definition.settings.model,
        probe,
        residency: memory.ledger.totals(name),
        ...(kvWindow !== undefined && { kvWindow }),
        ...(pressure !== undefined && { pressure }),
        ...(prewarm !== undefined && { prewarm }),
        ...(prices !== undefined && { prices }),
        ...actor.state.load(),
        subQueues: actor.state.subQueues(),
      }
    })
  }

  stageClasses(): StageClassFacts[] {
    return this.#history.facts()
  }

  accounts(): Account[] {
    return this.#accounting.accounts()
  }

  prices(): PriceStatus | undefined {
    return this.#prices?.status()
  }

  shadows(): ShadowStatus[] {
    return this.#shadows?.status() ?? []
  }

  budgets(): BudgetStatus[] {
    return this.#accounting.budgets()
  }

  setBudgets(budgets: BudgetsOptions): void {
    this.#accounting.setBudgets(budgets)
  }

  feedback(runId: string, feedback: Feedback): void {
    this.#accounting.feedback(runId, feedback)
  }

  ratedDecisions(): DecisionRecord[] {
    return this.#accounting.ratedDecisions()
  }

  residents(backend: string): LedgerEntry[] {
    this.#backends.get(backend)
    return this.#memory.state.ledger.entries(backend)
  }

  cacheDecisions(): readonly CacheDecision[] {
    return [...this.#memory.state.decisions]
  }

  setScheduling(backend: string, { stage, request }: SchedulingOptions): void {
    this.#backends.tell(backend, {
      type: 'backend.reconfigure',
      ...(stage !== undefined && { stagePolicy: this.#policies.nameOf(stage) }),
      ...(request !== undefined && { requestPolicy: this.#policies.nameOf(request) }),
    })
    this.#runners?.backendsChanged()
  }

  reconfigure(backend: string, change: { windowRequests?: number; queueCapacity?: number }): void {
    const Change = z.strictObject({
      windowRequests: z.int().min(1).max(100_000).optional(),
      queueCapacity: z.int().min(0).max(10_000_000).optional(),
    })
    const { windowRequests, queueCapacity } = parseOptions(Change, change, `change of backend "${backend}"`)
    this.#backends.tell(backend, {
      type: 'backend.reconfigure',
      ...(windowRequests !== undefined && { windowRequests }),
      ...(queueCapacity !== undefined && { queueCapacity }),
    })
  }

  addBackend(name: string, definition: BackendDefinition): Promise<void> {
    this.#refuseWithThreads('addBackend')
    return this.#backends.add(name, definition)
  }

  replaceBackend(name: string, definition: BackendDefinition): Promise<void> {
    this.#refuseWithThreads('replaceBackend')
    return this.#backends.replace(name, definition)
  }

  #refuseWithThreads(what: string): void {
    if (this.#runners === undefined) return
    const message = 'a definition does not cross threads: export it in `backends` of the module, and make a new runtime'
    throw new OptionsError('backend', [{ path: what, code: 'not_with_threads', message }])
  }

  removeBackend(name: string): Promise<void> {
    return this.#backends.remove(name)
  }

  drain(backend: string): void {
    this.#backends.tell(backend, { type: 'backend.drain' })
  }

  resume(backend: string): void {
    this.#backends.tell(backend, { type: 'backend.resume' })
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(): Promise<void> {
    this.#prices?.close()
    this.#shadows?.close()
    this.#backends.halt()
    const shutdown = new CancelledError('shutdown', 'the runtime is closing')
    for (const { actor } of this.#runs.values()) actor?.cancel(shutdown)
    // Runs that have begun hear of it in a microtask, and end in it.
    await Promise.resolve()
    await this.#runners?.close()
    const extensionsGone = this.#extensions.stop()
    this.#supervisors.tools.stop()
    this.#mapper.state.close()
    this.#supervisors.managers.stop()
    this.#supervisors.backends.stop()
    this.#root.stop()
    this.#feed.close()
    await Promise.all([this.#prompts.close(), this.#backends.close(), extensionsGone])
  }

  #post(to: Address, message: ActorMessage): void {
    const sent = this.#cloneMessages ? structuredClone(message) : message
    const isForRuns = to.actor === 'run' || to.actor === 'stage'
    if (this.#delivery === undefined || !isForRuns) return this.#deliver(to, sent)
    this.#delivery(() => this.#deliver(to, sent), 'to-runs')
  }

  /** Posts what a run says. */
  #postOfRun(to: Address, message: ActorMessage): void {
    this.#delivery!(() => this.#post(to, message), 'from-runs')
  }

  #deliver(to: Address, message: ActorMessage): void {
    if (!this.#hand(to, message)) this.#undelivered(message)
  }

  /** Hands a message over. Returns false if its actor is gone. */
  #hand(to: Address, message: ActorMessage): boolean {
    switch (to.actor) {
      case 'run':
        // What the memory manager decided about a run that ended meanwhile is of no interest to anybody.
        this.#runs.get(to.runId)?.actor?.receive(message as RunMessage)
        return true
      case 'stage':
        return this.#runs.get(to.runId)?.actor?.deliver(to.stage, message as never) ?? false
      case 'backend':
        return this.#handToBackend(to.name, message as BackendMessage)
      case 'mapper': {
        const asked = message as MapperMessage
        // The last run of a definition may have ended with its question open.
        if (asked.type === 'mapper.map' && !this.#definitions.has(asked.definitionId)) return false
        return this.#mapper.send(asked)
      }
      case 'aside':
        if (message.type === 'stage.rejected') this.#accounting.refused(message.requestId)
        this.#mapping.calls.receive(to, message as StageGranted | StageRejected)
        return true
      case 'rerouter':
        return this.#rerouter.send(message as RerouterMessage)
      case 'memory':
        return this.#memory.send(message as MemoryMessage)
      case 'tool':
        return this.#definitions.has(to.definitionId)
          ? this.#definitions.tool(to.definitionId, to.stage, to.tool).send(message as ToolMessage)
          : false
    }
  }

  #handToBackend(name: string, message: BackendMessage): boolean {
    const refusal = this.#accounting.passes(name, message)
    if (refusal === undefined) this.#shadows?.makesWay(name, message)
    if (refusal === undefined || message.type !== 'backend.request') return this.#backends.receive(name, message)
    const { requestId } = message.request
    this.#post(message.replyTo, { type: 'stage.rejected', requestId, error: refusal.toJSON() })
    return true
  }

  #undelivered(message: { type: string }): void {
    this.#deadLetters++
    this.#log.debug({ message: message.type }, 'dead letter')
  }

  #onTransition(transition: Transition, nowMs: number): void {
    this.#services.post(memoryAddress, { type: 'memory.transition', transition, nowMs })
    this.#accounting.heard(transition)
    this.#extensions.heard(transition)
  }

  #onEnded(outcome: RunOutcome, definitionId: string): void {
    const run = this.#runs.get(outcome.runId)
    if (run === undefined) return
    this.#runs.delete(outcome.runId)
    this.#tenants.ended(run.tenant)
    this.#foresight?.forget(outcome.runId)
    this.#services.recorder?.ended(outcome, this.#definitions.get(definitionId))
    this.#definitions.letGo(definitionId)
    run.ended(outcome)
  }

  #supervisor(
    name: string,
    strategy: SupervisionStrategy,
    intensity: { restartsMax?: number; withinMs?: number } = {},
  ): Supervisor {
    const gaveUp = (error: unknown): void => {
      this.#log.error({ supervisor: name, error }, 'an actor cannot be kept alive; the runtime closes')
      void this.close()
    }
    const { restartsMax = 1, withinMs = 5_000 } = intensity
    return new Supervisor({ name, strategy, restartsMax, withinMs, clock: this.clock, log: this.#log, gaveUp })
  }
}
