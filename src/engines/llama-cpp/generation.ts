// One answer of the model
//
// Owns: one generation in one sequence, from the kept context to the result.
// Does not own: which sequence (sequences), the messages to the runtime (model-host).
// Invariants
//   G1. `cachedTokens` is what the sequence still held of this prompt when the evaluation began: counted, not assumed.
//   G2. The context is never shifted: a prompt that does not fit is an error, an answer that does not is cut and says so.
//   G3. A finish reason is the model's own: `stop` only for an end that it wrote or a stop text.

import type {
  ChatHistoryItem,
  ChatModelFunctions,
  ChatWrapper,
  Llama,
  LlamaChatResponse,
  LlamaChatResponseChunk,
  LlamaContextSequence,
  LlamaGrammar,
} from 'node-llama-cpp'
import { BackendError, messageOf, OrlaError } from '../../errors.ts'
import type { ChatRequest, ChatResult, DeltaChannel, FinishReason, InferenceParams } from '../../schema/chat.ts'
import type { ToolCall } from '../../schema/message.ts'
import type { LlamaModule, PreparedChat } from './conversation.ts'
import { grammarSchema } from './grammar-schema.ts'

/** What a generation works with. */
export interface GenerationTools {
  module: LlamaModule
  llama: Llama
  sequence: LlamaContextSequence
  signal: AbortSignal
  /** Name of the model in the answer. */
  model: string
  delta: (channel: DeltaChannel, text: string) => void
}

/** Tokens left free at the end of a sequence: llama.cpp shifts the context one token before it is full. */
const reserveTokens = 2

/** The full sequence, as an error that ends a generation (G2). */
const sequenceFull = new OrlaError('ORLA_CONTEXT_LENGTH', 'the sequence is full')

/**
 * Makes room for a prompt in a sequence, and keeps what the two have in common.
 *
 * @returns tokens of the prompt that need not be evaluated
 * @throws {BackendError} `ORLA_CONTEXT_LENGTH` if the prompt does not fit
 */
async function adopt(sequence: LlamaContextSequence, { tokens }: PreparedChat): Promise<number> {
  const { contextSize } = sequence
  if (tokens.length + reserveTokens >= contextSize) {
    throw new BackendError(
      'ORLA_CONTEXT_LENGTH',
      `the prompt has ${tokens.length} tokens, and a sequence holds ${contextSize}. Shorten the prompt, or raise contextLength`,
      { details: { promptTokens: tokens.length, contextLength: contextSize } },
    )
  }
  // The last token is evaluated in any case: its logits are what the first word is drawn from.
  await sequence.adaptStateToTokens(tokens.slice(0, -1), false)
  return sequence.nextTokenIndex
}

/**
 * Answers a request in a sequence.
 *
 * @throws {BackendError} `ORLA_CONTEXT_LENGTH`, or `ORLA_BACKEND_HTTP` for what llama.cpp says; the signal's reason
 */
export async function generate(tools: GenerationTools, request: ChatRequest, chat: PreparedChat): Promise<ChatResult> {
  const { sequence, signal } = tools
  const cachedTokens = await adopt(sequence, chat)
  signal.throwIfAborted()
  const promptTokens = chat.tokens.length
  const roomTokens = sequence.contextSize - promptTokens - reserveTokens
  const maxTokens = Math.min(request.params.maxTokens ?? roomTokens, roomTokens)
  const before = sequence.tokenMeter.usedOutputTokens
  const answer =
    request.params.ignoreEos === true
      ? await replay(tools, chat, cachedTokens, maxTokens, request.params)
      : await converse(tools, request, chat, maxTokens)
  return {
    ...answer,
    usage: { promptTokens, cachedTokens, completionTokens: sequence.tokenMeter.usedOutputTokens - before },
    model: tools.model,
  }
}

type Answer = Pick<ChatResult, 'content' | 'reasoning' | 'toolCalls' | 'finishReason'>

