import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { MessageChannel } from 'node:worker_threads'
import { describe, expect, onTestFinished, test } from 'vitest'
import { realClock, virtualClock, type Clock } from '../../src/clock.ts'
import type { ChatContext, Driver } from '../../src/engines/driver.ts'
import { openAi } from '../../src/engines/openai.ts'
import { silentLogger } from '../../src/log.ts'
import type { ChatRequest, ChatResult } from '../../src/schema/chat.ts'
import { system, user, type Message } from '../../src/schema/message.ts'
import { EmbeddedEngines, embeddedEngines } from '../../src/simulator/embedded.ts'
import { hostEngines } from '../../src/simulator/engine-host.ts'
import type { PortablePlan } from '../../src/simulator/engine-plan.ts'
import type { EngineNotice } from '../../src/simulator/engine-protocol.ts'
import { enginePreset } from '../../src/simulator/presets/engines.ts'
import { simpleSpeeds } from '../../src/simulator/simple-model.ts'
import type { EngineProfile } from '../../src/simulator/step-model/profile.ts'
import { createSimulated } from '../../src/simulator/simulated.ts'
import type { SimulatedOptions } from '../../src/simulator/simulated-options.ts'

const simulated = createSimulated(openAi)
const context: ChatContext = { requestId: 'run-1/answer/1.1', runId: 'run-1' }
const plan: PortablePlan = {
  model: 'm',
  contextLength: 1_000,
  speed: 1,
  seed: 7,
  engine: { kind: 'simple', speed: simpleSpeeds.instant },
  responder: undefined,
}
const here = (file: string): URL => new URL(file, import.meta.url)

async function connect(options: Partial<SimulatedOptions>, clock: Clock = realClock({ seed: 7 })): Promise<Driver> {
  const driver = await simulated({ model: 'm', ...options }).connect({ backend: 'b', clock, log: silentLogger })
  onTestFinished(() => driver.close())
  return driver
}

function ask(driver: Driver, request: Partial<ChatRequest>): Promise<ChatResult> {
  const whole: ChatRequest = { model: 'm', messages: [user('hello')], params: {}, ...request }
  return driver.chat(whole, context, { delta() {} }).result
}

describe('the engine thread', () => {
  test('hosts several engines and ends with the last', async () => {
    const engines = new EmbeddedEngines()
    const [first, second] = await Promise.all([engines.start(plan), engines.start({ ...plan, model: 'n' })])
    const models = async (url: string): Promise<unknown> => (await fetch(`${url}/v1/models`)).json()
    expect(await models(first.url)).toMatchObject({ data: [{ id: 'm' }] })
    expect(await models(second.url)).toMatchObject({ data: [{ id: 'n' }] })
    await first.close()
    await first.close()
    await expect(fetch(`${first.url}/health`)).rejects.toThrow(/fetch failed/)
    expect((await fetch(`${second.url}/health`)).status).toBe(200)
    await second.close()
    await expect(fetch(`${second.url}/health`)).rejects.toThrow(/fetch failed/)
    const third = await engines.start(plan)
    expect((await fetch(`${third.url}/health`)).status).toBe(200)
    await third.close()
  })

  test('says clearly what it could not start', async () => {
    const engines = new EmbeddedEngines()
    const broken = { ...plan, responder: here('./no-such-file.ts').href }
    await expect(engines.start(broken)).rejects.toMatchObject({ code: 'ORLA_OPTIONS', message: /no-such-file/ })
    const wrong = { ...plan, responder: here('./embedded-engine.ts').href }
    await expect(engines.start(wrong)).rejects.toMatchObject({ message: /exports no function named "responder"/ })
  })

  test('that dies fails what waits, and the next start makes a new one', async () => {
    const engines = new EmbeddedEngines(here('./embedded-crash.ts'))
    for (let i = 0; i < 2; i++) {
      await expect(engines.start(plan)).rejects.toMatchObject({
        code: 'ORLA_BACKEND_UNREACHABLE',
        retryable: true,
        message: /exited with code 3/,
      })
    }
    const missing = new EmbeddedEngines(here('./no-such-worker.ts'))
    await expect(missing.start(plan)).rejects.toMatchObject({ code: 'ORLA_BACKEND_UNREACHABLE' })
  })

  test('is one for each clock', () => {
    const clock = virtualClock()
    expect(embeddedEngines(clock)).toBe(embeddedEngines(clock))
    expect(embeddedEngines(clock)).not.toBe(embeddedEngines(virtualClock()))
  })

  test('does not keep the process alive', () => {
    const script = `
      const { EmbeddedEngines } = await import(${JSON.stringify(here('../../src/simulator/embedded.ts').href)})
      const { url } = await new EmbeddedEngines().start(${JSON.stringify({ ...plan, responder: null }).replace('null', 'undefined')})
      console.log((await fetch(url + '/health')).status)
    `
    const cwd = fileURLToPath(here('../..'))
    const { stdout, status } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      cwd,
      encoding: 'utf8',
      timeout: 20_000,
    })
    expect({ stdout: stdout.trim(), status }).toEqual({ stdout: '200', status: 0 })
  })
})

