// The seam between an engine model and what stands in front of it.
//
// In front: an HTTP server, or a driver in process. They know messages, text and the wire. Behind: a model of how an
// engine spends its time and its KV cache. It knows only tokens, and time by the clock it is given.

import type { TokenSpan } from '../schema/message.ts'

/** One inference, as an engine model sees it. */
export interface EngineRequest {
  id: string
  /** The prompt, as runs of tokens whose identity is (stream, position). Prefixes match exactly as far as these do. */
  prompt: readonly TokenSpan[]
  /** The answer's tokens, by the same identity: a later prompt that contains them finds them cached. At least 1 long. */
  output: TokenSpan
  /** Separates the prefix caches of different tenants. */
  salt?: string
  /** Higher is sooner, for engines that take priorities. */
  priority?: number
  /** Somebody looks at every token. If not, several may be reported at once. */
  watched: boolean
}

/** Hears how a request fares. Calls come on the model's clock, in the order given here. */
export interface EngineListener {
  /** Prefill began; `cachedTokens` of the prompt came from the prefix cache. Called once. */
  started(cachedTokens: number): void
  /** `count` more tokens of the answer exist. The first call is the first token. */
  tokens(count: number): void
  /** All tokens were reported, or the engine refused the request. Called once; nothing follows. */
  finished(outcome: EngineOutcome): void
}

/** How a request ended. `refused` is for prompts that can never fit. */
export type EngineOutcome = { outcome: 'completed' } | { outcome: 'refused'; message: string }

/** State of an engine model at one instant. */
export interface EngineStats {
  running: number
  waiting: number
  /** Tokens that fit into the KV pool. */
  kvTokensTotal: number
  /** Tokens held by running requests. */
  kvTokensLive: number
  /** Tokens that idle prefixes keep in the cache and that may be evicted. */
  kvTokensCached: number
  /** Preemptions so far. */
  preemptions: number
  /** Prompt tokens so far, and how many of them came from the cache. */
  promptTokens: number
  cachedTokens: number
  outputTokens: number
  /** Milliseconds in which at least one request was running. */
  busyMs: number
}

/** A model of one engine. */
export interface EngineModel {
  /** Takes a request; returns how to abort it (nothing is reported after that). */
  submit(request: EngineRequest, listener: EngineListener): () => void
  /** Empties the prefix cache of idle prefixes. False, and nothing happens, while requests run or wait. */
  flush(): boolean
  stats(): EngineStats
}

/** Tokens in a list of spans. */
export function spanTokens(spans: readonly TokenSpan[]): number {
  let total = 0
  for (const span of spans) total += span.to - span.from
  return total
}
