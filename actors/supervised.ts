// A place that one actor after another fills
//
// Owns: which actor is in the place now, and that messages reach it and no other.
// Does not own: when it is started again (supervisor), or what the next takes over (its `start`).
// Invariants
//   P1. A message goes to the actor that is in the place now; one that still reaches the actor before it is passed on.
//   P2. An actor stops only after it has finished the message that broke it, and what was behind that one.
//   P3. A message to a place that nobody fills any more is refused, not thrown away in silence.

import type { ActorState } from './logic.ts'
import type { Supervisor } from './supervisor.ts'

/** State of an actor under supervision. */
export interface SupervisedState<Message> extends ActorState<Message> {
  /** Ends its timers and machines. */
  stop?(): void
}

/** An actor as it is started. */
interface Started<State, Message> {
  readonly state: State
  send(message: Message): void
  stop(): void
}

/** An actor that its supervisor keeps alive. */
export class SupervisedActor<State extends SupervisedState<Message>, Message> {
  readonly #supervisor: Supervisor
  readonly #name: string
  #actor: Started<State, Message> | undefined
  #filled = true

  /**
   * Starts it. What its first start throws is thrown.
   *
   * @param name - unique under the supervisor
   * @param start - starts an actor, the first time and every time after; gets the state of the one that broke
   */
  constructor(supervisor: Supervisor, name: string, start: (broken: State | undefined) => Started<State, Message>) {
    this.#supervisor = supervisor
    this.#name = name
    supervisor.add({ name, start: () => this.#place(start(this.#actor?.state)) })
  }

  /** State of the actor that is in the place. */
  get state(): State {
    return this.#actor!.state
  }

  /** Gives it a message. Returns false if nobody is there any more. */
  send(message: Message): boolean {
    if (!this.#filled) return false
    this.#actor!.send(message)
    return true
  }

  /** Stops it for good. */
  remove(): void {
    this.#supervisor.remove(this.#name)
  }

  #place(actor: Started<State, Message>): { stop(): void } {
    const { state } = actor
    state.onCrash = (error) => this.#supervisor.ended(this.#name, { error })
    if (this.#actor !== undefined) this.state.successor = (message) => actor.send(message)
    this.#actor = actor
    return {
      stop: () => {
        state.onCrash = undefined
        state.stop?.()
        queueMicrotask(() => {
          if (this.#actor === actor) this.#filled = false
          actor.stop()
        })
      },
    }
  }
}
