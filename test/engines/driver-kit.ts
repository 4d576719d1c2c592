// What the tests of the driver share: a driver on a fake engine, a sink that records, an error that was rejected.

import { realClock, type Clock } from '../../src/clock.ts'
import { OrlaError } from '../../src/errors.ts'
import type { ChatCall, ChatSink, Driver } from '../../src/engines/driver.ts'
import { openAi } from '../../src/engines/openai.ts'
import type { OpenAiOptions } from '../../src/engines/openai-options.ts'
import { silentLogger } from '../../src/log.ts'
import type { ChatRequest, DeltaChannel } from '../../src/schema/chat.ts'
import { user } from '../../src/schema/message.ts'

/** A driver that closes itself at the end of its block. */
export type TestDriver = Driver & AsyncDisposable

/** A connected driver for the engine at `url`. */
export async function connect(
  url: string,
  options: Partial<OpenAiOptions> = {},
  clock: Clock = realClock({ seed: 1 }),
): Promise<TestDriver> {
  const definition = openAi({ url, model: 'm', ...options })
  const driver = await definition.connect({ backend: 'light', clock, log: silentLogger })
  return Object.assign(driver, { [Symbol.asyncDispose]: () => driver.close() })
}

/** A sink that keeps what it hears. */
export interface RecordingSink extends ChatSink {
  readonly deltas: [channel: DeltaChannel, text: string][]
  /** Resolves at the first delta. */
  readonly first: Promise<void>
}

/** A sink that keeps what it hears. */
export function recordingSink(): RecordingSink {
  const { promise, resolve } = Promise.withResolvers<void>()
  const deltas: [DeltaChannel, string][] = []
  return {
    deltas,
    first: promise,
    delta(channel, text) {
      deltas.push([channel, text])
      resolve()
    },
  }
}

/** A request that asks for one word. */
export const hello: ChatRequest = { model: 'm', messages: [user('hello')], params: {} }

/** Sends `request` (by default {@link hello}). */
export function ask(driver: Driver, sink: ChatSink = recordingSink(), request: ChatRequest = hello): ChatCall {
  return driver.chat(request, { requestId: 'run-1/s/1.1', runId: 'run-1' }, sink)
}

/** The OrlaError that `promise` rejects with; throws if it resolves or rejects with anything else. */
export async function rejection(promise: Promise<unknown>): Promise<OrlaError> {
  try {
    await promise
  } catch (error) {
    if (error instanceof OrlaError) return error
    throw error
  }
  throw new Error('resolved where a rejection was expected')
}
