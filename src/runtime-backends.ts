// Backends at work
//
// Owns: which backends there are, the driver and the actor of each, and how they are added, replaced and removed.
// Does not own: what waits at a backend (its actor), or calls under way (the lease of its driver).
// Invariants
//   W1. A driver is closed once, after its last call.
//   W2. A backend that is to go gets nothing new; it is forgotten when its last call has ended.
//   W3. There is always one backend that is not to go.

import { backendLogic, removedError, type BackendState } from '../actors/backend.ts'
import { startActor } from '../actors/logic.ts'
import type { BackendMessage, Post } from '../actors/messages.ts'
import { SupervisedActor } from '../actors/supervised.ts'
import type { Supervisor } from '../actors/supervisor.ts'
import { breakerDefaults } from '../machines/backend.ts'
import type { Clock } from './clock.ts'
import type { BackendDefinition } from './engines/backend-definition.ts'
import type { ChatCall, ChatContext, ChatSink, Driver, ProbeResult } from './engines/driver.ts'
import { OptionsError, OrlaError } from './errors.ts'
import { limits } from './limits.ts'
import type { Logger } from './log.ts'
import type { BackendView } from './mapping/mapper.ts'
import { placesOf, type Place } from './mapping/place.ts'
import { checkRuntimeOptions, type SchedulingOptions } from './runtime-api.ts'
import { DriverLease } from './runtime-driver-lease.ts'
import type { BackendGlimpse } from './runtime-runner-protocol.ts'
import type { PolicyNames } from './runtime-policies.ts'
import type { PriceSource } from './services/price-source.ts'
import type { BackendSettings, Prices } from './schema/backend.ts'
import type { Capabilities } from './schema/capabilities.ts'
import type { ChatRequest } from './schema/chat.ts'
import { fcfs } from './scheduling/fcfs.ts'
import type { Queue } from './scheduling/reroute.ts'
import type { TenantGate } from './scheduling/tenant-gate.ts'
import type { StageDefinition } from './workflow/definition.ts'

/** A backend at work. */
export interface Backend {
  definition: BackendDefinition
  lease: DriverLease
  probe: ProbeResult | undefined
  /** True once it is to go: nothing new is mapped to it. */
  removed: boolean
  /** What mappers know of it, as long as these stay. */
  known?: {
    found: Capabilities
    settings: BackendSettings
    view: Pick<BackendView, 'name' | 'model' | 'capabilities' | 'quality'>
  }
  readonly actor: SupervisedActor<BackendState, BackendMessage>
}

/** What backends need from the runtime around them. */
export interface BackendsInput {
  clock: Clock
  log: Logger
  post: Post
  supervisor: Supervisor
  policies: PolicyNames
  /** What tenants may have; undefined where none is limited. */
  tenants?: TenantGate | undefined
  /** Hears that a backend came, changed or went, or is of another health now. */
  changed?: () => void
  /** Prices that go before those of the settings. */
  prices?: Pick<PriceSource, 'of'> | undefined
  /** Longest wait for a probe's answer, ms; 0 asks nothing. */
  probeTimeoutMs: number
  /** Longest hold for a backend's KV window, ms; undefined without one. */
  holdMsMax(backend: string): number | undefined
}

/** A driver that is connected, and what its engine said of itself. */
export interface Connected {
  driver: Driver
  probe: ProbeResult | undefined
}

/** Connects a backend and asks what it serves. The driver is closed if either fails. */
export async function connectBackend(
  backend: string,
  definition: BackendDefinition,
  { clock, log, probeTimeoutMs }: Pick<BackendsInput, 'clock' | 'log' | 'probeTimeoutMs'>,
): Promise<Connected> {
  const driver = await definition.connect({ backend, clock, log })
  try {
    return { driver, probe: probeTimeoutMs > 0 ? await driver.probe(probeTimeoutMs) : undefined }
  } catch (error) {
    await driver.close()
    throw error
  }
}

/** The backends of one runtime. */
export class Backends {
  readonly #input: BackendsInput
  readonly #backends = new Map<string, Backend>()
  /** Models of backends that were removed: stages mapped to them may still be live. */
  readonly #formerModels = new Map<string, string>()
  /** Drivers that finish their last calls. */
  readonly #retiring = new Set<Promise<void>>()
  #generation = 0
  #closed = false

  constructor(input: BackendsInput) {
    this.#input = input
  }

  /** Grows whenever a backend comes, changes or goes: what was checked against them has to be checked again. */
  get generation(): number {
    return this.#generation
  }

