// Scripted responses: the first rule that fits says what the model answers.

import type { ChatRequest } from '../schema/chat.ts'
import { defaultResponder } from './default-responder.ts'
import type { Reply, Responder, ResponderContext } from './responder.ts'

/** One rule of a script. Every condition that is given must hold. */
export interface ScriptRule {
  /** Model that is asked. */
  model?: string
  /** Found in the system messages: tells stages apart. A text is looked for as it is. */
  system?: string | RegExp
  /** Found in the last message of any role but system. */
  content?: string | RegExp
  /** Number of the turn within the conversation, from 1: one more than the answers it already holds. */
  turn?: number
  /** Any other condition. */
  when?: (request: ChatRequest) => boolean
  /** The answer: a text, a reply, or a function that makes one. */
  reply: string | Reply | Responder
}

/** A responder that follows `rules`, the first that fits; `otherwise` answers what no rule fits. */
export function scriptedResponder(rules: readonly ScriptRule[], otherwise: Responder = defaultResponder): Responder {
  return (request: ChatRequest, context: ResponderContext): Reply => {
    const rule = rules.find((candidate) => fits(candidate, request))
    if (rule === undefined) return otherwise(request, context)
    if (typeof rule.reply === 'string') return { content: rule.reply }
    return typeof rule.reply === 'function' ? rule.reply(request, context) : rule.reply
  }
}

function fits(rule: ScriptRule, request: ChatRequest): boolean {
  const { messages } = request
  if (rule.model !== undefined && rule.model !== request.model) return false
  if (rule.turn !== undefined && rule.turn !== 1 + messages.filter(({ role }) => role === 'assistant').length)
    return false
  if (rule.system !== undefined) {
    const text = messages.filter(({ role }) => role === 'system').map(({ content }) => content)
    if (!isFound(rule.system, text.join('\n'))) return false
  }
  if (rule.content !== undefined) {
    const last = messages.findLast(({ role }) => role !== 'system')
    if (!isFound(rule.content, last?.content ?? '')) return false
  }
  return rule.when?.(request) ?? true
}

function isFound(sought: string | RegExp, text: string): boolean {
  // `search` ignores the state that a global expression keeps between calls.
  return typeof sought === 'string' ? text.includes(sought) : text.search(sought) >= 0
}
