// Embedded engines
//
// Owns: one thread that serves simulated engines over HTTP, and the commands that it has not answered yet.
// Does not own: the servers themselves (engine-host).
// Invariants
//   M1. The thread starts with the first engine and ends with the last.
//   M2. It never keeps the process alive, except while a command waits for its answer.
//   M3. When it dies, every waiting command fails, and the next start makes a new thread.

import { Worker } from 'node:worker_threads'
import type { Clock } from '../clock.ts'
import { BackendError, errorFromFacts, messageOf } from '../errors.ts'
import { entryFile, threadOptions } from '../threads.ts'
import type { PortablePlan } from './engine-plan.ts'
import type { EngineCommand, EngineNotice } from './engine-protocol.ts'

/** An engine that runs in the engine thread. */
export interface EmbeddedEngine {
  /** Where it listens: `http://127.0.0.1:port`. */
  readonly url: string
  /** Stops it; requests under way are aborted. Idempotent. */
  close(): Promise<void>
}

interface Waiting {
  resolve: (notice: EngineNotice) => void
  reject: (error: unknown) => void
}

const engineWorkerUrl = entryFile(import.meta.url, 'engine-worker')

const byClock = new WeakMap<Clock, EmbeddedEngines>()

/** The engine thread that belongs to `clock`, and so to one runtime: its engines share one thread. */
export function embeddedEngines(clock: Clock): EmbeddedEngines {
  let engines = byClock.get(clock)
  if (engines === undefined) byClock.set(clock, (engines = new EmbeddedEngines()))
  return engines
}

/** Simulated engines in a thread of their own. */
export class EmbeddedEngines {
  readonly #workerUrl: URL
  #worker: Worker | undefined
  #waiting = new Map<number, Waiting>()
  #live = new Set<number>()
  #ids = 0

  /** @param workerUrl - entry file of the thread */
  constructor(workerUrl: URL = engineWorkerUrl) {
    this.#workerUrl = workerUrl
  }

  /**
   * Starts an engine; the thread, too, if it is the first.
   *
   * @throws {OptionsError} `ORLA_OPTIONS` (as facts) if a module of the plan cannot be used
   * @throws {BackendError} `ORLA_BACKEND_UNREACHABLE` if the thread cannot start or the server cannot listen
   */
  async start(plan: PortablePlan): Promise<EmbeddedEngine> {
    const id = ++this.#ids
    this.#live.add(id)
    try {
      const notice = await this.#ask({ type: 'start', id, plan })
      if (notice.type === 'failed') throw errorFromFacts(notice.error)
      if (notice.type !== 'started') throw new BackendError('ORLA_BACKEND_PROTOCOL', `engine ${id} sent ${notice.type}`)
      return { url: notice.url, close: () => this.#stop(id) }
    } catch (error) {
      await this.#leave(id)
      throw error
    }
  }

  async #stop(id: number): Promise<void> {
    if (!this.#live.has(id)) return
    // A dead thread has stopped its engines already.
    if (this.#worker !== undefined) await this.#ask({ type: 'stop', id }).catch(() => undefined)
    await this.#leave(id)
  }

  async #leave(id: number): Promise<void> {
    this.#live.delete(id)
    const worker = this.#worker
    if (this.#live.size > 0 || worker === undefined) return
    this.#worker = undefined
    await worker.terminate()
  }

  #ask(command: EngineCommand): Promise<EngineNotice> {
    const { promise, resolve, reject } = Promise.withResolvers<EngineNotice>()
    const worker = (this.#worker ??= this.#startThread())
    this.#waiting.set(command.id, { resolve, reject })
    worker.ref()
    worker.postMessage(command)
    return promise
  }

  #startThread(): Worker {
    const worker = new Worker(this.#workerUrl, { name: 'orla-engines', ...threadOptions(this.#workerUrl) })
    worker.on('message', (notice: EngineNotice) => {
      const waiting = this.#waiting.get(notice.id)
      this.#waiting.delete(notice.id)
      if (this.#waiting.size === 0) worker.unref()
      waiting?.resolve(notice)
    })
    worker.on('error', (error) => this.#died(worker, messageOf(error)))
    worker.on('exit', (code) => this.#died(worker, `it exited with code ${code}`))
    return worker
  }

  #died(worker: Worker, why: string): void {
    if (this.#worker !== worker) return
    this.#worker = undefined
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    this.#live.clear()
    const message = `the thread of the simulated engines ended: ${why}`
    for (const { reject } of waiting) reject(new BackendError('ORLA_BACKEND_UNREACHABLE', message, { retryable: true }))
  }
}
