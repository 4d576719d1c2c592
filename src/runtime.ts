// The composition root: the only file that wires actors, machines, drivers and the prompt pool together
//
// Owns: the actors of one runtime and their addresses, the runs that are live, the feed of everything.
// Does not own: any policy.
// Invariants
//   R1. Every message goes through `post`; one to an actor that is gone is counted as a dead letter.
//   R2. A run's transition reaches the memory manager before anything that follows from it.
//   R3. A run that is over leaves nothing behind: no entry in the registry, no listener on the caller's signal.

import { createActor, fromTransition, type ActorRefFrom, type AnyActorRef } from 'xstate'
import { z } from 'zod'
import { backendLogic, removedError } from '../actors/backend.ts'
import { startActor, type ActorState } from '../actors/logic.ts'
import { mapperLogic } from '../actors/mapper.ts'
import { memoryManagerLogic, type CacheDecision } from '../actors/memory-manager.ts'
import type {
  ActorMessage,
  Address,
  BackendMessage,
  MapperMessage,
  MemoryMessage,
  RunMessage,
  ToolMessage,
} from '../actors/messages.ts'
import { Supervisor, type SupervisionStrategy } from '../actors/supervisor.ts'
import { toolLogic } from '../actors/tool.ts'
import { WorkflowActor, type WorkflowServices } from '../actors/workflow.ts'
import { breakerDefaults } from '../machines/backend.ts'
import { realClock, type Clock } from './clock.ts'
import type { BackendDefinition } from './engines/backend-definition.ts'
import type { Driver, ProbeResult } from './engines/driver.ts'
import type { FlushResult } from './engines/kv-control.ts'
import {
  assert,
  CancelledError,
  errorFromFacts,
  InputError,
  MappingError,
  messageOf,
  OptionsError,
  OrlaError,
  WorkflowInvalidError,
  type Issue,
} from './errors.ts'
import { Feed, type Observer } from './feed.ts'
import { limits } from './limits.ts'
import { silentLogger, type Logger } from './log.ts'
import type { BackendView } from './mapping/mapper.ts'
import { verifyMapping } from './mapping/verify.ts'
import type { CacheAction, CacheOutcome } from './memory/actions.ts'
import type { LedgerEntry } from './memory/ledger.ts'
import { memoryPlan, type MemoryPlan } from './memory/plan.ts'
import { createTokenCorrection } from './prompts/correction.ts'
import { loadEstimator, type TokenEstimator } from './prompts/estimator.ts'
import { fcfs } from './scheduling/fcfs.ts'
import type { SchedulingPolicy } from './scheduling/policy.ts'
import { schedulingPolicy, schedulingPolicyNames, type SchedulingPolicyName } from './scheduling/registry.ts'
import {
  checkRuntimeOptions,
  StartOptionsSchema,
  type BackendStatus,
  type PolicyOption,
  type Run,
  type Runtime,
  type RuntimeOptions,
  type SchedulingOptions,
  type StartOptions,
} from './runtime-api.ts'
import { DriverLease } from './runtime-driver-lease.ts'
import type { Capabilities } from './schema/capabilities.ts'
import { parseOptions } from './schema/options.ts'
import { check, type Checked } from './schema/standard.ts'
import type { RunEvent, Transition } from './schema/transition.ts'
import { createPromptPool, type PromptPool } from './workers/prompt-pool.ts'
import type { Workflow } from './workflow/builder.ts'
import type { StageDefinition, WorkflowDefinition } from './workflow/definition.ts'
import type { RunOutcome } from './workflow/report.ts'
import type { ToolDefinition } from './workflow/tool.ts'

type ToolActor = ActorRefFrom<typeof toolLogic>

/** An actor whose state is supervised. */
interface SupervisedActor<Message> {
  getSnapshot(): { context: ActorState<Message> & { stop?(): void } }
  send(message: Message): void
  stop(): void
}

interface LiveDefinition {
  definition: WorkflowDefinition
  runs: number
  /** Tools of it that have an actor. */
  tools: Set<ToolDefinition>
}

interface Backend {
  definition: BackendDefinition
  lease: DriverLease
  probe: ProbeResult | undefined
  /** True once it is to go: nothing new is mapped to it. */
  removed: boolean
  actor: ActorRefFrom<typeof backendLogic>
}

