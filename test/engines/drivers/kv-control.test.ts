import { describe, expect, test } from 'vitest'
import { realClock, virtualClock } from '../../../src/clock.ts'
import type { BackendDefinition } from '../../../src/engines/backend-definition.ts'
import type { Driver } from '../../../src/engines/driver.ts'
import { failed, untilIdle, type FlushResult } from '../../../src/engines/kv-control.ts'
import { llamaServer } from '../../../src/engines/llama-server.ts'
import { ollama } from '../../../src/engines/ollama.ts'
import { parseMetrics } from '../../../src/engines/prometheus.ts'
import { sglang } from '../../../src/engines/sglang.ts'
import { SlotTable } from '../../../src/engines/slot-table.ts'
import { vllm } from '../../../src/engines/vllm.ts'
import { BackendError, CancelledError } from '../../../src/errors.ts'
import { silentLogger } from '../../../src/log.ts'
import { user } from '../../../src/schema/message.ts'
import { startFlavour } from '../../../src/simulator/flavours/start-flavour.ts'
import { fakeEngine, type FakeExchange } from '../../support/fake-engine.ts'
import { counting } from '../flavours.ts'
import { ask, hello, recordingSink, rejection } from '../driver-kit.ts'

async function on(definition: BackendDefinition): Promise<Driver & AsyncDisposable> {
  const driver = await definition.connect({ backend: 'b', clock: realClock({ seed: 1 }), log: silentLogger })
  return Object.assign(driver, { [Symbol.asyncDispose]: () => driver.close() })
}

const long = { ...hello, messages: [user('Count to a thousand.')], params: { maxTokens: 2_000, ignoreEos: true } }

/** A request that runs until it is cancelled. */
async function running(driver: Driver) {
  const sink = recordingSink()
  const call = ask(driver, sink, long)
  await sink.first
  const ended = rejection(call.result)
  return async () => {
    call.cancel(new CancelledError('caller', 'enough'))
    await ended
  }
}

describe('the flush of vLLM', () => {
  test('is busy while requests run, waits when told to, and preempts when told to', async () => {
    await using front = await startFlavour('vllm', { engine: { decodeMsPerToken: 1 } })
    await using driver = await on(vllm({ url: front.url, model: 'm' }))
    const stop = await running(driver)
    expect(await driver.kv!.flushAll()).toMatchObject({ outcome: 'busy' })
    expect(await driver.kv!.flushAll({ preempt: true })).toEqual({ outcome: 'flushed', scope: 'all' })
    const waiting = driver.kv!.flushAll({ waitIdleMs: 5_000 })
    await stop()
    expect(await waiting).toEqual({ outcome: 'flushed', scope: 'all' })
  })

  test.each<[string, (exchange: FakeExchange) => Promise<void>, Partial<FlushResult>]>([
    ['an empty 200 of old versions', (exchange) => exchange.reply(200, ''), { outcome: 'unknown' }],
    ['404 without dev mode', (exchange) => exchange.reply(404, { detail: 'Not Found' }), { outcome: 'unsupported' }],
    ['500', (exchange) => exchange.reply(500, { error: { message: 'remote KV' } }), { outcome: 'failed', status: 500 }],
  ])('reads %s as what it is', async (_what, script, expected) => {
    await using engine = await fakeEngine(script)
    await using driver = await on(vllm({ url: engine.url, model: 'm' }))
    expect(await driver.kv!.flushAll()).toMatchObject(expected)
  })

  test('fails, and does not reject, where nothing listens or the caller gives up', async () => {
    await using driver = await on(vllm({ url: 'http://127.0.0.1:9', model: 'm' }))
    expect(await driver.kv!.flushAll()).toMatchObject({ outcome: 'failed' })
    await using engine = await fakeEngine((exchange) => exchange.reply(200, { success: false }))
    await using busy = await on(vllm({ url: engine.url, model: 'm' }))
    const controller = new AbortController()
    const flush = busy.kv!.flushAll({ waitIdleMs: 60_000, signal: controller.signal })
    controller.abort()
    expect(await flush).toMatchObject({ outcome: 'failed', message: expect.stringContaining('cancelled') })
  })
})

