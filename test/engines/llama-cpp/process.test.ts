// The process of a model: crashes, restarts, aborts, and that nothing outlives anything.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { CancelledError } from '../../../src/errors.ts'
import { limits } from '../../../src/limits.ts'
import { recordingSink, rejection } from '../driver-kit.ts'
import { asking, connectTiny, contextOf, deaf, tinyModel, type TestDriver } from './support.ts'

const model = tinyModel()

/** A request that runs until something stops it, once its first token has come. */
async function running(driver: TestDriver, runId: string) {
  const sink = recordingSink()
  const call = driver.chat(asking('never~'), contextOf(runId), sink)
  await sink.first
  return { ...call, sink, failure: rejection(call.result) }
}

const kill = (driver: TestDriver): void => void process.kill(driver.pid!, 'SIGKILL')

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

describe('a process that is killed', () => {
  test('fails the requests in it, truly, and serves the next from a new process', async () => {
    await using driver = await connectTiny(model, { sequences: 1, contextLength: 4_096 })
    const first = await running(driver, 'a')
    const waiting = rejection(driver.chat(asking('hello'), contextOf('b'), deaf).result)
    const pid = driver.pid!
    kill(driver)
    const error = await first.failure
    expect(error).toMatchObject({ code: 'ORLA_BACKEND_TRUNCATED', retryable: false })
    expect(error.message).toContain('SIGKILL')
    expect(await waiting).toMatchObject({ code: 'ORLA_BACKEND_UNREACHABLE', retryable: true })
    const delivered = first.sink.deltas.length

    const next = await driver.chat(asking('hello'), contextOf('b'), deaf).result
    expect(next).toMatchObject({ content: 'fine.', usage: { cachedTokens: 0 } })
    expect(driver.pid).not.toBe(pid)
    expect(first.sink.deltas.length).toBe(delivered)
  })

  test('is not started a second time within five seconds, and says why', async () => {
    await using driver = await connectTiny(model)
    await driver.probe(limits.firstTokenTimeoutMsDefault)
    kill(driver)
    await driver.chat(asking('hello'), contextOf('a'), deaf).result.catch(() => undefined)
    expect(await driver.probe(limits.firstTokenTimeoutMsDefault)).toMatchObject({ state: 'ready' })
    const last = await running(driver, 'a')
    kill(driver)
    await last.failure
    expect(driver.pid).toBeUndefined()
    const refused = await rejection(driver.chat(asking('hello'), contextOf('a'), deaf).result)
    expect(refused).toMatchObject({ code: 'ORLA_BACKEND_UNREACHABLE', retryable: true })
    expect(refused.message).toMatch(/ended \(SIGKILL\).*at most 1 time/s)
    expect(await driver.probe(1_000)).toMatchObject({ state: 'unreachable' })
    expect(await driver.kv.flushAll()).toMatchObject({ outcome: 'failed' })
  })
})

describe('a request that is cancelled', () => {
  test('gives its sequence back within 200 ms, and keeps what it evaluated', async () => {
    await using driver = await connectTiny(model, { sequences: 1, contextLength: 4_096 })
    const call = await running(driver, 'a')
    const reason = new CancelledError('caller', 'enough')
    const atMs = performance.now()
    call.cancel(reason)
    expect(await call.failure).toBe(reason)
    const heard = call.sink.deltas.length
    const next = await driver.chat(asking('never~', { maxTokens: 1 }), contextOf('a'), deaf).result
    expect(performance.now() - atMs).toBeLessThan(200)
    expect(next.usage.cachedTokens).toBe(next.usage.promptTokens! - 1)
    expect(call.sink.deltas.length).toBe(heard)
  })

  test('leaves the queue of those that wait, which goes by priority', async () => {
    await using driver = await connectTiny(model, { sequences: 1, windowRequests: 8, contextLength: 4_096 })
    const first = await running(driver, 'a')
    const order: string[] = []
    const wait = (name: string, priority: number) => {
      const call = driver.chat(asking('hello'), contextOf(name, priority), deaf)
      return { ...call, done: call.result.then(() => order.push(name)).catch(() => order.push(`${name} cancelled`)) }
    }
    const low = wait('low', 0)
    const dropped = wait('dropped', 1)
    const high = wait('high', 5)
    expect(await driver.kv.usage()).toMatchObject({ running: 1, waiting: 3 })
    dropped.cancel(new CancelledError('caller', 'no longer wanted'))
    first.cancel(new CancelledError('caller', 'enough'))
    await first.failure
    await Promise.all([low.done, dropped.done, high.done])
    expect(order).toEqual(['dropped cancelled', 'high', 'low'])
  })

  test('is refused where more wait than the window allows', async () => {
    await using driver = await connectTiny(model, { sequences: 1, windowRequests: 1, contextLength: 1_024 })
    const first = await running(driver, 'a')
    const second = driver.chat(asking('hello'), contextOf('b'), deaf).result
    const third = await rejection(driver.chat(asking('hello'), contextOf('c'), deaf).result)
    expect(third).toMatchObject({ code: 'ORLA_QUEUE_FULL', retryable: true })
    first.cancel(third)
    await first.failure
    expect((await second).content).toBe('fine.')
  })
})

