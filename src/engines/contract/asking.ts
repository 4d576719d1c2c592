// How checks of the driver contract ask.

import type { ChatRequest, ChatResult, DeltaChannel } from '../../schema/chat.ts'
import { user } from '../../schema/message.ts'
import type { ChatCall, ChatContext } from '../driver.ts'
import type { Checked } from './check.ts'

/** A call under way, and what was heard of it. */
export interface Asked extends ChatCall {
  readonly deltas: [channel: DeltaChannel, text: string][]
  /** Resolves at the first delta. */
  readonly first: Promise<void>
}

/** A request that says `text`, to the checked model. */
export function saying({ model }: Checked, text: string, more: Partial<ChatRequest> = {}): ChatRequest {
  return { model, messages: [user(text)], params: {}, ...more }
}

/** A prompt of some hundred tokens: engines cache in blocks, and the last token never. */
export function longText(topic: string): string {
  return Array.from({ length: 60 }, (_, i) => `Line ${i + 1} is about ${topic} and says nothing else.`).join(' ')
}

let requests = 0

/** Sends a request. */
export function ask({ driver }: Checked, request: ChatRequest, more: Partial<ChatContext> = {}): Asked {
  const { promise: first, resolve } = Promise.withResolvers<void>()
  const deltas: Asked['deltas'] = []
  const call = driver.chat(
    request,
    { requestId: `contract/${++requests}`, runId: 'contract', ...more },
    {
      delta(channel, text) {
        deltas.push([channel, text])
        resolve()
      },
    },
  )
  // A check may look at the deltas first.
  call.result.catch(() => {})
  return { result: call.result, cancel: (reason) => call.cancel(reason), deltas, first }
}

/** Sends a request and waits for its answer. */
export function answer(checked: Checked, request: ChatRequest, more?: Partial<ChatContext>): Promise<ChatResult> {
  return ask(checked, request, more).result
}
