// SSE writer
//
// Owns: what could not be written to a slow client yet.
// Invariants
//   W1. Nothing is written while the socket is full; what comes meanwhile waits, at most one answer long.
//   W2. Order is kept; parts of one channel that wait together go out as one event.

import type { AnswerPart } from './answer.ts'
import { openAiLook, wireForms, type ResponseHead, type WireForms } from './wire-response.ts'

/** Where the events go: a response, or what stands in its place. */
export interface SseSink {
  writeHead(status: number, headers: Readonly<Record<string, string>>): unknown
  /** False while the client is behind; `drain` says when it is not any more. */
  write(text: string): boolean
  end(text: string): unknown
  on(event: 'drain', listener: () => void): unknown
}

/** Writes one answer as server-sent events. */
export class SseWriter {
  readonly #response: SseSink
  readonly #head: ResponseHead
  readonly #forms: WireForms
  #full = false
  #begun = false
  #waiting: AnswerPart[] = []
  #last: { events: readonly object[]; done: boolean } | undefined

  constructor(response: SseSink, head: ResponseHead, forms: WireForms = wireForms(openAiLook)) {
    this.#forms = forms
    this.#response = response
    this.#head = head
    response.on('drain', () => {
      this.#full = false
      this.#flush()
    })
  }

  /** True once the status is out, so that no other can be sent. */
  get begun(): boolean {
    return this.#begun
  }

  /** Parts of the answer. The first call sends status and role. */
  parts(parts: readonly AnswerPart[]): void {
    for (const part of parts) {
      const before = this.#waiting.at(-1)
      if (before === undefined || !joined(before, part)) this.#waiting.push({ ...part })
    }
    this.#flush()
  }

  /** The last events; after them the answer ends, with `[DONE]` unless `done` is false. */
  end(events: readonly object[], done = true): void {
    this.#last = { events: [...events], done }
    this.#flush()
  }

  #flush(): void {
    if (!this.#begun) {
      this.#begun = true
      this.#response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache' })
      this.#send(this.#forms.role(this.#head))
    }
    while (!this.#full) {
      const part = this.#waiting.shift()
      if (part === undefined) break
      const event = this.#forms.part(this.#head, part)
      if (event !== undefined) this.#send(event)
    }
    if (this.#full || this.#last === undefined) return
    const { events, done } = this.#last
    this.#last = undefined
    const tail = events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join('')
    this.#response.end(done ? `${tail}data: [DONE]\n\n` : tail)
  }

  #send(event: object): void {
    this.#full = !this.#response.write(`data: ${JSON.stringify(event)}\n\n`)
  }
}

/** Appends `part` to `before` if they are of one channel. */
function joined(before: AnswerPart, part: AnswerPart): boolean {
  if (!('text' in before) || !('text' in part) || before.channel !== part.channel) return false
  if (before.channel === 'tool' && part.channel === 'tool' && before.index !== part.index) return false
  before.text += part.text
  return true
}