/**
 * Makes a runtime: connects its backends, asks each what it serves, and starts the actors.
 *
 * A backend that does not answer does not stop the runtime: its `probe` says so, and its requests fail or wait.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` with every problem of the options
 */
export async function createRuntime(options: RuntimeOptions): Promise<Runtime> {
  checkRuntimeOptions(options)
  const clock = options.clock ?? realClock(options.seed === undefined ? {} : { seed: options.seed })
  const log = options.log ?? silentLogger
  const [estimator, drivers] = await Promise.all([
    options.estimator ?? loadEstimator('o200k_base'),
    connectAll(options.backends, clock, log),
  ])
  const probeTimeoutMs = options.probeTimeoutMs ?? probeTimeoutMsDefault
  try {
    const probes = await Promise.all(
      drivers.map((driver) => (probeTimeoutMs > 0 ? driver.probe(probeTimeoutMs) : Promise.resolve(undefined))),
    )
    return new OrlaRuntime(options, { clock, log, estimator, drivers, probes })
  } catch (error) {
    // Whatever broke, nobody else can give back what the drivers hold.
    await Promise.allSettled(drivers.map((driver) => driver.close()))
    throw error
  }
}

const probeTimeoutMsDefault = 2_000

async function connectAll(
  backends: Readonly<Record<string, BackendDefinition>>,
  clock: Clock,
  log: Logger,
): Promise<Driver[]> {
  const settled = await Promise.allSettled(
    Object.entries(backends).map(([backend, definition]) => definition.connect({ backend, clock, log })),
  )
  const failed = settled.find((result) => result.status === 'rejected')
  if (failed === undefined) return settled.map((result) => (result as PromiseFulfilledResult<Driver>).value)
  await Promise.all(settled.flatMap((result) => (result.status === 'fulfilled' ? [result.value.close()] : [])))
  throw failed.reason
}

interface Parts {
  clock: Clock
  log: Logger
  estimator: TokenEstimator
  drivers: Driver[]
  probes: (ProbeResult | undefined)[]
}

class OrlaRuntime implements Runtime {
  readonly clock: Clock
  readonly #log: Logger
  readonly #feed = new Feed()
  readonly #root: AnyActorRef
  readonly #backends = new Map<string, Backend>()
  #mapper!: ActorRefFrom<typeof mapperLogic>
  #memory!: ActorRefFrom<typeof memoryManagerLogic>
  /** Long-lived actors by who restarts with whom. What cannot be kept alive closes the runtime. */
  readonly #supervisors: { backends: Supervisor; managers: Supervisor; tools: Supervisor }
  /** One actor for each tool object: its limits hold over all stages and runs that use it. */
  readonly #tools = new Map<ToolDefinition, { id: string; actor: ToolActor | undefined; users: number }>()
  #toolCount = 0
  readonly #stopped = new WeakSet<object>()
  readonly #failover: NonNullable<RuntimeOptions['failover']>
  readonly #prompts: PromptPool
  readonly #services: WorkflowServices
  readonly #runs = new Map<string, { actor: WorkflowActor; ended: (outcome: RunOutcome) => void }>()
  /** Definitions of live runs by id: mapper and tool messages name them. */
  readonly #definitions = new Map<string, LiveDefinition>()
  readonly #definitionIds = new WeakMap<WorkflowDefinition, string>()
  /** Definitions whose explicit mappings were checked. */
  #verified = new WeakSet<WorkflowDefinition>()
  /** Models of backends that were removed: stages mapped to them may still be live. */
  readonly #formerModels = new Map<string, string>()
  /** Drivers that finish their last calls. */
  readonly #retiring = new Set<Promise<void>>()
  readonly #probeTimeoutMs: number
  readonly #windows: MemoryPlan['windows']
  /** Policies given as objects or functions, by the name that messages call them. */
  readonly #policies = new Map<string, () => SchedulingPolicy>()
  readonly #policyNames = new WeakMap<object, string>()
  readonly #cloneMessages: boolean
  readonly #runIdSuffix: string
  #runCount = 0
  #definitionCount = 0
  #deadLetters = 0
  #closed: Promise<void> | undefined

