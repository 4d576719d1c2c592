// A conversation of ours as node-llama-cpp's chat history.

import type { ChatHistoryItem, ChatModelFunctionCall, ChatModelResponse } from 'node-llama-cpp'
import { parseJson } from '../../schema/json.ts'
import type { Message } from '../../schema/message.ts'
import { fillerText } from '../filler-text.ts'

/**
 * The history that a chat template is rendered from. Calls and their results are one item there, so a result goes to
 * the call that it answers; a result that answers none is shown as what the user says.
 */
export function historyOf(messages: readonly Message[]): ChatHistoryItem[] {
  const history: ChatHistoryItem[] = []
  const open = new Map<string, ChatModelFunctionCall>()
  for (const message of messages) {
    const text = message.span === undefined ? message.content : fillerText(message.span)
    switch (message.role) {
      case 'system':
        history.push({ type: 'system', text })
        break
      case 'user':
        history.push({ type: 'user', text })
        break
      case 'assistant': {
        const reply = replyAtEnd(history)
        if (text !== '') reply.response.push(text)
        message.toolCalls?.forEach((call, index) => {
          const item: ChatModelFunctionCall = {
            type: 'functionCall',
            name: call.name,
            params: readJson(call.arguments),
            result: undefined,
            startsNewChunk: index === 0,
          }
          open.set(call.id, item)
          reply.response.push(item)
        })
        break
      }
      case 'tool': {
        const call = open.get(message.toolCallId)
        if (call === undefined) history.push({ type: 'user', text })
        else call.result = readJson(text)
        break
      }
    }
  }
  return history
}

/** Messages of the model that follow each other, with only results of tools between them, are one reply. */
function replyAtEnd(history: ChatHistoryItem[]): ChatModelResponse {
  const last = history.at(-1)
  if (last?.type === 'model') return last
  const reply: ChatModelResponse = { type: 'model', response: [] }
  history.push(reply)
  return reply
}

/** JSON as its value, so that a template does not write it as text within text; everything else as it is. */
function readJson(text: string): unknown {
  const parsed = parseJson(text)
  return parsed.ok ? parsed.value : text
}