describe('SGLang', () => {
  test('is flushed under running requests only by putting them back, and goes on after', async () => {
    await using front = await startFlavour('sglang', { engine: { decodeMsPerToken: 1 } })
    await using driver = await on(sglang({ url: front.url, model: 'm' }))
    await driver.probe(1_000)
    const stop = await running(driver)
    expect(await driver.kv!.flushAll({ waitIdleMs: 30 })).toMatchObject({
      outcome: 'busy',
      reason: 'Timed out waiting for idle state.',
    })
    expect(await driver.kv!.flushAll({ preempt: true })).toEqual({ outcome: 'flushed', scope: 'all' })
    const paths = front.requests().map(({ path }) => path)
    expect(paths.slice(-3)).toEqual(['/pause_generation', '/flush_cache', '/continue_generation'])
    expect(await driver.kv!.usage()).toMatchObject({ running: 1, waiting: 0, hit: { prompt: expect.any(Number) } })
    expect(await driver.kv!.endSession('run-1')).toMatchObject({ outcome: 'hinted' })
    await stop()
  })

  test('is told to abort by an id that no other id begins with', async () => {
    await using front = await startFlavour('sglang', { engine: { decodeMsPerToken: 1 } })
    await using driver = await on(sglang({ url: front.url, model: 'm' }))
    for (let i = 0; i < 11; i++) await ask(driver).result
    const stop = await running(driver)
    await stop()
    const seen = () => front.requests().find(({ path }) => path === '/abort_request')
    while (seen() === undefined) await new Promise((resolve) => void setImmediate(resolve))
    const rids = front
      .requests()
      .flatMap(({ path, body }) => (path.endsWith('/chat/completions') ? [(body as { rid: string }).rid] : []))
    expect(seen()!.body).toEqual({ rid: rids.at(-1) })
    for (const a of rids) expect(rids.filter((b) => b.startsWith(a))).toEqual([a])
  })

  test('an answer aborted by somebody else ends with the reason "abort"', async () => {
    await using front = await startFlavour('sglang', { engine: { decodeMsPerToken: 1 } })
    await using driver = await on(sglang({ url: front.url, model: 'm' }))
    const sink = recordingSink()
    const call = ask(driver, sink, long)
    await sink.first
    const { rid } = front.requests().at(-1)!.body as { rid: string }
    await fetch(`${front.url}/abort_request`, { method: 'POST', body: JSON.stringify({ rid }) })
    expect(await call.result).toMatchObject({ finishReason: 'other', finishDetail: 'abort' })
  })
})

describe('llama-server', () => {
  test('saves the slot of a session and restores it into another', async () => {
    await using front = await startFlavour({ engine: 'llamacpp', hostCache: false })
    await using driver = await on(llamaServer({ url: front.url, model: 'm', hostCache: false }))
    await driver.probe(1_000)
    const request = { ...hello, messages: [user('a long prompt about boats. '.repeat(30))] }
    const context = (sessionId: string) => ({ requestId: sessionId, runId: sessionId, sessionId })
    const { usage } = await driver.chat(request, context('one'), recordingSink()).result
    expect(usage.cachedTokens).toBe(0)
    const saved = await driver.kv!.snapshot!('one', 'boats.bin')
    expect(saved.tokens).toBe(usage.promptTokens)
    expect(await driver.kv!.endSession('one')).toMatchObject({ outcome: 'flushed', scope: 'session' })
    expect(await driver.kv!.endSession('one')).toMatchObject({ outcome: 'unknown' })
    expect(await driver.kv!.restore!('two', 'boats.bin')).toEqual({ tokens: saved.tokens })
    const again = await driver.chat(request, context('two'), recordingSink()).result
    expect(again.usage.cachedTokens).toBeGreaterThan(0)
    await expect(driver.kv!.restore!('two', 'nothing.bin')).rejects.toMatchObject({ code: 'ORLA_BACKEND_HTTP' })
  })

  test('keeps sessions in slots of their own, and counts those who wait', async () => {
    await using front = await startFlavour({ engine: 'llamacpp', slots: 2 }, { engine: { decodeMsPerToken: 1 } })
    await using driver = await on(llamaServer({ url: front.url, model: 'm' }))
    await driver.probe(1_000)
    const sessions = ['a', 'b', 'c']
    const sinks = sessions.map(() => recordingSink())
    const calls = sessions.map((sessionId, i) => {
      const call = driver.chat(long, { requestId: sessionId, runId: sessionId, sessionId }, sinks[i]!)
      call.result.catch(() => {})
      return call
    })
    await Promise.all([sinks[0]!.first, sinks[1]!.first])
    let usage = await driver.kv!.usage()
    while (usage.waiting !== 1) usage = await driver.kv!.usage()
    expect(usage).toMatchObject({ running: 2, waiting: 1, usedFraction: expect.any(Number) })
    expect(await driver.kv!.flushAll()).toMatchObject({ outcome: 'busy' })
    calls[0]!.cancel(new CancelledError('caller', 'enough'))
    calls[1]!.cancel(new CancelledError('caller', 'enough'))
    await sinks[2]!.first
    calls[2]!.cancel(new CancelledError('caller', 'enough'))
  })
})

