// The root actor: it shares its system with the machines of all runs, and hears of their failures.

import { createActor, fromTransition, type AnyActorRef } from 'xstate'
import type { Logger } from '../src/log.ts'

/** Starts the root of one runtime, or of one runner thread. */
export function startRoot(log: Logger): AnyActorRef {
  const root = createActor(rootLogic, { input: (error) => log.error({ error }, 'an actor failed') })
  root.subscribe({ error: (error: unknown) => log.error({ error }, 'the root actor failed') })
  return root.start()
}

const rootLogic = fromTransition(
  (report: (error: unknown) => void, event: { type: string; error?: unknown }) => {
    if (event.type.startsWith('xstate.error.')) report(event.error)
    return report
  },
  ({ input }: { input: (error: unknown) => void }) => input,
)
