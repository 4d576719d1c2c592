import { once } from 'node:events'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import { createRuntime, virtualClock, workflow, type Runtime } from '../../src/index.ts'
import { limits } from '../../src/limits.ts'
import type { Logger } from '../../src/log.ts'
import { utf8BytesEstimator } from '../../src/prompts/estimator.ts'
import { PriceSource, type PriceOptions } from '../../src/services/price-source.ts'
import { scripted } from '../support/scripted-backend.ts'
import { ask } from './fixtures/paid.ts'

type Answer = (response: ServerResponse) => void
const closers: (() => Promise<unknown> | void)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

/** A server of prices whose answers a test decides. */
async function served(first: unknown): Promise<{ url: string; answer: Answer; asked: number; server: Server }> {
  const it = { url: '', answer: json(first), asked: 0, server: undefined as unknown as Server }
  it.server = createServer((_request, response) => {
    it.asked++
    it.answer(response)
  })
  it.server.listen(0, '127.0.0.1')
  await once(it.server, 'listening')
  it.url = `http://127.0.0.1:${(it.server.address() as AddressInfo).port}/prices?key=secret`
  closers.push(() => {
    it.server.closeAllConnections()
    it.server.close()
  })
  return it
}

const json =
  (body: unknown, status = 200): Answer =>
  (response) =>
    void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))

async function until(isSo: () => boolean): Promise<void> {
  for (let i = 0; i < 100_000 && !isSo(); i++) await nextTurn()
  expect(isSo()).toBe(true)
}

function loud(): Logger & { warnings: { details: object; message: string }[] } {
  const warnings: { details: object; message: string }[] = []
  return {
    warnings,
    debug() {},
    info() {},
    warn: (details, message) => void warnings.push({ details, message }),
    error() {},
  }
}

const cheap = { inputUsdPerMTok: 1, outputUsdPerMTok: 10 }
const dear = { inputUsdPerMTok: 2, outputUsdPerMTok: 20 }
const usage = { promptTokens: 1_000, cachedTokens: 0, completionTokens: 100 }
const one = workflow('one').stage('s', { backend: 'named', prompt: () => 'x' })
const other = workflow('other').stage('s', { backend: 'by-model', prompt: () => 'x' })

