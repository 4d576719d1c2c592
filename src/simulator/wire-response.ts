// Answers on the OpenAI wire: chunks of a stream, whole completions, errors. Pure: facts in, JSON out.

import type { ChatResult, Usage } from '../schema/chat.ts'
import type { AnswerPart } from './answer.ts'
import type { EngineFault } from './chat-engine.ts'

/** What all pieces of one answer have in common. */
export interface ResponseHead {
  id: string
  /** Seconds since 1970. */
  created: number
  model: string
}

/** The body of an error: the nested form of OpenAI and vLLM. */
export function errorBody({ message, type, param, code }: EngineFault): object {
  return { error: { message, type, param: param ?? null, code: code ?? null } }
}

/** The chunks of a stream, in the order they are sent: role, parts, finish, usage where asked for. */
export const chunks = {
  role: (head: ResponseHead): object => chunk(head, { role: 'assistant', content: '' }),
  part: (head: ResponseHead, part: AnswerPart): object => chunk(head, deltaOf(part)),
  finish: (head: ResponseHead, { finishReason }: ChatResult): object => chunk(head, {}, finishReason),
  usage: (head: ResponseHead, { usage }: ChatResult): object => ({
    ...envelope(head, 'chat.completion.chunk'),
    choices: [],
    usage: usageBody(usage),
  }),
}

/** The answer of a request that does not stream. */
export function completion(head: ResponseHead, result: ChatResult): object {
  const { content, reasoning, refusal, toolCalls, finishReason, usage } = result
  const message: Record<string, unknown> = { role: 'assistant', content, refusal: refusal ?? null }
  // As OpenAI has it: an answer that only calls tools, or refuses, has no content.
  if (content === '' && (toolCalls.length > 0 || refusal !== undefined)) message['content'] = null
  if (reasoning !== '') message['reasoning'] = reasoning
  if (toolCalls.length > 0) {
    message['tool_calls'] = toolCalls.map(({ id, name, arguments: text }) => ({
      id,
      type: 'function',
      function: { name, arguments: text },
    }))
  }
  return {
    ...envelope(head, 'chat.completion'),
    choices: [{ index: 0, message, logprobs: null, finish_reason: finishReason }],
    usage: usageBody(usage),
  }
}

/** The answer to `GET /v1/models`. */
export function modelList(model: string, contextLength: number, created: number): object {
  return {
    object: 'list',
    data: [{ id: model, object: 'model', created, owned_by: 'simulated', max_model_len: contextLength }],
  }
}

function envelope({ id, created, model }: ResponseHead, object: string): object {
  return { id, object, created, model }
}

function chunk(head: ResponseHead, delta: object, finishReason: string | null = null): object {
  return {
    ...envelope(head, 'chat.completion.chunk'),
    choices: [{ index: 0, delta, logprobs: null, finish_reason: finishReason }],
  }
}

function deltaOf(part: AnswerPart): object {
  switch (part.channel) {
    case 'call': {
      const { index, id, name } = part
      return { tool_calls: [{ index, id, type: 'function', function: { name, arguments: '' } }] }
    }
    case 'tool':
      return { tool_calls: [{ index: part.index, function: { arguments: part.text } }] }
    case 'content':
    case 'reasoning':
    case 'refusal':
      return { [part.channel]: part.text }
  }
}

function usageBody({ promptTokens = 0, cachedTokens = 0, completionTokens = 0, reasoningTokens }: Usage): object {
  const body: Record<string, unknown> = {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
  }
  if (reasoningTokens !== undefined) body['completion_tokens_details'] = { reasoning_tokens: reasoningTokens }
  return body
}
