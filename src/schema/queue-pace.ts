// How one turn went at an engine, and how fast its queue moves. Plain data.

/** How one turn went at an engine. */
export interface ServedTurn {
  /** Tokens of the whole prompt. */
  promptTokens: number
  /** Tokens of the prompt that the engine had to compute. */
  uncachedTokens: number
  outputTokens: number
  /** From the grant to the first token, ms; absent where no token came on its own. */
  ttftMs?: number
  /** From the grant to the end, ms. */
  durationMs: number
}

/** How fast a queue moves. */
export interface QueuePace {
  /** Expected wait of a request that comes now, ms. */
  waitMs: number
  /** Expected service of a turn, ms; undefined before anything was served or has run for a while. */
  turnMs?: number
  /** When a turn was last answered, ms on the runtime's clock. */
  answeredAtMs?: number
}
