import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { describe, expect, onTestFinished, test } from 'vitest'
import { CancelledError, OptionsError, OrlaError } from '../../src/errors.ts'
import { loadEstimator, utf8BytesEstimator } from '../../src/prompts/estimator.ts'
import { compilePrompt, type CompiledPrompt } from '../../src/prompts/template.ts'
import { system, user, type Message } from '../../src/schema/message.ts'
import { createPromptPool, type PromptPool, type PromptPoolOptions } from '../../src/workers/prompt-pool.ts'
import { longText } from './support.ts'

function pool(options: Partial<PromptPoolOptions> = {}): PromptPool {
  const made = createPromptPool({ estimator: utf8BytesEstimator, mode: 'pool', threads: 1, ...options })
  onTestFinished(() => made.close())
  return made
}

const compiled = (source: Parameters<typeof compilePrompt>[0]): CompiledPrompt => {
  const result = compilePrompt(source, { path: 'prompt', stages: ['classify'] })
  if (!result.ok) throw new Error(JSON.stringify(result.issues))
  return result.prompt
}

const conversation = (salt: number): Message[] => [
  system('You answer questions about reports.'),
  user(longText(20_000, salt)),
  { role: 'assistant', content: 'é', toolCalls: [{ id: 'call_1', name: 'read', arguments: `{"report":${salt}}` }] },
  { role: 'tool', content: longText(3_000, salt + 1), toolCallId: 'call_1' },
  { role: 'user', content: '', span: { stream: 's', from: 0, to: 1_000 } },
]

