// Faults within an answer
//
// Owns: what was sent of one answer, and what is held back of it.
// Does not own: the true answer, which arrives here event by event as the engine makes it.
// Invariants
//   S1. Until the fault strikes, the client gets what a sound engine sends, when it sends it (but for a wrong length,
//       which is only known then).
//   S2. An answer that the fault ended aborts its request.

import type { Clock } from '../../clock.ts'
import type { SseSink } from '../sse-writer.ts'
import { faultEntry, type Fault } from './catalogue.ts'
import { damagedCalls, dangerousTexts, errorBody, oddUsage } from './texts.ts'
import type { Wire } from './wire.ts'

/** What a broken stream needs. */
export interface FaultyStreamOptions {
  wire: Wire
  fault: Fault
  clock: Clock
  /** The answer is over for the client: the engine need not go on. */
  abort: () => void
}

/** Pieces before the middle of an answer that has no text to cut in two. */
const middlePieces = 2
/** Milliseconds between two comments of a stream that says nothing else. */
const commentEveryMs = 20
/** Bytes of the line without end. */
const lineBytes = 200 * 1024 * 1024

type Json = Record<string, unknown>

/** Stands where the response would, and breaks it. */
export class FaultyStream implements SseSink {
  readonly #options: FaultyStreamOptions
  #envelope: Json = {}
  #headers: Readonly<Record<string, string>> = {}
  /** What a too short length holds back. */
  #held: string | undefined
  #events = 0
  #struck = false
  #over = false

  constructor(options: FaultyStreamOptions) {
    this.#options = options
  }

  writeHead(status: number, headers: Readonly<Record<string, string>>): void {
    const { wire, fault } = this.#options
    this.#headers = headers
    switch (fault.fault) {
      case 'B8':
        return wire.head(status, headers, 'close')
      case 'B9':
        return wire.head(status, headers, 1_000_000_000)
      case 'B10':
        this.#held = ''
        return
      case 'B14': {
        const said = fault.kind === 'charset' ? { 'content-type': 'text/event-stream; charset=iso-8859-1' } : {}
        return wire.head(status, { ...headers, ...said }, 'chunked')
      }
      default:
        wire.head(status, headers, 'chunked')
        if (fault.kind === 'bom') wire.send('\uFEFF')
    }
  }

