// Requests on the OpenAI wire, as the simulated engine takes them. Unknown fields are ignored, as vLLM does.

import { z } from 'zod'
import type { ChatRequest, InferenceParams, ToolSpec } from '../schema/chat.ts'
import { ReasoningEffort } from '../schema/chat.ts'
import type { Message, TokenSpan, ToolCall } from '../schema/message.ts'
import { formatPath } from '../schema/options.ts'
import type { EngineFault } from './chat-engine.ts'

const Text = z.union([z.string(), z.array(z.looseObject({ type: z.literal('text'), text: z.string() }))], {
  error: 'a text, or a list of text parts',
})
const Span = z.object({ stream: z.string().min(1), from: z.int().min(0), to: z.int().min(0) })
const Call = z.object({
  id: z.string(),
  type: z.literal('function').optional(),
  function: z.object({ name: z.string().min(1), arguments: z.string() }),
})
const WireMessage = z.discriminatedUnion('role', [
  z.object({ role: z.enum(['system', 'developer']), content: Text, span: Span.optional() }),
  z.object({ role: z.literal('user'), content: Text, span: Span.optional() }),
  z.object({
    role: z.literal('assistant'),
    content: Text.nullish(),
    tool_calls: z.array(Call).nullish(),
    span: Span.optional(),
  }),
  z.object({ role: z.literal('tool'), content: Text, tool_call_id: z.string(), span: Span.optional() }),
])
type WireMessage = z.infer<typeof WireMessage>

const WireTool = z.object({
  type: z.literal('function'),
  function: z.object({
    name: z.string().min(1),
    description: z.string().nullish(),
    parameters: z.record(z.string(), z.unknown()).nullish(),
  }),
})

const WireRequest = z.object({
  model: z.string().optional(),
  messages: z.array(WireMessage).min(1),
  stream: z.boolean().nullish(),
  stream_options: z.object({ include_usage: z.boolean().nullish() }).nullish(),
  tools: z.array(WireTool).min(1).nullish(),
  tool_choice: z
    .union([
      z.enum(['none', 'auto', 'required']),
      z.object({ type: z.literal('function'), function: z.object({ name: z.string() }) }),
    ])
    .nullish(),
  response_format: z
    .discriminatedUnion('type', [
      z.object({ type: z.literal('text') }),
      z.object({ type: z.literal('json_object') }),
      z.object({
        type: z.literal('json_schema'),
        json_schema: z.object({ name: z.string(), schema: z.record(z.string(), z.unknown()) }),
      }),
    ])
    .nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  max_tokens: z.int().min(1).nullish(),
  max_completion_tokens: z.int().min(1).nullish(),
  seed: z.int().nullish(),
  stop: z.union([z.string(), z.array(z.string()).max(16)]).nullish(),
  ignore_eos: z.boolean().nullish(),
  reasoning_effort: ReasoningEffort.nullish(),
  chat_template_kwargs: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).nullish(),
  n: z.literal(1, { error: 'only 1 answer a request' }).nullish(),
  cache_salt: z.string().min(1).nullish(),
  priority: z.int().nullish(),
})
type WireRequest = z.infer<typeof WireRequest>

/** A request as it came over the wire. */
export interface ParsedRequest {
  chat: ChatRequest
  stream: boolean
  includeUsage: boolean
  salt?: string
  priority?: number
}

/**
 * Reads the body of a chat completion request.
 *
 * @param model - what is asked when the request names no model
 * @returns the request, or the fault that lists everything wrong with it
 */