describe('prices from a URL', () => {
  test('go before those of settings, change while runs go on, and outlive the server', async () => {
    const server = await served({ named: cheap, 'scripted-model': dear })
    const clock = virtualClock()
    const log = loud()
    const paid = () =>
      scripted((call) => call.answer({ content: 'x', usage }), { prices: { inputUsdPerMTok: 9, outputUsdPerMTok: 9 } })
    const runtime = await createRuntime({
      backends: { named: paid(), 'by-model': paid() },
      clock,
      log,
      estimator: utf8BytesEstimator,
      prices: { url: server.url, ttlMs: 60_000 },
    })
    closers.push(() => runtime.close())
    const cost = async (which: typeof one): Promise<number> =>
      (await clock.run(runtime.start(which, undefined).outcome)).costUsd!
    expect(await cost(one)).toBeCloseTo(0.002, 9)
    expect(await cost(other)).toBeCloseTo(0.004, 9)
    expect(runtime.backends().map(({ prices }) => prices)).toEqual([cheap, dear])

    server.answer = json({ named: dear })
    await clock.advance(60_000)
    await until(() => server.asked === 2 && runtime.prices()!.ageMs === 0)
    expect(await cost(one)).toBeCloseTo(0.004, 9)
    // The list does not name it any more, and its settings do.
    expect(await cost(other)).toBeCloseTo(1_100 * 9e-6, 9)

    server.server.closeAllConnections()
    server.server.close()
    await clock.advance(60_000)
    await until(() => log.warnings.length === 1)
    expect(runtime.prices()).toMatchObject({
      state: 'stale',
      ageMs: 60_000,
      error: expect.stringContaining('cannot be reached'),
    })
    expect(JSON.stringify(runtime.prices())).not.toContain('secret')
    expect(log.warnings[0]!.message).toBe('prices cannot be had; the last known count')
    expect(await cost(one)).toBeCloseTo(0.004, 9)
    await runtime.close()
    expect(clock.pendingTimers).toBe(0)
  })

  test('of a list that is wrong are not taken, whatever is wrong with it, and it is asked for again', async () => {
    const server = await served({ named: cheap })
    const clock = virtualClock()
    const log = loud()
    const source = new PriceSource({ url: server.url, ttlMs: 3_600_000 }, { clock, log })
    closers.push(() => source.close())
    await source.start()
    const wrong: [Answer, RegExp][] = [
      [json({ named: { ...cheap, inputUsdPerMTok: -1 } }), /named\.inputUsdPerMTok/],
      [json({ named: { inputUsdPerMTok: 1 } }), /named\.outputUsdPerMTok/],
      [json([cheap]), /expected record/],
      [json('busy', 503), /answered 503/],
      [(response) => void response.end('{"named":'), /no JSON/],
      [(response) => void response.end(`"${'x'.repeat(limits.serviceBytesMax)}"`), /more than/],
      [(response) => void response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end(), /cannot be reached/],
    ]
    let waitMs = 3_600_000
    for (const [i, [answer, message]] of wrong.entries()) {
      server.answer = answer
      await clock.advance(waitMs)
      await until(() => log.warnings.length === i + 1)
      expect(source.status()).toMatchObject({ state: 'stale', error: expect.stringMatching(message) })
      expect(source.of('named', 'any')).toEqual(cheap)
      waitMs = limits.priceRetryMs
    }
    server.answer = json({ named: dear })
    await clock.advance(waitMs)
    await until(() => source.status().state === 'fresh')
    expect(source.of('named', 'any')).toEqual(dear)
  })

  test('that never come do not keep a runtime from beginning', async () => {
    const server = await served({})
    server.answer = () => {}
    const clock = virtualClock()
    const log = loud()
    const made = createRuntime({
      backends: { named: scripted((call) => call.answer({ content: 'x', usage }), { prices: cheap }) },
      clock,
      log,
      prices: { url: server.url, timeoutMs: 500 },
    })
    await until(() => server.asked === 1)
    const runtime = await clock.run(made)
    closers.push(() => runtime.close())
    expect(runtime.prices()).toMatchObject({ state: 'none', error: expect.stringContaining('within 500 ms') })
    expect((await clock.run(runtime.start(one, undefined).outcome)).costUsd).toBeCloseTo(0.002, 9)
  })

  test('may have another form, which a function reads', async () => {
    const server = await served({ data: [{ id: 'gpt', input: 0.000001, output: 0.00001 }] })
    const read = (document: unknown): Record<string, typeof cheap> => {
      const { data } = document as { data: { id: string; input: number; output: number }[] }
      return Object.fromEntries(
        data.map(({ id, input, output }) => [id, { inputUsdPerMTok: input * 1e6, outputUsdPerMTok: output * 1e6 }]),
      )
    }
    const source = new PriceSource({ url: server.url, read }, { clock: virtualClock(), log: loud() })
    closers.push(() => source.close())
    await source.start()
    expect(source.of('any', 'gpt')!.outputUsdPerMTok).toBeCloseTo(10, 9)
  })

  test('reach runner threads', async () => {
    const server = await served({ paid: { inputUsdPerMTok: 0, outputUsdPerMTok: 2_000 } })
    const runtime: Runtime = await createRuntime({
      threads: 1,
      workflows: new URL('./fixtures/paid.ts', import.meta.url),
      probeTimeoutMs: 0,
      prices: { url: server.url },
    })
    closers.push(() => runtime.close())
    expect((await runtime.start(ask, 'x').outcome).costUsd).toBeCloseTo(0.4, 9)
  })

  test('need a place that nobody on the way can change', async () => {
    const refused = async (prices: PriceOptions): Promise<string> => {
      const made = createRuntime({ backends: { named: scripted() }, prices })
      return made.then(
        () => 'made',
        (error: Error) => error.message,
      )
    }
    expect(await refused({ url: 'http://prices.example/list' })).toMatch(/use https:/)
    expect(await refused({ url: 'ftp://prices.example/list' })).toMatch(/http:\/\/ or https:/)
    expect(await refused({ url: 'https://x', ttlMs: 1, maxAge: 3 } as never)).toMatch(/ttlMs[\s\S]*maxAge/)
  })
})
