import { expect, test } from 'vitest'
import { detectEngine } from '../../../src/engines/detect.ts'
import { llamaServer } from '../../../src/engines/llama-server.ts'
import { ollama } from '../../../src/engines/ollama.ts'
import { sglang } from '../../../src/engines/sglang.ts'
import { vllm } from '../../../src/engines/vllm.ts'
import { realClock } from '../../../src/clock.ts'
import { silentLogger } from '../../../src/log.ts'
import { flavourNames, type FlavourOptions } from '../../../src/simulator/flavours/flavour.ts'
import { startFlavour } from '../../../src/simulator/flavours/start-flavour.ts'
import { fakeEngine } from '../../support/fake-engine.ts'

test.each(flavourNames)('tells %s from the others', async (name) => {
  await using front = await startFlavour(name)
  const found = await detectEngine(front.url, 1_000)
  expect(found).toMatchObject({ state: 'found', engine: name, models: ['m'], capabilities: { engine: name } })
})

test.each([
  [{ engine: 'vllm', devMode: false }, { kv: { flushAll: 'none' } }, /VLLM_SERVER_DEV_MODE/],
  [{ engine: 'vllm' }, { kv: { flushAll: 'exact' }, version: '0.28.0' }, /--enable-prompt-tokens-details/],
  [{ engine: 'sglang', cacheReport: false }, { cachedTokens: 'unknown' }, /--enable-cache-report/],
  [{ engine: 'sglang', priorities: false }, { priority: 'none' }, /--enable-priority-scheduling/],
  [{ engine: 'sglang' }, { priority: 'high-first', kv: { releaseSession: 'hint', retain: 'hint' } }, /^$/],
  [{ engine: 'llamacpp', slotActions: false }, { kv: { flushAll: 'none' } }, /--slot-save-path/],
  [{ engine: 'llamacpp', slots: 2 }, { concurrencyMax: 2, sharedPrefix: false }, /--cache-ram 0/],
  [{ engine: 'ollama' }, { cachedTokens: 'never' }, /OLLAMA_CONTEXT_LENGTH/],
] as [FlavourOptions, object, RegExp][])('finds what the flags of %o allow', async (flavour, capabilities, note) => {
  await using front = await startFlavour(flavour)
  const found = await detectEngine(front.url, 1_000)
  expect(found).toMatchObject({ state: 'found', capabilities })
  expect((found as { capabilities: { notes?: string[] } }).capabilities.notes?.join('\n')).toMatch(note)
})

test('a wrong guess says what it is and how to make its backend', async () => {
  const makers = { vllm, sglang, llamacpp: llamaServer, ollama }
  const names = { vllm: 'vllm', sglang: 'sglang', llamacpp: 'llamaServer', ollama: 'ollama' }
  for (const is of ['vllm', 'sglang', 'llamacpp', 'ollama'] as const) {
    await using front = await startFlavour(is)
    for (const meant of ['vllm', 'sglang', 'llamacpp', 'ollama'] as const) {
      const definition = makers[meant]({ url: front.url, model: 'm' })
      const driver = await definition.connect({ backend: 'b', clock: realClock(), log: silentLogger })
      const probe = await driver.probe(1_000)
      await driver.close()
      if (is === meant) expect(probe.state).toBe('ready')
      else {
        expect(probe).toMatchObject({
          state: 'unreachable',
          error: { code: 'ORLA_BACKEND_PROTOCOL', retryable: false },
        })
        expect(String((probe as { error: Error }).error.message)).toContain(`${names[is]}({ url, model })`)
      }
    }
  }
})

test('a proxy that shows only the wire is usable, and said to be one', async () => {
  await using front = await startFlavour('openai')
  for (const make of [vllm, sglang, llamaServer, ollama]) {
    const driver = await make({ url: front.url, model: 'm' }).connect({
      backend: 'b',
      clock: realClock(),
      log: silentLogger,
    })
    const probe = await driver.probe(1_000)
    await driver.close()
    expect(probe).toMatchObject({ state: 'ready', capabilities: { notes: [expect.stringContaining('proxy')] } })
  }
})

test('nothing, a web server, and an address that is none are told apart', async () => {
  expect(await detectEngine('http://127.0.0.1:9', 500)).toMatchObject({ state: 'silent' })
  await using web = await fakeEngine((exchange) => exchange.reply(404, 'not here'))
  expect(await detectEngine(web.url, 500)).toMatchObject({ state: 'other', error: { code: 'ORLA_BACKEND_PROTOCOL' } })
  await using mute = await fakeEngine(() => {})
  expect(await detectEngine(mute.url, 60)).toMatchObject({ state: 'silent', error: { code: 'ORLA_BACKEND_TIMEOUT' } })
  await expect(detectEngine('nonsense', 500)).rejects.toMatchObject({ code: 'ORLA_OPTIONS' })
})

test('a llama-server that still loads its model says so', async () => {
  await using engine = await fakeEngine((exchange) =>
    exchange.reply(503, { error: { code: 503, message: 'Loading model', type: 'unavailable_error' } }),
  )
  const found = await detectEngine(engine.url, 500)
  expect(found).toMatchObject({ state: 'other', error: { retryable: true } })
  expect((found as { error: Error }).error.message).toContain('Loading model')
})
