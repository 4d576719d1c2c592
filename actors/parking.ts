// Parking of one backend
//
// Owns: requests that it was their turn to be granted, and whose tenants may have no more now; the timers that end it.
// Does not own: what tenants may have (tenant gate), the sub-queues, in which a request waits again once there is room,
// at its old place.
// Invariants
//   K1. A request is parked or in the sub-queues, never both.
//   K2. Of each tenant at most one request that was parked is back in the sub-queues at a time: what one that ends
//       makes room for is looked at once, not by all that wait.
//   K3. Nothing is parked for ever: room made by one that ends, or tokens that come with time, bring it back.

import type { Clock, Timer } from '../src/clock.ts'
import type { RequestView } from '../src/scheduling/request-view.ts'
import type { SubQueues } from '../src/scheduling/sub-queues.ts'
import type { TenantGate } from '../src/scheduling/tenant-gate.ts'
import type { Post } from './messages.ts'

/** What a backend's parking is made with. */
export interface ParkingInput {
  backend: string
  gate: TenantGate
  queues: SubQueues
  clock: Clock
  post: Post
  /** Something may be granted now. */
  readonly grant: () => void
  /** Makes a timer's work safe for the actor. */
  readonly guarded: (what: string, run: () => void) => () => void
}

interface Lot {
  /** In the order in which it was their turn. */
  readonly parked: Map<string, RequestView>
  /** One that was back in the sub-queues for nothing: it stays before the others. */
  first: RequestView | undefined
  /** The one that is back in the sub-queues. */
  awake: string | undefined
  timer: Timer | undefined
}

/** Requests of tenants that have as much as they may. */
export class Parking {
  readonly #input: ParkingInput
  readonly #lots = new Map<string, Lot>()
  /** Tenant by request that is parked. */
  readonly #tenants = new Map<string, string>()
  /** Tenant by request that was, and is back in the sub-queues. */
  readonly #awake = new Map<string, string>()

  constructor(input: ParkingInput) {
    this.#input = input
  }

  /** Requests parked. */
  get size(): number {
    return this.#tenants.size
  }

  /** The next request whose tenant may have it, as `SubQueues.next`; those before it whose tenants may not are parked. */
  next(nowMs: number): RequestView | undefined {
    const { gate, queues, backend } = this.#input
    for (let head = queues.peek(nowMs); head !== undefined; head = queues.peek(nowMs)) {
      const { tenant, requestId } = head
      const waitMs = gate.enter({ tenant, tokens: tokensOf(head) }, backend, nowMs)
      if (waitMs === 0) {
        queues.take(requestId, nowMs)
        this.gone(requestId)
        return head
      }
      queues.withdraw(requestId)
      this.#park(head, waitMs, nowMs)
    }
    return undefined
  }

  /** A request that was granted has ended. @param taken - tokens that it took; undefined if nobody knows */
  left(tenant: string, tokens: number, taken: number | undefined, nowMs: number): void {
    const { gate, backend, post } = this.#input
    for (const name of gate.leave({ tenant, tokens }, backend, taken, nowMs)) {
      if (name === backend) this.wake(tenant)
      else post({ actor: 'backend', name }, { type: 'backend.tenantRoom', tenant })
    }
  }

  /** A tenant may have more: one of its requests goes back into the sub-queues. */
  wake(tenant: string): void {
    const lot = this.#lots.get(tenant)
    if (lot === undefined || lot.awake !== undefined) return
    const first = lot.first ?? lot.parked.values().next().value
    if (first === undefined) return
    if (first === lot.first) lot.first = undefined
    else lot.parked.delete(first.requestId)
    this.#tenants.delete(first.requestId)
    lot.awake = first.requestId
    this.#awake.set(first.requestId, tenant)
    this.#input.queues.enqueue(first)
  }

  /** Takes a request out that is not wanted any more. False if it is not parked. */
  withdraw(requestId: string): boolean {
    const tenant = this.#tenants.get(requestId)
    if (tenant === undefined) return false
    this.#tenants.delete(requestId)
    const lot = this.#lots.get(tenant)!
    if (lot.first?.requestId === requestId) lot.first = undefined
    else lot.parked.delete(requestId)
    this.#tidy(tenant)
    return true
  }

  /** A request left the sub-queues: if it was parked once, the next of its tenant may come back. */
  gone(requestId: string): void {
    const tenant = this.#awake.get(requestId)
    if (tenant === undefined) return
    this.#awake.delete(requestId)
    this.#lots.get(tenant)!.awake = undefined
    this.wake(tenant)
    this.#tidy(tenant)
  }

  /** Ends it: what is parked is somebody else's to answer. */
  stop(): void {
    const { clock, gate, backend } = this.#input
    for (const [tenant, { timer }] of this.#lots) {
      clock.clearTimer(timer)
      gate.parked(tenant, backend, false, clock.nowMs())
    }
    this.#lots.clear()
    this.#tenants.clear()
    this.#awake.clear()
  }

  #park(view: RequestView, waitMs: number, nowMs: number): void {
    const { gate, backend, clock, guarded, grant } = this.#input
    const { tenant, requestId } = view
    let lot = this.#lots.get(tenant)
    if (lot === undefined) {
      this.#lots.set(tenant, (lot = { parked: new Map(), first: undefined, awake: undefined, timer: undefined }))
      gate.parked(tenant, backend, true, nowMs)
    }
    if (this.#awake.delete(requestId)) {
      lot.awake = undefined
      lot.first = view
    } else {
      lot.parked.set(requestId, view)
    }
    this.#tenants.set(requestId, tenant)
    if (waitMs === Infinity || lot.timer !== undefined) return
    const back = guarded('tenant timer', () => {
      lot.timer = undefined
      this.wake(tenant)
      grant()
    })
    lot.timer = clock.setTimer(waitMs, back)
  }

  #tidy(tenant: string): void {
    const lot = this.#lots.get(tenant)!
    if (lot.parked.size > 0 || lot.first !== undefined || lot.awake !== undefined) return
    this.#input.clock.clearTimer(lot.timer)
    this.#lots.delete(tenant)
    this.#input.gate.parked(tenant, this.#input.backend, false, this.#input.clock.nowMs())
  }
}

/** Tokens that a request is expected to take of its tenant's. */
export function tokensOf({ promptTokens, outputTokens }: { promptTokens: number; outputTokens: number }): number {
  return promptTokens + outputTokens
}
