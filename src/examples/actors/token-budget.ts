// An actor of one's own: it closes a backend once that has written as many tokens as it may, until somebody tops it up.

import { z } from 'zod'
import { defineActor, type ActorDefinition } from '../../index.ts'

const Messages = z.strictObject({ type: z.literal('topUp'), tokens: z.int().positive() })

/** What the actor hears from outside. */
export type TopUp = z.infer<typeof Messages>

/** Makes the actor for one backend. */
export function tokenBudget(backend: string, budgetTokens: number): ActorDefinition<TopUp> {
  return defineActor({
    name: `token budget of ${backend}`,
    messages: Messages,
    start({ tellBackend, log }) {
      let left = budgetTokens
      return {
        transition(transition) {
          if (transition.type !== 'stage.released' || transition.backend !== backend) return
          const was = left
          left -= transition.usage.completionTokens ?? 0
          if (was > 0 && left <= 0) {
            log.warn({ backend }, 'the token budget is used up')
            tellBackend(backend, { type: 'backend.drain' })
          }
        },
        message({ tokens }) {
          const was = left
          left += tokens
          if (was <= 0 && left > 0) tellBackend(backend, { type: 'backend.resume' })
        },
      }
    },
  })
}
