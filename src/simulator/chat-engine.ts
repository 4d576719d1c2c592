// Chat engine: conversations in, answers out, in the time that an engine model takes.
//
// Both fronts (HTTP and in process) stand on it, so they give the same text, tool calls and usage.
// Owns: checks that an engine makes before it takes a request, and the way of tokens into text.
// Does not own: time and cache (engine model), words (responder), the wire (openai-front).
// Invariants
//   E1. `finished` is heard exactly once unless the request is aborted; nothing is heard after either.
//   E2. The parts that were heard together are the answer, unless it is tokens without text (spanAnswer).

import { messageOf } from '../errors.ts'
import type { ChatRequest, ChatResult } from '../schema/chat.ts'
import { answerOf, requestRandom, spanAnswer, type Answer, type AnswerPart } from './answer.ts'
import { spanTokens, type EngineModel } from './engine-model.ts'
import type { PromptSpans } from './prompt-spans.ts'
import type { Reply, Responder } from './responder.ts'
import type { TokenText } from './token-text.ts'

/** An error of an engine, in the terms of the OpenAI wire. */
export interface EngineFault {
  /** HTTP status, 400..599. */
  status: number
  type: string
  message: string
  param?: string
  code?: string
}

/** What a request says besides the conversation. */
export interface ChatDemand {
  /** Unique among the requests of this engine. */
  requestId: string
  salt?: string
  priority?: number
  /** Somebody looks at every token. */
  watched: boolean
}

/** Hears an answer. May be called before `chat` returns. */
export interface ChatListener {
  parts(parts: readonly AnswerPart[]): void
  finished(end: { outcome: 'completed'; result: ChatResult } | { outcome: 'failed'; fault: EngineFault }): void
}

/** What a chat engine is made of. */
export interface ChatEngineOptions {
  /** The one model it serves. */
  model: string
  /** Tokens of prompt and answer together. */
  contextLength: number
  engine: EngineModel
  responder: Responder
  /** Seed of the responder's chance. */
  seed: number
  text: TokenText
  spans: PromptSpans
}

/** An engine that serves one model. */
export interface ChatEngine {
  readonly model: string
  readonly contextLength: number
  readonly engine: EngineModel
  /** Tokens of a prompt, tools included. */
  promptTokens(request: ChatRequest): number
  /** Takes a request; returns how to abort it. */
  chat(request: ChatRequest, demand: ChatDemand, listener: ChatListener): () => void
}

/** Makes a chat engine. */
export function chatEngine(options: ChatEngineOptions): ChatEngine {
  const { model, contextLength, engine, responder, seed, text, spans } = options

  const chat = (request: ChatRequest, demand: ChatDemand, listener: ChatListener): (() => void) => {
    const refuse = (fault: EngineFault): (() => void) => {
      listener.finished({ outcome: 'failed', fault })
      return () => {}
    }
    if (request.model !== model) return refuse(unknownModel(request.model))
    const prompt = spans.prompt(request.messages, request.tools)
    const promptTokens = spanTokens(prompt)
    const room = contextLength - promptTokens
    if (room < (request.params.maxTokens ?? 1)) {
      return refuse(contextExceeded(contextLength, request.params.maxTokens ?? 1, promptTokens))
    }

    const submit = (answer: Answer): (() => void) => {
      const { content, toolCalls, tokens } = answer
      const reasoned = answer.reasoningTokens > 0
      const identity = { content, toolCalls, tokens, reasoned, requestId: demand.requestId }
      const output = spans.answer(request.messages, identity)
      let told = 0
      let cachedTokens = 0
      return engine.submit(
        {
          id: demand.requestId,
          prompt,
          output,
          watched: demand.watched,
          ...(demand.salt === undefined ? {} : { salt: demand.salt }),
          ...(demand.priority === undefined ? {} : { priority: demand.priority }),
        },
        {
          started(count) {
            cachedTokens = count
          },
          tokens(count) {
            const parts = answer.parts(told, told + count)
            told += count
            if (parts.length > 0) listener.parts(parts)
          },
          finished(end) {
            if (end.outcome === 'completed') {
              const result = resultOf(answer, { promptTokens, cachedTokens, model, requestId: demand.requestId })
              if (request.messages.at(-1)?.span !== undefined) result.span = output
              listener.finished({ outcome: 'completed', result })
            } else {
              const fault = contextExceeded(engine.stats().kvTokensTotal, tokens, promptTokens)
              listener.finished({
                outcome: 'failed',
                fault: { ...fault, message: `${fault.message} (${end.message})` },
              })
            }
          },
        },
      )
    }

    const answered = spanAnswer(request)
    if (answered !== undefined) return submit(answered)
    const random = requestRandom(seed, request)
    let reply: Reply
    try {
      reply = responder(request, { random, model })
    } catch (error) {
      return refuse({ status: 500, type: 'InternalServerError', message: `the responder threw: ${messageOf(error)}` })
    }
    if (reply.error !== undefined) return refuse({ type: typeOf(reply.error.status), ...reply.error })

    return submit(answerOf(request, reply, room, text, random))
  }
  const promptTokens = ({ messages, tools }: ChatRequest): number => spanTokens(spans.prompt(messages, tools))
  return { model, contextLength, engine, promptTokens, chat }
}

function resultOf(
  answer: Answer,
  facts: { promptTokens: number; cachedTokens: number; model: string; requestId: string },
): ChatResult {
  const { content, reasoning, refusal, toolCalls, finishReason, tokens, reasoningTokens } = answer
  const result: ChatResult = {
    content,
    reasoning,
    toolCalls,
    finishReason,
    usage: { promptTokens: facts.promptTokens, cachedTokens: facts.cachedTokens, completionTokens: tokens },
    model: facts.model,
    responseId: `chatcmpl-${facts.requestId}`,
  }
  if (reasoningTokens > 0) result.usage.reasoningTokens = reasoningTokens
  if (refusal !== undefined) result.refusal = refusal
  return result
}

function unknownModel(model: string): EngineFault {
  const message = `The model \`${model}\` does not exist.`
  return { status: 404, type: 'NotFoundError', message, param: 'model', code: 'model_not_found' }
}

/** The wording follows vLLM's, which clients recognise a prompt that is too long by. */
function contextExceeded(contextLength: number, outputTokens: number, promptTokens: number): EngineFault {
  return {
    status: 400,
    type: 'BadRequestError',
    message:
      `This model's maximum context length is ${contextLength} tokens. However, you requested ${outputTokens} output ` +
      `tokens and your prompt contains at least ${promptTokens} input tokens, for a total of at least ` +
      `${promptTokens + outputTokens} tokens. Please reduce the length of the input prompt or the number of ` +
      'requested output tokens.',
    param: 'input_tokens',
    code: 'context_length_exceeded',
  }
}

/** vLLM's names for statuses. */
function typeOf(status: number): string {
  if (status === 429) return 'RateLimitError'
  if (status === 404) return 'NotFoundError'
  if (status === 503) return 'ServiceUnavailableError'
  return status < 500 ? 'BadRequestError' : 'InternalServerError'
}
