// Actions of the memory manager at engines
//
// Owns: nothing. It carries out what is decided, waits for nothing, and tells what came of it.
// Does not own: decisions (memory manager), the engines' cache control (drivers), prefills (foresight).

import type { Post } from '../actors/messages.ts'
import type { Driver } from './engines/driver.ts'
import type { FlushResult } from './engines/kv-control.ts'
import { messageOf } from './errors.ts'
import type { CacheAction, CacheOutcome } from './memory/actions.ts'
import type { Usage } from './schema/chat.ts'
import type { RuntimeForesight } from './runtime-foresight.ts'

interface CacheActionsInput {
  post: Post
  kvControl(backend: string): Driver['kv']
  foresight: RuntimeForesight | undefined
  /** Hears of a prefill that an engine computed. */
  prefilled(backend: string, of: { runId: string; stage: string }, usage: Usage): void
}

/** Carries out actions. */
export class CacheActions {
  readonly #input: CacheActionsInput

  constructor(input: CacheActionsInput) {
    this.#input = input
  }

  /** Begins one. The memory manager hears what came of it, later. */
  act(backend: string, action: CacheAction, actionId: number): void {
    const { post, foresight } = this.#input
    if (action.kind === 'prefill') {
      return foresight?.prefill(backend, action, actionId, (outcome) => {
        if (outcome.usage !== undefined) this.#input.prefilled(backend, action, outcome.usage)
        post({ actor: 'memory' }, { type: 'memory.prefilled', actionId, ...outcome })
      })
    }
    const acted = (outcome: CacheOutcome): void =>
      post({ actor: 'memory' }, { type: 'memory.acted', actionId, outcome })
    const failed = (error: unknown): void => acted({ outcome: 'failed', message: messageOf(error) })
    const kv = this.#input.kvControl(backend)
    if (kv === undefined) return acted({ outcome: 'unsupported', message: 'the driver has no KV control' })
    switch (action.kind) {
      case 'usage':
        kv.usage().then(
          ({ usedFraction }) =>
            post(
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
}

/** What came of a flush, as the memory manager hears it. */
function outcomeOf(result: FlushResult): CacheOutcome {
  const message = 'reason' in result ? result.reason : 'message' in result ? result.message : ''
  return { outcome: result.outcome, message }
}
