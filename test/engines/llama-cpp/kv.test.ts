// The KV cache of each run: kept, counted, erased, saved, restored.

import { describe, expect, test } from 'vitest'
import { rejection } from '../driver-kit.ts'
import { asking, connectTiny, contextOf, deaf, followUp, sharedDriver, tinyModel, type TestDriver } from './support.ts'

const model = tinyModel()
const driver = sharedDriver(model, { contextLength: 512 })
const question = asking('hello')

async function usageOf(
  driver: TestDriver,
  runId: string,
  request = question,
): Promise<{ prompt: number; cached: number }> {
  const { usage } = await driver.chat(request, contextOf(runId), deaf).result
  return { prompt: usage.promptTokens ?? -1, cached: usage.cachedTokens ?? -1 }
}

describe('the context of a run', () => {
  test('is found again whole, but for the token that is always evaluated', async () => {
    const first = await usageOf(driver.it, 'a')
    expect(first.cached).toBe(0)
    expect(await usageOf(driver.it, 'a')).toEqual({ prompt: first.prompt, cached: first.prompt - 1 })
  })

  test('grows: the next turn finds the prompt and the answer before it', async () => {
    const first = await usageOf(driver.it, 'a')
    const next = followUp(question, { role: 'assistant', content: 'fine.' }, { role: 'user', content: 'and now' })
    const second = await usageOf(driver.it, 'a', next)
    // Five tokens of the answer; the one that ended it was drawn, not evaluated.
    expect(second.cached).toBe(first.prompt + 5)
    expect(second.prompt).toBeGreaterThan(second.cached)
  })

  test('is not shared with another run', async () => {
    await usageOf(driver.it, 'a')
    expect((await usageOf(driver.it, 'b')).cached).toBe(0)
    expect((await usageOf(driver.it, 'a')).cached).toBeGreaterThan(0)
  })

  test('gives way, the one used longest ago first, where runs are more than sequences', async () => {
    for (const run of ['a', 'b', 'a']) await usageOf(driver.it, run)
    // b's sequence is taken, and keeps what the prompts have in common: all but the last token.
    const { prompt, cached } = await usageOf(driver.it, 'c')
    expect(cached).toBe(prompt - 1)
    expect((await usageOf(driver.it, 'a')).cached).toBe(prompt - 1)
    expect(await driver.it.kv.endSession('b')).toEqual({ outcome: 'flushed', scope: 'session', tokens: 0 })
  })

  test('is gone after its session ended, and nobody else is hurt', async () => {
    const { prompt } = await usageOf(driver.it, 'a')
    await usageOf(driver.it, 'b')
    // The prompt and five tokens of the answer.
    expect(await driver.it.kv.endSession('a')).toEqual({ outcome: 'flushed', scope: 'session', tokens: prompt + 5 })
    expect((await usageOf(driver.it, 'a')).cached).toBe(0)
    expect((await usageOf(driver.it, 'b')).cached).toBe(prompt - 1)
  })

  test('is gone after a flush of all', async () => {
    await usageOf(driver.it, 'a')
    await usageOf(driver.it, 'b')
    expect((await driver.it.kv.usage()).evictableTokens).toBeGreaterThan(50)
    expect(await driver.it.kv.flushAll()).toMatchObject({ outcome: 'flushed', scope: 'all' })
    expect((await driver.it.kv.usage()).evictableTokens).toBe(0)
    expect((await usageOf(driver.it, 'a')).cached).toBe(0)
    expect((await usageOf(driver.it, 'b')).cached).toBe(0)
  })

  test('is not erased under a request that runs; the outcome says so', async () => {
    const begun = Promise.withResolvers<void>()
    const call = driver.it.chat(asking('never~'), contextOf('a'), { delta: () => begun.resolve() })
    await begun.promise
    expect(await driver.it.kv.usage()).toMatchObject({ running: 1, waiting: 0 })
    expect(await driver.it.kv.endSession('a')).toMatchObject({ outcome: 'busy' })
    expect(await driver.it.kv.flushAll()).toMatchObject({ outcome: 'busy' })
    const waited = driver.it.kv.flushAll({ waitIdleMs: 20_000 })
    expect((await call.result).finishReason).toBe('length')
    expect(await waited).toMatchObject({ outcome: 'flushed' })
  })

  test('is computed ahead by a prefill', async () => {
    const usage = await driver.it.kv.prefill(question, contextOf('a'))
    expect(usage).toMatchObject({ cachedTokens: 0, completionTokens: 0 })
    expect(await usageOf(driver.it, 'a')).toEqual({ prompt: usage.promptTokens, cached: usage.promptTokens! - 1 })
  })
})

describe('a saved context', () => {
  test('comes back after it was erased, in whatever sequence', async () => {
    const before = await driver.it.chat(asking('never~', { maxTokens: 30 }), contextOf('a'), deaf).result
    const saved = await driver.it.kv.snapshot!('a', 'after one turn')
    expect(saved.bytes).toBeGreaterThan(1_000)
    await driver.it.kv.flushAll()
    expect(await driver.it.kv.restore!('c', 'after one turn')).toEqual({ tokens: saved.tokens })
    const again = await driver.it.chat(asking('never~', { maxTokens: 30 }), contextOf('c'), deaf).result
    expect(again.usage.cachedTokens).toBe(before.usage.promptTokens! - 1)
    expect(again.content).toBe(before.content)
  })

  test('outlives the driver in a folder that is given, for the same model only', async () => {
    const saveFolder = `${model.folder}/contexts`
    await using first = await connectTiny(model, { saveFolder })
    await usageOf(first, 'a')
    await first.kv.snapshot!('a', 'kept')
    await first.close()
    await using second = await connectTiny(model, { saveFolder })
    expect((await second.kv.restore!('z', 'kept')).tokens).toBeGreaterThan(0)
    expect((await usageOf(second, 'z')).cached).toBeGreaterThan(0)
  })

  test('is an error where there is none', async () => {
    expect(await rejection(driver.it.kv.snapshot!('nobody', 'x'))).toMatchObject({ code: 'ORLA_BACKEND_HTTP' })
    expect(await rejection(driver.it.kv.restore!('a', '../../etc/passwd'))).toMatchObject({ code: 'ORLA_BACKEND_HTTP' })
  })
})

describe('an action that is cancelled', () => {
  test('ends at once', async () => {
    await using driver = await connectTiny(model, { sequences: 1, contextLength: 512 })
    const begun = Promise.withResolvers<void>()
    const call = driver.chat(asking('never~'), contextOf('a'), { delta: () => begun.resolve() })
    await begun.promise
    const stop = new AbortController()
    const prefill = rejection(driver.kv.prefill(question, contextOf('b'), { signal: stop.signal }))
    stop.abort(new Error('no longer wanted'))
    expect(await prefill).toMatchObject({ code: 'ORLA_CANCELLED' })
    expect(await rejection(driver.kv.usage({ signal: stop.signal }))).toMatchObject({ code: 'ORLA_CANCELLED' })
    expect((await call.result).finishReason).toBe('length')
  })
})
