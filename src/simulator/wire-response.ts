// Answers on the OpenAI wire: chunks of a stream, whole completions, errors. Pure: facts in, JSON out.

import type { ChatResult, Usage } from '../schema/chat.ts'
import type { ToolCall } from '../schema/message.ts'
import type { AnswerPart } from './answer.ts'
import type { EngineFault } from './chat-engine.ts'

/** What all pieces of one answer have in common. */
export interface ResponseHead {
  id: string
  /** Seconds since 1970. */
  created: number
  model: string
}

/** Where a fault is told: as the answer, or within a stream that began as a 200. */
export type FaultPlace = 'status' | 'stream'

/** In what engines differ when they write answers. */
export interface WireLook {
  /** The delta of the first event. */
  role: object
  /** Field of thinking. */
  reasoningField: 'reasoning' | 'reasoning_content'
  /** Tool calls are sent whole, at the end. */
  wholeCalls: boolean
  usage(usage: Usage): object
  /** What stands next to the usage. */
  beside?(usage: Usage): object
  /** The status and the body of a fault. */
  fault(fault: EngineFault, place: FaultPlace): { status: number; body: unknown }
  /** How a stream says that it failed: whether by an event, and whether `[DONE]` follows. */
  streamFault: { event: boolean; done: boolean }
}

/** OpenAI and vLLM: errors are nested, cached tokens always told. */
export const openAiLook: WireLook = {
  role: { role: 'assistant', content: '' },
  reasoningField: 'reasoning',
  wholeCalls: false,
  usage: (usage) => ({ ...usageCounts(usage), prompt_tokens_details: { cached_tokens: usage.cachedTokens ?? 0 } }),
  fault: (fault) => ({ status: fault.status, body: { error: nestedFault(fault) } }),
  streamFault: { event: true, done: true },
}

/** A fault as the object under `error`. */
export function nestedFault({ message, type, param, code }: EngineFault): object {
  return { message, type, param: param ?? null, code: code ?? null }
}

/** The counts that every engine tells. */
export function usageCounts({ promptTokens = 0, completionTokens = 0, reasoningTokens }: Usage): object {
  const counts: Record<string, unknown> = {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
  }
  if (reasoningTokens !== undefined) counts['completion_tokens_details'] = { reasoning_tokens: reasoningTokens }
  return counts
}

/** The forms of one engine's answers. */
export interface WireForms {
  readonly look: WireLook
  role(head: ResponseHead): object
  /** Undefined for what is not sent by itself. */
  part(head: ResponseHead, part: AnswerPart): object | undefined
  /** The events of the end: calls that are sent whole, the finish, the usage where asked for. */
  end(head: ResponseHead, result: ChatResult, includeUsage: boolean): object[]
  /** The end of an answer that was aborted by id. */
  aborted(head: ResponseHead): object
  completion(head: ResponseHead, result: ChatResult): object
}

/** Forms of a look. */
export function wireForms(look: WireLook): WireForms {
  return {
    look,
    role: (head) => chunk(head, look.role),
    part: (head, part) => {
      const delta = deltaOf(part, look)
      return delta && chunk(head, delta)
    },
    end(head, result, includeUsage) {
      const { finishReason, toolCalls, usage } = result
      const events: object[] = []
      if (look.wholeCalls)
        toolCalls.forEach((call, index) => events.push(chunk(head, { tool_calls: [{ index, ...wireCall(call) }] })))
      const beside = look.beside?.(usage) ?? {}
      events.push({ ...chunk(head, {}, finishReason), ...(includeUsage ? {} : beside) })
      if (includeUsage) {
        const envelope = envelopeOf(head, 'chat.completion.chunk')
        events.push({ ...envelope, choices: [], usage: look.usage(usage), ...beside })
      }
      return events
    },
    aborted: (head) => chunk(head, {}, 'abort'),
    completion(head, { content, reasoning, refusal, toolCalls, finishReason, usage }) {
      const message: Record<string, unknown> = { role: 'assistant', content, refusal: refusal ?? null }
      // As OpenAI has it: an answer that only calls tools, or refuses, has no content.
      if (content === '' && (toolCalls.length > 0 || refusal !== undefined)) message['content'] = null
      if (reasoning !== '') message[look.reasoningField] = reasoning
      if (toolCalls.length > 0) message['tool_calls'] = toolCalls.map(wireCall)
      return {
        ...envelopeOf(head, 'chat.completion'),
        choices: [{ index: 0, message, logprobs: null, finish_reason: finishReason }],
        usage: look.usage(usage),
        ...look.beside?.(usage),
      }
    },
  }
}

/** The answer to `GET /v1/models`. */
export function modelList(model: string, created: number, card: object): object {
  return { object: 'list', data: [{ id: model, object: 'model', created, ...card }] }
}

function envelopeOf({ id, created, model }: ResponseHead, object: string): object {
  return { id, object, created, model }
}

function chunk(head: ResponseHead, delta: object, finishReason: string | null = null): object {
  return {
    ...envelopeOf(head, 'chat.completion.chunk'),
    choices: [{ index: 0, delta, logprobs: null, finish_reason: finishReason }],
  }
}

function wireCall({ id, name, arguments: text }: ToolCall): object {
  return { id, type: 'function', function: { name, arguments: text } }
}

function deltaOf(part: AnswerPart, look: WireLook): object | undefined {
  switch (part.channel) {
    case 'call': {
      if (look.wholeCalls) return undefined
      const { index, id, name } = part
      return { tool_calls: [{ index, id, type: 'function', function: { name, arguments: '' } }] }
    }
    case 'tool':
      if (look.wholeCalls) return undefined
      return { tool_calls: [{ index: part.index, function: { arguments: part.text } }] }
    case 'reasoning':
      return { [look.reasoningField]: part.text }
    case 'content':
    case 'refusal':
      return { [part.channel]: part.text }
  }
}
