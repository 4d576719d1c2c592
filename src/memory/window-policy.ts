// Window policies: who has a place in a backend's KV window
//
// A run with a place sends its turns straight to the sub-queues. One without is held at its next turn or stage until the
// policy gives it a place. A policy takes a place away at a boundary only: what is in flight finishes.
// A policy is a small object over plain views. It decides; the window counts, and the backend bounds every hold.

import type { WaitForecast } from './wait-times.ts'

/** One run at one backend, as window policies see it. Changes under them; read it, do not keep it. */
export interface WindowRun {
  readonly runId: string
  /** Tokens of its context there: prompt and answer of the last turn, or of the one that is asked for. */
  readonly tokens: number
  /** Requests of it that have passed the window and are not over. Above 0 its context is in use. */
  readonly active: number
  /** What it waits for outside of the engine: a tool, `user`; undefined when nothing is known. */
  readonly waitFor: string | undefined
  /** Since when it is as it is (active, waiting, idle, held), ms on the runtime's clock. */
  readonly sinceMs: number
  /** True from when a request of it passed until its first token: the engine computes its prompt. */
  readonly prefilling: boolean
  /** When it was first seen at the backend, ms on the runtime's clock. */
  readonly firstSeenMs: number
  /** When it got the place that it has or had last, ms on the runtime's clock. */
  readonly placedAtMs: number
  /** When the engine last worked on its context, ms on the runtime's clock; undefined before its first turn there. */
  readonly lastTouchMs: number | undefined
  /** Turns that it had there. */
  readonly turns: number
  /** Tokens that it would add to the window: its context without the heads that are there already. */
  readonly needTokens: number
  /** Tokens that giving up its place would free. */
  readonly ownTokens: number
}

/** What a window policy sees of one backend. */
export interface WindowView {
  readonly nowMs: number
  /** Tokens that the window holds. */
  readonly capacityTokens: number
  /** Tokens of the contexts with a place, shared beginnings counted once. */
  readonly usedTokens: number
  /** Tokens so far of contexts that had a place and that the engine had evicted nevertheless, by its own reports. */
  readonly lostTokens: number
  /** Runs with a place. */
  readonly placed: ReadonlyMap<string, WindowRun>
  /** Runs that wait for a place with a request in hand, the longest wait first. */
  readonly held: ReadonlyMap<string, WindowRun>
  /** Requests past the window and not over: in the sub-queues or in the engine. */
  readonly activeRequests: number
  /** Share of the prompt tokens that the engine had cached, over the last turns, 0..1; undefined if it does not say. */
  readonly hitRatio: number | undefined
  /** Longest hold that the backend allows, ms. */
  readonly holdMsMax: number
  /** What to expect of the wait that a run is in. */
  forecast(run: WindowRun, withinMs: number): WaitForecast
  /** Returns that keeping a run's context brings, at most, for each ms that it is kept. */
  returnRate(run: WindowRun): number
  /** Ms of the engine to compute so many tokens again. */
  reloadMs(tokens: number): number
  /** Ms that a request with so many tokens to compute waits for its first token, under the load there is. */
  responseMs(tokens: number): number
  /**
   * Tokens that the engine has used since it last worked on a run's context, and that context: more than the capacity,
   * and LRU has evicted it. Infinite for a run that was never there. The first call of a review is O(contexts).
   */
  lruDepthTokens(run: WindowRun): number
  /** Chance that a prefix untouched for so long is still in the engine's cache, 0..1. */
  survival(awayMs: number): number
}

/** One run, and why. */
export interface WindowChoice {
  runId: string
  /** In words for a person, with the figures it rests on. */
  reason: string
}

/** What a review changes: first places are taken, then given. Runs named that are not placed or held are ignored. */
export interface WindowReview {
  release: readonly WindowChoice[]
  admit: readonly WindowChoice[]
}

/** Decides who has a place. */
export interface WindowPolicy {
  readonly name: string
  /** Reviews at least this often while somebody is held or the window is over-full, ms. */
  readonly tickMs: number
  /** Reason to let a run in at once when it asks, or undefined to hold it until a review. O(1). */
  enter(run: WindowRun, view: WindowView): string | undefined
  /** Called when somebody is held or the window is over-full, after a change or a tick. */
  review(view: WindowView): WindowReview
}

/** Reason for a run that simply fits; undefined if it does not. */
export function fits(run: WindowRun, view: WindowView): string | undefined {
  if (view.held.size > 0 || view.usedTokens + run.needTokens > view.capacityTokens) return undefined
  return `fits: ${run.needTokens} tokens beside ${view.usedTokens} of ${view.capacityTokens}`
}