describe('loading', () => {
  test('that takes longer than a probe may is an unreachable backend', async () => {
    await using driver = await connectTiny(model)
    const found = await driver.probe(0)
    expect(found.state === 'unreachable' && found.error.message).toContain('not loaded after 0 ms')
    expect(await driver.probe(60_000)).toMatchObject({
      state: 'ready',
      capabilities: { engine: 'llama-cpp', models: ['tiny'], contextLength: 2_048, concurrencyMax: 2, tools: true },
    })
    expect(driver.capabilities.version).toMatch(/^\d+\.\d+/)
  })

  test('of a file that is no model fails with what llama.cpp says, and is not tried over and over', async () => {
    const file = join(model.folder, 'broken', 'tiny.gguf')
    await mkdir(dirname(file))
    await writeFile(file, 'GGUF, it says, and nothing more')
    await using driver = await connectTiny({ file })
    const error = await rejection(driver.chat(asking('hello'), contextOf('a'), deaf).result)
    expect(error).toMatchObject({ code: 'ORLA_BACKEND_UNREACHABLE' })
    expect(error.message).toContain('cannot load')
    const second = await driver.probe(10_000)
    expect(second.state === 'unreachable' && second.error.message).toContain('cannot load')
  })

  test('that takes longer than the options allow is given up', async () => {
    await using driver = await connectTiny(model, { loadTimeoutMs: 1 })
    const error = await rejection(driver.chat(asking('hello'), contextOf('a'), deaf).result)
    expect(error).toMatchObject({ code: 'ORLA_BACKEND_UNREACHABLE', retryable: false })
    expect(error.message).toContain('not loaded after 1 ms')
    expect(driver.pid).toBeUndefined()
  })

  test('in a process that ends at once is given up, with its last words', async () => {
    await using driver = await connectTiny(model, {}, new URL('./fixtures/dying-worker.ts', import.meta.url))
    const error = await rejection(driver.chat(asking('hello'), contextOf('a'), deaf).result)
    expect(error.message).toMatch(/exit code 3.*no memory left for the weights/s)
  })
})

describe('the process', () => {
  test('ends when the one that started it does, however that ended', async () => {
    const owner = fork(fileURLToPath(new URL('./fixtures/owner.ts', import.meta.url)), [model.file], { execArgv: [] })
    const [pid] = (await once(owner, 'message')) as [number]
    expect(isAlive(pid)).toBe(true)
    owner.kill('SIGKILL')
    await once(owner, 'exit')
    await expect.poll(() => isAlive(pid), { timeout: 10_000 }).toBe(false)
  })

  test('does not keep its owner alive, and is gone after close', async () => {
    const owner = fork(fileURLToPath(new URL('./fixtures/owner.ts', import.meta.url)), [model.file, 'leave'], {
      execArgv: [],
    })
    const [[pid], [code]] = (await Promise.all([once(owner, 'message'), once(owner, 'exit')])) as [[number], [number]]
    expect(code).toBe(0)
    await expect.poll(() => isAlive(pid), { timeout: 10_000 }).toBe(false)
    const driver = await connectTiny(model)
    const closing = driver.pid!
    await driver.close()
    expect(isAlive(closing)).toBe(false)
  })
})
