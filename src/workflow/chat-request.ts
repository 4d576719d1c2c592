// What a stage asks an engine in one turn.

import type { ChatRequest } from '../schema/chat.ts'
import type { Message } from '../schema/message.ts'
import type { StageDefinition } from './definition.ts'
import type { Phase } from './turn.ts'

/**
 * The request of one turn.
 *
 * @param scriptedTokens - tokens that the engine is to generate, exactly; for stages with a script
 */
export function chatRequestOf(
  { name, params, toolSpecs, output }: StageDefinition,
  model: string,
  messages: readonly Message[],
  phase: Phase,
  scriptedTokens: number | undefined,
): ChatRequest {
  const request: ChatRequest = { model, messages, params }
  if (scriptedTokens !== undefined) request.params = { ...params, maxTokens: scriptedTokens, ignoreEos: true }
  if (toolSpecs !== undefined) {
    // Tools stay in the request for the final answer too: they are part of the prompt, and of the cached prefix.
    request.tools = toolSpecs
    if (phase === 'answer') request.toolChoice = 'none'
  }
  if (output !== undefined && phase === 'answer') {
    request.responseSchema = { name: name.replaceAll(/[^\w-]/g, '_'), schema: output.jsonSchema }
  }
  return request
}