describe('prompt pool', () => {
  test('answers small prompts at once, without a thread', () => {
    const prompts = pool()
    const measured = prompts.measure([user('hello')])
    expect(measured).not.toBeInstanceOf(Promise)
    expect(prompts.count(['hello'])).toEqual([2])
    expect(prompts.render(compiled('{{ input }}'), { input: 'hi', results: {} })).not.toBeInstanceOf(Promise)
    expect(prompts.stats).toEqual({ inlineTasks: 3, pooledTasks: 0, retriedTasks: 0, queuedTasks: 0, runningTasks: 0 })
  })

  test('P1: measures large prompts on a thread as it would inline', async () => {
    const estimator = await loadEstimator('o200k_base')
    const [pooled, inline] = [pool({ estimator }), pool({ estimator, mode: 'inline' })]
    const tools = [{ name: 'read', description: 'reads', parameters: {} }]
    const there = pooled.measure(conversation(1), { tools })
    const here = inline.measure(conversation(1), { tools })
    expect(there).toBeInstanceOf(Promise)
    expect(here).not.toBeInstanceOf(Promise)
    expect(await there).toEqual(await here)
    expect(await pooled.count([longText(40_000, 2), 'é'])).toEqual(await inline.count([longText(40_000, 2), 'é']))
  })

  test('P1: builds large prompts on a thread as it would inline', async () => {
    const prompt = compiled([
      { role: 'system', content: 'be brief' },
      { role: 'user', content: 'Ticket {{ input.id }}: {{ input.text }} {{ results.classify }}' },
    ])
    const values = {
      input: { id: 7, text: longText(30_000, 3) },
      results: { classify: { category: 'billing', sure: [0.9] } },
    }
    const [pooled, inline] = [pool(), pool({ mode: 'inline' })]
    const built = pooled.render(prompt, values)
    expect(built).toBeInstanceOf(Promise)
    expect(await built).toEqual(await inline.render(prompt, values))
    const { messages, measure } = await built
    expect(pooled.measure(messages)).toEqual(measure)
  })

  test('P2: remembers what a thread measured, by message and by text', async () => {
    const prompts = pool()
    const messages = conversation(4)
    const first = await prompts.measure(messages)
    const again = prompts.measure(messages)
    expect(again).toEqual(first)
    const grown = prompts.measure([...messages, user('and one more question')])
    expect(grown).not.toBeInstanceOf(Promise)
    expect(prompts.measure(structuredClone(messages.slice(0, 2)))).not.toBeInstanceOf(Promise)
    expect(prompts.count([longText(20_000, 4)])).not.toBeInstanceOf(Promise)
    expect(prompts.stats).toMatchObject({ pooledTasks: 1, inlineTasks: 4 })
  })

  test('P2: a template without placeholders goes to a thread once', async () => {
    const prompts = pool()
    const prompt = compiled([
      { role: 'system', content: longText(20_000, 5) },
      { role: 'user', content: '{{ input }}' },
    ])
    await prompts.render(prompt, { input: 'first', results: {} })
    expect(prompts.render(prompt, { input: 'second', results: {} })).not.toBeInstanceOf(Promise)
    expect(prompts.stats.pooledTasks).toBe(1)
  })

  test('P3: does everything at once in mode inline', () => {
    const prompts = pool({ mode: 'inline', thresholdChars: 1 })
    expect(prompts.measure(conversation(6))).not.toBeInstanceOf(Promise)
    expect(prompts.count([longText(50_000, 6)])).not.toBeInstanceOf(Promise)
  })

  test('counts inline with an estimator that cannot follow to a thread, whatever its name', () => {
    const prompts = pool({ estimator: { name: 'o200k_base', count: (text) => text.length } })
    expect(prompts.count(['x'.repeat(50_000)])).toEqual([50_000])
  })

  test('sends messages without what a host hung on them', async () => {
    const odd = Object.assign(user(longText(20_000, 7)), { callback: () => 1 })
    expect((await pool().measure([odd])).tokens).toBe(5_004)
  })

  test('lets a caller go whose prompt waits for a thread, and asks nobody else for a signal', async () => {
    const prompts = pool()
    const reason = new CancelledError('caller', 'enough')
    const abort = new AbortController()
    let asked = 0
    const signal = (): AbortSignal => {
      asked++
      return abort.signal
    }
    expect(prompts.measure([user('x')], { signal })).not.toBeInstanceOf(Promise)
    expect(asked).toBe(0)
    const large = prompts.count([longText(20_000, 8)], { signal })
    abort.abort(reason)
    await expect(large).rejects.toBe(reason)
    expect(asked).toBe(1)
    await expect(prompts.count([longText(20_000, 11)], { signal })).rejects.toBe(reason)
  })

  test('reports a missing value before anything goes to a thread', () => {
    const prompts = pool()
    const prompt = compiled('{{ input.missing }} {{ input.text }}')
    expect(() => prompts.render(prompt, { input: { text: longText(20_000, 9) }, results: {} })).toThrow(
      'has no "missing"',
    )
    expect(prompts.stats.pooledTasks).toBe(0)
  })

  test('refuses work after close, inline work too', async () => {
    const prompts = pool()
    await prompts[Symbol.asyncDispose]()
    expect(() => prompts.measure([user('x')])).toThrow(OrlaError)
    expect(() => prompts.count([longText(20_000, 10)])).toThrow('the prompt pool is closed')
  })

  test('lists every option that is out of range', () => {
    const options = {
      estimator: utf8BytesEstimator,
      mode: 'pool' as const,
      threads: 0,
      thresholdChars: 1.5,
      queueMax: -1,
    }
    try {
      createPromptPool(options)
      expect.unreachable()
    } catch (error) {
      expect(error).toBeInstanceOf(OptionsError)
      expect((error as OptionsError).issues.map(({ path }) => path)).toEqual(['threads', 'thresholdChars', 'queueMax'])
    }
    expect(createPromptPool({ estimator: utf8BytesEstimator, mode: 'inline' }).stats.inlineTasks).toBe(0)
  })
})

describe('process', () => {
  const inProcess = async (body: string): Promise<string> => {
    const source = new URL('../../src/', import.meta.url).href
    const script = `
      import { createPromptPool } from '${source}workers/prompt-pool.ts'
      import { utf8BytesEstimator as estimator } from '${source}prompts/estimator.ts'
      const pool = createPromptPool({ estimator, mode: 'pool', threads: 2, thresholdChars: 1 })
      const handles = () => process.getActiveResourcesInfo().filter((name) => !/Pipe|TTY|File/.test(name)).join()
      let started = 0
      let alive = 0
      process.on('worker', (worker) => {
        started++
        alive++
        worker.on('exit', () => alive--)
      })
      ${body}`
    const run = promisify(execFile)
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], { timeout: 20_000 })
    return stdout.trim()
  }

  test('R3: has no thread before the first large prompt, and no thread and no handle after close', async () => {
    const report = await inProcess(`
      const before = [handles(), started]
      const counts = await pool.count(['abcd'])
      await pool.close()
      await new Promise((resolve) => setImmediate(resolve))
      console.log(JSON.stringify({ before, counts, started, after: [handles(), alive] }))`)
    expect(JSON.parse(report)).toEqual({ before: ['', 0], counts: [1], started: 2, after: ['', 0] })
  })

  test('ends by itself when nothing waits any more, even without close', async () => {
    expect(await inProcess(`console.log(await pool.count(['abcdefgh']))`)).toBe('[ 2 ]')
  })
})
