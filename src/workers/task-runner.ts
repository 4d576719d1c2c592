// The runner of jobs on prompt threads
//
// Owns: the queue of jobs, the threads (a Piscina pool), and what happens when one of them dies.
// Does not own: what a job does (prompt-tasks.ts), or whether it goes to a thread at all (prompt-pool.ts).
// Piscina's own queue stays empty: aborting a job it has begun kills the thread under it, and a job posted to a thread
// counts as begun. Jobs wait here, where they can be let go.
// Invariants
//   R1. At most `queueMax` jobs wait, and at most `threads` run.
//   R2. Every job settles exactly once: result, failure, cancellation or close.
//   R3. No thread is started before the first job, and none is left after close().
//   R4. A job whose thread dies is tried again before jobs that came later, and is out after three threads: it fails with
//       ORLA_WORKER_TASK. No other job is lost with it.

import type { Piscina } from 'piscina'
import { CancelledError, errorFromFacts, messageOf, OrlaError } from '../errors.ts'
import { threadOptions } from '../threads.ts'
import type { PromptResult, PromptTask, TaggedResult } from './protocol.ts'

/** Threads that die under the same job, before the job is taken for the cause. */
const attemptsMax = 3

/** Runs jobs on threads. */
export interface TaskRunner {
  /**
   * Runs a job.
   *
   * @param signal - lets the caller go at once. A job that waits is dropped; one that runs is finished and forgotten.
   * @throws {OrlaError} (as a rejection) `ORLA_LIMIT` the queue is full · `ORLA_WORKER_TASK` its threads died ·
   *   `ORLA_CANCELLED` by the signal, unless its reason is an OrlaError, which is passed on · `ORLA_CLOSED` · or what
   *   the job itself failed with
   */
  run<Task extends PromptTask>(task: Task, signal?: AbortSignal): Promise<PromptResult<Task>>
  readonly queued: number
  readonly running: number
  /** Jobs tried again so far, because their thread died. */
  readonly retried: number
  /** Rejects what waits and runs, and ends the threads. */
  close(): Promise<void>
}

/** How jobs are run. */
export interface TaskRunnerOptions {
  threads: number
  queueMax: number
  /** Entry file of the threads. */
  workerUrl: URL
}

interface Job {
  readonly task: PromptTask
  attempts: number
  settled: boolean
  readonly resolve: (value: never) => void
  readonly reject: (error: OrlaError) => void
}

/** Makes a runner. Starts nothing yet. */
export function createTaskRunner({ threads, queueMax, workerUrl }: TaskRunnerOptions): TaskRunner {
  /** In order of arrival; a set, so that a cancelled job leaves in constant time. */
  let queue = new Set<Job>()
  const running = new Set<Job>()
  /** Jobs that a thread works on, also those nobody waits for any more. */
  let busy = 0
  let retried = 0
  let pool: Promise<Piscina> | undefined
  /** The pool behind `pool`, once it exists. */
  let current: Piscina | undefined
  let closed = false

  const start = async (): Promise<Piscina> => {
    const { Piscina: Pool } = await import('piscina')
    const made = new Pool({
      filename: workerUrl.href,
      ...threadOptions(workerUrl),
      // A thread costs 30 ms to start and more to read its vocabulary: pools that shrink pay that again and again.
      minThreads: threads,
      maxThreads: threads,
      // A crash then costs one job only. Several jobs a thread save the wake between tiny ones; from 16 kB on a job is
      // a millisecond or more, and four a thread were no faster than one (1.3 and 1.5 ms for 16 kB, 3.7 and 3.6 for 64).
      concurrentTasksPerWorker: 1,
      // The threads have no timers and no I/O of their own: they may sleep without an event loop.
      atomics: 'sync',
      recordTiming: false,
    })
    // A thread that dies without a job is replaced by the pool; without a listener the event would end the process.
    made.on('error', () => {})
    made.on('workerDestroy', () => {
      // Threads that die while they load are not replaced: rather than wait for ever, fail what waits in the pool.
      queueMicrotask(() => {
        if (made !== current || made.threads.length > 0) return
        pool = undefined
        current = undefined
        void made.destroy()
      })
    })
    current = made
    return made
  }

  const settle = (job: Job, end: () => void): void => {
    if (job.settled) return
    job.settled = true
    queue.delete(job)
    running.delete(job)
    end()
  }

  const fail = (job: Job, error: OrlaError): void => settle(job, () => job.reject(error))

  const lost = (job: Job, cause: unknown): void => {
    if (job.settled) return
    running.delete(job)
    if (job.attempts < attemptsMax) {
      retried++
      queue = new Set([job, ...queue])
      return
    }
    const message = `the thread that ran "${job.task.type}" died ${job.attempts} times: ${messageOf(cause)}`
    const details = { task: job.task.type, attempts: job.attempts }
    fail(job, new OrlaError('ORLA_WORKER_TASK', message, { retryable: true, details, cause }))
  }

  const execute = async (job: Job): Promise<void> => {
    busy++
    job.attempts++
    running.add(job)
    try {
      pool ??= start()
      const result: TaggedResult<never> = await (await pool).run(job.task)
      settle(job, () => {
        if (result.ok) job.resolve(result.value)
        else job.reject(errorFromFacts(result.error))
      })
    } catch (error) {
      lost(job, error)
    }
    busy--
    dispatch()
  }

  const dispatch = (): void => {
    for (const job of queue) {
      if (busy >= threads || closed) return
      queue.delete(job)
      void execute(job)
    }
  }

  return {
    run: (task, signal) =>
      new Promise((resolve, reject) => {
        if (closed) return reject(closedError())
        if (signal?.aborted === true) return reject(cancellation(signal))
        if (queue.size >= queueMax) {
          const message = `${queue.size} prompts wait to be measured, the limit is ${queueMax}: start fewer runs at once, or raise queueMax`
          return reject(new OrlaError('ORLA_LIMIT', message, { retryable: true, details: { queueMax } }))
        }
        const onAbort = (): void => fail(job, cancellation(signal!))
        const forget = (): void => signal?.removeEventListener('abort', onAbort)
        const job: Job = {
          task,
          attempts: 0,
          settled: false,
          resolve: (value) => (forget(), resolve(value)),
          reject: (error) => (forget(), reject(error)),
        }
        signal?.addEventListener('abort', onAbort, { once: true })
        queue.add(job)
        dispatch()
      }),
    get queued() {
      return queue.size
    },
    get running() {
      return running.size
    },
    get retried() {
      return retried
    },
    async close() {
      closed = true
      for (const job of [...queue, ...running]) fail(job, closedError())
      const made = await pool?.catch(() => undefined)
      pool = undefined
      current = undefined
      await made?.destroy()
    },
  }
}

function closedError(): OrlaError {
  return new OrlaError('ORLA_CLOSED', 'the prompt pool is closed: its runtime has ended')
}

/** Why the caller of a job went away. */
function cancellation(signal: AbortSignal): OrlaError {
  const reason: unknown = signal.reason
  return reason instanceof OrlaError ? reason : new CancelledError('caller', `cancelled: ${messageOf(reason)}`)
}
