// What a driver answers, checked: drivers come from outside as well, and nothing is a success by default.

import { messageOf } from '../errors.ts'
import type { ChatResult, FinishReason, Usage } from '../schema/chat.ts'

const finishReasons: Readonly<Record<FinishReason, true>> = {
  stop: true,
  length: true,
  tool_calls: true,
  content_filter: true,
  other: true,
}
const usageFields: readonly (keyof Usage)[] = ['promptTokens', 'cachedTokens', 'completionTokens', 'reasoningTokens']

/**
 * What keeps a value from being a `ChatResult`, with paths; empty if nothing does. Of tool calls the first that is wrong.
 *
 * O(tool calls), and nothing is made for a value that is one. Never throws.
 */
export function resultProblems(value: unknown): readonly string[] {
  try {
    return problemsOf(value)
  } catch (error) {
    return [`it cannot be read: ${messageOf(error)}`]
  }
}

function problemsOf(value: unknown): readonly string[] {
  if (typeof value !== 'object' || value === null) return ['it is no object']
  const result = value as Partial<Record<keyof ChatResult, unknown>>
  let problems = none
  const problem = (text: string): void => void (problems = [...problems, text])
  if (typeof result.content !== 'string') problem('content: is no text')
  if (typeof result.reasoning !== 'string') problem('reasoning: is no text')
  if (typeof result.finishReason !== 'string' || !Object.hasOwn(finishReasons, result.finishReason)) {
    problem(`finishReason: is none of ${Object.keys(finishReasons).join(', ')}`)
  }
  const { toolCalls, usage } = result
  if (!Array.isArray(toolCalls)) problem('toolCalls: is no list')
  else {
    const wrong = toolCalls.findIndex((call) => !isCall(call))
    if (wrong !== -1) problem(`toolCalls[${wrong}]: id, name and arguments must be texts`)
  }
  if (typeof usage !== 'object' || usage === null) problem('usage: is no object; {} says that nothing is known')
  else {
    for (const field of usageFields) {
      const count = (usage as Record<string, unknown>)[field]
      if (count === undefined || (typeof count === 'number' && count >= 0 && count !== Infinity)) continue
      problem(`usage.${field}: is no count of tokens; leave out what is not known`)
    }
  }
  return problems
}

const none: readonly string[] = []

function isCall(call: unknown): boolean {
  if (typeof call !== 'object' || call === null) return false
  const { id, name, arguments: args } = call as Record<string, unknown>
  return typeof id === 'string' && typeof name === 'string' && typeof args === 'string'
}
