// One request as the model gets it: history, tools, template, sampling.

import type {
  ChatHistoryItem,
  ChatModelFunctions,
  ChatWrapper,
  ChatWrapperGenerateContextStateOptions,
  LlamaModel,
  Token,
} from 'node-llama-cpp'
import type { ChatRequest } from '../../schema/chat.ts'
import { grammarSchema } from './grammar-schema.ts'
import { historyOf } from './history.ts'

/** The part of node-llama-cpp that is used, loaded when a model is. */
export type LlamaModule = typeof import('node-llama-cpp')

/** A request in the model's own terms. */
export interface PreparedChat {
  history: ChatHistoryItem[]
  /** Tools that may be called; undefined when none may. */
  functions: ChatModelFunctions | undefined
  wrapper: ChatWrapper
  /** How a call is made once the model has begun one; undefined where no tool may be called. */
  calling: { wrapper: ChatWrapper; opener: string | undefined } | undefined
  /** The prompt, whole. */
  tokens: Token[]
}

/** Readers of the chat template that are kept for different template arguments. */
const wrappersMax = 16

/** Turns requests into prompts. Keeps the readers of the chat template. */
export class Conversations {
  readonly #llama: LlamaModule
  readonly #model: LlamaModel
  /** By the template's arguments as JSON. */
  readonly #wrappers = new Map<string, ChatWrapper>()

  constructor(llama: LlamaModule, model: LlamaModel) {
    this.#llama = llama
    this.#model = model
  }

  /** The reader of the chat template with these arguments. */
  wrapperFor(templateArguments: Readonly<Record<string, string | number | boolean>> = {}): ChatWrapper {
    const key = JSON.stringify(templateArguments)
    let wrapper = this.#wrappers.get(key)
    if (wrapper === undefined) {
      wrapper = this.#llama.resolveChatWrapper(this.#model, {
        warningLogs: false,
        customWrapperSettings: { jinjaTemplate: { additionalRenderParameters: templateArguments } },
      })
      if (this.#wrappers.size >= wrappersMax) this.#wrappers.delete(this.#wrappers.keys().next().value ?? '')
      this.#wrappers.set(key, wrapper)
    }
    return wrapper
  }

  /** Renders a request. */
  prepare(request: ChatRequest): PreparedChat {
    const history = historyOf(request.messages)
    const functions = functionsOf(request)
    const plain = this.wrapperFor(request.params.chatTemplateArguments)
    const calling =
      functions === undefined
        ? undefined
        : { wrapper: callingAtOnce(this.#llama, plain), opener: openerOf(this.#llama, plain) }
    const wrapper = calling !== undefined && request.toolChoice === 'required' ? calling.wrapper : plain
    const last = history.at(-1)
    const state = wrapper.generateContextState({
      chatHistory: last?.type === 'model' ? history : [...history, { type: 'model', response: [] }],
      ...(functions !== undefined && { availableFunctions: functions }),
      documentFunctionParams: true,
    })
    return { history, functions, wrapper, calling, tokens: state.contextText.tokenize(this.#model.tokenizer) }
  }
}

function functionsOf({ tools = [], toolChoice }: ChatRequest): ChatModelFunctions | undefined {
  if (tools.length === 0 || toolChoice === 'none') return undefined
  return Object.fromEntries(
    tools.map(({ name, description, parameters }) => [name, { description, params: grammarSchema(parameters) }]),
  )
}

/**
 * The mark with which the template's calls begin: `<tool_call>`, `[TOOL_CALLS]`. Undefined where they have none.
 */
function openerOf(llama: LlamaModule, { settings }: ChatWrapper): string | undefined {
  const prefix = llama.LlamaText(settings.functions.call.prefix).toString()
  return /^\s*(<[^<>\s]+>|\[[A-Z_]+\])/.exec(prefix)?.[1]
}

/** The same template, but the reply begins with a call: the model only chooses which, and the arguments. */
function callingAtOnce(llama: LlamaModule, wrapper: ChatWrapper): ChatWrapper {
  const calls = wrapper.settings.functions
  return Object.create(wrapper, {
    generateContextState: {
      value(options: ChatWrapperGenerateContextStateOptions) {
        const { contextText, stopGenerationTriggers, detectFunctionCalls } = wrapper.generateContextState(options)
        const inject = llama.LlamaText(calls.call.prefix)
        return {
          contextText,
          stopGenerationTriggers,
          noPrefixTrigger: { type: 'functionCall', inject },
          ...(detectFunctionCalls !== undefined && { detectFunctionCalls }),
        }
      },
    },
  }) as ChatWrapper
}
