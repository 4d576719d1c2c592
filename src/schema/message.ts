// Messages of a conversation with a model.

/**
 * Tokens without text: `to - from` tokens whose identity is their place in a named stream.
 *
 * Workloads replay real sessions of which only lengths and shared prefixes are known. Two messages share a prefix
 * exactly as far as they name the same positions of the same stream. The simulator takes spans as they are; a driver
 * for a real engine writes filler text that depends on (stream, position) only, so prefixes stay shared there too.
 */
export interface TokenSpan {
  stream: string
  /** First position, inclusive, tokens. */
  from: number
  /** Last position, exclusive, tokens. */
  to: number
}

/** A tool call that a model asked for. */
export interface ToolCall {
  /** Id that the answer must quote. Made up by the driver where an engine gives none. */
  id: string
  name: string
  /** Arguments as the model wrote them: JSON text, not yet checked. */
  arguments: string
}

/** Instructions to the model. */
export interface SystemMessage {
  role: 'system'
  content: string
  span?: TokenSpan
}

/** What the user, or the workflow on its behalf, says. */
export interface UserMessage {
  role: 'user'
  content: string
  span?: TokenSpan
}

/** What the model answered. */
export interface AssistantMessage {
  role: 'assistant'
  content: string
  toolCalls?: ToolCall[]
  span?: TokenSpan
}

/** The result of one tool call. */
export interface ToolMessage {
  role: 'tool'
  content: string
  toolCallId: string
  span?: TokenSpan
}

/** One message of a conversation. Never changed after it was made, so that counts and hashes can be kept by identity. */
export type Message = SystemMessage | UserMessage | AssistantMessage | ToolMessage

/** A system message. */
export function system(content: string): SystemMessage {
  return { role: 'system', content }
}

/** A user message. */
export function user(content: string): UserMessage {
  return { role: 'user', content }
}

/** An assistant message, for few-shot examples. */
export function assistant(content: string): AssistantMessage {
  return { role: 'assistant', content }
}
