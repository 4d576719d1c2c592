// A ChatRequest as the body of `POST /v1/chat/completions`.

import type { ChatRequest, InferenceParams } from '../schema/chat.ts'
import { parseJson } from '../schema/json.ts'
import type { Message } from '../schema/message.ts'
import { fillerText } from './filler-text.ts'

/** Name of the field that bounds the answer: OpenAI's reasoning models refuse the old one, most engines know only that. */
type MaxTokensField = 'max_tokens' | 'max_completion_tokens'

/** A JSON object that becomes a request body. */
export type WireBody = Record<string, unknown>

/** Characters OpenAI allows in the name of a schema, and how many. */
const schemaNameLengthMax = 64

/**
 * The body of a request. It always streams: some engines notice a closed connection only while they write to it.
 * What the request leaves open is left out, so that the engine's own defaults hold.
 */
export function chatBody(request: ChatRequest, maxTokensField: MaxTokensField): WireBody {
  const body: WireBody = {
    model: request.model,
    messages: request.messages.map(wireMessage),
    stream: true,
    stream_options: { include_usage: true },
  }
  // Engines refuse `tools: []`, and `tool_choice` without tools.
  if (request.tools !== undefined && request.tools.length > 0) {
    body['tools'] = request.tools.map(({ name, description, parameters }) => ({
      type: 'function',
      function: { name, description, parameters },
    }))
    if (request.toolChoice !== undefined) body['tool_choice'] = request.toolChoice
  }
  if (request.responseSchema !== undefined) {
    const { name, schema } = request.responseSchema
    body['response_format'] = {
      type: 'json_schema',
      json_schema: { name: wireSchemaName(name), schema, strict: true },
    }
  }
  addParams(body, request.params, maxTokensField)
  return body
}

function addParams(body: WireBody, params: InferenceParams, maxTokensField: MaxTokensField): void {
  const fields: readonly (readonly [name: string, value: unknown])[] = [
    ['temperature', params.temperature],
    ['top_p', params.topP],
    [maxTokensField, params.maxTokens],
    ['seed', params.seed],
    ['stop', params.stop],
    ['reasoning_effort', params.reasoningEffort],
    ['chat_template_kwargs', params.chatTemplateArguments],
    ['ignore_eos', params.ignoreEos],
  ]
  for (const [name, value] of fields) if (value !== undefined) body[name] = value
}

function wireSchemaName(name: string): string {
  return name.replaceAll(/[^a-zA-Z0-9_-]/g, '_').slice(0, schemaNameLengthMax)
}

/** One message as the wire has it. A span becomes filler text. */
export function wireMessage(message: Message): WireBody {
  const content = message.span === undefined ? message.content : fillerText(message.span)
  if (message.role === 'tool') return { role: 'tool', content, tool_call_id: message.toolCallId }
  if (message.role !== 'assistant' || message.toolCalls === undefined || message.toolCalls.length === 0) {
    return { role: message.role, content }
  }
  return {
    role: 'assistant',
    content,
    tool_calls: message.toolCalls.map((call) => ({
      id: call.id,
      type: 'function',
      function: { name: call.name, arguments: wireArguments(call.arguments) },
    })),
  }
}

/**
 * Arguments of an earlier call as an engine can read them. Chat templates parse them, and fail the whole request over
 * arguments that the model got wrong: those go back as text in an object, next to the error that answered them.
 */
function wireArguments(text: string): string {
  if (text.trim() === '') return '{}'
  return parseJson(text).ok ? text : JSON.stringify({ invalid_json: text })
}