/** An answer as the chat template has it: thoughts, calls, text. */
async function converse(
  tools: GenerationTools,
  request: ChatRequest,
  { history, functions, wrapper, calling }: PreparedChat,
  maxTokens: number,
): Promise<Answer> {
  const { module, sequence, signal } = tools
  const { params } = request
  const answer: Answer = { content: '', reasoning: '', toolCalls: [], finishReason: 'other' }
  const say = (channel: DeltaChannel, text: string): void => {
    if (text === '') return
    if (channel === 'content') answer.content += text
    else if (channel === 'reasoning') answer.reasoning += text
    tools.delta(channel, text)
  }
  // What the bindings put in by themselves (the frame of a call) is not in `maxTokens`: the sequence may fill earlier.
  const cut = new AbortController()
  const isFull = (): boolean => sequence.nextTokenIndex >= sequence.contextSize - reserveTokens
  const before = sequence.tokenMeter.usedOutputTokens
  const { stop = [] } = params
  // The bindings notice a call only when its whole frame was written as the template has it. Where it begins with a
  // mark, the mark is enough: from there on the grammar writes the frame, as llama.cpp's own server does.
  const opener = wrapper === calling?.wrapper ? undefined : calling?.opener
  const openers = opener === undefined ? [] : [opener, module.LlamaText(new module.SpecialTokensText(opener))]

  const run = async (from: ChatHistoryItem[], by: ChatWrapper): Promise<LlamaChatResponse<ChatModelFunctions>> => {
    const chat = new module.LlamaChat({ contextSequence: sequence, chatWrapper: by, autoDisposeSequence: false })
    const options = {
      ...sampling(params),
      repeatPenalty: false as const,
      maxTokens: Math.max(1, maxTokens - (sequence.tokenMeter.usedOutputTokens - before)),
      signal: AbortSignal.any([signal, cut.signal]),
      contextShift: {
        // An error thrown here would be taken for a reason to shift in another way.
        strategy: ({ chatHistory }: { chatHistory: readonly ChatHistoryItem[] }) => {
          cut.abort(sequenceFull)
          return { chatHistory: [...chatHistory] }
        },
      },
      customStopTriggers: [...stop, ...(by === calling?.wrapper ? [] : openers)],
      onResponseChunk: (chunk: LlamaChatResponseChunk) =>
        say(chunk.type === 'segment' ? 'reasoning' : 'content', chunk.text),
      ...thoughtBudget(params),
    }
    try {
      if (functions === undefined) {
        const grammar = await grammarOf(tools.llama, request)
        return await chat.generateResponse<ChatModelFunctions>(from, { ...options, ...(grammar && { grammar }) })
      }
      return await chat.generateResponse<ChatModelFunctions>(from, {
        ...options,
        functions,
        documentFunctionParams: true,
        onFunctionCallParamsChunk: ({ paramsChunk }) => {
          say('tool', paramsChunk)
          if (isFull()) cut.abort(sequenceFull)
        },
      })
    } finally {
      chat.dispose({ disposeSequence: false })
    }
  }

  try {
    let response = await run(history, wrapper)
    if (calling !== undefined && openers.length > 0 && beganCall(response, stop)) {
      response = await run(response.lastEvaluation.cleanHistory, calling.wrapper)
    }
    answer.toolCalls = callsOf(response, firstCallNumber(request))
    answer.finishReason = answer.toolCalls.length > 0 ? 'tool_calls' : finishReasonOf(response)
    return answer
  } catch (error) {
    if (signal.aborted) throw signal.reason
    if (error === sequenceFull) return { ...answer, finishReason: 'length' }
    throw llamaError(error)
  }
}

/** True if an answer ended where a call began, and not at one of the request's own stop texts. */
function beganCall({ metadata }: LlamaChatResponse<ChatModelFunctions>, stop: readonly string[]): boolean {
  return metadata.stopReason === 'customStopTrigger' && !stop.includes(metadata.customStopTrigger.join(''))
}

