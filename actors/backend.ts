// Backend actor
//
// Owns: the sub-queues of one backend, its window, its leases, and whether it admits anything (health machine).
// Does not own: which stage comes here (mapper), bytes on the wire (the stage infers through the driver), KV cache
// (memory manager).
// In:  backend.request, backend.admitted, backend.withdraw, backend.release, backend.reroute, backend.tenantRoom,
//      backend.reconfigure, backend.replaced, backend.remove, backend.readmit, backend.drain, backend.resume
// Out: stage.granted, stage.rejected; with a KV window memory.admit, memory.left, memory.forced; rerouter.wake when a
//      request waits that may go elsewhere
// Invariants
//   B1. Requests in flight never exceed the window at the instant of a grant.
//   B2. A request leaves by exactly one of: granted then released, rejected, withdrawn.
//   B3. A full queue, an open breaker and a draining backend answer with a typed rejection; nothing is dropped.
//   B4. While the breaker is half-open, one request is in flight as its probe.
//   B5. With a KV window, a request is held until the memory manager admits it, and at most `holdMsMax`, whatever the
//       memory manager does. Held requests count against the queue's capacity and keep their place in line.
//   B6. Retries that wait or run are at most a share of all requests here, or a few.
//   B7. A request that is sent elsewhere was waiting, and does not wait here any more.

import { createActor, type ActorRefFrom, type SnapshotFrom } from 'xstate'
import { backendMachine, openDelayMs, type BreakerSettings } from '../machines/backend.ts'
import type { Clock } from '../src/clock.ts'
import { OrlaError, RejectedError, type ErrorFacts } from '../src/errors.ts'
import { limits } from '../src/limits.ts'
import type { Logger } from '../src/log.ts'
import type { Speed } from '../src/prediction/service-fit.ts'
import type { EngineWord } from '../src/scheduling/adaptive-window.ts'
import type { SchedulingPolicies, SchedulingPolicy } from '../src/scheduling/policy.ts'
import type { AdaptiveWindowSettings } from '../src/schema/backend.ts'
import type { QueuePace, ServedTurn } from '../src/schema/queue-pace.ts'
import { ServiceMeter } from '../src/scheduling/service-meter.ts'
import type { Movable } from '../src/scheduling/reroute.ts'
import { SubQueues, type SubQueueLoad } from '../src/scheduling/sub-queues.ts'
import type { RequestView } from '../src/scheduling/request-view.ts'
import { RequestWindow } from '../src/scheduling/window.ts'
import type { TenantGate } from '../src/scheduling/tenant-gate.ts'
import { TurnoverMap } from '../src/turnover-map.ts'
import { Holding, type Held } from './holding.ts'
import { actorClock, guarded, type ActorState, type StateLogic } from './logic.ts'
import type {
  BackendMessage,
  BackendReconfigure,
  BackendRequest,
  BackendReroute,
  CallerAddress,
  Post,
} from './messages.ts'
import { Parking, tokensOf } from './parking.ts'
import { WindowPilot } from './window-pilot.ts'

/** What a backend actor is made with. */
export interface BackendInput {
  name: string
  windowRequests: number
  /** Bounds of a window that finds its size; undefined: it is fixed. */
  adaptiveWindow?: AdaptiveWindowSettings | undefined
  /** Asks the engine how it is; undefined where it cannot be asked. */
  readonly askEngine?: () => Promise<EngineWord> | undefined
  queueCapacity: number
  policies: SchedulingPolicies
  breaker: BreakerSettings
  /** Longest that a request may be held for its KV window, ms; undefined without one. */
  holdMsMax?: number | undefined
  /** What the actor before it, which broke, leaves to it. */
  adopts?: BackendRemains | undefined
  /** Hears that its health is another now. */
  healthChanged?: (() => void) | undefined
  /** What tenants may have; undefined where none is limited. */
  tenants?: TenantGate | undefined
  /** True while no other backend can serve in its place. */
  isLast(): boolean
  /** Finds a policy by name, for reconfiguration. */
  policyOf(name: string): SchedulingPolicy
  clock: Clock
  log: Logger
  post: Post
}

/** Health of a backend as people and mappers see it. */
export type BackendHealth = SnapshotFrom<typeof backendMachine>['value']

/** Load of a backend at one instant. Plain data. */
export interface BackendLoad {
  health: BackendHealth
  inFlight: number
  waiting: number
  /** Requests held for the KV window, before the sub-queues. */
  held: number
  windowRequests: number
  queueCapacity: number
  stagePolicy: string
  requestPolicy: string
}

