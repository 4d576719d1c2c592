import { expect, test, vi } from 'vitest'
import { doctor } from '../../src/cli/doctor/doctor.ts'
import { findings, renderFindings } from '../../src/cli/doctor/findings.ts'
import { detectEngine } from '../../src/index.ts'
import { startFlavour } from '../../src/testing.ts'
import { orla } from './spawn.ts'

const names = {
  vllm: 'vLLM',
  sglang: 'SGLang',
  llamacpp: 'llama-server',
  ollama: 'Ollama',
  openai: 'OpenAI-compatible',
}
const flavours = Object.keys(names) as (keyof typeof names)[]

test('finds all flavours at once, as JSON and in words', async () => {
  const fronts = await Promise.all(flavours.map((flavour) => startFlavour(flavour)))
  const urls = fronts.map(({ url }) => url)
  const parameters = ['doctor', ...urls.flatMap((url) => ['--url', url])]
  const [json, words] = await Promise.all([orla([...parameters, '--json']), orla(parameters)])
  await Promise.all(fronts.map((front) => front.close()))
  expect([json.code, json.stderr]).toEqual([0, ''])
  const found = JSON.parse(json.stdout) as { schema: number; engines: { url: string; engine: string }[] }
  expect(found.schema).toBe(1)
  for (const [i, engine] of flavours.entries()) {
    expect(found.engines.find(({ url }) => url === urls[i])).toMatchObject({ state: 'found', engine, models: ['m'] })
    expect(words.stdout).toContain(`${urls[i]}  `)
    expect(words.stdout).toContain(names[engine])
  }
  expect(words.stdout).toMatch(/^Node 24\S+: fine$/m)
  expect(words.stdout).toMatch(/note +prompts beyond its context length are cut/)
}, 30_000)

test('says what is wrong with an address that was asked for, and ends with 4', async () => {
  const { code, stdout } = await orla(['doctor', '--url', 'http://127.0.0.1:9', '--timeout', '500'])
  expect(code).toBe(4)
  expect(stdout).toContain('nothing listens at http://127.0.0.1:9')
})

test.each([
  [['--timeout', 'soon'], 2, /--timeout: "soon" is not a whole number/],
  [['--url', 'nonsense'], 3, /is not a URL/],
] as const)('refuses %o', async (parameters, code, says) => {
  const ended = await orla(['doctor', ...parameters])
  expect(ended.code).toBe(code)
  expect(ended.stderr).toMatch(says)
})

test('names what is unfit on this machine, and obeys nothing that an engine says', async () => {
  const silent = await detectEngine('http://127.0.0.1:9', 200)
  const seen = {
    engines: [silent],
    node: { version: '20.1.0', problem: 'too old' },
    fileLimit: 1_024,
    looked: ['a', 'b'],
  }
  const text = renderFindings(findings(seen))
  expect(text).toContain('Node 20.1.0: too old')
  expect(text).toContain('ulimit -n 4096')
  expect(text).toContain('No engine answers at 2 addresses')
  await using front = await startFlavour('openai', { model: 'evil\u001b[2Jmodel' })
  const shown = renderFindings(findings({ ...seen, engines: [await detectEngine(front.url, 1_000)] }))
  expect(shown).toContain('evilmodel')
})

test('looks at addresses that were asked for and at the usual ones, each once', async () => {
  await using front = await startFlavour('vllm')
  const written: string[] = []
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((text) => written.push(String(text)) > 0)
  const code = await doctor({ url: [front.url, front.url], timeout: '900', json: true }).finally(() =>
    write.mockRestore(),
  )
  const found = JSON.parse(written.join('')) as { looked: string[]; engines: { url: string }[] }
  expect(code).toBe(0)
  expect(found.looked).toHaveLength(10)
  expect(found.engines.filter(({ url }) => url === front.url)).toHaveLength(1)
  await expect(doctor({ timeout: '49' })).rejects.toThrow('from 50 to 60000')
})
