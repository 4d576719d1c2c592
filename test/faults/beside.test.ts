// Faults at the front itself: what is not a stream, what is beside the answers, and what comes back.

import { describe, expect, onTestFinished, test } from 'vitest'
import { realClock } from '../../src/clock.ts'
import type { BackendDefinition } from '../../src/engines/backend-definition.ts'
import { CancelledError } from '../../src/errors.ts'
import { llamaServer, ollama, sglang, simulated, vllm } from '../../src/index.ts'
import { silentLogger } from '../../src/log.ts'
import type { FlavourName } from '../../src/simulator/flavours/flavour.ts'
import { startFlavour } from '../../src/simulator/flavours/start-flavour.ts'
import type { FaultPlanInput } from '../../src/simulator/faults/plan.ts'
import { ask, connect, recordingSink, rejection } from '../engines/driver-kit.ts'

/** A front with a plan, and a way to ask it as any client would. */
async function front(faults: FaultPlanInput, flavour: FlavourName = 'openai') {
  const server = await startFlavour(flavour, { faults, responder: () => ({ content: 'a sound answer' }) })
  onTestFinished(() => server.close())
  const post = (extra: object, headers: Record<string, string> = {}): Promise<Response> =>
    fetch(`${server.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'hi' }], ...extra }),
    })
  return { server, post }
}

async function connected(definition: BackendDefinition) {
  const driver = await definition.connect({ backend: 'b', clock: realClock({ seed: 1 }), log: silentLogger })
  onTestFinished(() => driver.close())
  return driver
}

describe('an answer that is not streamed', () => {
  test.each(['B4', 'B5', 'B9'])('is cut by %s', async (fault) => {
    const { post } = await front([])
    for (const at of ['first', 'middle', 'last']) {
      const response = post({}, { 'x-orla-fault': `${fault};at=${at}` }).then((answer) => answer.text())
      await expect(response).rejects.toThrow()
    }
  })

  test.each(['B6', 'B7', 'B8', 'B10'])('ends by %s before its JSON does', async (fault) => {
    const { post } = await front([])
    for (const at of ['first', 'middle', 'last']) {
      const text = await post({}, { 'x-orla-fault': `${fault};at=${at}` }).then(
        (answer) => answer.text(),
        () => '',
      )
      expect(() => JSON.parse(text) as unknown).toThrow()
    }
  })

  test('cannot meet a fault of streams, and says so', async () => {
    const { post } = await front([])
    const response = await post({}, { 'x-orla-fault': 'B16' })
    expect(response.status).toBe(400)
    expect(await response.text()).toContain('needs a request with')
  })
})

describe('a front', () => {
  test('refuses a header that names no fault', async () => {
    const { post } = await front([])
    const response = await post({ stream: true }, { 'x-orla-fault': 'B99' })
    expect(response.status).toBe(400)
    expect(await response.text()).toContain('B1')
  })

  test('without a plan does not look at the header', async () => {
    const server = await startFlavour('openai')
    onTestFinished(() => server.close())
    const driver = await connect(server.url, { headers: { 'x-orla-fault': 'B6' } })
    onTestFinished(() => driver.close())
    expect((await ask(driver).result).finishReason).toBe('stop')
  })

  test('listens again after B1', async () => {
    const { server } = await front([{ when: { nth: 1 }, fault: 'B1' }])
    const driver = await connect(server.url)
    onTestFinished(() => driver.close())
    expect(await rejection(ask(driver).result)).toMatchObject({ code: 'ORLA_BACKEND_UNREACHABLE' })
    expect(await rejection(ask(driver).result)).toMatchObject({ details: { code: 'ECONNREFUSED' } })
    await expect
      .poll(() => ask(driver).result.then((answer) => answer.content, String), { timeout: 5_000 })
      .toBe('a sound answer')
  })

  test('frees the engine when a fault ends the answer', async () => {
    const { server } = await front([{ fault: 'B16', at: 'middle' }])
    const driver = await connect(server.url)
    const sink = recordingSink()
    const call = ask(driver, sink)
    await sink.first
    await expect.poll(() => server.stats().running).toBe(0)
    call.cancel(new CancelledError('caller', 'enough'))
    expect(await rejection(call.result)).toMatchObject({ code: 'ORLA_CANCELLED' })
    await driver.close()
    await expect.poll(() => server.connections()).toBe(0)
  })

  test('fails nineteen of twenty requests by B32', async () => {
    const { post } = await front([{ fault: 'B32', kind: 'flaky' }])
    const statuses: number[] = []
    for (let i = 0; i < 40; i++) statuses.push((await post({})).status)
    expect(statuses.filter((status) => status === 200)).toHaveLength(2)
  })

  test('is healthy while its completions fail by B33', async () => {
    const { server, post } = await front([{ fault: 'B33' }])
    expect((await fetch(`${server.url}/health`)).status).toBe(200)
    expect((await post({})).status).toBe(500)
  })
})

describe('retry-after', () => {
  test.each([
    ['B24;kind=seconds', 1_000],
    ['B24;kind=negative', 0],
    ['B24;kind=nan', undefined],
    ['B24;kind=year', 60_000],
    ['B25', 60_000],
  ])('of %s is %s ms: read, and within its bounds', async (fault, waitMs) => {
    const { server } = await front([])
    const driver = await connect(server.url, { headers: { 'x-orla-fault': fault } })
    onTestFinished(() => driver.close())
    const error = await rejection(ask(driver).result)
    expect(error.retryable).toBe(true)
    expect(error.details?.['retryAfterMs']).toBe(waitMs)
  })

  test('as a date is a wait of up to a second', async () => {
    const { server } = await front([])
    const driver = await connect(server.url, { headers: { 'x-orla-fault': 'B24;kind=date' } })
    onTestFinished(() => driver.close())
    const waitMs = (await rejection(ask(driver).result)).details?.['retryAfterMs'] as number
    expect(waitMs).toBeGreaterThanOrEqual(0)
    expect(waitMs).toBeLessThanOrEqual(1_000)
  })
})

describe('cache commands and metrics', () => {
  const engines: [FlavourName, (options: { url: string; model: string }) => BackendDefinition][] = [
    ['vllm', vllm],
    ['sglang', sglang],
    ['llamacpp', llamaServer],
    ['ollama', ollama],
  ]

  test.each(engines)('that fail at %s are never taken for done, and disturb no answer', async (flavour, make) => {
    const { server } = await front([{ fault: 'B37', kind: 'error' }], flavour)
    const driver = await connected(make({ url: server.url, model: 'm' }))
    await driver.probe(1_000)
    const flushed = await driver.kv!.flushAll()
    expect(flushed.outcome).not.toBe('flushed')
    expect((await ask(driver).result).content).toBe('a sound answer')
  })

  test.each(engines)('that hang at %s end with their signal, and disturb no answer', async (flavour, make) => {
    const { server } = await front(
      [
        { fault: 'B37', kind: 'hang' },
        { fault: 'B36', kind: 'hang' },
      ],
      flavour,
    )
    const driver = await connected(make({ url: server.url, model: 'm' }))
    const stop = new AbortController()
    const both = Promise.allSettled([
      driver.kv!.flushAll({ signal: stop.signal }),
      driver.kv!.usage({ signal: stop.signal }),
    ])
    expect((await ask(driver).result).content).toBe('a sound answer')
    stop.abort()
    const [flushed] = await both
    if (flushed.status === 'fulfilled') expect(flushed.value.outcome).not.toBe('flushed')
  })

  test.each(engines.slice(0, 3))('that lie at %s never make a share above 1', async (flavour, make) => {
    const { server } = await front([{ fault: 'B36', kind: 'lie' }], flavour)
    const driver = await connected(make({ url: server.url, model: 'm' }))
    const { usedFraction = 0 } = await driver.kv!.usage()
    expect(usedFraction).toBeLessThanOrEqual(1)
  })
})

describe('simulated', () => {
  test('takes a plan over HTTP', async () => {
    const driver = await connected(
      simulated({ model: 'm', engine: 'instant', faults: [{ when: { nth: 1 }, fault: 'B13' }] }),
    )
    expect(await rejection(ask(driver).result)).toMatchObject({ code: 'ORLA_BACKEND_PROTOCOL' })
    expect((await ask(driver).result).finishReason).toBe('stop')
  })

  test('refuses a plan in process, and one that is wrong', () => {
    expect(() => simulated({ model: 'm', transport: 'in-process', faults: [] })).toThrow('about the wire')
    expect(() => simulated({ model: 'm', faults: [{ fault: 'B99' as 'B6' }] })).toThrow('faults[0].fault')
  })
})
