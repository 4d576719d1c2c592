// Thread entry: an engine whose answers never end, and that tells when the socket of each closed.

import { parentPort } from 'node:worker_threads'
import { delta, fakeEngine, sse } from '../support/fake-engine.ts'

/** What the engine thread says. Times are those of `performance`, from `timeOrigin` on, the same in all threads. */
export type StormNotice =
  | { type: 'listening'; url: string }
  | { type: 'closed'; id: string; atMs: number }
  | { type: 'open'; open: number }

const engine = await fakeEngine(async (exchange) => {
  const { messages } = exchange.request.body as { messages: { content: string }[] }
  const id = messages[0]!.content
  void exchange.closed.then(() => say({ type: 'closed', id, atMs: performance.timeOrigin + performance.now() }))
  await exchange.stream()
  // Two pieces, and then an answer that would go on for ever.
  await exchange.send(sse(delta({ role: 'assistant', content: 'one ' })) + sse(delta({ content: 'two ' })))
})

function say(notice: StormNotice): void {
  parentPort?.postMessage(notice)
}

parentPort?.on('message', () => say({ type: 'open', open: engine.open }))
say({ type: 'listening', url: engine.url })
