// What the runtime and the process that runs the model say to each other. Plain data: it travels as JSON.

import type { ErrorFacts } from '../../errors.ts'
import type { ChatRequest, ChatResult, DeltaChannel } from '../../schema/chat.ts'

/** How a model is loaded. */
export interface LoadPlan {
  /** Name of the backend, for errors. */
  backend: string
  /** Path of the GGUF file, absolute. */
  file: string
  /** Tokens of one sequence: prompt and answer. */
  contextLength: number
  /** Contexts that are kept at once. */
  sequences: number
  /** Threads that evaluate tokens. */
  threads: number
  gpu: 'auto' | false
  /** Requests that may wait for a sequence. */
  waitingMax: number
  /** Folder of saved contexts, absolute. */
  saveFolder: string
}

/** What is known of a model once it is loaded. */
export interface LoadedModel {
  /** Tokens of one sequence, as llama.cpp made it. */
  contextLength: number
  /** Tokens of the context that the model was trained on. */
  trainContextLength: number
  /** Name of the chat template's reader. */
  chatWrapper: string
  /** The chat template takes tools. */
  tools: boolean
  /** Version of node-llama-cpp. */
  version: string
}

/** One inference, as the process gets it. */
export interface ChatCommand {
  type: 'chat'
  id: number
  request: ChatRequest
  /** Requests of one session keep to one sequence. */
  session: string
  /** What another salt's requests evaluated is not used for this one. */
  salt?: string
  /** Higher is sooner. */
  priority: number
  /** Evaluate the prompt and answer nothing. */
  prefillOnly: boolean
}

/** An action on kept contexts. Each is answered by `done` or `failed`. */
export type KvCommand =
  | { type: 'flushAll'; id: number }
  | { type: 'endSession'; id: number; session: string }
  | { type: 'save'; id: number; session: string; name: string }
  | { type: 'restore'; id: number; session: string; name: string }
  | { type: 'usage'; id: number }
  | { type: 'count'; id: number; request: ChatRequest }

/** To the process. `load` comes first, once. */
export type ToModel = { type: 'load'; plan: LoadPlan } | ChatCommand | { type: 'cancel'; id: number } | KvCommand

/** What an action came to. What does not belong to it is absent. */
export interface KvAnswer {
  /** Tokens erased, saved, restored or counted. */
  tokens?: number
  /** Bytes of the file that was written. */
  bytes?: number
  /** Sequences that could not be erased because a request runs in them. */
  busy?: number
  running?: number
  waiting?: number
  /** Tokens kept in sequences in which nothing runs. */
  idleTokens?: number
  /** Tokens that all sequences can keep. */
  capacityTokens?: number
  /** Prompt tokens since the start, and how many of them were kept. */
  hit?: { cached: number; prompt: number }
}

/** From the process. */
export type FromModel =
  | { type: 'loaded'; model: LoadedModel }
  | { type: 'unloadable'; error: ErrorFacts }
  | { type: 'delta'; id: number; channel: DeltaChannel; text: string }
  | { type: 'finished'; id: number; result: ChatResult }
  | { type: 'done'; id: number; answer: KvAnswer }
  | { type: 'failed'; id: number; error: ErrorFacts }