describe('the engine host', () => {
  test('answers each command once', async () => {
    const { port1, port2 } = new MessageChannel()
    onTestFinished(() => port1.close())
    hostEngines(port2, realClock())
    const told = async (command: object): Promise<EngineNotice> => {
      port1.postMessage(command)
      const [notice] = (await once(port1, 'message')) as [EngineNotice]
      return notice
    }
    const started = await told({ type: 'start', id: 1, plan })
    expect(started).toMatchObject({ type: 'started', id: 1, url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/) })
    const failed = await told({ type: 'start', id: 2, plan: { ...plan, responder: 'file:///no/such.ts' } })
    expect(failed).toMatchObject({ type: 'failed', id: 2, error: { code: 'ORLA_OPTIONS' } })
    expect(await told({ type: 'stop', id: 1 })).toEqual({ type: 'stopped', id: 1 })
    expect(await told({ type: 'stop', id: 2 })).toEqual({ type: 'stopped', id: 2 })
  })
})

describe('simulated over HTTP', () => {
  test('runs responder and engine from modules', async () => {
    const driver = await connect({
      responder: here('./embedded-responder.ts'),
      engine: { module: here('./embedded-engine.ts'), options: { kvTokensMax: 40 } },
      transport: 'http',
    })
    expect((await ask(driver, {})).content).toBe('module says: 1 message(s)')
    await expect(ask(driver, { messages: [user('word '.repeat(60))] })).rejects.toMatchObject({
      code: 'ORLA_CONTEXT_LENGTH',
    })
  })

  test('declares what a simulated engine can do', async () => {
    const driver = await connect({ contextLength: 2_048 })
    expect(driver.capabilities).toMatchObject({
      engine: 'simulated',
      models: ['m'],
      contextLength: 2_048,
      cachedTokens: 'always',
    })
    expect(await driver.probe(5_000)).toMatchObject({ state: 'ready', capabilities: { engine: 'simulated' } })
    await driver.close()
    expect((await driver.probe(5_000)).state).toBe('unreachable')
  })

  test('stops its engine when the driver cannot be made', async () => {
    const urls: string[] = []
    const failing = createSimulated((options) => ({
      engine: 'failing',
      settings: { ...openAi(options).settings },
      connect() {
        urls.push(options.url)
        return Promise.reject(new Error('no driver'))
      },
    }))
    const environment = { backend: 'b', clock: realClock(), log: silentLogger }
    await expect(failing({ model: 'm' }).connect(environment)).rejects.toThrow('no driver')
    await expect(fetch(`${urls[0]}/health`)).rejects.toThrow(/fetch failed/)
  })

  test('says, calls and caches the same as in process', async () => {
    const clock = realClock({ seed: 7 })
    const drivers = await Promise.all([
      connect({ transport: 'http', engine: 'instant' }, clock),
      connect({ transport: 'in-process', engine: 'instant' }, clock),
    ])
    const tools = [
      {
        name: 'read_policy',
        description: 'Reads.',
        parameters: { type: 'object', properties: { topic: { type: 'string' } }, required: ['topic'] },
      },
      {
        name: 'send_ticket',
        description: 'Sends.',
        parameters: { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] },
      },
    ]
    const responseSchema = {
      name: 'a schema',
      schema: { type: 'object', properties: { team: { enum: ['billing', 'tech'] } }, required: ['team'] },
    }
    const [overHttp, inProcess] = await Promise.all(
      drivers.map(async (driver) => {
        const results: ChatResult[] = []
        const messages: Message[] = [system('You route tickets.'), user('My billing is wrong, café ☕ 日本')]
        for (let turn = 0; turn < 4; turn++) {
          const result = await ask(driver, { messages: [...messages], tools, responseSchema })
          results.push(result)
          const { content, toolCalls } = result
          messages.push(
            toolCalls.length > 0 ? { role: 'assistant', content, toolCalls } : { role: 'assistant', content },
          )
          for (const call of toolCalls) messages.push({ role: 'tool', content: 'done: é', toolCallId: call.id })
          if (toolCalls.length === 0) messages.push(user('and now?'))
        }
        results.push(await ask(driver, { params: { maxTokens: 3, stop: ['zzz'] } }))
        results.push(await ask(driver, { params: { maxTokens: 70, ignoreEos: true, seed: 4 } }))
        return results.map(({ responseId: _id, ...rest }) => rest)
      }),
    )
    expect(overHttp).toEqual(inProcess)
    expect(overHttp!.map(({ finishReason }) => finishReason)).toEqual([
      'tool_calls',
      'tool_calls',
      'stop',
      'stop',
      'length',
      'length',
    ])
    expect(overHttp![3]!.usage.cachedTokens).toBeGreaterThan(100)
    expect(overHttp![5]!.usage.completionTokens).toBe(70)
  })

  test('cancelling frees the engine', async () => {
    const driver = await connect({ transport: 'http', engine: { requestsMax: 1, overheadMs: 0, decodeMsPerToken: 20 } })
    const first = Promise.withResolvers<undefined>()
    const long: ChatRequest = { model: 'm', messages: [user('x')], params: { maxTokens: 10_000, ignoreEos: true } }
    const call = driver.chat(long, context, { delta: () => first.resolve(undefined) })
    await first.promise
    const failed = expect(call.result).rejects.toThrow('enough')
    const { CancelledError } = await import('../../src/errors.ts')
    call.cancel(new CancelledError('caller', 'enough'))
    await failed
    expect((await ask(driver, { params: { maxTokens: 2 } })).usage.completionTokens).toBe(2)
  })
})

