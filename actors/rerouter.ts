// Rerouter
//
// Owns: when queues of replicas are reviewed.
// Does not own: the queues (backend actors: a request that was granted meanwhile stays), what moves (planMoves), or
// where a request goes on (its stage, which asks there like for any turn).
// In:  rerouter.wake   Out: backend.reroute
// Invariants
//   R1. Queues are reviewed at most once in `reviewMs`, and only while something waits that may go elsewhere.

import type { Clock, Timer } from '../src/clock.ts'
import type { Logger } from '../src/log.ts'
import { planMoves, type Queue } from '../src/scheduling/reroute.ts'
import { guarded, type ActorState, type StateLogic } from './logic.ts'
import type { Post, RerouterMessage } from './messages.ts'

/** Between two reviews, ms: a small part of a turn, and far more than one review takes. */
const reviewMs = 250

/** What the rerouter is made with. */
export interface RerouterInput {
  clock: Clock
  log: Logger
  post: Post
  /** All backends, as they stand. */
  queues(): Queue[]
  /** True for one that follows another which broke: something may wait. */
  again: boolean
}

/** State of the rerouter. */
export class RerouterState implements ActorState<RerouterMessage> {
  onCrash?: ((error: unknown) => void) | undefined
  readonly #input: RerouterInput
  #timer: Timer | undefined

  constructor(input: RerouterInput) {
    this.#input = input
    if (input.again) this.#arm()
  }

  handle(_wake: RerouterMessage): void {
    this.#arm()
  }

  /** A message could not be handled: a bug, said loudly. */
  report(error: unknown): void {
    this.#input.log.error({ error }, 'rerouter failed')
  }

  stop(): void {
    this.#input.clock.clearTimer(this.#timer)
  }

  #arm(): void {
    const review = guarded(
      this,
      (error) => this.report(error),
      () => this.#review(),
    )
    this.#timer ??= this.#input.clock.setTimer(reviewMs, review)
  }

  #review(): void {
    this.#timer = undefined
    const queues = this.#input.queues()
    if (!queues.some(({ movable }) => movable.length > 0)) return
    const moves = planMoves(queues)
    for (const [name, each] of Map.groupBy(moves, ({ from }) => from)) {
      const told = each.map(({ requestId, to, reason }) => ({ requestId, to, reason }))
      this.#input.post({ actor: 'backend', name }, { type: 'backend.reroute', moves: told })
    }
    this.#arm()
  }
}

/** Logic of the rerouter. */
export const rerouterLogic: StateLogic<RerouterState, RerouterMessage, RerouterInput> = {
  create: (input) => new RerouterState(input),
  onError: (state, error) => state.report(error),
}
