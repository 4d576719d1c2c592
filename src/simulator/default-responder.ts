// The default responder: says something plausible to any request.

import type { ChatRequest } from '../schema/chat.ts'
import { earlierToolCalls, lastUserText, type Reply, type ResponderContext } from './responder.ts'
import { schemaValue } from './schema-value.ts'
import { keywords } from './schema-text.ts'

/** What fits any answer. */
const remarks = [
  'I have looked at the details, and nothing else is needed from you now.',
  'The next step is on our side and usually takes one or two working days.',
  'If anything is missing, a short answer to this message is enough.',
  'The records agree with what you describe, so we can go ahead.',
  'I have noted it together with everything that was said so far.',
  'One thing remains open and will be checked before the case is closed.',
]

/**
 * Obeys the request: calls each offered tool once, one a turn, with arguments that match its schema; then answers
 * with a value of the response schema, or in two sentences about what the user said.
 *
 * Deterministic: the same request and the same chance give the same reply.
 */
export function defaultResponder(request: ChatRequest, context: ResponderContext): Reply {
  const { random } = context
  const text = lastUserText(request)
  const tool = nextTool(request)
  if (tool !== undefined) {
    return { toolCalls: [{ name: tool.name, arguments: schemaValue(tool.parameters, { random, text }) }] }
  }
  if (request.responseSchema !== undefined) {
    return { content: JSON.stringify(schemaValue(request.responseSchema.schema, { random, text })) }
  }
  // Replayed workloads know lengths, not words.
  if (request.params.ignoreEos === true && request.messages.at(-1)?.span !== undefined) return {}
  const topic = keywords(text).slice(0, 3).join(', ')
  const first = Math.floor(random() * remarks.length)
  const second = (first + 1 + Math.floor(random() * (remarks.length - 1))) % remarks.length
  return { content: `${topic === '' ? 'Thank you' : `About ${topic}`}: ${remarks[first]} ${remarks[second]}` }
}

/** The tool to call now, if any: the first that was not called yet; with `required` the last when all were. */
function nextTool(request: ChatRequest): NonNullable<ChatRequest['tools']>[number] | undefined {
  const { tools, toolChoice } = request
  if (tools === undefined || toolChoice === 'none') return undefined
  const called = new Set(earlierToolCalls(request).map((call) => call.name))
  return tools.find((tool) => !called.has(tool.name)) ?? (toolChoice === 'required' ? tools.at(-1) : undefined)
}