  constructor(options: RuntimeOptions, { clock, log, estimator, drivers, probes }: Parts) {
    this.clock = clock
    this.#log = log
    this.#probeTimeoutMs = options.probeTimeoutMs ?? probeTimeoutMsDefault
    this.#failover = options.failover ?? {}
    this.#cloneMessages = options.cloneMessages ?? false
    this.#runIdSuffix = Math.floor(clock.random('run-ids')() * 36 ** 4)
      .toString(36)
      .padStart(4, '0')
    this.#prompts = createPromptPool({
      estimator,
      mode: clock.virtual ? 'inline' : 'pool',
      ...options.prompts,
    })
    this.#root = createActor(rootLogic, {
      input: (error) => log.error({ error }, 'an actor failed'),
    })
    this.#root.subscribe({ error: (error: unknown) => log.error({ error }, 'the root actor failed') })
    this.#root.start()

    const post = this.#post.bind(this)
    this.#supervisors = {
      backends: this.#supervisor('backends', 'one-for-one'),
      managers: this.#supervisor('managers', 'rest-for-one'),
      tools: this.#supervisor('tools', 'one-for-one'),
    }
    const memory = memoryPlan(options.memory)
    this.#windows = memory.windows
    Object.entries(options.backends).forEach(([name, definition], i) => {
      this.#addBackend(name, definition, drivers[i]!, probes[i], options.scheduling?.[name] ?? {})
    })
    const { managers } = this.#supervisors
    managers.add({
      name: 'memory',
      start: () => {
        const restarts = this.#memory !== undefined
        const actor = startActor(memoryManagerLogic, {
          log,
          clock,
          post,
          ...memory,
          kvOf: (backend) => this.#kvOf(backend),
          act: (backend, action, actionId) => this.#act(backend, action, actionId),
        })
        const running = this.#watch(managers, 'memory', actor, this.#memory)
        this.#memory = actor
        // It knows nothing of what the one before it held back.
        if (restarts) for (const name of this.#backends.keys()) this.#tell(name, { type: 'backend.readmit' })
        return running
      },
    })
    managers.add({
      name: 'mapper',
      start: () => {
        const actor = startActor(mapperLogic, {
          stageOf: (definitionId, stage) => this.#stageOf(definitionId, stage),
          backends: () => this.#views(),
          post,
        })
        const running = this.#watch(managers, 'mapper', actor, this.#mapper)
        this.#mapper = actor
        return running
      },
    })

    this.#services = {
      clock,
      random: clock.random('retries'),
      post,
      root: this.#root,
      log,
      feed: this.#feed,
      correction: createTokenCorrection(),
      recorder: options.recorder,
      measure: (messages, tools) => this.#prompts.measure(messages, { tools }),
      render: (prompt, context) => {
        const built = this.#prompts.render(prompt, context)
        return built instanceof Promise ? built.then(({ messages }) => messages) : built.messages
      },
      modelOf: (backend) => this.#backends.get(backend)?.definition.settings.model ?? this.#formerModels.get(backend)!,
      peersOf: (backend) => this.#failover[backend] ?? [],
      canServe: (backend) => this.#canServe(backend),
      infer: (name, request, context, sink, timeouts) => {
        const { lease, definition } = this.#backend(name)
        return lease.chat(request, context, sink, {
          clock,
          backend: name,
          timeouts: { ...definition.settings.timeouts, ...timeouts },
          responseCharsMax: limits.responseBytesMax,
        })
      },
      transition: (transition) => this.#onTransition(transition),
      ended: (outcome, definitionId) => this.#onEnded(outcome, definitionId),
    }
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

  start<Input, Output>(workflow: Workflow<Input, Output>, input: Input, options: StartOptions = {}): Run<Output> {
    this.#checkOpen()
    if (this.#runs.size >= limits.liveRunsMax) {
      throw new OrlaError('ORLA_LIMIT', `${this.#runs.size} runs are live already; wait for some to end`, {
        retryable: true,
        details: { liveRunsMax: limits.liveRunsMax },
      })
    }
    const start = parseOptions(StartOptionsSchema, options, `options of a run of "${workflow.name}"`)
    const definition = this.#definitionOf(workflow)
    const checked = definition.input === undefined ? undefined : check(definition.input, input, 'input')
    if (checked !== undefined && !(checked instanceof Promise) && !checked.ok) {
      throw new InputError(workflow.name, checked.issues)
    }

    const { signal } = start
    const runId = `run-${++this.#runCount}-${this.#runIdSuffix}`
    const actor = new WorkflowActor(
      {
        runId,
        definition,
        definitionId: this.#keep(definition),
        tenant: start.tenant,
        priority: start.priority,
        deadlineMs: start.deadlineMs,
      },
      this.#services,
    )
    const outcome = new Promise<RunOutcome<Output>>((resolve) => {
      this.#runs.set(runId, { actor, ended: resolve as (outcome: RunOutcome) => void })
    })
    const cancel = (reason: string): void => actor.cancel(new CancelledError('caller', reason))
    const onAbort = (): void => cancel(`the caller's signal was aborted: ${messageOf(signal?.reason)}`)
    signal?.addEventListener('abort', onAbort, { once: true })

    const begin = (settled: Checked | undefined): void => {
      if (signal?.aborted === true) return onAbort()
      if (settled?.ok === false) return actor.refuse(new InputError(workflow.name, settled.issues))
      actor.start(settled === undefined ? input : settled.value)
    }
    // Starting in a microtask gives the caller the time to iterate `events` before the first one.
    if (checked instanceof Promise) void checked.then(begin)
    else queueMicrotask(() => begin(checked))

    const result = outcome.then((ended) => {
      signal?.removeEventListener('abort', onAbort)
      if (ended.state === 'completed') return ended.result as Output
      throw errorFromFacts(ended.error!)
    })
    result.catch(() => {})
    return {
      id: runId,
      get events() {
        return actor.feed
      },
      result,
      outcome,
      cancel: (reason = 'cancelled by the caller') => cancel(reason),
    }
  }

  verify(workflow: Workflow): void {
    this.#definitionOf(workflow)
  }

  backends(): BackendStatus[] {
    const memory = this.#memory.getSnapshot().context
    const { ledger } = memory
    const memoryStatus = (name: string): Pick<BackendStatus, 'kvWindow' | 'pressure'> => {
      const kvWindow = memory.window(name)
      const pressure = memory.pressure(name)
      return { ...(kvWindow !== undefined && { kvWindow }), ...(pressure !== undefined && { pressure }) }
    }
    return [...this.#backends].map(([name, { definition, probe, actor }]) => ({
      name,
      engine: definition.engine,
      model: definition.settings.model,
      probe,
      residency: ledger.totals(name),
      ...memoryStatus(name),
      ...actor.getSnapshot().context.load(),
      subQueues: actor.getSnapshot().context.subQueues(),
    }))
  }

  residents(backend: string): LedgerEntry[] {
    this.#backend(backend)
    return this.#memory.getSnapshot().context.ledger.entries(backend)
  }

  cacheDecisions(): readonly CacheDecision[] {
    return [...this.#memory.getSnapshot().context.decisions]
  }

  setScheduling(backend: string, { stage, request }: SchedulingOptions): void {
    this.#tell(backend, {
      type: 'backend.reconfigure',
      ...(stage !== undefined && { stagePolicy: this.#policyName(stage) }),
      ...(request !== undefined && { requestPolicy: this.#policyName(request) }),
    })
  }

  reconfigure(backend: string, change: { windowRequests?: number; queueCapacity?: number }): void {
    const Change = z.strictObject({
      windowRequests: z.int().min(1).max(100_000).optional(),
      queueCapacity: z.int().min(0).max(10_000_000).optional(),
    })
    const { windowRequests, queueCapacity } = parseOptions(Change, change, `change of backend "${backend}"`)
    this.#tell(backend, {
      type: 'backend.reconfigure',
      ...(windowRequests !== undefined && { windowRequests }),
      ...(queueCapacity !== undefined && { queueCapacity }),
    })
  }

  async addBackend(name: string, definition: BackendDefinition): Promise<void> {
    checkRuntimeOptions({ backends: { [name]: definition } })
    if (this.#backends.has(name)) {
      const message = `there is a backend "${name}" already; use replaceBackend`
      throw new OptionsError('backend', [{ path: 'name', code: 'duplicate_backend', message }])
    }
    const { driver, probe } = await this.#connect(name, definition)
    // Another call may have been faster.
    if (this.#backends.has(name)) {
      await driver.close()
      return await this.addBackend(name, definition)
    }
    this.#addBackend(name, definition, driver, probe, {})
  }

  async replaceBackend(name: string, definition: BackendDefinition): Promise<void> {
    checkRuntimeOptions({ backends: { [name]: definition } })
    this.#backend(name)
    const { driver, probe } = await this.#connect(name, definition)
    const backend = this.#backends.get(name)
    if (backend === undefined || backend.removed) {
      await driver.close()
      throw removedError(name)
    }
    const { windowRequests, queueCapacity } = definition.settings
    void this.#retire(backend.lease)
    backend.lease = new DriverLease(driver)
    backend.definition = definition
    backend.probe = probe
    this.#verified = new WeakSet()
    this.#post({ actor: 'memory' }, { type: 'memory.emptied', backend: name })
    this.#tell(name, { type: 'backend.replaced' })
    this.#tell(name, { type: 'backend.reconfigure', windowRequests, queueCapacity })
  }

  async removeBackend(name: string): Promise<void> {
    const backend = this.#backend(name)
    const others = [...this.#backends.values()].filter((other) => other !== backend && !other.removed)
    if (others.length === 0) {
      const message = `"${name}" is the last backend; add another first, or close the runtime`
      throw new OptionsError('backend', [{ path: 'name', code: 'last_backend', message }])
    }
    backend.removed = true
    this.#verified = new WeakSet()
    this.#tell(name, { type: 'backend.remove' })
    await this.#retire(backend.lease)
    // What was in flight gives its slot back in a microtask after it ended.
    await Promise.resolve()
    if (this.#closed !== undefined || this.#backends.get(name) !== backend) return
    this.#formerModels.set(name, backend.definition.settings.model)
    this.#backends.delete(name)
    this.#supervisors.backends.remove(name)
  }

  drain(backend: string): void {
    this.#tell(backend, { type: 'backend.drain' })
  }

  resume(backend: string): void {
    this.#tell(backend, { type: 'backend.resume' })
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(): Promise<void> {
    // What is cancelled frees slots, which nobody who waits may take any more.
    for (const name of this.#backends.keys()) this.#tell(name, { type: 'backend.reconfigure', windowRequests: 0 })
    const shutdown = new CancelledError('shutdown', 'the runtime is closing')
    for (const { actor } of this.#runs.values()) actor.cancel(shutdown)
    // Runs that have begun hear of it in a microtask, and end in it.
    await Promise.resolve()
    this.#supervisors.tools.stop()
    this.#supervisors.managers.stop()
    this.#supervisors.backends.stop()
    this.#root.stop()
    this.#feed.close()
    for (const { lease } of this.#backends.values()) void this.#retire(lease)
    await Promise.all([this.#prompts.close(), ...this.#retiring])
  }

  // --- messages

  #post(to: Address, message: ActorMessage): void {
    const sent = this.#cloneMessages ? structuredClone(message) : message
    switch (to.actor) {
      case 'run':
        return this.#runs.get(to.runId)?.actor.receive(sent as RunMessage)
      case 'stage':
        if (!(this.#runs.get(to.runId)?.actor.deliver(to.stage, sent as never) ?? false)) this.#undelivered(to, message)
        return
      case 'backend':
        return this.#toBackend(to.name, sent as BackendMessage)
      case 'mapper':
        return this.#send(this.#mapper, sent as MapperMessage)
      case 'memory':
        return this.#send(this.#memory, sent as MemoryMessage)
      case 'tool':
        return this.#send(this.#tool(to.definitionId, to.stage, to.tool), sent as ToolMessage)
    }
  }

  #toBackend(name: string, message: BackendMessage): void {
    const backend = this.#backends.get(name)
    if (backend !== undefined) return this.#send(backend.actor, message)
    // A slot given back where there are none any more is of no interest to anybody.
    if (message.type !== 'backend.request') return
    const { requestId } = message.request
    this.#post(message.replyTo, { type: 'stage.rejected', requestId, error: removedError(name).toJSON() })
  }

  /** Gives a message to an actor, unless it has stopped: what cannot be kept alive is no end for anybody else. */
  #send<Message>(actor: { send(message: Message): void }, message: Message & { type: string }): void {
    if (!this.#stopped.has(actor)) return actor.send(message)
    this.#deadLetters++
    this.#log.debug({ message: message.type }, 'dead letter')
  }

  #undelivered(to: Address & { actor: 'stage' }, message: ActorMessage): void {
    this.#deadLetters++
    this.#log.debug({ to, message: message.type }, 'dead letter')
  }

  #tell(backend: string, message: BackendMessage): void {
    this.#backend(backend)
    this.#post({ actor: 'backend', name: backend }, message)
  }

  #onTransition(transition: Transition): void {
    this.#post({ actor: 'memory' }, { type: 'memory.transition', transition, nowMs: this.clock.nowMs() })
  }

  #onEnded(outcome: RunOutcome, definitionId: string): void {
    const run = this.#runs.get(outcome.runId)
    if (run === undefined) return
    this.#runs.delete(outcome.runId)
    this.#services.recorder?.ended(outcome, this.#definitions.get(definitionId)!.definition)
    this.#letGo(definitionId)
    run.ended(outcome)
  }

  // --- definitions

  #definitionOf(workflow: Workflow): WorkflowDefinition {
    const unknown: Issue[] = workflow.backendReferences
      .filter(({ backend }) => this.#backends.get(backend)?.removed ?? true)
      .slice(0, limits.issuesMax)
      .map(({ path, backend }) => ({
        path,
        code: 'unknown_backend',
        message: `there is no backend "${backend}"; there are: ${this.#views()
          .map(({ name }) => name)
          .join(', ')}`,
      }))
    let definition: WorkflowDefinition
    try {
      definition = workflow.definition
    } catch (error) {
      if (error instanceof WorkflowInvalidError && unknown.length > 0) {
        throw new WorkflowInvalidError(workflow.name, [...error.issues, ...unknown])
      }
      throw error
    }
    if (unknown.length > 0) throw new WorkflowInvalidError(workflow.name, unknown)
    this.#verifyMappings(definition)
    return definition
  }

  #verifyMappings(definition: WorkflowDefinition): void {
    if (this.#verified.has(definition)) return
    const views = new Map(this.#views().map((view) => [view.name, view]))
    const issues: Issue[] = []
    for (const { name, mapping, requirements, fallback } of definition.stages) {
      if (mapping.kind === 'explicit') {
        issues.push(...verifyMapping(requirements, views.get(mapping.backend)!, `stages.${name}`))
      }
      fallback.forEach((backend, i) => {
        issues.push(...verifyMapping(requirements, views.get(backend)!, `stages.${name}.fallback[${i}]`))
      })
      if (issues.length >= limits.issuesMax) break
    }
    if (issues.length > 0) {
      const what = `workflow "${definition.name}" cannot run on these backends`
      throw new MappingError('ORLA_MAPPING_INCOMPATIBLE', what, issues)
    }
    this.#verified.add(definition)
  }

  /** Holds a definition while runs of it are live. Returns its id. */
  #keep(definition: WorkflowDefinition): string {
    let id = this.#definitionIds.get(definition)
    if (id === undefined) this.#definitionIds.set(definition, (id = `${definition.name}#${++this.#definitionCount}`))
    const live = this.#definitions.get(id)
    if (live === undefined) this.#definitions.set(id, { definition, runs: 1, tools: new Set() })
    else live.runs++
    return id
  }

  /** Lets go of a definition with its last run, and of the tool actors that only it used. */
  #letGo(id: string): void {
    const live = this.#definitions.get(id)
    if (live === undefined || --live.runs > 0) return
    this.#definitions.delete(id)
    for (const definition of live.tools) {
      const tool = this.#tools.get(definition)!
      if (--tool.users > 0) continue
      this.#tools.delete(definition)
      this.#supervisors.tools.remove(tool.id)
    }
  }

  #stageOf(definitionId: string, stage: string): StageDefinition {
    const found = this.#definitions.get(definitionId)?.definition.byName.get(stage)
    assert(found !== undefined, 'a message names a stage that no live run has', { definitionId, stage })
    return found
  }

  #tool(definitionId: string, stage: string, name: string): ActorRefFrom<typeof toolLogic> {
    const { definition } = this.#stageOf(definitionId, stage).tools.get(name)!
    let tool = this.#tools.get(definition)
    if (tool === undefined) {
      const post = this.#post.bind(this)
      const { tools } = this.#supervisors
      const made = { id: `${name}#${++this.#toolCount}`, actor: undefined as ToolActor | undefined, users: 0 }
      this.#tools.set(definition, (tool = made))
      tools.add({
        name: made.id,
        start: () => {
          const actor = startActor(toolLogic, { name, definition, clock: this.clock, log: this.#log, post })
          const running = this.#watch(tools, made.id, actor, made.actor)
          made.actor = actor
          return running
        },
      })
    }
    const { tools } = this.#definitions.get(definitionId)!
    if (!tools.has(definition)) {
      tools.add(definition)
      tool.users++
    }
    return tool.actor!
  }

  // --- backends

  async #connect(
    name: string,
    definition: BackendDefinition,
  ): Promise<{ driver: Driver; probe: ProbeResult | undefined }> {
    this.#checkOpen()
    const driver = await definition.connect({ backend: name, clock: this.clock, log: this.#log })
    try {
      const probe = this.#probeTimeoutMs > 0 ? await driver.probe(this.#probeTimeoutMs) : undefined
      this.#checkOpen()
      return { driver, probe }
    } catch (error) {
      await driver.close()
      throw error
    }
  }

  #checkOpen(): void {
    if (this.#closed !== undefined) throw new OrlaError('ORLA_CLOSED', 'the runtime is closed')
  }

  #addBackend(
    name: string,
    definition: BackendDefinition,
    driver: Driver,
    probe: ProbeResult | undefined,
    policies: SchedulingOptions,
  ): void {
    const { windowRequests, queueCapacity } = definition.settings
    const { backends } = this.#supervisors
    let backend: Backend | undefined
    backends.add({
      name,
      start: () => {
        const actor = startActor(backendLogic, {
          name,
          windowRequests,
          queueCapacity,
          policies: {
            stage: policies.stage === undefined ? fcfs() : this.#policyOf(this.#policyName(policies.stage)),
            request: policies.request === undefined ? fcfs() : this.#policyOf(this.#policyName(policies.request)),
          },
          breaker: breakerDefaults,
          adopts: backend?.actor.getSnapshot().context.leave(),
          holdMsMax: this.#windows.get(name)?.holdMsMax,
          isLast: () => !this.#hasPeer(name),
          policyOf: (policy) => this.#policyOf(policy),
          clock: this.clock,
          log: this.#log,
          post: this.#post.bind(this),
        })
        const running = this.#watch(backends, name, actor, backend?.actor)
        if (backend !== undefined) backend.actor = actor
        else backend = { definition, lease: new DriverLease(driver), probe, removed: false, actor }
        return running
      },
    })
    this.#backends.set(name, backend!)
  }

  // --- supervision

  #supervisor(name: string, strategy: SupervisionStrategy): Supervisor {
    const gaveUp = (error: unknown): void => {
      this.#log.error({ supervisor: name, error }, 'an actor cannot be kept alive; the runtime closes')
      void this.close()
    }
    return new Supervisor({ name, strategy, clock: this.clock, log: this.#log, gaveUp })
  }

  /** Puts an actor under supervision, in the place of the one before it. */
  #watch<Message extends { type: string }>(
    supervisor: Supervisor,
    name: string,
    actor: SupervisedActor<Message>,
    former: SupervisedActor<Message> | undefined,
  ): { stop(): void } {
    const state = actor.getSnapshot().context
    state.onCrash = (error) => supervisor.ended(name, { error })
    // What is still in the mailbox of the one before it is not lost with it.
    if (former !== undefined) former.getSnapshot().context.successor = (message) => actor.send(message)
    return {
      stop: () => {
        state.onCrash = undefined
        state.stop?.()
        // It may be in the middle of the message that broke it, with others behind that one.
        queueMicrotask(() => {
          this.#stopped.add(actor)
          actor.stop()
        })
      },
    }
  }

  /** Closes a driver after its last call. A close that fails is told to whoever waits for it. */
  #retire(lease: DriverLease): Promise<void> {
    const closed = lease.retire()
    this.#retiring.add(closed)
    const forget = (): void => void this.#retiring.delete(closed)
    closed.then(forget, forget)
    return closed
  }

  #policyOf(name: string): SchedulingPolicy {
    const make = this.#policies.get(name)
    return make === undefined ? schedulingPolicy(name as SchedulingPolicyName) : make()
  }

  #kvOf(name: string): Capabilities['kv'] {
    const backend = this.#backends.get(name)
    return backend === undefined
      ? { flushAll: 'none', releaseSession: 'none', isolate: 'none', retain: 'none' }
      : this.#capabilities(backend).kv
  }

  #backend(name: string): Backend {
    const backend = this.#backends.get(name)
    if (backend !== undefined) return backend
    const message = `there is no backend "${name}"; there are: ${[...this.#backends.keys()].join(', ')}`
    throw new OptionsError('backend', [{ path: 'backend', code: 'unknown_backend', message }])
  }

  /** Whether a backend takes requests now. */
  #canServe(name: string): boolean {
    const backend = this.#backends.get(name)
    if (backend === undefined || backend.removed) return false
    const { health } = backend.actor.getSnapshot().context.load()
    return health === 'healthy' || health === 'halfOpen'
  }

  /** Whether another backend of the same model is healthy. */
  #hasPeer(name: string): boolean {
    const { model } = this.#backend(name).definition.settings
    for (const [other, { definition }] of this.#backends) {
      if (other !== name && definition.settings.model === model && this.#canServe(other)) return true
    }
    return false
  }

  /** What a backend's engine can do, as far as it is known. */
  #capabilities({ lease, probe }: Backend): Capabilities {
    return probe?.state === 'ready' ? probe.capabilities : lease.driver.capabilities
  }

  /** Carries out an action of the memory manager. It hears what came of it, and waits for nothing. */
  #act(backend: string, action: CacheAction, actionId: number): void {
    const kv = this.#backends.get(backend)?.lease.driver.kv
    const acted = (outcome: CacheOutcome): void =>
      this.#post({ actor: 'memory' }, { type: 'memory.acted', actionId, outcome })
    if (kv === undefined) return acted({ outcome: 'unsupported', message: 'the driver has no KV control' })
    const failed = (error: unknown): void => acted({ outcome: 'failed', message: messageOf(error) })
    switch (action.kind) {
      case 'usage':
        kv.usage().then(
          ({ usedFraction }) =>
            this.#post(
              { actor: 'memory' },
              { type: 'memory.usage', actionId, backend, ...(usedFraction !== undefined && { usedFraction }) },
            ),
          failed,
        )
        return
      case 'endSession':
        kv.endSession(action.runId).then((result) => acted(outcomeOf(result)), failed)
        return
      case 'flushAll':
        kv.flushAll().then((result) => acted(outcomeOf(result)), failed)
        return
    }
  }

  #views(): BackendView[] {
    const present = [...this.#backends].filter(([, { removed }]) => !removed)
    return present.map(([name, backend]) => {
      const { definition, actor } = backend
      const { settings } = definition
      const found = this.#capabilities(backend)
      const { inFlight, waiting, windowRequests, health } = actor.getSnapshot().context.load()
      return {
        name,
        model: settings.model,
        inFlight,
        waiting,
        windowRequests,
        health,
        // What the options say wins over what was found: people put proxies in front of engines.
        capabilities: {
          ...found,
          ...(settings.contextLength !== undefined && { contextLength: settings.contextLength }),
          ...(settings.tools !== undefined && { tools: settings.tools }),
          ...(settings.jsonSchema !== undefined && { jsonSchema: settings.jsonSchema }),
        },
        ...(settings.quality !== undefined && { quality: settings.quality }),
        ...(settings.prices !== undefined && { prices: settings.prices }),
      }
    })
  }

  /** Name by which messages call a policy: functions do not travel. */
  #policyName(option: PolicyOption): string {
    if (typeof option === 'string') {
      if (schedulingPolicyNames.includes(option)) return option
      const message = `there is no policy "${String(option)}"; there are: ${schedulingPolicyNames.join(', ')}`
      throw new OptionsError('scheduling', [{ path: 'policy', code: 'unknown_policy', message }])
    }
    const make = typeof option === 'function' ? option : () => option
    // Known by identity: setting the same policy again and again adds nothing.
    let name = this.#policyNames.get(option)
    if (name === undefined) {
      name = `${make().name}#${this.#policies.size + 1}`
      this.#policyNames.set(option, name)
      this.#policies.set(name, make)
    }
    return name
  }
}

/** What came of a flush, as the memory manager hears it. */
function outcomeOf(result: FlushResult): CacheOutcome {
  const message = 'reason' in result ? result.reason : 'message' in result ? result.message : ''
  return { outcome: result.outcome, message }
}

/** The actor that shares its system with all others, and hears of their failures. */
const rootLogic = fromTransition(
  (report: (error: unknown) => void, event: { type: string; error?: unknown }) => {
    if (event.type.startsWith('xstate.error.')) report(event.error)
    return report
  },
  ({ input }: { input: (error: unknown) => void }) => input,
)
