// Actors whose state is one object that is changed in place
//
// Owns: the mailbox of each, and that one message is handled at a time.
// Does not own: what a message does (the state), or when an actor is made again (supervisor).
// Invariants
//   A1. What is sent while a message is handled is handled after it, in the order in which it was sent.
//   A2. An actor that has stopped handles nothing more.
// Statecharts are XState's; these have no states to draw. XState would run them too, as custom logic: a stage of the
// diamond of `npm run bench -- overhead`, some ten messages, cost 17.5 us so, and 14.1 us here (XState 5.33, Node 24).

import type { createActor } from 'xstate'
import type { Clock, Timer } from '../src/clock.ts'

/** State of such an actor. */
export interface ActorState<Message> {
  handle(message: Message): void
  /** Hears that a message broke it. Set by whoever supervises it. */
  onCrash?: ((error: unknown) => void) | undefined
  /** Takes the messages that still reach it after another took its place. */
  successor?: ((message: Message) => void) | undefined
}

/** What an actor is made of. */
export interface StateLogic<State, Message, Input> {
  /** Makes the state. */
  readonly create: (input: Input) => State
  /** Hears of a message whose handling threw: it is dropped, and the actor goes on. */
  readonly onError: (state: State, error: unknown, message: Message) => void
}

/**
 * An actor over an object.
 *
 * A message whose handling throws is reported and dropped: the actor goes on for everybody who depends on it. Whoever
 * supervises it hears of it, and may put another in its place.
 */
export class StateActor<State extends ActorState<Message>, Message> {
  readonly state: State
  readonly #onError: StateLogic<State, Message, never>['onError']
  /** What was sent while a message was handled. */
  readonly #mailbox: Message[] = []
  #handling = false
  #stopped = false

  constructor(state: State, onError: StateLogic<State, Message, never>['onError']) {
    this.state = state
    this.#onError = onError
  }

  /** Handles a message, now or after the one that is being handled. */
  send(message: Message): void {
    if (this.#stopped) return
    if (this.#handling) {
      this.#mailbox.push(message)
      return
    }
    this.#handling = true
    try {
      this.#handle(message)
      while (this.#mailbox.length > 0) this.#handle(this.#mailbox.shift()!)
    } finally {
      this.#handling = false
    }
  }

  /** Drops what it was sent and did not handle. */
  stop(): void {
    this.#stopped = true
    this.#mailbox.length = 0
  }

  #handle(message: Message): void {
    const { state } = this
    try {
      if (state.successor === undefined) state.handle(message)
      else state.successor(message)
    } catch (error) {
      try {
        this.#onError(state, error, message)
      } finally {
        state.onCrash?.(error)
      }
    }
  }
}

/**
 * What a timer or a promise may call in the name of an actor: what it throws breaks that actor, as a message would, and
 * not the process.
 *
 * @param report - says loudly that the actor broke
 */
export function guarded<Message>(
  state: ActorState<Message>,
  report: (error: unknown) => void,
  run: () => void,
): () => void {
  return () => {
    try {
      run()
    } catch (error) {
      try {
        report(error)
      } finally {
        state.onCrash?.(error)
      }
    }
  }
}

/** Makes such an actor. What making its state throws is thrown. */
export function startActor<State extends ActorState<Message>, Message, Input>(
  logic: StateLogic<State, Message, Input>,
  input: Input,
): StateActor<State, Message> {
  return new StateActor(logic.create(input), logic.onError)
}

/** The runtime's clock as XState wants it, for statecharts with delays. */
export function actorClock(clock: Clock): NonNullable<Parameters<typeof createActor>[1]>['clock'] & object {
  return {
    setTimeout: (run: () => void, ms: number) => clock.setTimer(ms, run),
    clearTimeout: (timer: Timer | undefined) => clock.clearTimer(timer),
  }
}
