import { randomUUID } from 'node:crypto'
import { existsSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { CancelledError, OrlaError } from '../../src/errors.ts'
import { entryFile } from '../../src/threads.ts'
import { createTaskRunner, type TaskRunner } from '../../src/workers/task-runner.ts'
import type { CountTask } from '../../src/workers/protocol.ts'
import { fixture } from './support.ts'

const promptWorker = entryFile(new URL('../../src/workers/task-runner.ts', import.meta.url).href, 'prompt-worker')
const count = (...texts: string[]): CountTask => ({ type: 'prompt.count', estimator: 'utf8-bytes', texts })

function runner(url: URL, options: { threads?: number; queueMax?: number } = {}): TaskRunner {
  const made = createTaskRunner({ threads: 1, queueMax: 100, ...options, workerUrl: url })
  onTestFinished(() => made.close())
  return made
}

/** A job that runs until it is told to finish. */
function gate(): { task: CountTask; begun: Promise<void>; finish: () => void } {
  const name = randomUUID()
  const channel = new BroadcastChannel(name)
  onTestFinished(() => channel.close())
  const begun = new Promise<void>((resolve) => channel.addEventListener('message', () => resolve(), { once: true }))
  return { task: count(name), begun, finish: () => channel.postMessage('finish') }
}

const codeOf = (job: Promise<unknown>): Promise<string> =>
  job.then(
    () => 'ok',
    (error: unknown) => (error instanceof OrlaError ? error.code : String(error)),
  )

describe('task runner', () => {
  test('runs jobs in threads and returns their results in order', async () => {
    const jobs = runner(promptWorker, { threads: 2 })
    const results = await Promise.all(Array.from({ length: 20 }, (_, i) => jobs.run(count('x'.repeat(4 * i), 'ab'))))
    expect(results).toEqual(Array.from({ length: 20 }, (_, i) => [i, 1]))
    expect([jobs.queued, jobs.running]).toEqual([0, 0])
  })

  test('R1: runs as many as it has threads, and refuses what the queue does not hold', async () => {
    const jobs = runner(fixture('waiting-worker'), { queueMax: 2 })
    const gates = [gate(), gate(), gate()]
    const first = jobs.run(gates[0]!.task)
    await gates[0]!.begun
    const others = [jobs.run(gates[1]!.task), jobs.run(gates[2]!.task)]
    expect([jobs.queued, jobs.running]).toEqual([2, 1])
    const refused = jobs.run(count('x'))
    await expect(refused).rejects.toMatchObject({ code: 'ORLA_LIMIT', retryable: true, details: { queueMax: 2 } })
    gates[0]!.finish()
    await first
    for (const [index, job] of others.entries()) {
      await gates[index + 1]!.begun
      gates[index + 1]!.finish()
      expect(await job).toEqual([1])
    }
  })

  test('lets a waiting job go when it is cancelled, and a running one finish unheard', async () => {
    const jobs = runner(fixture('waiting-worker'))
    const [first, last] = [gate(), gate()]
    const abort = new AbortController()
    const running = jobs.run(first.task, abort.signal)
    const waiting = jobs.run(count('never begun'), abort.signal)
    const other = jobs.run(last.task)
    await first.begun
    abort.abort('changed my mind')
    await expect(running).rejects.toMatchObject({ code: 'ORLA_CANCELLED', message: 'cancelled: changed my mind' })
    await expect(waiting).rejects.toBeInstanceOf(CancelledError)
    expect([jobs.queued, jobs.running]).toEqual([1, 0])
    first.finish()
    await last.begun
    last.finish()
    expect(await other).toEqual([1])
    expect(jobs.retried).toBe(0)
  })

  test('passes on the reason of a signal that was aborted before', async () => {
    const jobs = runner(promptWorker)
    const reason = new CancelledError('deadline', 'too late')
    await expect(jobs.run(count('x'), AbortSignal.abort(reason))).rejects.toBe(reason)
  })

  test('R4: tries a job again after its thread died, before those that came later', async () => {
    const jobs = runner(fixture('crash-worker'))
    const mark = join(tmpdir(), `orla-${randomUUID()}`)
    onTestFinished(() => rmSync(mark, { force: true }))
    const order: string[] = []
    const crashing = jobs.run(count(`die once ${mark}`)).then(() => order.push('crashed once'))
    await Promise.all([crashing, jobs.run(count('later')).then(() => order.push('came later'))])
    expect(order).toEqual(['crashed once', 'came later'])
    expect(existsSync(mark)).toBe(true)
    expect(jobs.retried).toBe(1)
  })

  test('R4: fails a job whose threads die three times, and goes on with the others', async () => {
    const jobs = runner(fixture('crash-worker'))
    const outcomes = [count('fine'), count('die'), count('also fine')].map((task) => codeOf(jobs.run(task)))
    expect(await Promise.all(outcomes)).toEqual(['ok', 'ORLA_WORKER_TASK', 'ok'])
    await expect(jobs.run(count('die'))).rejects.toMatchObject({
      retryable: true,
      details: { task: 'prompt.count', attempts: 3 },
    })
    expect(await jobs.run(count('abcdefgh'))).toEqual([2])
  })

  test('R4: twenty innocent jobs among three that kill their threads all get their results', async () => {
    const jobs = runner(fixture('crash-worker'), { threads: 2 })
    const innocent = Array.from({ length: 20 }, (_, i) => count('abcd'.repeat(i + 1)))
    const poison = Array.from({ length: 3 }, () => count('die'))
    const tasks = [...poison.slice(0, 2), ...innocent.slice(0, 10), poison[2]!, ...innocent.slice(10)]
    const outcomes = await Promise.all(tasks.map((task) => codeOf(jobs.run(task))))
    expect(outcomes.map((outcome, i) => (poison.includes(tasks[i]!) ? outcome : `${outcome}!`)).sort()).toEqual([
      ...Array.from({ length: 3 }, () => 'ORLA_WORKER_TASK'),
      ...Array.from({ length: 20 }, () => 'ok!'),
    ])
    expect([jobs.queued, jobs.running, jobs.retried]).toEqual([0, 0, 6])
  })

  test('fails jobs, and does not wait, when no thread can load', async () => {
    const jobs = runner(fixture('broken-worker'), { threads: 2 })
    const outcomes = Array.from({ length: 5 }, () => codeOf(jobs.run(count('x'))))
    expect(await Promise.all(outcomes)).toEqual(Array.from({ length: 5 }, () => 'ORLA_WORKER_TASK'))
    expect(await codeOf(jobs.run(count('x')))).toBe('ORLA_WORKER_TASK')
  })

  test('hands on what a job itself failed with, by its code', async () => {
    const jobs = runner(promptWorker)
    const bad = { type: 'prompt.count', estimator: 'utf8-bytes', texts: [null] } as unknown as CountTask
    await expect(jobs.run(bad)).rejects.toMatchObject({ code: 'ORLA_WORKER_TASK' })
    expect(jobs.retried).toBe(0)
  })

  test('R2: rejects what waits and runs when it is closed, and everything after', async () => {
    const jobs = runner(fixture('waiting-worker'))
    const first = gate()
    const outcomes = [codeOf(jobs.run(first.task)), codeOf(jobs.run(count('waits')))]
    await first.begun
    await jobs.close()
    await jobs.close()
    expect(await Promise.all(outcomes)).toEqual(['ORLA_CLOSED', 'ORLA_CLOSED'])
    expect(await codeOf(jobs.run(count('x')))).toBe('ORLA_CLOSED')
  })

  test('closes while its threads are still being started', async () => {
    const jobs = runner(promptWorker)
    const outcome = codeOf(jobs.run(count('x')))
    await jobs.close()
    expect(await outcome).toBe('ORLA_CLOSED')
  })
})
