// The root actor: it shares its system with the machines of all runs, and hears of their failures.

import { createActor, fromTransition, type AnyActorRef } from 'xstate'
import type { Logger } from '../src/log.ts'

/** Starts the root of one runtime, or of one runner thread. */
export function startRoot(log: Logger): AnyActorRef {
  const root = createActor(rootLogic, { input: (error) => log.error({ error }, 'an actor failed') })
  root.subscribe({ error: (error: unknown) => log.error({ error }, 'the root actor failed') })
  keepNoRegister(root.system)
  return root.start()
}

/**
 * Lets the actors of a system go once they are over.
 *
 * XState enters each in a Map that it never reads, and whose former tables keep what was in them from an early collection
 * (`src/turnover-map.ts` says how): every machine of a run would move in with the old objects.
 */
function keepNoRegister(system: object): void {
  const register = system as { _register?: (sessionId: string) => string }
  if (typeof register._register === 'function') register._register = (sessionId) => sessionId
}

const rootLogic = fromTransition(
  (report: (error: unknown) => void, event: { type: string; error?: unknown }) => {
    if (event.type.startsWith('xstate.error.')) report(event.error)
    return report
  },
  ({ input }: { input: (error: unknown) => void }) => input,
)
