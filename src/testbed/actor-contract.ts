// The contract suite for actors of one's own: what holds for any of them, whatever it does.

import type { ActorDefinition } from '../../actors/extension.ts'
import { virtualClock } from '../clock.ts'
import type { BackendDefinition } from '../engines/backend-definition.ts'
import { OrlaError } from '../errors.ts'
import { createRuntime } from '../runtime.ts'
import { user } from '../schema/message.ts'
import { workflow } from '../workflow/builder.ts'

/** What the suite needs. */
export interface ActorContractOptions<Message> {
  /** Makes the actor, anew for each check. */
  actor(): ActorDefinition<Message>
  /** Messages it takes, at least one. */
  messages: readonly Message[]
  /** Backends that work on a virtual clock, `simulated(...)`; those that the actor speaks to among them. */
  backends: Readonly<Record<string, BackendDefinition>>
}

/** One check. `run` rejects if the actor does not pass. */
export interface ActorCheck {
  name: string
  run(this: void): Promise<void>
}

/**
 * Checks of an actor, for any test runner: `for (const { name, run } of actorContract(options)) test(name, run)`.
 *
 * `run` rejects with {@link OrlaError} `ORLA_INVARIANT` and what was seen.
 */
export function actorContract<Message>(options: ActorContractOptions<Message>): ActorCheck[] {
  const { messages, backends } = options
  const twoStages = Object.keys(backends).map((backend) =>
    workflow(`through-${backend}`)
      .stage('a', { backend, maxTokens: 8, prompt: () => [user('one')] })
      .stage('b', { after: ['a'], backend, maxTokens: 8, prompt: () => [user('two')] }),
  )
  const expected = (holds: boolean, seen: string): void => {
    if (!holds) throw new OrlaError('ORLA_INVARIANT', seen)
  }
  const played = async (): Promise<{ errors: string[]; timers: number; taken: boolean[] }> => {
    const errors: string[] = []
    const log = { debug() {}, info() {}, warn() {}, error: (_: object, text: string) => void errors.push(text) }
    const clock = virtualClock()
    const actor = options.actor()
    const runtime = await createRuntime({ backends, clock, log, actors: [actor], cloneMessages: true })
    const taken: boolean[] = []
    for (const each of twoStages) {
      const run = runtime.start(each, undefined)
      for (const message of messages) taken.push(runtime.tell(actor, message))
      await clock.run(run.outcome)
    }
    await clock.run(runtime.close())
    return { errors, timers: clock.pendingTimers, taken }
  }
  return [
    {
      name: 'takes its messages as they arrive from another thread',
      async run() {
        const { taken } = await played()
        expected(taken.length > 0 && taken.every(Boolean), 'a message was not taken')
      },
    },
    {
      name: 'hears whole runs, and messages in between, and does not break',
      async run() {
        const { errors } = await played()
        expected(errors.length === 0, `it broke: ${errors.join('; ')}`)
      },
    },
    {
      name: 'leaves no timer when the runtime closes',
      async run() {
        const { timers } = await played()
        expected(timers === 0, `${timers} timers are left`)
      },
    },
  ]
}