describe('Ollama', () => {
  test('unloads its model, at once or when the last request has ended', async () => {
    await using front = await startFlavour('ollama', { engine: { decodeMsPerToken: 1 }, responder: counting })
    await using driver = await on(ollama({ url: front.url, model: 'm' }))
    await ask(driver).result
    expect(await driver.kv!.flushAll()).toEqual({ outcome: 'flushed', scope: 'all' })
    const stop = await running(driver)
    expect(await driver.kv!.flushAll()).toMatchObject({ outcome: 'hinted' })
    await stop()
    await using wrong = await on(ollama({ url: front.url, model: 'other' }))
    expect(await wrong.kv!.flushAll()).toMatchObject({ outcome: 'failed', status: 404 })
  })

  test('gets what tool_choice and template arguments mean in words that it reads', async () => {
    await using front = await startFlavour('ollama')
    await using driver = await on(ollama({ url: front.url, model: 'm' }))
    const tools = [{ name: 't', description: '', parameters: { type: 'object' } }]
    const params = { chatTemplateArguments: { enable_thinking: false } }
    await ask(driver, recordingSink(), { ...hello, tools, toolChoice: 'none', params }).result
    const body = front.requests().at(-1)!.body as Record<string, unknown>
    expect(body).toMatchObject({ reasoning_effort: 'none' })
    expect(body).not.toHaveProperty('tools')
    expect(body).not.toHaveProperty('chat_template_kwargs')
  })
})

test('a queue that is full within a 200 is a 503 worth another try', async () => {
  await using front = await startFlavour('sglang')
  await using driver = await on(sglang({ url: front.url, model: 'm' }))
  front.inject({ kind: 'status', fault: { status: 503, type: 'x', message: 'The request queue is full.' } })
  const error = await rejection(ask(driver).result)
  expect(error).toMatchObject({ code: 'ORLA_BACKEND_HTTP', retryable: true, details: { status: 503, delivered: 0 } })
})

test('a prefill stops on its signal', async () => {
  await using engine = await fakeEngine(() => {})
  await using driver = await on(vllm({ url: engine.url, model: 'm' }))
  const controller = new AbortController()
  const context = { requestId: 'r', runId: 'r' }
  const prefill = driver.kv!.prefill(hello, context, { signal: controller.signal })
  controller.abort()
  expect(await rejection(prefill)).toMatchObject({ code: 'ORLA_CANCELLED' })
  expect(await rejection(driver.kv!.prefill(hello, context, { signal: controller.signal }))).toMatchObject({
    code: 'ORLA_CANCELLED',
  })
})

test('asks again while busy, ever more slowly, until the time is over', async () => {
  const clock = virtualClock()
  const atMs: number[] = []
  const busy = async (leftMs: number): Promise<FlushResult> => {
    atMs.push(clock.nowMs())
    expect(leftMs).toBe(400 - clock.nowMs())
    return { outcome: 'busy', reason: 'busy' }
  }
  expect(await clock.run(untilIdle(clock, { waitIdleMs: 400 }, busy))).toMatchObject({ outcome: 'busy' })
  expect(atMs).toEqual([0, 25, 75, 175, 375])
  expect(clock.pendingTimers).toBe(0)
  expect(failed(new BackendError('ORLA_BACKEND_HTTP', 'no', { details: { status: 500 } }))).toEqual({
    outcome: 'failed',
    message: 'no',
    status: 500,
  })
})

test('S1 to S3: sessions keep their slot, idle ones give way first, the oldest of them', () => {
  const table = new SlotTable(2)
  const a = table.take('a')
  const b = table.take('b')
  expect([a.slot, b.slot]).toEqual([0, 1])
  expect(table.take('a').slot).toBe(0)
  b.release()
  b.release()
  expect(table.take('c').slot).toBe(1)
  expect(table.forget('b')).toBeUndefined()
  // Both are busy: the one used longest ago gives way.
  expect(table.take('d').slot).toBe(0)
  expect(table.forget('d')).toBe(0)
  expect(table.take('e').slot).toBe(0)
})

test('reads metrics over labels, without buckets and what is no number', () => {
  const text = [
    '# HELP vllm:num_requests_running x',
    'vllm:num_requests_running{engine="0",model_name="a \\"b\\" }"} 2.0',
    'vllm:num_requests_running{engine="1"} 3',
    'vllm:kv_cache_usage_perc{engine="0"} 0.25',
    'vllm:kv_cache_usage_perc{engine="1"} 0.9',
    'vllm:ttft_bucket{le="0.1"} 7',
    'process_x NaN',
    'plain_total 1e3 1700000000',
    'not a sample',
  ].join('\n')
  const metrics = parseMetrics(text)
  expect(metrics.sum('vllm:num_requests_running')).toBe(5)
  expect(metrics.max('vllm:kv_cache_usage_perc')).toBe(0.9)
  expect(metrics.sum('plain_total')).toBe(1_000)
  for (const name of ['vllm:ttft_bucket', 'process_x', 'not']) expect(metrics.sum(name)).toBeUndefined()
})
