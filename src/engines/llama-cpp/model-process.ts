// The process that runs a model
//
// Owns: the child process, its loading, and when it is started again.
// Does not own: the requests (llama-driver), the model (model-host, on the other side).
// Invariants
//   P1. At most one process runs. After close there is none, and none is started.
//   P2. A process that ends is started again at once, but not twice within `restartWindowMs`: after that `ready`
//       rejects until the window is over, and the next `ready` tries again.
//   P3. It never outlives this process: it ends when the channel between them closes.
//   P4. A model that is not loaded within `loadTimeoutMs` counts as one that cannot be.
//   P5. It keeps this process alive only while somebody waits for it (`hold`).

import { fork, type ChildProcess } from 'node:child_process'
import type { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { Clock, Timer } from '../../clock.ts'
import { BackendError, type OrlaError } from '../../errors.ts'
import type { Logger } from '../../log.ts'
import { entryFile } from '../../threads.ts'
import { closedError, type ErrorScope } from '../engine-error.ts'
import type { FromModel, LoadedModel, LoadPlan, ToModel } from './protocol.ts'

/** Restarts within this time are counted together, ms. */
const restartWindowMs = 5_000
/** Restarts allowed in that time: a crash that one request causes is survived, one that loading causes is not. */
const restartsMax = 1
/** Characters of what the process last wrote to stderr that an error repeats. */
const lastWordsMax = 600

const workerUrl = entryFile(import.meta.url, 'llama-worker')

/** What a model's process is made of. */
export interface ModelProcessOptions {
  plan: LoadPlan
  scope: ErrorScope
  clock: Clock
  log: Logger
  /** Time to load the model, ms (P4). */
  loadTimeoutMs: number
  /** Entry file of the process. */
  entry?: URL
  /** A message about a request. */
  onMessage: (message: Exclude<FromModel, { type: 'loaded' | 'unloadable' }>) => void
  /** The process ended and took every request with it. */
  onEnded: (why: string) => void
}

interface Running {
  child: ChildProcess
  loaded: PromiseWithResolvers<LoadedModel>
  /** Armed while it loads. */
  deadline: Timer | undefined
  lastWords: string
}

/** A model in a process of its own. */
export class ModelProcess {
  readonly #options: ModelProcessOptions
  #running: Running | undefined
  /** Clock readings of the restarts that still count. */
  #restartsAtMs: number[] = []
  /** Why it runs no more, and whether that may pass. */
  #refusal: { why: string; retryable: boolean } | undefined
  #held = false
  #closed = false

  constructor(options: ModelProcessOptions) {
    this.#options = options
  }

  /** Id of the process; undefined while there is none. */
  get pid(): number | undefined {
    return this.#running?.child.pid
  }

  /**
   * Resolves once the model is loaded; starts the process if there is none.
   *
   * @throws {BackendError} `ORLA_BACKEND_UNREACHABLE` if it cannot be loaded, or ended too often (P2)
   * @throws {OrlaError} `ORLA_CLOSED` after close
   */
  ready(): Promise<LoadedModel> {
    if (this.#closed) return Promise.reject(closedError(this.#options.scope))
    if (this.#running !== undefined) return this.#running.loaded.promise
    if (this.#refusal !== undefined && !this.#mayRestart()) {
      return Promise.reject(this.#unreachable(this.#refusal))
    }
    // After a refusal this is a restart like any other, and counts.
    if (this.#refusal !== undefined) this.#restartsAtMs.push(this.#options.clock.nowMs())
    return this.#start().loaded.promise
  }

  /** Sends a message. One that a dead process does not get is answered by `onEnded`. */
  send(message: ToModel): void {
    this.#running?.child.send(message, () => undefined)
  }

  /** Says whether somebody waits for an answer (P5). */
  hold(held: boolean): void {
    this.#held = held
    if (this.#running === undefined) return
    if (held) this.#running.child.ref()
    else this.#running.child.unref()
    if (held) this.#running.child.channel?.ref()
    else this.#running.child.channel?.unref()
  }

  /** Ends the process. Resolves when it is gone. */
  async close(): Promise<void> {
    this.#closed = true
    const running = this.#running
    if (running === undefined) return
    const { child } = running
    if (child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise<void>((resolve) => child.once('close', () => resolve()))
    child.ref()
    // It holds nothing worth saving, and within native code it would not hear a request to end.
    child.kill('SIGKILL')
    await gone
  }

  #start(): Running {
    const { plan, clock, loadTimeoutMs, entry = workerUrl } = this.#options
    const child = fork(fileURLToPath(entry), [], {
      execArgv: [],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      serialization: 'json',
    })
    const running: Running = { child, loaded: Promise.withResolvers(), deadline: undefined, lastWords: '' }
    this.#running = running
    running.deadline = clock.setTimer(loadTimeoutMs, () => {
      this.#unloadable(running, `the model is not loaded after ${loadTimeoutMs} ms`)
    })
    // Nobody may be waiting for it.
    running.loaded.promise.catch(() => undefined)
    ;(child.stderr as Socket | null)?.unref()
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      running.lastWords = (running.lastWords + text).slice(-lastWordsMax)
    })
    child.on('message', (message: FromModel) => this.#heard(running, message))
    child.on('error', (error) => this.#ended(running, `it could not be started: ${error.message}`))
    // `close` comes after `exit`, when its last words have been read.
    child.on('close', (code, signal) => this.#ended(running, signal === null ? `exit code ${code}` : signal))
    this.hold(this.#held)
    this.send({ type: 'load', plan })
    return running
  }

  #heard(running: Running, message: FromModel): void {
    if (message.type === 'loaded') {
      this.#refusal = undefined
      this.#options.clock.clearTimer(running.deadline)
      running.loaded.resolve(message.model)
    } else if (message.type === 'unloadable') {
      this.#unloadable(running, message.error.message)
    } else if (this.#running === running) {
      this.#options.onMessage(message)
    }
  }

  /** Gives a process up that has no model. Trying again at once would fail the same way, so that is not done. */
  #unloadable(running: Running, why: string): void {
    const { clock } = this.#options
    clock.clearTimer(running.deadline)
    const refusal = { why, retryable: false }
    running.loaded.reject(this.#unreachable(refusal))
    running.child.kill('SIGKILL')
    if (this.#running !== running) return
    this.#running = undefined
    this.#refusal = refusal
    this.#restartsAtMs.push(clock.nowMs())
  }

  #ended(running: Running, how: string): void {
    this.#options.clock.clearTimer(running.deadline)
    if (this.#running !== running) return
    this.#running = undefined
    const { clock, log, onEnded, plan } = this.#options
    const words = running.lastWords.trim()
    const why = `the process of the model ended (${how})${words === '' ? '' : `. It last wrote: ${words}`}`
    const refusal = { why, retryable: true }
    running.loaded.reject(this.#unreachable(refusal))
    if (this.#closed) return
    const restarts = this.#mayRestart()
    this.#refusal = refusal
    log.warn({ backend: plan.backend, how, restarts }, 'the process of a model ended')
    onEnded(why)
    if (!restarts || this.#running !== undefined) return
    this.#restartsAtMs.push(clock.nowMs())
    this.#start()
  }

  #mayRestart(): boolean {
    const nowMs = this.#options.clock.nowMs()
    this.#restartsAtMs = this.#restartsAtMs.filter((atMs) => nowMs - atMs < restartWindowMs)
    return this.#restartsAtMs.length < restartsMax
  }

  #unreachable({ why, retryable }: { why: string; retryable: boolean }): OrlaError {
    const { scope } = this.#options
    return new BackendError(
      'ORLA_BACKEND_UNREACHABLE',
      `backend "${scope.backend}" (${scope.origin}): ${why}. ` +
        `It is started again at most ${restartsMax} time(s) in ${restartWindowMs / 1000} s: check the model file and the free memory`,
      { retryable, details: { backend: scope.backend } },
    )
  }
}