/** Exactly `maxTokens` tokens, whatever the model would say: for replaying workloads. */
async function replay(
  { sequence, signal, delta }: GenerationTools,
  { tokens }: PreparedChat,
  cachedTokens: number,
  maxTokens: number,
  params: InferenceParams,
): Promise<Answer> {
  const answer: Answer = { content: '', reasoning: '', toolCalls: [], finishReason: 'length' }
  const generated = sequence.evaluate(tokens.slice(cachedTokens), { ...sampling(params), yieldEogToken: true })
  let count = 0
  try {
    for await (const token of generated) {
      signal.throwIfAborted()
      const text = sequence.model.detokenize([token])
      answer.content += text
      if (text !== '') delta('content', text)
      if (++count >= maxTokens) break
    }
  } catch (error) {
    if (signal.aborted) throw signal.reason
    throw llamaError(error)
  }
  return answer
}

/** Evaluates a prompt and answers nothing. */
export async function prefill(tools: GenerationTools, chat: PreparedChat): Promise<ChatResult> {
  const { sequence } = tools
  const cachedTokens = await adopt(sequence, chat)
  tools.signal.throwIfAborted()
  const { tokens } = chat
  try {
    await sequence.evaluateWithoutGeneratingNewTokens(tokens.slice(cachedTokens))
  } catch (error) {
    throw llamaError(error)
  }
  const usage = { promptTokens: tokens.length, cachedTokens, completionTokens: 0 }
  return { content: '', reasoning: '', toolCalls: [], finishReason: 'length', usage, model: tools.model }
}

function sampling({ temperature, topP, seed }: InferenceParams) {
  return {
    temperature: temperature ?? 0,
    ...(topP !== undefined && { topP }),
    ...(seed !== undefined && { seed }),
  }
}

/** Shares of the sequence that a thought may take, by effort; what is left is for the answer. */
function thoughtBudget({ reasoningEffort, chatTemplateArguments }: InferenceParams) {
  const isOff = reasoningEffort === 'none' || chatTemplateArguments?.['enable_thinking'] === false
  return isOff ? { budgets: { thoughtTokens: 0 } } : {}
}

async function grammarOf(llama: Llama, { responseSchema }: ChatRequest): Promise<LlamaGrammar | undefined> {
  if (responseSchema === undefined) return undefined
  try {
    const schema = grammarSchema(responseSchema.schema) as Parameters<Llama['createGrammarForJsonSchema']>[0]
    return await llama.createGrammarForJsonSchema(schema)
  } catch (error) {
    throw new BackendError(
      'ORLA_BACKEND_HTTP',
      `llama.cpp cannot make a grammar of the schema "${responseSchema.name}": ${messageOf(error)}`,
      { cause: error },
    )
  }
}

function callsOf(response: LlamaChatResponse<ChatModelFunctions>, firstNumber: number): ToolCall[] {
  // With `functions` there are calls or none; the bindings leave an empty list for none in some cases only.
  return (response.functionCalls ?? []).map(({ functionName, params }, index) => ({
    id: `call_${firstNumber + index}`,
    name: functionName,
    arguments: JSON.stringify(params ?? {}),
  }))
}

function finishReasonOf({ metadata }: LlamaChatResponse<ChatModelFunctions>): FinishReason {
  switch (metadata.stopReason) {
    case 'eogToken':
    case 'stopGenerationTrigger':
    case 'customStopTrigger':
      return 'stop'
    case 'maxTokens':
      return 'length'
    case 'functionCalls':
    case 'abort':
      return 'other'
  }
}

/** Ids that are made up count on from the calls in the conversation, and so stay unique in it. */
function firstCallNumber({ messages }: ChatRequest): number {
  let count = 1
  for (const message of messages) if (message.role === 'assistant') count += message.toolCalls?.length ?? 0
  return count
}

function llamaError(error: unknown): OrlaError {
  if (error instanceof OrlaError) return error
  return new BackendError('ORLA_BACKEND_HTTP', `llama.cpp: ${messageOf(error)}`, { retryable: false, cause: error })
}
