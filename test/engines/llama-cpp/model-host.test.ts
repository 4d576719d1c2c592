// The other side of the process boundary, here in this process: every command is answered once, also the wrong ones.

import { afterAll, beforeAll, expect, test } from 'vitest'
import { ModelHost } from '../../../src/engines/llama-cpp/model-host.ts'
import type { FromModel, KvCommand, LoadPlan } from '../../../src/engines/llama-cpp/protocol.ts'
import { asking, followUp, tinyModel } from './support.ts'

const model = tinyModel()
const said: FromModel[] = []
const listeners = new Set<() => void>()
const host = new ModelHost((message) => {
  said.push(structuredClone(message))
  for (const listener of listeners) listener()
})

/** The first message that fits, now or later. */
function heard<Type extends FromModel['type']>(type: Type, id?: number): Promise<Extract<FromModel, { type: Type }>> {
  return new Promise((resolve) => {
    const look = (): void => {
      const found = said.find(
        (message) => message.type === type && (id === undefined || ('id' in message && message.id === id)),
      )
      if (found === undefined) return
      listeners.delete(look)
      resolve(found as Extract<FromModel, { type: Type }>)
    }
    listeners.add(look)
    look()
  })
}

let ids = 0
const chat = (session: string, request = asking('hello'), prefillOnly = false): number => {
  const id = ++ids
  host.receive({ type: 'chat', id, request, session, priority: 0, prefillOnly })
  return id
}
type Unnumbered<Command> = Command extends { id: number } ? Omit<Command, 'id'> : never
const act = async (command: Unnumbered<KvCommand>) => {
  const id = ++ids
  host.receive({ ...command, id })
  return (await heard('done', id)).answer
}

const planOf = (file: string): LoadPlan => ({
  backend: 'local',
  file,
  contextLength: 512,
  sequences: 2,
  threads: 1,
  gpu: false,
  waitingMax: 4,
  saveFolder: `${model.folder}/saved`,
})

beforeAll(async () => {
  const early = chat('a')
  expect((await heard('failed', early)).error.message).toContain('not loaded')
  host.receive({ type: 'load', plan: planOf(model.file) })
  expect((await heard('loaded')).model).toMatchObject({ contextLength: 512, trainContextLength: 4_096, tools: true })
})
afterAll(() => host.close())

test('answers with deltas and one result', async () => {
  const id = chat('a')
  const { result } = await heard('finished', id)
  expect(result).toMatchObject({ content: 'fine.', finishReason: 'stop' })
  expect(said.filter((message) => message.type === 'delta' && message.id === id)).toHaveLength(5)
  expect(await act({ type: 'usage' })).toMatchObject({ running: 0, waiting: 0, capacityTokens: 1_024 })
})

test('calls tools, replays, prefills and counts', async () => {
  const tools = [
    { name: 'read', description: 'Reads.', parameters: { type: 'object', properties: { a: { type: 'string' } } } },
  ]
  const called = chat('a', asking('hello', {}, { tools, toolChoice: 'required' }))
  expect((await heard('finished', called)).result).toMatchObject({ toolCalls: [{ name: 'read' }] })
  const endless = chat('a', asking('hello', { maxTokens: 3 }, { tools }))
  expect((await heard('finished', endless)).result).toMatchObject({ finishReason: 'length', toolCalls: [] })
  const replayed = chat('a', asking('hello', { ignoreEos: true, maxTokens: 5 }))
  expect((await heard('finished', replayed)).result.usage.completionTokens).toBe(5)
  const prefilled = chat('b', asking('hello'), true)
  const { promptTokens } = (await heard('finished', prefilled)).result.usage
  expect(await act({ type: 'count', request: asking('hello') })).toEqual({ tokens: promptTokens })
})

test('cuts a call whose arguments do not end, at the bound and at the end of the sequence', async () => {
  const tools = [
    { name: 'read', description: '', parameters: { type: 'object', properties: { a: { type: 'string' } } } },
  ]
  for (const params of [{ maxTokens: 40 }, {}]) {
    const id = chat('a', asking('hello^', params, { tools, toolChoice: 'required' }))
    const { result } = await heard('finished', id)
    expect(result).toMatchObject({ finishReason: 'length', toolCalls: [] })
    const { completionTokens = 0, promptTokens = 0 } = result.usage
    expect(completionTokens).toBeLessThanOrEqual(params.maxTokens ?? 512 - promptTokens)
  }
})

test('matches a schema, and reads templates with arguments of their own', async () => {
  const responseSchema = { name: 'A', schema: { type: 'object', properties: { a: { type: 'boolean' } } } }
  const id = chat('a', asking('hello', { maxTokens: 50 }, { responseSchema }))
  expect(JSON.parse((await heard('finished', id)).result.content)).toEqual({ a: expect.any(Boolean) })
  const params = { chatTemplateArguments: { enable_thinking: false } }
  expect((await heard('finished', chat('a', asking('why?', params)))).result.reasoning).toBe('')
})

test('saves, erases and restores', async () => {
  await heard('finished', chat('kept'))
  const { tokens = 0 } = await act({ type: 'save', session: 'kept', name: 'one' })
  expect(await act({ type: 'endSession', session: 'kept' })).toEqual({ tokens, busy: 0 })
  expect(await act({ type: 'restore', session: 'other', name: 'one' })).toEqual({ tokens })
  expect(await act({ type: 'flushAll' })).toMatchObject({ busy: 0 })
})

test('ends a cancelled request, whether it runs or replays', async () => {
  for (const params of [{}, { ignoreEos: true }]) {
    const id = chat('a', asking('never~', params))
    await heard('delta', id)
    host.receive({ type: 'cancel', id })
    expect((await heard('failed', id)).error.code).toBe('ORLA_CANCELLED')
  }
  host.receive({ type: 'cancel', id: 999_999 })
})

test('says what is wrong with a request, and lives on', async () => {
  const long = chat('a', asking('x'.repeat(600)))
  expect((await heard('failed', long)).error.code).toBe('ORLA_CONTEXT_LENGTH')
  const empty = chat('a', followUp({ ...asking(''), messages: [] }))
  await Promise.race([heard('finished', empty), heard('failed', empty)])
  expect((await heard('finished', chat('a'))).result.content).toBe('fine.')
})

test('says why a file cannot be loaded', async () => {
  const other: FromModel[] = []
  const { promise, resolve } = Promise.withResolvers<void>()
  const broken = new ModelHost((message) => {
    other.push(message)
    resolve()
  })
  broken.receive({ type: 'load', plan: planOf(`${model.folder}/missing.gguf`) })
  await promise
  expect(other).toMatchObject([{ type: 'unloadable', error: { code: 'ORLA_BACKEND_UNREACHABLE' } }])
  await broken.close()
})
