// The answer of an OpenAI-compatible engine, read as it arrives
//
// Owns: what has been read of one answer.
// Does not own: the connection. Whoever feeds the reader looks at `outcome` after each call.
// Invariants
//   R1. Deltas and outcome depend on the bytes only, never on how they were cut into chunks; only the position that an
//       error names is that of the end of its chunk.
//   R2. The outcome is a result only if a finish reason was read and no error was.
//   R3. There is one outcome; nothing is delivered after it.
//   R4. What is held is bounded by limits.responseBytesMax, and each line by limits.sseLineBytesMax.

import { createParser, type EventSourceMessage, type EventSourceParser } from 'eventsource-parser'
import type { OrlaError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { ChatResult, DeltaChannel, FinishReason, Usage } from '../schema/chat.ts'
import type { ChatSink } from './driver.ts'
import { ChunkTemplate } from './chunk-template.ts'
import { DamagedText } from './damaged-text.ts'
import { namesAnother } from './echoed-id.ts'
import { inBandError, mixedUpError, protocolError, truncatedError } from './engine-error.ts'
import type { EngineErrorFacts, ErrorScope } from './engine-error.ts'
import { ToolCallMerger } from './tool-calls.ts'

/** How an answer ended. */
type ChatOutcome = { ok: true; result: ChatResult } | { ok: false; error: OrlaError }

/** What a reader needs to know. */
export interface ChatReaderOptions {
  scope: ErrorScope
  sink: ChatSink
  /** Fields of a delta that may hold thinking, in order of preference. */
  reasoningFields: readonly string[]
  /** Recognises an error object. */
  readError: (body: unknown) => EngineErrorFacts | undefined
  /** Number of the first tool call id to make up. */
  firstCallNumber: number
}

interface WireChunk {
  id?: unknown
  model?: unknown
  choices?: unknown
  usage?: unknown
}

interface WireChoice {
  index?: unknown
  delta?: unknown
  message?: unknown
  finish_reason?: unknown
}

type WireDelta = Record<string, unknown>

const noBytes = new Uint8Array()

/** Reads one answer: an event stream, or the whole answer as one JSON object where a gateway does not stream. */
export class ChatStreamReader {
  /** How it ended; undefined while it has not. */
  outcome: ChatOutcome | undefined
  /** Id of the request, where the engine repeats it: an answer to another one is no answer. */
  sentId: string | undefined

  readonly #options: ChatReaderOptions
  readonly #decoder = new TextDecoder('utf-8')
  readonly #damage = new DamagedText()
  readonly #template = new ChunkTemplate()
  readonly #parser: EventSourceParser
  readonly #tools = new ToolCallMerger()
  #form: 'unknown' | 'events' | 'json' = 'unknown'
  /** Text before the form is known; the whole text of a JSON answer after. */
  #held = ''
  #bytes = 0
  #delivered = 0
  /**
   * Pieces of the text and of the thoughts, joined once at the end: text that grows piece by piece stays a tree of its
   * pieces as long as somebody keeps it, ten times the size of the text.
   */
  readonly #content: string[] = []
  /** The last piece of it. */
  #text = ''
  readonly #reasoning: string[] = []
  #refusal = ''
  #finish: { reason: FinishReason; detail?: string } | undefined
  #usage: Usage = {}
  #model: string | undefined
  #responseId: string | undefined
  #ending = false

  constructor(options: ChatReaderOptions) {
    this.#options = options
    this.#parser = createParser({
      maxBufferSize: limits.sseLineBytesMax,
      onEvent: (event) => this.#readEvent(event),
      onError: (error) => {
        // The other kinds are fields that nobody knows, which a reader of events has to skip.
        if (error.type === 'max-buffer-size-exceeded') {
          this.#fail(this.#protocol(`a line of the stream is longer than ${limits.sseLineBytesMax} bytes`))
        }
      },
    })
  }

  /** True once a finish reason was read: the answer is complete, only its usage may be missing. */
  get finished(): boolean {
    return this.#finish !== undefined
  }

  /** Takes the next bytes of the body. */
  push(chunk: Uint8Array): void {
    if (this.outcome !== undefined) return
    this.#bytes += chunk.length
    if (this.#bytes > limits.responseBytesMax) {
      this.#fail(this.#protocol(`the answer is longer than ${limits.responseBytesMax} bytes`))
      return
    }
    const text = this.#decoder.decode(chunk, { stream: true })
    this.#damage.see(chunk, text)
    this.#pushText(text)
  }

  /** The body ended as HTTP says it should. There is an outcome afterwards. */
  end(): void {
    if (this.outcome !== undefined) return
    this.#ending = true
    const text = this.#decoder.decode()
    this.#damage.see(noBytes, text)
    this.#pushText(text)
    if (this.#form === 'json') this.#readJsonAnswer()
    // A last event may lack its empty line, a last line its end. What is cut within its JSON does not parse.
    else if (this.#form === 'events' && this.outcome === undefined) this.#parser.feed('\n\n')
    this.#conclude('the stream ended without a finish reason')
  }

  /** The connection was lost, or kept open although all had been said. There is an outcome afterwards. */
  cut(what: string, cause?: unknown): void {
    this.#conclude(what, cause)
  }

  #pushText(text: string): void {
    switch (this.#form) {
      case 'events':
        this.#parser.feed(text)
        break
      case 'json':
        this.#held += text
        break
      case 'unknown': {
        // No line of an event stream begins with a brace, so the first character tells, whatever the content type says.
        const held = (this.#held + text).trimStart()
        this.#held = held
        if (held === '') break
        this.#form = held.startsWith('{') ? 'json' : 'events'
        if (this.#form === 'json') break
        this.#held = ''
        this.#parser.feed(held)
        break
      }
    }
  }

  #readEvent(event: EventSourceMessage): void {
    if (this.outcome !== undefined || event.data === '') return
    if (event.data.startsWith('[DONE]')) {
      this.#conclude('the stream said it was done without a finish reason')
      return
    }
    const text = event.event === undefined ? this.#template.match(event.data) : undefined
    if (text !== undefined) return this.#readText(text)
    let value: unknown
    try {
      value = JSON.parse(event.data)
    } catch (error) {
      // An event that the end of the stream cut short is a truncated answer, not a malformed one.
      if (!this.#ending) this.#fail(this.#protocol(`an event is not JSON (${(error as Error).message})`))
      return
    }
    if (typeof value !== 'object' || value === null) {
      if (!this.#ending) this.#fail(this.#protocol('an event is not a JSON object'))
      return
    }
    const facts = this.#options.readError(event.event === 'error' && !('error' in value) ? { error: value } : value)
    if (facts !== undefined) return this.#fail(inBandError(this.#options.scope, facts, this.#delivered))
    this.#text = ''
    this.#readChunk(value)
    if (this.#text !== '' && event.event === undefined) this.#template.learn(event.data, this.#text)
  }

  #readJsonAnswer(): void {
    let value: unknown
    try {
      value = JSON.parse(this.#held)
    } catch (error) {
      this.#fail(this.#protocol(`the answer is not JSON (${(error as Error).message})`))
      return
    }
    this.#held = ''
    const facts = this.#options.readError(value)
    if (facts !== undefined) this.#fail(inBandError(this.#options.scope, facts, this.#delivered))
    else if (Array.isArray((value as WireChunk).choices)) this.#readChunk(value as WireChunk)
    else this.#fail(this.#protocol('the answer is a JSON object without choices and without an error'))
  }

  #readChunk(chunk: WireChunk): void {
    if (this.#model === undefined && typeof chunk.model === 'string' && chunk.model !== '') this.#model = chunk.model
    if (this.#responseId === undefined && typeof chunk.id === 'string' && chunk.id !== '') {
      this.#responseId = chunk.id
      if (this.sentId !== undefined && namesAnother(chunk.id, this.sentId)) {
        return this.#fail(mixedUpError(this.#options.scope, chunk.id, this.#delivered))
      }
    }
    if (typeof chunk.usage === 'object' && chunk.usage !== null) readUsage(this.#usage, chunk.usage)
    if (!Array.isArray(chunk.choices)) return
    for (const choice of chunk.choices as unknown[]) {
      // One answer was asked for; what an engine adds to it has another index.
      if (typeof choice !== 'object' || choice === null) continue
      const { index } = choice as WireChoice
      if (index === undefined || index === null || index === 0) this.#readChoice(choice)
      if (this.outcome !== undefined) return
    }
  }

  #readChoice(choice: WireChoice): void {
    if (typeof choice.delta === 'object' && choice.delta !== null) this.#readDelta(choice.delta as WireDelta)
    // Some gateways put the whole message next to the last delta: only one of the two counts.
    else if (typeof choice.message === 'object' && choice.message !== null && this.#delivered === 0) {
      this.#readDelta(choice.message as WireDelta)
    }
    const reason = choice.finish_reason
    if (typeof reason !== 'string' || reason === '' || this.outcome !== undefined) return
    if (reason === 'error') {
      const facts = { message: 'the engine ended the answer with finish_reason "error"' }
      this.#fail(inBandError(this.#options.scope, facts, this.#delivered))
      return
    }
    this.#finish = finishOf(reason)
  }

  #readDelta(delta: WireDelta): void {
    for (const field of this.#options.reasoningFields) {
      const thinking = textOf(delta[field])
      if (thinking === '') continue
      this.#reasoning.push(thinking)
      this.#deliver('reasoning', thinking)
      break
    }
    this.#readText(textOf(delta['content']))
    this.#refusal += textOf(delta['refusal'])
    if (Array.isArray(delta['tool_calls'])) {
      for (const piece of delta['tool_calls'] as unknown[]) this.#readToolPiece(piece)
    } else if (typeof delta['function_call'] === 'object' && delta['function_call'] !== null) {
      // The form of 2023, which some gateways still speak: one call, no id, no index.
      this.#readToolPiece({ index: 0, function: delta['function_call'] })
    }
  }

  #readText(text: string): void {
    if (text === '') return
    this.#text = text
    this.#content.push(text)
    this.#deliver('content', text)
  }

  #readToolPiece(piece: unknown): void {
    if (this.outcome !== undefined) return
    const merged = this.#tools.add(piece)
    if (!merged.ok) this.#fail(this.#protocol(merged.problem))
    else if (merged.text !== '') this.#deliver('tool', merged.text)
  }

  #deliver(channel: DeltaChannel, text: string): void {
    this.#delivered++
    this.#options.sink.delta(channel, text)
  }

  #conclude(otherwise: string, cause?: unknown): void {
    if (this.outcome !== undefined) return
    if (this.#finish === undefined) {
      this.#fail(truncatedError(this.#options.scope, otherwise, this.#delivered, cause))
      return
    }
    const tools = this.#tools.finish(this.#options.firstCallNumber)
    if (!tools.ok) {
      this.#fail(this.#protocol(tools.problem))
      return
    }
    const { reason, detail } = this.#finish
    if (reason === 'tool_calls' && tools.calls.length === 0) {
      this.#fail(this.#protocol('the model stopped for tool calls, but the answer holds none'))
      return
    }
    const result: ChatResult = {
      content: this.#content.join(''),
      reasoning: this.#reasoning.join(''),
      toolCalls: tools.calls,
      finishReason: reason,
      usage: this.#usage,
    }
    if (reason === 'stop' && tools.calls.length > 0) {
      // vLLM says `stop` for a tool that was asked for by name; what counts is that there are calls to answer.
      result.finishReason = 'tool_calls'
      result.finishDetail = 'stop'
    } else if (detail !== undefined) result.finishDetail = detail
    if (this.#refusal !== '') result.refusal = this.#refusal
    if (this.#model !== undefined) result.model = this.#model
    if (this.#responseId !== undefined) result.responseId = this.#responseId
    if (this.#damage.found) result.notes = [{ code: 'invalid_utf8', message: 'bytes of the answer were no UTF-8' }]
    this.outcome = { ok: true, result }
  }

  #protocol(what: string): OrlaError {
    const { scope } = this.#options
    return protocolError(scope, `${what}, within the first ${this.#bytes} bytes`, {
      bytesRead: this.#bytes,
      delivered: this.#delivered,
    })
  }

  #fail(error: OrlaError): void {
    this.outcome ??= { ok: false, error }
  }
}

function finishOf(reason: string): { reason: FinishReason; detail?: string } {
  switch (reason) {
    case 'stop':
    case 'length':
    case 'tool_calls':
    case 'content_filter':
      return { reason }
    case 'function_call':
      return { reason: 'tool_calls', detail: reason }
    default:
      return { reason: 'other', detail: reason.slice(0, limits.nameLengthMax) }
  }
}

/** Text of a field: a string, or the text parts of a list. Everything else is no text. */
function textOf(value: unknown): string {
  if (typeof value === 'string') return value
  if (!Array.isArray(value)) return ''
  let text = ''
  for (const part of value as unknown[]) {
    const piece = typeof part === 'object' && part !== null ? (part as { text?: unknown }).text : undefined
    if (typeof piece === 'string') text += piece
  }
  return text
}

/** Reads what is said about tokens into `usage`. A count that cannot be one is unknown, not zero. */
function readUsage(usage: Usage, raw: object): void {
  const wire = raw as Record<string, unknown>
  const prompt = tokenCount(wire['prompt_tokens'])
  const completion = tokenCount(wire['completion_tokens'])
  const cached =
    tokenCount(fieldOf(wire['prompt_tokens_details'], 'cached_tokens')) ?? tokenCount(wire['prompt_cache_hit_tokens'])
  const reasoning =
    tokenCount(fieldOf(wire['completion_tokens_details'], 'reasoning_tokens')) ?? tokenCount(wire['reasoning_tokens'])
  if (prompt !== undefined) usage.promptTokens = prompt
  if (completion !== undefined) usage.completionTokens = completion
  if (reasoning !== undefined) usage.reasoningTokens = reasoning
  if (cached !== undefined && cached <= (usage.promptTokens ?? Infinity)) usage.cachedTokens = cached
}

function fieldOf(value: unknown, field: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[field] : undefined
}

function tokenCount(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined
}
