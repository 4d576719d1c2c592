// Actors of users' own: rate governors, auditors, prefetchers
//
// Owns: the mailbox of each, its timers, and that it is supervised.
// Does not own: what it does (its definition), or the backends that it speaks to.
// In:  transitions of all runs, messages of its own type   Out: what its context offers
// Invariants
//   X1. It handles one thing at a time, in the order in which things came, never in the middle of a step of a run.
//   X2. What it throws restarts it, with nothing of what it knew; too often, and it alone is gone.
//   X3. Its mailbox is bounded: what does not fit is dropped, counted and logged.
//   X4. When it stops, its timers are cleared.

import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { Clock, Timer } from '../src/clock.ts'
import { OptionsError } from '../src/errors.ts'
import { limits } from '../src/limits.ts'
import type { Logger } from '../src/log.ts'
import { check, type InferOutput } from '../src/schema/standard.ts'
import type { Transition } from '../src/schema/transition.ts'
import type { BackendLoad } from './backend.ts'
import { startActor, type ActorState, type StateLogic } from './logic.ts'
import type { BackendMessage } from './messages.ts'
import { SupervisedActor } from './supervised.ts'
import { Supervisor } from './supervisor.ts'

/** What an actor may do. */
export interface ActorContext<Message = unknown> {
  readonly clock: Clock
  readonly log: Logger
  /** Sends itself a message, `delayMs` from now. Returns how to take it back. */
  after(this: void, delayMs: number, message: Message): () => void
  /** Names of the backends. */
  backends(this: void): string[]
  /** Load of a backend now. Throws {@link OptionsError} for one that there is not. */
  load(this: void, backend: string): BackendLoad
  /** Speaks to a backend actor: changes its window or queue, drains it, takes it back to work. */
  tellBackend(
    this: void,
    backend: string,
    message: Extract<BackendMessage, { type: `backend.${'reconfigure' | 'drain' | 'resume'}` }>,
  ): void
}

/** What an actor hears. All of it is synchronous: what takes long is started, and sends a message when it is done. */
export interface ActorHandlers<Message = unknown> {
  /** Every transition of every run. */
  transition?(transition: Transition): void
  message?(message: Message): void
  stop?(): void
}

/** An actor as `createRuntime({ actors })` takes it. Made by {@link defineActor}. */
export interface ActorDefinition<Message = unknown> {
  readonly name: string
  readonly messages: StandardSchemaV1<unknown, Message>
  /** Method syntax: actors with different messages go into one list. */
  start(context: ActorContext<Message>): ActorHandlers<Message>
  /** URL of the module that exports it, for one on a thread of its own. */
  readonly module?: string
}

/**
 * Defines an actor: one file with its messages, what it knows, and what it does.
 *
 * `start` makes it, the first time and every time it is started again; what it knows lives in that closure. It hears
 * transitions and messages after the step that caused them. What it throws starts it anew, at most 3 times in 5 s.
 *
 * @param definition.name - unique within a runtime
 * @param definition.messages - schema of the messages that `runtime.tell` takes; they are plain data
 */
export function defineActor<S extends StandardSchemaV1>(definition: {
  name: string
  messages: S
  start(context: ActorContext<InferOutput<S>>): ActorHandlers<InferOutput<S>>
}): ActorDefinition<InferOutput<S>> {
  return definition as ActorDefinition<InferOutput<S>>
}

/**
 * Puts an actor on a thread of its own: what it computes keeps nobody else waiting.
 *
 * The thread imports `module`, which exports the definition (found by its name). What crosses is plain data; `load` is at
 * most 20 ms older than the last thing that the actor heard. A thread that ends is started again like an actor that throws;
 * mail that was under way to it is lost, counted and logged. Real clocks only.
 *
 * @param module - `new URL('./auditor.ts', import.meta.url)`
 */
export function onThread<Message>(definition: ActorDefinition<Message>, module: URL): ActorDefinition<Message> {
  return { ...definition, module: module.href }
}