describe('options of simulated', () => {
  test('are all checked at once', () => {
    const wrong = {
      model: '',
      speed: 0,
      engine: { decodeMs: 3 },
      transport: 'pigeon',
      contextLength: 1,
    } as unknown as SimulatedOptions
    expect(() => simulated(wrong)).toThrow(/5 problem\(s\)|model[^]*contextLength[^]*speed[^]*transport[^]*engine/)
    expect(() => simulated({ model: 'm', engine: 'huge' as 'heavy' })).toThrow(/engine: .*light/)
    expect(() => simulated({ model: 'm', engine: { module: 'x' as unknown as URL } })).toThrow(/engine\.module: a URL/)
    expect(() => simulated({ model: 'm', responder: 'x' as unknown as URL })).toThrow(/responder: a URL/)
  })

  test('take a preset or a profile of the step model', async () => {
    const preset = { gpu: 'h100', model: 'qwen3-8b', engine: 'vllm', kvTokens: 2_000 } as const
    for (const engine of [{ preset }, { profile: enginePreset(preset) }]) {
      const definition = simulated({ model: 'm', engine, speed: 100 })
      expect(definition.settings.contextLength).toBe(2_000)
      const driver = await connect({ engine, speed: 100, contextLength: 500 })
      expect(driver.capabilities).toMatchObject({ contextLength: 500, concurrencyMax: 1_024 })
      const messages = [user('A question that is long enough for a whole block of the cache, or for two of them.')]
      const cached = [await ask(driver, { messages }), await ask(driver, { messages })].map(
        ({ usage }) => usage.cachedTokens,
      )
      expect(cached).toEqual([0, 16])
    }
  })

  test('name what is wrong with a preset', () => {
    const preset = { gpu: 'abacus', model: 'qwen3-8b', engine: 'vllm', kvScale: -1 } as unknown as {
      gpu: 'h100'
      model: 'qwen3-8b'
      engine: 'vllm'
    }
    expect(() => simulated({ model: 'm', engine: { preset } })).toThrow(
      /2 problem[^]*engine\.preset\.gpu[^]*engine\.preset\.kvScale/,
    )
    expect(() => simulated({ model: 'm', engine: { preset: { ...preset, kvTokens: 0.5 } } })).toThrow(
      /engine\.preset\.kvTokens/,
    )
    expect(() => simulated({ model: 'm', engine: { profile: {} as EngineProfile } })).toThrow(
      /engine\.profile\.blockTokens/,
    )
  })

  test('refuse a function that would have to cross to the engine thread', () => {
    expect(() => simulated({ model: 'm', transport: 'http', responder: () => ({}) })).toThrow(
      /responder: a function cannot go/,
    )
  })

  test('keep to the process what holds a function', async () => {
    const driver = await connect({ responder: () => ({ content: 'closure' }), engine: 'instant' })
    expect((await ask(driver, {})).content).toBe('closure')
  })

  test('become settings with a context length', () => {
    expect(simulated({ model: 'm', windowRequests: 3 })).toMatchObject({
      engine: 'simulated',
      settings: { model: 'm', windowRequests: 3, contextLength: 32_768 },
    })
  })
})