/** What a backend actor that broke leaves to the next. */
export interface BackendRemains {
  /** Requests in flight: their slots are taken. */
  leases: ReadonlyMap<string, Lease>
  windowRequests: number
  queueCapacity: number
  policies: SchedulingPolicies
  /** Health that somebody asked for. */
  asked: 'draining' | 'removed' | undefined
}

/** A slot that is taken. */
interface Lease {
  /** Ms on the runtime's clock. */
  readonly grantedAtMs: number
  readonly tenant: string
  /** That it was expected to take of its tenant's. */
  readonly tokens: number
  /** Requests in flight when it was granted, this one included. */
  readonly inFlight: number
}

/** State of a backend actor. Changed in place: it is one owner's, and a copy for every message would be waste. */
export class BackendState implements ActorState<BackendMessage> {
  onCrash?: ((error: unknown) => void) | undefined
  readonly #input: BackendInput
  readonly #queues: SubQueues
  readonly #window: RequestWindow
  readonly #health: ActorRefFrom<typeof backendMachine>
  /** Where to answer, for requests that wait. */
  readonly #replyTo = new TurnoverMap<string, CallerAddress>()
  readonly #leases = new TurnoverMap<string, Lease>()
  /** Requests of tenants that have as much as they may; undefined where no tenant is limited. */
  readonly #parking: Parking | undefined
  /** Where else requests that wait may be served. */
  readonly #among = new Map<string, readonly string[]>()
  readonly #meter = new ServiceMeter()
  /** Finds the size of the window; undefined where it is fixed. */
  #pilot: WindowPilot | undefined
  #settings: AdaptiveWindowSettings | undefined
  /** Leases from before the engine was replaced. */
  readonly #former = new Set<string>()
  #removed = false
  /** True once another took its place: it grants nothing more. */
  #left = false
  /** The message that broke it. */
  #fatal: BackendMessage | undefined
  /** Retries that wait or run. */
  readonly #retries = new Set<string>()
  /** Requests that wait for a place in the KV window; undefined without one. */
  readonly #holding: Holding | undefined
  #queueCapacity: number
  #arrivals = 0
  /** Request that probes a half-open backend. */
  #probe: string | undefined
  #openedAtMs = 0
  /** Health that was acted upon last: the machine also tells of events that change nothing. */
  #healthSeen: BackendHealth = 'healthy'