  write(text: string): boolean {
    if (this.#over) return true
    const { at } = this.#options.fault
    if (this.#events === 0) this.#envelope = envelopeOf(text)
    // The first text is cut in two, so that the middle is the same however busy the engine's thread is.
    const [before, after] = (at === 'middle' && !this.#struck && halves(text)) || ['', text]
    if (before !== '') this.#pass(before)
    const due = at === 'first' || (at === 'middle' && (before !== '' || this.#events > middlePieces))
    if (due && !this.#struck) this.#strike(after)
    this.#events++
    return this.#over || this.#pass(after)
  }

  end(text: string): void {
    if (!this.#struck && !this.#over) this.#strike(text.slice(0, text.indexOf('\n\n') + 2) || text)
    if (this.#over) return
    if (this.#options.fault.fault === 'B15') return this.#endBadly(text)
    for (const event of text.split(/(?<=\n\n)/)) this.#pass(event)
    this.#options.wire.finish()
  }

  on(_event: 'drain', listener: () => void): void {
    this.#options.wire.onDrain(listener)
  }

  /** Does the damage. `next` is what would be sent now. */
  #strike(next: string): void {
    this.#struck = true
    const { wire, fault } = this.#options
    switch (fault.fault) {
      case 'B4':
        return this.#stop(() => wire.reset())
      case 'B5':
        wire.raw(`ffff\r\n${next.slice(0, 12)}`)
        return this.#stop(() => wire.fin())
      case 'B6':
        if (fault.kind === 'done') wire.send('data: [DONE]\n\n')
        return this.#stop(() => wire.finish())
      case 'B7':
        wire.send(next.slice(0, next.length / 2))
        return this.#stop(() => wire.finish())
      case 'B8':
      case 'B9':
        wire.raw(next.slice(0, next.length / 2))
        return this.#stop(() => wire.fin())
      case 'B10': {
        const sent = `${this.#held}${next.slice(0, next.length / 2)}`
        wire.head(200, this.#headers, Buffer.byteLength(sent))
        wire.raw(sent + next.slice(next.length / 2))
        return this.#stop(() => {})
      }
      case 'B11':
        wire.send(`${fault.kind === 'event' ? 'event: error\n' : ''}data: ${JSON.stringify(errorBody(fault.kind))}\n\n`)
        if (fault.kind === 'done') wire.send('data: [DONE]\n\n')
        return this.#stop(() => wire.finish())
      case 'B16':
        return this.#stop(() => this.#comment())
      case 'B17':
        return this.#stop(() => wire.flood(this.#delta({ content: 'more and '.repeat(900) })))
      case 'B18':
        wire.send('data: ')
        return this.#stop(() => wire.flood('x', lineBytes))
      case 'B29':
        for (const calls of damagedCalls(fault.kind)) wire.send(this.#delta({ tool_calls: calls }))
        wire.send(this.#delta({}, 'tool_calls'))
        wire.send('data: [DONE]\n\n')
        return this.#stop(() => wire.finish())
      default:
        return this.#insert()
    }
  }

  /** Says something between what the engine says, which goes on afterwards. */
  #insert(): void {
    const { wire, fault } = this.#options
    switch (fault.fault) {
      case 'B14': {
        const bytes = Buffer.from(this.#delta({ content: fault.kind === 'invalid' ? 'grXn' : 'grün 😀' }))
        if (fault.kind === 'invalid') bytes[bytes.indexOf('grXn') + 2] = 0xc3
        for (const byte of bytes) wire.send(Buffer.of(byte))
        break
      }
      case 'B30':
        if (fault.kind === 'empty') wire.send(`data: ${JSON.stringify({ ...this.#envelope, choices: [] })}\n\n`)
        if (fault.kind === 'many') wire.send(this.#delta({ content: 'of another choice' }, null, 1))
        break
      case 'B31':
        wire.send(this.#delta({ content: dangerousTexts[fault.kind] }))
        break
      default:
    }
  }

  /** Sends an event of the engine, changed where the fault says so. */
  #pass(event: string): boolean {
    const { wire, fault } = this.#options
    if (this.#held !== undefined) {
      this.#held += event
      return true
    }
    if (fault.fault === 'B19') return this.#passOddly(event)
    if (!this.#struck || !event.startsWith('data: {')) return wire.send(event)
    if (fault.fault === 'B38') return wire.send(rewritten(event, (value) => (value['model'] = 'another-model')))
    if (fault.fault !== 'B30') return wire.send(event)
    if (fault.kind === 'unnumbered') {
      return wire.send(
        rewritten(event, ({ choices }) => (choices as Json[]).forEach((choice) => delete choice['index'])),
      )
    }
    if (!event.includes('"usage":{') || fault.kind === 'empty' || fault.kind === 'many') return wire.send(event)
    const odd = oddUsage(fault.kind)
    const without = rewritten(event, (value) => (value['usage'] = odd === undefined ? undefined : '%'))
    return wire.send(without.replace('"%"', odd ?? ''))
  }

  #passOddly(event: string): boolean {
    const { wire, fault } = this.#options
    switch (fault.kind) {
      case 'bytes': {
        let room = true
        for (const byte of Buffer.from(event)) room = wire.send(Buffer.of(byte))
        return room
      }
      case 'line-ends':
        return wire.send(event.replaceAll('\n', ['\r', '\r\n', '\n'][this.#events % 3]!))
      case 'fields': {
        const data = event.slice('data: '.length).trimEnd()
        // JSON allows line breaks between its tokens, so that an event may have several lines of data.
        const lines = data.startsWith('{') ? JSON.stringify(JSON.parse(data), undefined, 1) : data
        const text = `event: message\nid: 7\nretry: 10\nunknown: x\n${lines.replaceAll(/^/gm, 'data: ')}`
        return wire.send(`: note\n${text}\n\n`)
      }
      default:
        return wire.send(event)
    }
  }

  /** The end of an answer that is whole. */
  #endBadly(text: string): void {
    const { wire, fault } = this.#options
    this.#over = true
    if (fault.kind === 'open') {
      wire.send(text.replace('data: [DONE]\n\n', ''))
      return
    }
    wire.send(text)
    wire.send(fault.kind === 'twice' ? 'data: [DONE]\n\n' : this.#delta({ content: 'after the end' }))
    wire.finish()
  }

  #stop(how: () => void): void {
    this.#over = true
    how()
    this.#options.abort()
  }

  #comment(): void {
    const { wire, clock } = this.#options
    if (wire.gone) return
    wire.send(': still here\n\n')
    clock.setTimer(commentEveryMs, () => this.#comment())
  }

  #delta(delta: object, finishReason: string | null = null, index = 0): string {
    const choices = [{ index, delta, finish_reason: finishReason }]
    return `data: ${JSON.stringify({ ...this.#envelope, choices })}\n\n`
  }
}

/** Breaks a whole answer where the stream of it would break. {@link canCut} says which faults can. */
export function cutWhole(sink: FaultyStream, headers: Readonly<Record<string, string>>, body: string): void {
  const third = Math.floor(body.length / 3)
  sink.writeHead(200, headers)
  // As many pieces as the middle of a stream needs.
  sink.write(body.slice(0, 8))
  for (let i = 0; i <= middlePieces; i++) sink.write(body.slice(8 + i, i < middlePieces ? 9 + i : third * 2))
  sink.end(body.slice(third * 2))
}

/** True if a fault can strike an answer that is not streamed. */
export function canCut({ fault }: Fault): boolean {
  const { place, cuts } = faultEntry(fault)
  return place === 'instead' || cuts === true
}

function envelopeOf(event: string): Json {
  if (!event.startsWith('data: {')) return {}
  const { choices: _choices, usage: _usage, ...envelope } = JSON.parse(event.slice('data: '.length)) as Json
  return envelope
}

/** An event with text as two events. */
function halves(event: string): [string, string] | undefined {
  if (!event.startsWith('data: {')) return undefined
  const { choices } = JSON.parse(event.slice('data: '.length)) as { choices?: { delta?: { content?: unknown } }[] }
  const text = choices?.[0]?.delta?.content
  if (typeof text !== 'string' || text.length < 2) return undefined
  const place = Math.floor(text.length / 2)
  const half = (part: string): string =>
    rewritten(event, (value) => ((value['choices'] as { delta: Json }[])[0]!.delta['content'] = part))
  return [half(text.slice(0, place)), half(text.slice(place))]
}

function rewritten(event: string, change: (value: Json) => unknown): string {
  const value = JSON.parse(event.slice('data: '.length)) as Json
  change(value)
  return `data: ${JSON.stringify(value)}\n\n`
}
