// One inference: what is asked of an engine, and what it answers. The same for every engine; drivers translate.

import { z } from 'zod'
import type { JsonSchema } from './json.ts'
import type { Message, TokenSpan, ToolCall } from './message.ts'

/** How much a reasoning model may think. */
export const ReasoningEffort = z.enum(['none', 'minimal', 'low', 'medium', 'high'])
/** How much a reasoning model may think. */
export type ReasoningEffort = z.infer<typeof ReasoningEffort>

/** Inference parameters that a stage may set. Absent means: the engine's own default. */
export const InferenceParams = z.strictObject({
  /** 0..2 */
  temperature: z.number().min(0).max(2).optional(),
  /** above 0, at most 1 */
  topP: z.number().gt(0).max(1).optional(),
  /** Tokens of the answer, at least 1. */
  maxTokens: z.int().min(1).optional(),
  /** 64-bit engines truncate beyond 2^53. */
  seed: z.int().optional(),
  /** Texts that end the answer, at most 16. */
  stop: z.array(z.string().min(1)).max(16).optional(),
  reasoningEffort: ReasoningEffort.optional(),
  /** Arguments of the engine's chat template, for example `{ enable_thinking: false }`. */
  chatTemplateArguments: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).optional(),
  /** Generate exactly `maxTokens` tokens. Workload replay uses it; engines know it as `ignore_eos`. */
  ignoreEos: z.boolean().optional(),
})
/** Inference parameters that a stage may set. Absent means: the engine's own default. */
export type InferenceParams = z.infer<typeof InferenceParams>

/** A tool as the model sees it. */
export interface ToolSpec {
  name: string
  description: string
  /** JSON Schema of the arguments. */
  parameters: JsonSchema
}

/** One inference request. Plain data. */
export interface ChatRequest {
  model: string
  messages: readonly Message[]
  tools?: readonly ToolSpec[]
  /** `auto` when absent and tools are offered. */
  toolChoice?: 'auto' | 'none' | 'required'
  /** The answer must match this schema. */
  responseSchema?: { name: string; schema: JsonSchema }
  params: InferenceParams
}

/** Why a model stopped. `other` keeps the engine's own word in `finishDetail`. */
export type FinishReason = 'stop' | 'length' | 'tool_calls' | 'content_filter' | 'other'

/** Tokens of one inference. Absent means: the engine did not say, which is not zero. */
export interface Usage {
  /** All prompt tokens, cached ones included. */
  promptTokens?: number
  /** Prompt tokens served from the engine's prefix cache. */
  cachedTokens?: number
  completionTokens?: number
  /** Part of `completionTokens` that was thinking. */
  reasoningTokens?: number
}

/** Something about an answer that is no error, and that somebody should know. */
export interface AnswerNote {
  /** `invalid_utf8`: damaged bytes were replaced by U+FFFD. `model_changed`: the engine names another model than before. */
  code: 'invalid_utf8' | 'model_changed'
  message: string
}

/** What an engine answered, whole. */
export interface ChatResult {
  content: string
  reasoning: string
  toolCalls: ToolCall[]
  finishReason: FinishReason
  finishDetail?: string
  /** The model's refusal, in its own words. */
  refusal?: string
  usage: Usage
  /** Tokens of the answer without text: engines that replay workloads generate them. */
  span?: TokenSpan
  /** Model name as the engine reports it. */
  model?: string
  /** Id that the engine gave the answer. */
  responseId?: string
  notes?: AnswerNote[]
}

/** What a piece of a stream belongs to. */
export type DeltaChannel = 'content' | 'reasoning' | 'tool'
