// An actor on a thread of its own, seen from the control thread
//
// Owns: the thread, and the count of mail that is under way to it.
// Does not own: what the actor does, or its mailbox there.
// Invariants
//   A1. At most `actorMailboxMax` mails are under way; what does not fit is dropped, counted and logged.
//   A2. A thread that ends is started again, at most 3 times in 5 s; then the actor alone is gone.
//   A3. Once it is stopped nothing of it is left: no thread, no timer.

import { MessageChannel, Worker } from 'node:worker_threads'
import type { ActorContext, ExtensionPlace, Mail } from '../actors/extension.ts'
import { Supervisor } from '../actors/supervisor.ts'
import { clockOrigin, type Clock } from './clock.ts'
import { errorFromFacts, messageOf, OrlaError } from './errors.ts'
import { limits } from './limits.ts'
import type { Logger } from './log.ts'
import type { ActorBoot, FromActor, Loads, ToActor } from './runtime-actor-host.ts'
import { Outbox } from './runtime-runner-protocol.ts'
import { entryFile, threadOptions } from './threads.ts'

/** What the thread of an actor needs of the runtime around it. */
export interface ActorThreadInput extends Pick<ActorContext, 'tellBackend'> {
  name: string
  module: string
  clock: Clock
  log: Logger
  loads(): Loads
}

/** Loads are told with mail, at most this often, ms. */
const loadsMs = 20
/** What a thread has to end by itself, ms. */
const stopMs = 1_000

interface Thread {
  worker: Worker
  outbox: Outbox<ToActor>
  underWay: number
  exited: Promise<void>
}

/** Place of one actor. */
export class ActorThread implements ExtensionPlace {
  readonly #input: ActorThreadInput
  readonly #supervisor: Supervisor
  readonly #ready = Promise.withResolvers<void>()
  #isReady = false
  #thread: Thread | undefined
  #watches = true
  #dropped = 0
  #over = false
  #loadsAtMs = -Infinity

  constructor(input: ActorThreadInput) {
    this.#input = input
    const { name, clock, log } = input
    this.#ready.promise.catch(() => {})
    const gaveUp = (error: unknown): void => this.#leave(error)
    this.#supervisor = new Supervisor({ name, strategy: 'one-for-one', restartsMax: 3, clock, log, gaveUp })
    this.#supervisor.add({ name, start: () => this.#start() })
  }

  get watches(): boolean {
    return this.#watches && !this.#over
  }

  ready(): Promise<void> {
    return this.#ready.promise
  }

  post(mail: Mail): boolean {
    const thread = this.#thread
    if (this.#over || thread === undefined) return false
    if (thread.underWay >= limits.actorMailboxMax) {
      if (this.#dropped++ === 0)
        this.#input.log.warn({ actor: this.#input.name }, 'an actor is too slow: mail is dropped')
      return false
    }
    const nowMs = this.#input.clock.nowMs()
    if (nowMs - this.#loadsAtMs >= loadsMs) {
      this.#loadsAtMs = nowMs
      thread.outbox.send({ type: 'loads', loads: this.#input.loads() })
    }
    thread.underWay++
    thread.outbox.send({ type: 'mail', mail })
    return true
  }

  async stop(): Promise<void> {
    const thread = this.#thread
    this.#over = true
    this.#supervisor.stop()
    if (thread === undefined) return
    thread.outbox.send({ type: 'stop' })
    const { clock } = this.#input
    const late = Promise.withResolvers<void>()
    const timer = clock.setTimer(stopMs, late.resolve)
    await Promise.race([thread.exited, late.promise])
    clock.clearTimer(timer)
    await thread.worker.terminate()
  }

  #start(): { stop(): void } {
    const { name, module, clock, log } = this.#input
    const { port1, port2 } = new MessageChannel()
    const boot: ActorBoot = {
      port: port2,
      module,
      name,
      seed: clock.seed,
      clockOriginMs: clockOrigin(clock),
      loads: this.#input.loads(),
    }
    const worker = new Worker(workerUrl, {
      name: `orla-actor-${name}`,
      ...threadOptions(workerUrl, module),
      workerData: boot,
      transferList: [port2],
    })
    const { promise: exited, resolve } = Promise.withResolvers<void>()
    const outbox = new Outbox<ToActor>(port1, ({ type }, error) =>
      log.error({ actor: name, type, error }, 'what is no plain data does not cross to the thread of an actor'),
    )
    const thread: Thread = { worker, outbox, underWay: 0, exited }
    const died = (why: string): void => {
      resolve()
      // The port closes with its other end, after what was said last.
      outbox.close()
      if (this.#thread !== thread || this.#over) return
      this.#thread = undefined
      if (thread.underWay > 0)
        log.warn({ actor: name, lost: thread.underWay }, 'mail to an actor was lost with its thread')
      const error = new OrlaError('ORLA_RUNNER_LOST', `the thread of actor "${name}" ended: ${why}`, {
        retryable: true,
      })
      this.#supervisor.ended(name, { error })
    }
    worker.on('error', (error) => died(messageOf(error)))
    worker.on('exit', (code) => died(`it exited with code ${code}`))
    port1.on('message', (batch: FromActor[]) => {
      for (const message of batch) this.#take(thread, message)
    })
    this.#thread = thread
    // One that is stopped for good is given the time to end by itself.
    return { stop: () => void (this.#over || worker.terminate()) }
  }

  #take(thread: Thread, message: FromActor): void {
    const { name, log } = this.#input
    switch (message.type) {
      case 'ready':
        this.#watches = message.watches
        this.#isReady = true
        return this.#ready.resolve()
      case 'failed':
        // Trying again would find the same module.
        this.#leave(errorFromFacts(message.error))
        return void thread.worker.terminate()
      case 'arrived':
        thread.underWay -= message.count
        if (this.#dropped > 0) log.warn({ actor: name, dropped: this.#dropped }, 'mail was dropped')
        this.#dropped = 0
        return
      case 'tell':
        try {
          return this.#input.tellBackend(message.backend, message.message)
        } catch (error) {
          // It was removed while the message was on its way.
          return log.warn({ actor: name, error }, 'an actor spoke to a backend that there is not')
        }
      case 'gone':
        this.#over = true
        return void thread.worker.terminate()
      case 'log':
        return log[message.level](message.details, message.message)
    }
  }

  /** It cannot be kept alive. The runtime goes on without it, unless it was never there. */
  #leave(error: unknown): void {
    this.#over = true
    const { name, log } = this.#input
    if (this.#isReady)
      log.error(
        { actor: name, error },
        'the thread of an actor ended too often: it is gone; the runtime goes on without it',
      )
    else this.#ready.reject(error)
  }
}

const workerUrl = entryFile(import.meta.url, 'runtime-actor-worker')
