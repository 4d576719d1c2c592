// What makes the front of a simulated engine like that of a real one.

import { z } from 'zod'
import type { Clock } from '../../clock.ts'
import type { ChatRequest } from '../../schema/chat.ts'
import type { ChatEngine, EngineFault } from '../chat-engine.ts'
import type { ParsedRequest } from '../wire-request.ts'
import type { WireLook } from '../wire-response.ts'

/** Engines that a front can be like. */
export const flavourNames = ['openai', 'vllm', 'sglang', 'llamacpp', 'ollama'] as const

/** How a front is: like which engine, started with which flags. Flags are on unless said otherwise. */
export const FlavourOptions = z.strictObject({
  engine: z.enum(flavourNames),
  /** vLLM: `VLLM_SERVER_DEV_MODE=1`. */
  devMode: z.boolean().optional(),
  /** vLLM `--enable-prompt-tokens-details`, SGLang `--enable-cache-report`. */
  cacheReport: z.boolean().optional(),
  /** vLLM `--scheduling-policy priority`, SGLang `--enable-priority-scheduling`. */
  priorities: z.boolean().optional(),
  /** SGLang `--enable-session-radix-cache`. */
  sessions: z.boolean().optional(),
  /** llama-server `-np`; default 4. */
  slots: z.int().min(1).max(256).optional(),
  /** llama-server `--slot-save-path`. */
  slotActions: z.boolean().optional(),
  /** llama-server without `--cache-ram 0`. */
  hostCache: z.boolean().optional(),
})
/** How a front is: like which engine, started with which flags. Flags are on unless said otherwise. */
export type FlavourOptions = z.infer<typeof FlavourOptions>

/** Name of an engine that a front can be like. */
export type FlavourName = FlavourOptions['engine']

/** An object of a JSON document. */
export type JsonObject = Record<string, unknown>

/** Reads a JSON object; `{}` where there is none. */
export function objectOf(value: unknown): JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : {}
}

/** A text field; the empty text where it is none. */
export function textOf(object: JsonObject, field: string): string {
  const value = object[field]
  return typeof value === 'string' ? value : ''
}

/** What a request asks of the engine model. */
export interface Demand {
  salt?: string
  /** Higher is sooner, whatever the wire says. */
  priority?: number
}

/** What a flavour sees of its front. */
export interface FrontAccess {
  engine: ChatEngine
  clock: Clock
  /** Chat requests under way. */
  live: () => number
  /** Ends chat requests by id. */
  abort(isMeant: (body: JsonObject) => boolean): void
}

/** A request to a path that only some engines have. */
export interface FrontRequest {
  method: string
  /** Without query. */
  path: string
  query: URLSearchParams
  body: JsonObject
}

/** The answer to it. */
export type FrontReply = { status: number; json: unknown } | { status: number; text: string }

/** A chat request that wants in. */
export interface FrontChat {
  chat: ChatRequest
  body: JsonObject
  demand: Demand
}

/** One engine's ways. */
export interface Flavour {
  readonly look: WireLook
  /** What its `GET /v1/models` says of the model besides the name. */
  readonly modelCard: object
  /** Paths of its own; undefined for those it does not have. */
  respond?(request: FrontRequest): FrontReply | Promise<FrontReply> | undefined
  /** The body as this engine understands it. */
  readBody?(body: JsonObject): JsonObject
  /** The request as this engine takes it. */
  read?(request: ParsedRequest): ParsedRequest
  /** Id of the answer, where the request gives one. */
  responseId?(body: JsonObject): string | undefined
  /** Lets a request in, at once or later, with what it asks of the model. Returns what to call when it has ended. */
  admit?(chat: FrontChat, start: (demand: Demand) => void): () => void
  /** True for faults that a streaming request hears within a 200. */
  faultsAsStream?(fault: EngineFault): boolean
}

/** Waits until no request is under way. False if that took longer than `timeoutMs`. */
export async function whenIdle({ live, clock }: FrontAccess, timeoutMs: number): Promise<boolean> {
  const untilMs = clock.nowMs() + timeoutMs
  while (live() > 0) {
    if (clock.nowMs() >= untilMs) return false
    await new Promise<void>((resolve) => void clock.setTimer(idlePollMs, resolve))
  }
  return true
}

/** Milliseconds between two looks whether the engine is idle. */
const idlePollMs = 5

/** Samples in Prometheus' text form, with the labels that engines put on them. */
export function metricsText(model: string, samples: Readonly<Record<string, number>>): string {
  return Object.entries(samples)
    .map(([name, value]) => `# TYPE ${name} untyped\n${name}{model_name=${JSON.stringify(model)}} ${value}\n`)
    .join('')
}