export function parseChatRequest(body: unknown, model: string): { request: ParsedRequest } | { fault: EngineFault } {
  const parsed = WireRequest.safeParse(body)
  if (!parsed.success) {
    const { issues } = parsed.error
    const lines = issues.slice(0, 20).map((issue) => `${formatPath('', issue.path)}: ${issue.message}`)
    return { fault: invalidRequest(lines.join('; '), formatPath('', issues[0]?.path ?? [])) }
  }
  const wire = parsed.data
  if (wire.stream_options && wire.stream !== true) {
    return { fault: invalidRequest('Stream options can only be defined when `stream=True`.', 'stream_options') }
  }
  if (!wire.tools && (wire.tool_choice === 'required' || typeof wire.tool_choice === 'object') && wire.tool_choice) {
    return { fault: invalidRequest('When using `tool_choice`, `tools` must be set.', 'tool_choice') }
  }
  const request: ParsedRequest = {
    chat: chatOf(wire, model),
    stream: wire.stream === true,
    includeUsage: wire.stream_options?.include_usage === true,
  }
  if (typeof wire.cache_salt === 'string') request.salt = wire.cache_salt
  if (typeof wire.priority === 'number') request.priority = wire.priority
  return { request }
}

/** A 400 of the given message. */
export function invalidRequest(message: string, param?: string): EngineFault {
  const fault: EngineFault = { status: 400, type: 'BadRequestError', message, code: 'invalid_request' }
  if (param !== undefined) fault.param = param
  return fault
}

function chatOf(wire: WireRequest, model: string): ChatRequest {
  const chat: ChatRequest = {
    model: wire.model ?? model,
    messages: wire.messages.map(messageOf),
    params: paramsOf(wire),
  }
  const named = typeof wire.tool_choice === 'object' ? wire.tool_choice?.function.name : undefined
  const offered = wire.tools?.filter((tool) => named === undefined || tool.function.name === named)
  if (offered) chat.tools = offered.map(toolOf)
  if (named !== undefined) chat.toolChoice = 'required'
  else if (typeof wire.tool_choice === 'string') chat.toolChoice = wire.tool_choice
  const format = wire.response_format
  if (format?.type === 'json_schema') {
    chat.responseSchema = { name: format.json_schema.name, schema: format.json_schema.schema }
  }
  if (format?.type === 'json_object') chat.responseSchema = { name: 'json', schema: { type: 'object' } }
  return chat
}

function paramsOf(wire: WireRequest): InferenceParams {
  const given: InferenceParams = {
    temperature: wire.temperature ?? undefined,
    topP: wire.top_p ?? undefined,
    maxTokens: wire.max_completion_tokens ?? wire.max_tokens ?? undefined,
    seed: wire.seed ?? undefined,
    stop: typeof wire.stop === 'string' ? [wire.stop] : (wire.stop ?? undefined),
    reasoningEffort: wire.reasoning_effort ?? undefined,
    chatTemplateArguments: wire.chat_template_kwargs ?? undefined,
    ignoreEos: wire.ignore_eos ?? undefined,
  }
  return given
}

function toolOf({ function: { name, description, parameters } }: z.infer<typeof WireTool>): ToolSpec {
  return { name, description: description ?? '', parameters: parameters ?? { type: 'object', properties: {} } }
}

function messageOf(wire: WireMessage): Message {
  const span: { span?: TokenSpan } = wire.span === undefined ? {} : { span: wire.span }
  const content = textOf(wire.content)
  switch (wire.role) {
    case 'system':
    case 'developer':
      return { role: 'system', content, ...span }
    case 'user':
      return { role: 'user', content, ...span }
    case 'tool':
      return { role: 'tool', content, toolCallId: wire.tool_call_id, ...span }
    case 'assistant': {
      const toolCalls = wire.tool_calls?.map(({ id, function: { name, arguments: text } }): ToolCall => ({
        id,
        name,
        arguments: text,
      }))
      return { role: 'assistant', content, ...(toolCalls === undefined ? {} : { toolCalls }), ...span }
    }
  }
}

function textOf(content: z.infer<typeof Text> | null | undefined): string {
  if (content === null || content === undefined) return ''
  return typeof content === 'string' ? content : content.map((part) => part.text).join('')
}