/** What extensions need of the runtime around them. */
export interface ExtensionsInput extends Pick<ActorContext, 'clock' | 'log' | 'backends' | 'load' | 'tellBackend'> {
  definitions: readonly ActorDefinition[]
  /** Makes the place of one on a thread of its own. */
  onThread?(definition: ActorDefinition, module: string): ExtensionPlace
  /** One broke too often and is gone. */
  gone?(name: string): void
}

/** What an actor gets. */
export type Mail = { type: 'transition'; transition: Transition } | { type: 'message'; message: unknown }

/** Where an actor lives. */
export interface ExtensionPlace {
  /** Whether it hears transitions. */
  readonly watches: boolean
  /** False if it is gone, or has too much waiting. */
  post(mail: Mail): boolean
  /** Resolves once it is there. */
  ready?(): Promise<void>
  stop(): Promise<void> | void
}

/** The actors that the user gave to one runtime. */
export class Extensions {
  readonly #actors = new Map<string, { definition: ActorDefinition; place: ExtensionPlace }>()

  /** @throws {OptionsError} `ORLA_OPTIONS` for two actors of one name; and whatever a `start` throws */
  constructor(input: ExtensionsInput) {
    for (const [i, definition] of input.definitions.entries()) {
      if (this.#actors.has(definition.name)) {
        const message = `there is an actor "${definition.name}" already`
        throw new OptionsError('runtime options', [{ path: `actors[${i}].name`, code: 'duplicate_actor', message }])
      }
      const { module } = definition
      const place = module === undefined ? new Extension(definition, input) : input.onThread!(definition, module)
      this.#actors.set(definition.name, { definition, place })
    }
  }

