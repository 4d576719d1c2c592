// Logic of actors whose state is one object that is changed in place.

import { createActor, type ActorLogic, type ActorRefFrom, type Snapshot } from 'xstate'
import type { Clock, Timer } from '../src/clock.ts'

/** State of such an actor. */
export interface ActorState<Message> {
  handle(message: Message): void
  /** Hears that a message broke it. Set by whoever supervises it. */
  onCrash?: ((error: unknown) => void) | undefined
  /** Takes the messages that still reach it after another took its place. */
  successor?: ((message: Message) => void) | undefined
}

interface Event {
  type: string
}

/** Snapshot of such an actor: always the same, because what changes is its state. */
export type StateSnapshot<State> = Snapshot<undefined> & { context: State }

/** Logic of such an actor. */
export type StateLogic<State, Message extends Event, Input> = ActorLogic<StateSnapshot<State>, Message, Input>

/**
 * An actor over an object: 0.04 us a message, against 2.8 us for a statechart (XState 5.33, Node 24). It is what
 * `fromTransition` makes, without a new snapshot for each message.
 *
 * A message whose handling throws is reported and dropped: XState would stop the actor for good, and with it everybody
 * who depends on it. Whoever supervises it hears of it, and may put another in its place.
 *
 * @param create - makes the state
 */
export function stateLogic<State extends ActorState<Message>, Message extends Event, Input>(
  create: (input: Input) => State,
  onError: (input: State, error: unknown, message: Message) => void,
): StateLogic<State, Message, Input> {
  return {
    getInitialSnapshot: (_scope, input) => ({
      status: 'active',
      context: create(input),
      output: undefined,
      error: undefined,
    }),
    getPersistedSnapshot: (snapshot) => snapshot,
    transition(snapshot, message) {
      // XState tells an actor that it stops by a message of its own.
      if (message.type.startsWith('xstate.')) return snapshot
      const state = snapshot.context
      try {
        if (state.successor === undefined) state.handle(message)
        else state.successor(message)
      } catch (error) {
        try {
          onError(state, error, message)
        } finally {
          state.onCrash?.(error)
        }
      }
      return snapshot
    },
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

/**
 * Makes and starts such an actor. XState keeps what `create` throws inside the actor; here it is thrown.
 *
 * Each has a system of its own: XState does not let an actor with a parent be stopped from outside.
 */
export function startActor<State extends ActorState<Message>, Message extends Event, Input>(
  logic: StateLogic<State, Message, Input>,
  input: Input,
): ActorRefFrom<StateLogic<State, Message, Input>> {
  const actor = createActor(logic, { input })
  const snapshot = actor.getSnapshot()
  if (snapshot.status === 'error') throw snapshot.error
  return actor.start()
}

/** The runtime's clock as XState wants it, for statecharts with delays. */
export function actorClock(clock: Clock): NonNullable<Parameters<typeof createActor>[1]>['clock'] & object {
  return {
    setTimeout: (run: () => void, ms: number) => clock.setTimer(ms, run),
    clearTimeout: (timer: Timer | undefined) => clock.clearTimer(timer),
  }
}