  get names(): string[] {
    return [...this.#backends.keys()]
  }

  [Symbol.iterator](): IterableIterator<[string, Backend]> {
    return this.#backends.entries()
  }

  /** Whether there is such a backend, and it is to stay. */
  has(name: string): boolean {
    return this.#backends.get(name)?.removed === false
  }

  /** @throws {OptionsError} `ORLA_OPTIONS` for a backend that there is not */
  get(name: string): Backend {
    const backend = this.#backends.get(name)
    if (backend !== undefined) return backend
    const message = `there is no backend "${name}"; there are: ${this.names.join(', ')}`
    throw new OptionsError('backend', [{ path: 'backend', code: 'unknown_backend', message }])
  }

  /** Puts a connected backend to work. */
  put(name: string, definition: BackendDefinition, { driver, probe }: Connected, scheduling: SchedulingOptions): void {
    const { clock, log, post, supervisor, policies } = this.#input
    const { stage, request } = scheduling
    const actor = new SupervisedActor<BackendState, BackendMessage>(supervisor, name, (broken) =>
      startActor(backendLogic, {
        name,
        windowRequests: definition.settings.windowRequests,
        adaptiveWindow: definition.settings.adaptiveWindow,
        askEngine: () => this.#backends.get(name)?.lease.driver.kv?.usage(),
        queueCapacity: definition.settings.queueCapacity,
        policies: {
          stage: stage === undefined ? fcfs() : policies.policyOf(policies.nameOf(stage)),
          request: request === undefined ? fcfs() : policies.policyOf(policies.nameOf(request)),
        },
        breaker: breakerDefaults,
        adopts: broken?.leave(),
        holdMsMax: this.#input.holdMsMax(name),
        healthChanged: () => this.#input.changed?.(),
        tenants: this.#input.tenants,
        isLast: () => !this.#hasPeer(name),
        policyOf: (policy) => policies.policyOf(policy),
        clock,
        log,
        post,
      }),
    )
    this.#backends.set(name, {
      definition,
      lease: this.#leaseOf(name, driver, definition),
      probe,
      removed: false,
      actor,
    })
    this.#generation++
    this.#input.changed?.()
  }

  /** Connects a new backend and puts it to work. */
  async add(name: string, definition: BackendDefinition): Promise<void> {
    checkRuntimeOptions({ backends: { [name]: definition } })
    this.#checkNew(name)
    const connected = await this.#connect(name, definition)
    try {
      // Another call may have been faster.
      this.#checkNew(name)
    } catch (error) {
      await connected.driver.close()
      throw error
    }
    this.put(name, definition, connected, {})
  }

  /** Gives a backend another engine. What waits stays; what is in flight ends at the engine before. */
  async replace(name: string, definition: BackendDefinition): Promise<void> {
    checkRuntimeOptions({ backends: { [name]: definition } })
    this.get(name)
    const { driver, probe } = await this.#connect(name, definition)
    const backend = this.#backends.get(name)
    if (backend === undefined || backend.removed) {
      await driver.close()
      throw removedError(name)
    }
    const { windowRequests, queueCapacity } = definition.settings
    void this.#retire(backend.lease)
    backend.lease = this.#leaseOf(name, driver, definition)
    backend.definition = definition
    backend.probe = probe
    this.#generation++
    this.#input.changed?.()
    this.#input.post({ actor: 'memory' }, { type: 'memory.emptied', backend: name })
    this.tell(name, {
      type: 'backend.replaced',
      ...(definition.settings.adaptiveWindow !== undefined && { adaptiveWindow: definition.settings.adaptiveWindow }),
    })
    this.tell(name, { type: 'backend.reconfigure', windowRequests, queueCapacity })
  }

  /** Takes a backend out: what waits is sent back, what is in flight ends. */
  async remove(name: string): Promise<void> {
    const backend = this.get(name)
    if (![...this.#backends.values()].some((other) => other !== backend && !other.removed)) {
      const message = `"${name}" is the last backend; add another first, or close the runtime`
      throw new OptionsError('backend', [{ path: 'name', code: 'last_backend', message }])
    }
    backend.removed = true
    this.#generation++
    this.#input.changed?.()
    this.tell(name, { type: 'backend.remove' })
    await this.#retire(backend.lease)
    // What was in flight gives its slot back in a microtask after it ended.
    await Promise.resolve()
    if (this.#closed || this.#backends.get(name) !== backend) return
    this.#formerModels.set(name, backend.definition.settings.model)
    this.#backends.delete(name)
    backend.actor.remove()
  }

  /** Sends a message to a backend that there is. */
  tell(name: string, message: BackendMessage): void {
    this.get(name)
    this.#input.post({ actor: 'backend', name }, message)
  }

  /** Hands over a message that was posted to a backend. Returns false if its actor is gone. */
  receive(name: string, message: BackendMessage): boolean {
    const backend = this.#backends.get(name)
    if (backend !== undefined) return backend.actor.send(message)
    // A slot given back where there are none any more is of no interest to anybody.
    if (message.type === 'backend.request') {
      const { requestId } = message.request
      this.#input.post(message.replyTo, { type: 'stage.rejected', requestId, error: removedError(name).toJSON() })
    }
    return true
  }

  /** Starts an inference under its deadlines. */
  chat(
    name: string,
    request: ChatRequest,
    context: ChatContext,
    sink: ChatSink,
    timeouts: StageDefinition['timeouts'],
  ): ChatCall {
    const backend = this.#backends.get(name)
    // It may have been removed while its last grant was on the way.
    if (backend === undefined) return { result: Promise.reject(removedError(name)), cancel() {} }
    return backend.lease.chat(request, context, sink, timeouts)
  }

  /** Slots that no request has; 0 where there is no such backend. */
  freeSlots(name: string): number {
    const state = this.#backends.get(name)?.actor.state
    return state === undefined ? 0 : Math.max(0, state.windowRequests - state.inFlight)
  }

  /** Starts a request that nobody waits for, outside of the queues; or says why there is no room for it now. */
  chatAhead(name: string, request: ChatRequest, context: ChatContext): ChatCall | string {
    if (!this.canServe(name)) return 'the backend takes no requests now'
    // A backend on trial gets one request, and that is not this one.
    const { waiting, health } = this.get(name).actor.state
    if (waiting > 0 || health !== 'healthy' || this.freeSlots(name) < 1) return 'the backend is busy'
    return this.chat(name, request, context, { delta() {} }, {})
  }

  /** What tokens cost at a backend: as the list of prices says, else its settings. */
  pricesOf(name: string): Prices | undefined {
    const backend = this.#backends.get(name)
    return backend === undefined ? undefined : this.#pricesAt(name, backend)
  }

  #pricesAt(name: string, { definition: { settings } }: Backend): Prices | undefined {
    return this.#input.prices?.of(name, settings.model) ?? settings.prices
  }

  /** Model of a backend, even of one that was removed. */
  modelOf(name: string): string {
    return this.#backends.get(name)?.definition.settings.model ?? this.#formerModels.get(name)!
  }

  /** Whether a backend takes requests now. */
  canServe(name: string): boolean {
    const backend = this.#backends.get(name)
    if (backend === undefined || backend.removed) return false
    const { health } = backend.actor.state
    return health === 'healthy' || health === 'halfOpen'
  }

  /** What a backend's engine can do with its cache, as far as it is known. */
  kvCapabilities(name: string): Capabilities['kv'] {
    const backend = this.#backends.get(name)
    return backend === undefined
      ? { flushAll: 'none', releaseSession: 'none', isolate: 'none', retain: 'none' }
      : this.#capabilities(backend).kv
  }

  /** The cache control of a backend's driver, where it has one. */
  kvControl(name: string): Driver['kv'] {
    return this.#backends.get(name)?.lease.driver.kv
  }

  /** Backends as mappers see them. */
  views(): BackendView[] {
    const nowMs = this.#input.clock.nowMs()
    const views: BackendView[] = []
    for (const [name, backend] of this.#backends) if (!backend.removed) views.push(this.#view(name, backend, nowMs))
    return views
  }

  #view(name: string, backend: Backend, nowMs: number): BackendView {
    const { state } = backend.actor
    const { model, capabilities, quality } = this.#known(name, backend)
    const { inFlight, waiting, windowRequests, health } = state
    const pace = state.pace(nowMs)
    // Written out: spread, it takes three times as long, and there is one for each backend whenever a stage is mapped.
    const view: BackendView = { name, model, inFlight, waiting, windowRequests, health, capabilities, pace }
    if (quality !== undefined) view.quality = quality
    const { speed } = state
    if (speed !== undefined) view.speed = speed
    const prices = this.#pricesAt(name, backend)
    if (prices !== undefined) view.prices = prices
    return view
  }

  /** What of a view changes with the backend's definition only. */
  #known(name: string, backend: Backend): Pick<BackendView, 'name' | 'model' | 'capabilities' | 'quality'> {
    const { settings } = backend.definition
    const { known } = backend
    const found = this.#capabilities(backend)
    if (known !== undefined && known.found === found && known.settings === settings) return known.view
    const view = {
      name,
      model: settings.model,
      // What the options say wins over what was found: people put proxies in front of engines.
      capabilities: {
        ...found,
        ...(settings.contextLength !== undefined && { contextLength: settings.contextLength }),
        ...(settings.tools !== undefined && { tools: settings.tools }),
        ...(settings.jsonSchema !== undefined && { jsonSchema: settings.jsonSchema }),
      },
      ...(settings.quality !== undefined && { quality: settings.quality }),
    }
    backend.known = { found, settings, view }
    return view
  }

  /** Replicas as they stand; those that are to go are left out. */
  places(names: readonly string[]): Place[] {
    const nowMs = this.#input.clock.nowMs()
    const facts = names.flatMap((name) => {
      if (!this.has(name)) return []
      const { state } = this.get(name).actor
      const { health, speed } = state
      return [{ name, health, pace: state.pace(nowMs), ...(speed !== undefined && { speed }) }]
    })
    return placesOf(facts, nowMs)
  }

  /** Queues as rerouting sees them. */
  queues(): Queue[] {
    const nowMs = this.#input.clock.nowMs()
    return Array.from(this.#backends, ([name, { actor }]) => {
      const { state } = actor
      const msPerPromptToken = state.speed?.msPerPromptToken
      return {
        name,
        serves: this.canServe(name),
        ...state.load(),
        pace: state.pace(nowMs),
        movable: state.movable(),
        ...(msPerPromptToken !== undefined && { msPerPromptToken }),
      }
    })
  }

  /** Backends as runner threads know them. */
  glimpses(): BackendGlimpse[] {
    return [...this.#backends].map(([name, { definition }]) => ({
      name,
      model: definition.settings.model,
      serves: this.canServe(name),
      ...this.#pricesIfAny(name),
    }))
  }

  /** Nothing is granted any more: what is cancelled frees slots, which nobody who waits may take. */
  halt(): void {
    this.#closed = true
    for (const name of this.#backends.keys()) this.tell(name, { type: 'backend.reconfigure', windowRequests: 0 })
  }

  /** Closes all drivers, each after its last call. Rejects if closing one fails. */
  async close(): Promise<void> {
    for (const { lease } of this.#backends.values()) void this.#retire(lease)
    await Promise.all(this.#retiring)
  }

  async #connect(name: string, definition: BackendDefinition): Promise<Connected> {
    this.#checkOpen()
    const connected = await connectBackend(name, definition, this.#input)
    if (!this.#closed) return connected
    await connected.driver.close()
    throw closedError()
  }

  #leaseOf(name: string, driver: Driver, { settings }: BackendDefinition): DriverLease {
    let isFirst = true
    const { timeouts } = settings
    const guard = { clock: this.#input.clock, backend: name, timeouts, responseCharsMax: limits.responseBytesMax }
    return new DriverLease(driver, guard, (before, now) => {
      // A router may change its mind with every answer: that is said once.
      this.#input.log[isFirst ? 'warn' : 'debug'](
        { backend: name, before, now },
        'a backend answers with another model',
      )
      isFirst = false
      // Whatever the engine before held, this one does not.
      this.#input.post({ actor: 'memory' }, { type: 'memory.emptied', backend: name })
    })
  }

  #pricesIfAny(name: string): { prices?: Prices } {
    const prices = this.pricesOf(name)
    return prices === undefined ? {} : { prices }
  }

  #checkOpen(): void {
    if (this.#closed) throw closedError()
  }

  #checkNew(name: string): void {
    if (!this.#backends.has(name)) return
    const message = `there is a backend "${name}" already; use replaceBackend`
    throw new OptionsError('backend', [{ path: 'name', code: 'duplicate_backend', message }])
  }

  /** Closes a driver after its last call. A close that fails is told to whoever waits for it. */
  #retire(lease: DriverLease): Promise<void> {
    const closed = lease.retire()
    this.#retiring.add(closed)
    const forget = (): void => void this.#retiring.delete(closed)
    closed.then(forget, forget)
    return closed
  }

  /** Whether another backend of the same model is healthy. */
  #hasPeer(name: string): boolean {
    const { model } = this.get(name).definition.settings
    for (const [other, { definition }] of this.#backends) {
      if (other !== name && definition.settings.model === model && this.canServe(other)) return true
    }
    return false
  }

  #capabilities({ lease, probe }: Backend): Capabilities {
    return probe?.state === 'ready' ? probe.capabilities : lease.driver.capabilities
  }
}

/** What calls of a closed runtime meet. */
export function closedError(): OrlaError {
  return new OrlaError('ORLA_CLOSED', 'the runtime is closed')
}