  constructor(input: BackendInput) {
    this.#input = input
    this.#queueCapacity = input.queueCapacity
    this.#window = new RequestWindow(input.windowRequests)
    this.#queues = new SubQueues(input.policies, (policy, message) =>
      input.log.error({ backend: input.name, policy }, `scheduling policy failed, using arrival order: ${message}`),
    )
    this.#parking =
      input.tenants &&
      new Parking({
        backend: input.name,
        gate: input.tenants,
        queues: this.#queues,
        clock: input.clock,
        post: input.post,
        grant: () => this.#grant(),
        guarded: (what, run) => this.#guarded(what, run),
      })
    this.#holding =
      input.holdMsMax === undefined
        ? undefined
        : new Holding({
            backend: input.name,
            holdMsMax: input.holdMsMax,
            clock: input.clock,
            post: input.post,
            admit: (held) => this.#admit(held),
            grant: () => this.#grant(),
            guarded: (what, run) => this.#guarded(what, run),
          })
    this.#health = createActor(backendMachine, { input: input.breaker, clock: actorClock(input.clock) })
    this.#health.subscribe({
      // XState lets what an observer throws end the process.
      next: ({ value }) => this.#guarded(`health ${value}`, () => this.#onHealth(value))(),
      error: (error) => input.log.error({ backend: input.name, error }, 'health machine failed'),
    })
    this.#health.start()
    if (input.adopts !== undefined) this.#adopt(input.adopts)
    this.#fly(input.adaptiveWindow)
  }

  handle(message: BackendMessage): void {
    switch (message.type) {
      case 'backend.request':
        return this.#enqueue(message)
      case 'backend.admitted':
        for (const requestId of message.requestIds) {
          const held = this.#holding?.take(requestId)
          if (held !== undefined) this.#admit(held)
        }
        return this.#grant()
      case 'backend.withdraw':
        return this.#withdraw(message.requestId)
      case 'backend.release':
        return this.#release(message.requestId, message.verdict, message.served)
      case 'backend.tenantRoom':
        this.#parking?.wake(message.tenant)
        return this.#grant()
      case 'backend.reroute':
        return this.#reroute(message)
      case 'backend.reconfigure':
        return this.#reconfigure(message)
      case 'backend.replaced':
        for (const requestId of this.#leases.keys()) this.#former.add(requestId)
        this.#health.send({ type: 'backend.replaced' })
        this.#meter.forget()
        this.#fly(message.adaptiveWindow)
        return this.#grant()
      case 'backend.remove':
        this.#removed = true
        this.#health.send({ type: 'backend.drain' })
        return this.#rejectAll()
      case 'backend.readmit':
        return this.#holding?.askAgain()
      case 'backend.drain':
      case 'backend.resume':
        if (this.#removed) return
        this.#health.send({ type: message.type })
        this.#grant()
        return
    }
  }

  get health(): BackendLoad['health'] {
    return this.#health.getSnapshot().value
  }

  get inFlight(): number {
    return this.#window.inFlight
  }

  get waiting(): number {
    return this.#waits
  }

  get windowRequests(): number {
    return this.#window.size
  }

  /** All of it, for people: whoever asks on the way of every stage asks for what it needs. */
  load(): BackendLoad {
    return {
      health: this.health,
      inFlight: this.#window.inFlight,
      waiting: this.#waits,
      held: this.#held,
      windowRequests: this.#window.size,
      queueCapacity: this.#queueCapacity,
      stagePolicy: this.#queues.policies.stage.name,
      requestPolicy: this.#queues.policies.request.name,
    }
  }

  /** How fast its queue moves. */
  pace(nowMs: number): QueuePace {
    return this.#meter.pace(nowMs, this.#queues, this.#parked + this.#held, this.#window.size)
  }

  /** How fast its engine was lately; undefined before its first answer. */
  get speed(): Speed | undefined {
    return this.#meter.speed
  }

  /** What waits and may be served elsewhere, the last to arrive first. O(n) for n that wait. */
  movable(): Movable[] {
    if (this.#among.size === 0) return []
    const movable: Movable[] = []
    let position = 0
    for (const { requestId, promptTokens, uncachedTokens } of this.#queues) {
      const among = this.#among.get(requestId)
      if (among !== undefined) movable.push({ requestId, position, cachedTokens: promptTokens - uncachedTokens, among })
      position++
    }
    return movable.reverse()
  }

  /** What waits, by stage class. O(classes). */
  subQueues(): SubQueueLoad[] {
    return this.#queues.classes()
  }

  /** A message could not be handled: a bug, said loudly, that must not stop the backend. */
  report(error: unknown, message: BackendMessage): void {
    this.#fatal = message
    this.#input.log.error({ backend: this.#input.name, message: message.type, error }, 'backend actor failed')
  }

  /**
   * Ends it, after a message broke it: sends back what waits, to try again, and leaves the rest to the next.
   *
   * What the broken message was about may be half done: a request that was not taken is sent back, a slot that was
   * given back is free.
   */
  leave(): BackendRemains {
    this.stop()
    this.#left = true
    const leases = new Map(this.#leases)
    const waiting = this.#waiting()
    if (this.#fatal?.type === 'backend.release') leases.delete(this.#fatal.requestId)
    if (this.#fatal?.type === 'backend.request' && !leases.has(this.#fatal.request.requestId)) {
      waiting.set(this.#fatal.request.requestId, this.#fatal.replyTo)
    }
    const { name } = this.#input
    const message = `the actor of backend "${name}" broke and was started again`
    const fatal = this.#fatal?.type === 'backend.request' ? this.#fatal.request.requestId : undefined
    for (const [requestId, replyTo] of waiting) {
      // What only waited is as it was; what broke the actor may do so again.
      const details = { backend: name, ...(requestId !== fatal && { innocent: true }) }
      const error = new OrlaError('ORLA_INVARIANT', message, { retryable: true, details }).toJSON()
      this.#leave(replyTo.runId, requestId)
      this.#input.post(replyTo, { type: 'stage.rejected', requestId, error })
    }
    const draining = this.#health.getSnapshot().value === 'draining'
    return {
      leases,
      windowRequests: this.#window.size,
      queueCapacity: this.#queueCapacity,
      policies: this.#queues.policies,
      asked: this.#removed ? 'removed' : draining ? 'draining' : undefined,
    }
  }

  /** Ends the health machine and the timers. */
  stop(): void {
    this.#holding?.stop()
    this.#parking?.stop()
    this.#pilot?.stop()
    this.#queues.close()
    this.#health.stop()
  }

  #enqueue({ request, replyTo, retry = false, aside = false, among }: BackendRequest): void {
    const rejection = this.#rejection() ?? this.#overQuota(request.tenant) ?? (retry ? this.#overBudget() : undefined)
    if (rejection !== undefined) {
      this.#input.post(replyTo, { type: 'stage.rejected', requestId: request.requestId, error: rejection })
      return
    }
    if (retry) this.#retries.add(request.requestId)
    const nowMs = this.#input.clock.nowMs()
    const view = { ...request, arrivalMs: nowMs, arrivalOrder: this.#arrivals++ }
    if (this.#holding !== undefined && !aside) return this.#holding.hold(view, replyTo)
    if (this.#parking === undefined && this.#queues.size === 0 && this.#canGrant()) {
      // Where nothing waits, and a slot is free: a sub-queue made for one request costs 1 us.
      this.#queues.pass(view, nowMs)
      return this.#lease(view, replyTo, nowMs)
    }
    this.#replyTo.set(request.requestId, replyTo)
    this.#queues.enqueue(view)
    this.#grant()
    if (among === undefined || !this.#replyTo.has(request.requestId)) return
    this.#among.set(request.requestId, among)
    this.#wakeRerouter()
  }

  #wakeRerouter(): void {
    this.#input.post({ actor: 'rerouter' }, { type: 'rerouter.wake' })
  }

  /** Sends requests back that do better elsewhere, those that still wait. */
  #reroute({ moves }: BackendReroute): void {
    const { name, post } = this.#input
    for (const { requestId, to, reason } of moves) {
      const replyTo = this.#replyTo.get(requestId)
      if (replyTo === undefined || !this.#takeOut(requestId)) continue
      this.#forget(requestId)
      this.#leave(replyTo.runId, requestId)
      const error = new RejectedError('ORLA_REROUTED', reason, { backend: name, to }).toJSON()
      post(replyTo, { type: 'stage.rejected', requestId, error })
    }
  }

  /** Requests that wait in the sub-queues, and for their tenants. */
  get #waits(): number {
    return this.#queues.size + this.#parked
  }

  /** Requests of tenants that have as much as they may. */
  get #parked(): number {
    return this.#parking?.size ?? 0
  }

  /** Takes a request out that is not to be served. False if it does not wait here. */
  #takeOut(requestId: string): boolean {
    if (!this.#queues.withdraw(requestId)) return this.#parking?.withdraw(requestId) ?? false
    this.#parking?.gone(requestId)
    return true
  }

  /** Why a request of a tenant that wants to be refused cannot be taken now. */
  #overQuota(tenant: string): ErrorFacts | undefined {
    const { tenants, clock, name } = this.#input
    if (tenants?.limitsOf(tenant)?.whenOver !== 'refuse') return undefined
    const retryAfterMs = Math.ceil(tenants.tokensInMs(tenant, clock.nowMs()))
    if (retryAfterMs === 0) return undefined
    const message = `tenant "${tenant}" has had its tokens; it has some again in ${retryAfterMs} ms`
    return new RejectedError('ORLA_TENANT_LIMIT', message, { backend: name, tenant, retryAfterMs }).toJSON()
  }

  /** Forgets a request that waits no more. */
  #forget(requestId: string): void {
    this.#replyTo.delete(requestId)
    this.#among.delete(requestId)
    this.#retries.delete(requestId)
  }

  /** Takes a held request on to the sub-queues. */
  #admit({ view, replyTo }: Held): void {
    this.#replyTo.set(view.requestId, replyTo)
    this.#queues.enqueue(view)
  }

  #withdraw(requestId: string): void {
    this.#retries.delete(requestId)
    const held = this.#holding?.take(requestId)
    if (held !== undefined) return this.#leave(held.replyTo.runId, requestId)
    const replyTo = this.#replyTo.get(requestId)
    // Its grant is on the way to it, which will not take it any more.
    if (!this.#takeOut(requestId)) return this.#release(requestId, 'inconclusive')
    this.#forget(requestId)
    this.#leave(replyTo!.runId, requestId)
  }

  #leave(runId: string, requestId: string): void {
    this.#holding?.left(runId, requestId)
  }

  get #held(): number {
    return this.#holding?.size ?? 0
  }

  /** Why a request that comes now cannot be taken. */
  #rejection(): ErrorFacts | undefined {
    const { name, breaker, clock } = this.#input
    if (this.#removed) return removedError(name).toJSON()
    const snapshot = this.#health.getSnapshot()
    if (snapshot.value === 'open') {
      const openMs = openDelayMs(breaker, snapshot.context.opened)
      const retryAfterMs = Math.max(0, this.#openedAtMs + openMs - clock.nowMs())
      const message = `backend "${name}" failed ${breaker.failuresMax} times in a row and is left alone for ${Math.ceil(retryAfterMs)} ms`
      return new RejectedError('ORLA_BACKEND_OPEN', message, { backend: name, retryAfterMs }).toJSON()
    }
    if (snapshot.value === 'draining') {
      return new RejectedError('ORLA_BACKEND_DRAINING', `backend "${name}" is draining and takes nothing new`, {
        backend: name,
      }).toJSON()
    }
    const depth = this.#waits + this.#held
    if (depth < this.#queueCapacity || (depth === 0 && this.#window.free > 0)) return undefined
    return new RejectedError(
      'ORLA_QUEUE_FULL',
      `backend "${name}": ${depth} requests wait already (queueCapacity ${this.#queueCapacity}); come back later, widen the window or add a backend`,
      { backend: name, depth, queueCapacity: this.#queueCapacity },
    ).toJSON()
  }

  /** Why a retry that comes now cannot be taken: retries must not become the load that keeps a backend down (B6). */
  #overBudget(): ErrorFacts | undefined {
    const active = this.#window.inFlight + this.#waits + this.#held
    const retriesMax = Math.max(limits.retriesMin, Math.floor(active * limits.retryShareMax))
    if (this.#retries.size < retriesMax) return undefined
    const { name } = this.#input
    const message = `backend "${name}" has ${this.#retries.size} retries among ${active} requests already`
    return new RejectedError('ORLA_RETRY_BUDGET', message, { backend: name, active, retriesMax }).toJSON()
  }

  #grant(): void {
    while (this.#queues.size > 0 && this.#canGrant()) {
      const nowMs = this.#input.clock.nowMs()
      const request = this.#parking === undefined ? this.#queues.next(nowMs) : this.#parking.next(nowMs)
      if (request === undefined) return
      const replyTo = this.#replyTo.get(request.requestId)!
      this.#replyTo.delete(request.requestId)
      this.#among.delete(request.requestId)
      this.#lease(request, replyTo, nowMs)
    }
  }

  #lease(request: RequestView, replyTo: CallerAddress, nowMs: number): void {
    const { requestId, tenant } = request
    this.#window.take()
    this.#leases.set(requestId, {
      grantedAtMs: nowMs,
      tenant,
      tokens: tokensOf(request),
      inFlight: this.#window.inFlight,
    })
    this.#pilot?.granted(this.#window.inFlight)
    this.#meter.granted(nowMs)
    if (this.#health.getSnapshot().value === 'halfOpen') this.#probe = requestId
    this.#input.post(replyTo, { type: 'stage.granted', requestId })
  }

  #canGrant(): boolean {
    return !this.#left && this.#window.free > 0 && this.#admits()
  }

  #admits(): boolean {
    const health = this.#health.getSnapshot().value
    return health === 'healthy' || health === 'draining' || (health === 'halfOpen' && this.#probe === undefined)
  }

  #release(requestId: string, verdict: 'ok' | 'faulty' | 'inconclusive', served?: ServedTurn): void {
    const lease = this.#leases.get(requestId)
    // A lease that is not known was given back already: releasing is idempotent, so that no path can leak a slot.
    if (lease === undefined) return
    this.#leases.delete(requestId)
    const nowMs = this.#input.clock.nowMs()
    this.#meter.ended(lease.grantedAtMs, nowMs, this.#former.has(requestId) ? undefined : served)
    this.#parking?.left(lease.tenant, lease.tokens, served && served.promptTokens + served.outputTokens, nowMs)
    this.#retries.delete(requestId)
    this.#window.give()
    const wasProbe = this.#probe === requestId
    if (wasProbe) this.#probe = undefined
    if (this.#former.delete(requestId)) {
      verdict = 'inconclusive'
      served = undefined
    }
    if (verdict === 'faulty') this.#health.send({ type: 'request.failed', last: this.#input.isLast() })
    else if (verdict === 'ok' && !this.#isWell()) this.#health.send({ type: 'request.succeeded' })
    else if (wasProbe) this.#health.send({ type: 'probe.inconclusive' })
    this.#pilot?.ended(served, lease.inFlight, this.#window.inFlight, verdict === 'faulty')
    this.#grant()
  }

  /** Healthy, with no failure to forget: one more success changes nothing, and its machine would take 1.3 us to say so. */
  #isWell(): boolean {
    const { value, context } = this.#health.getSnapshot()
    return value === 'healthy' && context.failures === 0
  }

  #reconfigure(change: BackendReconfigure): void {
    if (change.windowRequests !== undefined) {
      this.#window.resize(change.windowRequests)
      // The search goes on from there; a window of none is for good.
      if (this.#settings !== undefined && change.windowRequests > 0) this.#fly(this.#settings)
      else this.#pilot?.stop()
    }
    if (change.queueCapacity !== undefined) this.#queueCapacity = change.queueCapacity
    if (change.stagePolicy !== undefined || change.requestPolicy !== undefined) {
      const now = this.#queues.policies
      this.#queues.setPolicies({
        stage: change.stagePolicy === undefined ? now.stage : this.#input.policyOf(change.stagePolicy),
        request: change.requestPolicy === undefined ? now.request : this.#input.policyOf(change.requestPolicy),
      })
    }
    this.#grant()
  }

  /** Begins the search for the window's size from where it is. */
  #fly(settings: AdaptiveWindowSettings | undefined): void {
    this.#pilot?.stop()
    this.#settings = settings
    const { clock, askEngine } = this.#input
    this.#pilot =
      settings &&
      new WindowPilot({
        settings,
        initial: this.#window.size,
        clock,
        ask: () => askEngine?.(),
        resize: (size) => {
          this.#window.resize(size)
          this.#grant()
        },
        guarded: (what, run) => this.#guarded(what, run),
      })
  }

  #guarded(message: string, run: () => void): () => void {
    return guarded(
      this,
      (error) => this.#input.log.error({ backend: this.#input.name, message, error }, 'backend actor failed'),
      run,
    )
  }

  #onHealth(health: BackendHealth): void {
    const isNew = health !== this.#healthSeen
    this.#healthSeen = health
    if (isNew) this.#input.healthChanged?.()
    if (isNew && this.#among.size > 0) this.#wakeRerouter()
    if (health === 'open') {
      if (!isNew) return
      this.#openedAtMs = this.#input.clock.nowMs()
      this.#rejectAll()
    } else if (health === 'halfOpen' || health === 'healthy') {
      this.#grant()
    }
  }

  /** Where to answer, for all that wait: held requests too. */
  #waiting(): Map<string, CallerAddress> {
    const waiting = new Map(this.#replyTo)
    for (const [requestId, replyTo] of this.#holding?.callers() ?? []) waiting.set(requestId, replyTo)
    return waiting
  }

  #adopt({ leases, windowRequests, queueCapacity, policies, asked }: BackendRemains): void {
    // Wide enough for all of them first: a window may have shrunk below what runs.
    this.#window.resize(Math.max(windowRequests, leases.size))
    for (const [requestId, lease] of leases) {
      this.#window.take()
      this.#leases.set(requestId, lease)
      this.#meter.granted(lease.grantedAtMs)
    }
    this.#window.resize(windowRequests)
    this.#queueCapacity = queueCapacity
    this.#queues.setPolicies(policies)
    this.#removed = asked === 'removed'
    if (asked !== undefined) this.#health.send({ type: 'backend.drain' })
  }

  /** What waits at a backend that has just failed is sent back at once, so that it can go elsewhere or try later. */
  #rejectAll(): void {
    const error = this.#rejection()!
    const waiting = this.#waiting()
    for (const [requestId, { runId }] of waiting) {
      this.#takeOut(requestId)
      this.#forget(requestId)
      this.#holding?.take(requestId)
      this.#leave(runId, requestId)
    }
    for (const [requestId, replyTo] of waiting) {
      this.#input.post(replyTo, { type: 'stage.rejected', requestId, error })
    }
  }
}

/** Why a backend that was removed takes nothing. */
export function removedError(name: string): RejectedError {
  return new RejectedError('ORLA_BACKEND_DRAINING', `backend "${name}" was removed`, { backend: name })
}

/** Logic of the backend actor. */
export const backendLogic: StateLogic<BackendState, BackendMessage, BackendInput> = {
  create: (input) => new BackendState(input),
  onError: (state, error, message) => state.report(error, message),
}
