// A backend whose engine answers at once, or when it is let: what is left is the cost of the runtime.

import type { BackendDefinition, Capabilities } from '../../src/index.ts'
import { BackendSettings, type BackendOptions } from '../../src/schema/backend.ts'
import type { ChatResult } from '../../src/schema/chat.ts'

const capabilities: Capabilities = {
  engine: 'instant',
  models: ['none'],
  cachedTokens: 'never',
  sharedPrefix: false,
  contextLength: 1_000_000,
  tools: true,
  jsonSchema: true,
  kv: { flushAll: 'none', releaseSession: 'none', isolate: 'none', retain: 'none' },
}

const answered: ChatResult = { content: 'ok', reasoning: '', toolCalls: [], finishReason: 'stop', usage: {} }

/**
 * A backend that answers `ok`.
 *
 * @param options.wait - called for every request, with its stage's prompt; a promise that it returns is waited for
 */
export function instant({
  wait,
  ...settings
}: Partial<BackendOptions> & { wait?: (prompt: string) => Promise<unknown> | undefined } = {}): BackendDefinition {
  return {
    engine: 'instant',
    settings: BackendSettings.parse({ model: 'none', ...settings }),
    connect: () =>
      Promise.resolve({
        capabilities,
        probe: () => Promise.resolve({ state: 'ready' as const, capabilities }),
        chat(request) {
          const waits = wait?.(request.messages.at(-1)?.content ?? '')
          if (waits === undefined) return { result: Promise.resolve(answered), cancel() {} }
          const { promise, resolve, reject } = Promise.withResolvers<ChatResult>()
          waits.then(() => resolve(answered), reject)
          return { result: promise, cancel: reject }
        },
        close: () => Promise.resolve(),
      }),
  }
}