  /** Resolves once those on threads are there. Rejects with why one is not. */
  async ready(): Promise<void> {
    await Promise.all(Array.from(this.#actors.values(), ({ place }) => Promise.resolve(place.ready?.())))
  }

  /** Every actor hears of a transition, soon. */
  heard(transition: Transition): void {
    for (const { place } of this.#actors.values()) if (place.watches) place.post({ type: 'transition', transition })
  }

  /** Whether the actor of that name hears transitions. */
  watches(name: string): boolean {
    return this.#actors.get(name)?.place.watches ?? false
  }

  /** Gives mail that was checked elsewhere to the actor of that name. */
  post(name: string, mail: Mail): void {
    this.#actors.get(name)?.place.post(mail)
  }

  /**
   * Sends a message. Returns false if the actor is gone, or has too much waiting.
   *
   * @throws {OptionsError} `ORLA_OPTIONS` for an unknown actor, and for a message that its schema does not take
   */
  tell(definition: Pick<ActorDefinition, 'name'>, message: unknown): boolean {
    const actor = this.#actors.get(definition.name)
    if (actor !== undefined) {
      return actor.place.post({ type: 'message', message: checked(actor.definition, message) })
    }
    const known = [...this.#actors.keys()].join(', ')
    const problem = `there is no actor "${definition.name}"; there are: ${known === '' ? 'none' : known}`
    throw new OptionsError('actor', [{ path: 'name', code: 'unknown_actor', message: problem }])
  }

  /** Resolves once those on threads have ended. */
  async stop(): Promise<void> {
    await Promise.all(Array.from(this.#actors.values(), ({ place }) => Promise.resolve(place.stop())))
  }
}

function checked({ name, messages }: ActorDefinition, message: unknown): unknown {
  const found = check(messages, message, 'message')
  if (found instanceof Promise) {
    found.catch(() => {})
    const problem = 'the schema of an actor must check synchronously'
    throw new OptionsError(`message to actor "${name}"`, [{ path: 'messages', code: 'async_schema', message: problem }])
  }
  if (!found.ok) throw new OptionsError(`message to actor "${name}"`, found.issues)
  return found.value
}

/** One of them, with its mailbox. */
class Extension implements ExtensionPlace {
  readonly #definition: ActorDefinition
  readonly #log: Logger
  readonly #supervisor: Supervisor
  readonly #actor: SupervisedActor<ExtensionState, Mail>
  #mailbox: Mail[] = []
  #dropped = 0
  #gone = false

  constructor(definition: ActorDefinition, input: ExtensionsInput) {
    const { clock, log } = input
    const { name } = definition
    this.#definition = definition
    this.#log = log
    const gaveUp = (error: unknown): void => {
      this.#gone = true
      log.error({ actor: name, error }, 'an actor broke too often and is gone; the runtime goes on without it')
      input.gone?.(name)
    }
    this.#supervisor = new Supervisor({ name, strategy: 'one-for-one', restartsMax: 3, clock, log, gaveUp })
    const post = (mail: Mail): boolean => this.post(mail)
    this.#actor = new SupervisedActor<ExtensionState, Mail>(this.#supervisor, name, () =>
      startActor(extensionLogic, { definition, environment: input, post }),
    )
  }

  get watches(): boolean {
    return !this.#gone && this.#actor.state.watches
  }

  post(mail: Mail): boolean {
    if (this.#gone) return false
    if (this.#mailbox.length >= limits.actorMailboxMax) {
      if (this.#dropped++ === 0)
        this.#log.warn({ actor: this.#definition.name }, 'an actor is too slow: mail is dropped')
      return false
    }
    this.#mailbox.push(mail)
    if (this.#mailbox.length === 1) queueMicrotask(() => this.#drain())
    return true
  }

  stop(): void {
    this.#gone = true
    this.#mailbox = []
    this.#supervisor.stop()
  }

  #drain(): void {
    const mailbox = this.#mailbox
    for (let i = 0; i < mailbox.length && !this.#gone; i++) this.#actor.send(mailbox[i]!)
    if (this.#mailbox === mailbox) this.#mailbox = []
    if (this.#dropped > 0) this.#log.warn({ actor: this.#definition.name, dropped: this.#dropped }, 'mail was dropped')
    this.#dropped = 0
  }
}

interface ExtensionStateInput {
  definition: ActorDefinition
  environment: ExtensionsInput
  post(this: void, mail: Mail): boolean
}

class ExtensionState implements ActorState<Mail> {
  onCrash?: ((error: unknown) => void) | undefined
  successor?: ((mail: Mail) => void) | undefined
  readonly #handlers: ActorHandlers
  readonly #timers = new Set<Timer>()
  readonly #clock: Clock
  readonly #log: Logger
  readonly #name: string

  constructor({ definition, environment, post }: ExtensionStateInput) {
    const { clock, log, backends, load, tellBackend } = environment
    this.#clock = clock
    this.#log = log
    this.#name = definition.name
    const after: ActorContext['after'] = (delayMs, message) => {
      const timer = clock.setTimer(delayMs, () => {
        this.#timers.delete(timer)
        post({ type: 'message', message })
      })
      this.#timers.add(timer)
      return () => {
        this.#timers.delete(timer)
        clock.clearTimer(timer)
      }
    }
    this.#handlers = definition.start({ clock, log, after, backends, load, tellBackend })
  }

  get watches(): boolean {
    return this.#handlers.transition !== undefined
  }

  handle(mail: Mail): void {
    if (mail.type === 'transition') this.#handlers.transition?.(mail.transition)
    else this.#handlers.message?.(mail.message)
  }

  /** A handler threw. */
  report(error: unknown, mail: Mail): void {
    this.#log.error({ actor: this.#name, mail: mail.type, error }, 'an actor broke')
  }

  stop(): void {
    for (const timer of this.#timers) this.#clock.clearTimer(timer)
    this.#timers.clear()
    this.#handlers.stop?.()
  }
}

const extensionLogic: StateLogic<ExtensionState, Mail, ExtensionStateInput> = {
  create: (input) => new ExtensionState(input),
  onError: (state, error, mail) => state.report(error, mail),
}
