// What a scheduling policy may know about a waiting request. Plain data; nothing here changes while it waits.

/** One waiting request, as policies see it. */
export interface RequestView {
  /** Unique; the last tie-breaker. */
  requestId: string
  runId: string
  /** `workflow/stage`: the sub-queue it waits in. */
  stageClass: string
  tenant: string
  /** When it was enqueued, ms on the runtime's clock. */
  arrivalMs: number
  /** Order of arrival at this backend, unique, counting up: breaks ties of `arrivalMs`. */
  arrivalOrder: number
  /** Priority of its stage among stages, higher is sooner. */
  stagePriority: number
  /** Priority of the request among those of its stage, higher is sooner. */
  requestPriority: number
  /** Tokens of the whole prompt, estimated. */
  promptTokens: number
  /** Tokens of the prompt that are not believed to be in the backend's KV cache, estimated. */
  uncachedTokens: number
  /** Tokens of the answer, predicted: what answers of its stage class had, at most what the stage asks for. */
  outputTokens: number
  /** Tokens of the answer that the stage asks for, or a usual number: what a KV window sets aside. */
  askedTokens: number
  /** Time at the engine that the turn will take, predicted, ms. 0 unless some policy of the runtime says `forecast`. */
  serviceMs: number
  /** The same for what its run still needs on its longest way, this turn included, ms. */
  remainingMs: number
  /** When its run started, ms on the runtime's clock. */
  runStartedAtMs: number
  /** Tokens (prompt and answer) that its run has been served so far. */
  attainedTokens: number
  /** When its run must, or should, be done, ms on the runtime's clock; Infinity without a deadline or a target. */
  deadlineMs: number
}
