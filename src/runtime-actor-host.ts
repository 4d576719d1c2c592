// An actor on a thread of its own, seen from inside
//
// Owns: the actor, with its mailbox, supervision and timers (as on the control thread), and what it was last told of
// backends.
// Does not own: backends; what it says to them crosses to the control thread.
// Invariants
//   H1. Every mail that arrives is told to have arrived, so that the other side can bound what is under way.

import type { MessagePort } from 'node:worker_threads'
import type { BackendLoad } from '../actors/backend.ts'
import { Extensions, type ActorDefinition, type ActorContext, type Mail } from '../actors/extension.ts'
import { realClock } from './clock.ts'
import { messageOf, OptionsError, toOrlaError, type ErrorFacts } from './errors.ts'
import { Outbox } from './runtime-runner-protocol.ts'
import { threadLog, type LogLine } from './runtime-thread-log.ts'

/** What an actor's thread is made with. */
export interface ActorBoot {
  port: MessagePort
  module: string
  name: string
  seed: number
  clockOriginMs: number
  loads: Loads
}

/** Loads of backends, by name. */
export type Loads = Readonly<Record<string, BackendLoad>>

/** To the thread of an actor. */
export type ToActor = { type: 'mail'; mail: Mail } | { type: 'loads'; loads: Loads } | { type: 'stop' }

/** From the thread of an actor. */
export type FromActor =
  | { type: 'ready'; watches: boolean }
  | { type: 'failed'; error: ErrorFacts }
  | { type: 'tell'; backend: string; message: Parameters<ActorContext['tellBackend']>[1] }
  | { type: 'arrived'; count: number }
  | { type: 'gone' }
  | LogLine

/** Serves the control thread until it says that it is over. */
export async function serveActor(boot: ActorBoot): Promise<void> {
  const { port, module, name, seed, clockOriginMs } = boot
  const outbox = new Outbox<FromActor>(port, ({ type }, error) =>
    outbox.send({ type: 'log', level: 'error', details: { actor: name, type }, message: messageOf(error) }),
  )
  let loads = boot.loads
  try {
    const definition = await definitionOf(module, name)
    const log = threadLog((line) => outbox.send(line))
    const known = (backend: string): BackendLoad => {
      const load = loads[backend]
      if (load !== undefined) return load
      const message = `there is no backend "${backend}"; there are: ${Object.keys(loads).join(', ')}`
      throw new OptionsError('backend', [{ path: 'backend', code: 'unknown_backend', message }])
    }
    const extensions = new Extensions({
      definitions: [definition],
      clock: realClock({ seed, originMs: clockOriginMs }),
      log,
      backends: () => Object.keys(loads),
      load: known,
      tellBackend(backend, message) {
        known(backend)
        outbox.send({ type: 'tell', backend, message })
      },
      gone: () => outbox.send({ type: 'gone' }),
    })
    port.on('message', (batch: ToActor[]) => {
      let count = 0
      for (const message of batch) {
        if (message.type === 'stop') {
          void extensions.stop()
          // What it said last has to go out before the port closes.
          setImmediate(() => setImmediate(() => port.close()))
        } else if (message.type === 'loads') {
          loads = message.loads
        } else {
          count++
          extensions.post(name, message.mail)
        }
      }
      if (count > 0) outbox.send({ type: 'arrived', count })
    })
    outbox.send({ type: 'ready', watches: extensions.watches(name) })
  } catch (error) {
    const facts = toOrlaError(error, 'ORLA_OPTIONS', `actor "${name}" cannot start`).toJSON()
    outbox.send({ type: 'failed', error: facts })
  }
}

async function definitionOf(module: string, name: string): Promise<ActorDefinition> {
  const complain = (code: string, message: string): never => {
    throw new OptionsError(`module of actor "${name}"`, [{ path: module, code, message }])
  }
  let exported: Record<string, unknown>
  try {
    exported = (await import(/* @vite-ignore */ module)) as Record<string, unknown>
  } catch (error) {
    return complain('cannot_load', `it cannot be imported: ${messageOf(error)}`)
  }
  const actors = Object.values(exported).filter(isActor)
  const found = actors.find((each) => each.name === name)
  if (found !== undefined) {
    const { module: _elsewhere, ...here } = found
    return here
  }
  const names = actors.map((each) => `"${each.name}"`).join(', ')
  return complain('not_exported', `it exports no actor "${name}"; it exports: ${names === '' ? 'none' : names}`)
}

function isActor(value: unknown): value is ActorDefinition {
  return typeof value === 'object' && value !== null && 'start' in value && 'messages' in value && 'name' in value
}
