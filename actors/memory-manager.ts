// Memory-manager actor
//
// Owns: the KV ledger.
// Does not own: the transitions it lives on (workflow actors make them), the engines' caches.
// In:  memory.transition   Out: nothing yet but what `ledger` shows.
// Invariants
//   K1. It hears every transition of a run in order, before the run's next request is enqueued.

import type { Logger } from '../src/log.ts'
import { KvLedger } from '../src/memory/ledger.ts'
import { stateLogic, type ActorState } from './logic.ts'
import type { MemoryMessage } from './messages.ts'

/** What the memory manager is made with. */
export interface MemoryManagerInput {
  log: Logger
}

/** State of the memory manager, changed in place. */
export class MemoryManagerState implements ActorState<MemoryMessage> {
  readonly ledger = new KvLedger()
  readonly #log: Logger

  constructor(input: MemoryManagerInput) {
    this.#log = input.log
  }

  handle(message: MemoryMessage): void {
    this.ledger.apply(message.transition, message.nowMs)
  }

  /** A transition could not be taken in: a bug, said loudly; the ledger goes on. */
  report(error: unknown, message: MemoryMessage): void {
    this.#log.error({ transition: message.transition.type, error }, 'memory manager failed')
  }
}

/** Logic of the memory manager. */
export const memoryManagerLogic = stateLogic<MemoryManagerState, MemoryMessage, MemoryManagerInput>(
  (input) => new MemoryManagerState(input),
  (state, error, message) => state.report(error, message),
)
