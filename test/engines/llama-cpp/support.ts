// What the tests of llama.cpp in a process share: a model file, drivers on it, requests.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach } from 'vitest'
import { realClock } from '../../../src/clock.ts'
import type { ChatContext } from '../../../src/engines/driver.ts'
import { createLlamaDriver, type LlamaDriver } from '../../../src/engines/llama-cpp/llama-driver.ts'
import { parseLlamaCppOptions, type LlamaCppOptions } from '../../../src/engines/llama-cpp/options.ts'
import { silentLogger } from '../../../src/log.ts'
import type { ChatRequest, InferenceParams } from '../../../src/schema/chat.ts'
import { system, user, type Message } from '../../../src/schema/message.ts'
import { writeTinyModel } from '../../support/gguf/tiny-model.ts'

/** Where the model of a test file is, and a folder beside it. */
export interface ModelFixture {
  readonly folder: string
  readonly file: string
}

/** Writes the tiny model before the tests of a file, and removes it after them. */
export function tinyModel(options: { contextLength?: number } = {}): ModelFixture {
  const fixture = { folder: '', file: '' }
  beforeAll(async () => {
    fixture.folder = await mkdtemp(join(tmpdir(), 'orla-test-gguf-'))
    fixture.file = join(fixture.folder, 'tiny.gguf')
    await writeTinyModel(fixture.file, options)
  })
  afterAll(() => rm(fixture.folder, { recursive: true, force: true }))
  return fixture
}

/** A driver that closes itself at the end of its block. */
export type TestDriver = LlamaDriver & AsyncDisposable

/** A driver with the model loading. One thread: on a busy machine more are slower by far. */
export async function connectTiny(
  { file }: Pick<ModelFixture, 'file'>,
  options: Partial<LlamaCppOptions> = {},
  entry?: URL,
): Promise<TestDriver> {
  const plan = parseLlamaCppOptions({ model: file, threads: 1, sequences: 2, contextLength: 2_048, ...options })
  const driver = await createLlamaDriver(
    plan,
    { backend: 'local', clock: realClock({ seed: 1 }), log: silentLogger },
    entry,
  )
  // Not a spread: a driver's capabilities are read when asked for.
  return Object.assign(driver, { [Symbol.asyncDispose]: () => driver.close() })
}

/** One driver for all tests of a file: loading costs a second. Every test finds its cache empty. */
export function sharedDriver(
  fixture: ModelFixture,
  options: Partial<LlamaCppOptions> = {},
): { readonly it: TestDriver } {
  const holder: { driver?: TestDriver } = {}
  beforeAll(async () => {
    holder.driver = await connectTiny(fixture, options)
  })
  beforeEach(() => holder.driver?.kv.flushAll({ waitIdleMs: 10_000 }).then(() => undefined))
  afterAll(() => holder.driver?.close())
  return {
    get it() {
      if (holder.driver === undefined) throw new Error('the driver is connected before the tests of a file')
      return holder.driver
    },
  }
}

/** Context of a request of `runId`. */
export function contextOf(runId: string, priority?: number): ChatContext {
  const context: ChatContext = { requestId: `${runId}/s/1.1`, runId, sessionId: runId }
  return priority === undefined ? context : { ...context, priority }
}

/** A request with the same system message as every other, and one user message. */
export function asking(text: string, params: InferenceParams = {}, more: Partial<ChatRequest> = {}): ChatRequest {
  return { model: 'tiny', messages: [system('You help people.'), user(text)], params, ...more }
}

/** The same conversation, one turn later. */
export function followUp(request: ChatRequest, ...messages: Message[]): ChatRequest {
  return { ...request, messages: [...request.messages, ...messages] }
}

/** A sink that hears nothing. */
export const deaf = { delta(): void {} }
