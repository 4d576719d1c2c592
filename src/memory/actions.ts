// What a backend can do about a context that is not wanted any more, and which of it harms least
//
// In order of harm: end the session (nobody else notices), flush everything (everybody starts cold), nothing (the
// engine's own eviction takes the context when it needs the room, and the window stops counting it).

import type { Capabilities } from '../schema/capabilities.ts'
import type { CacheVerdict } from './cache-policy.ts'

/** An action at an engine, as plain data. */
export type CacheAction =
  /** Tell the engine that the session is over. Ends what it keeps for the run alone. */
  | { kind: 'endSession'; runId: string }
  /** Empty the whole cache. Refused by an engine that is busy. */
  | { kind: 'flushAll' }
  /** Compute what is known of a stage's prompt, with an answer of one token. Gives way to whoever asks. */
  | { kind: 'prefill'; runId: string; stage: string }
  /** Ask how full the engine is. */
  | { kind: 'usage' }

/** What an engine said of an action. `none` has nothing to say. */
export interface CacheOutcome {
  outcome: 'flushed' | 'busy' | 'partial' | 'hinted' | 'unknown' | 'unsupported' | 'failed' | 'timeout'
  message: string
}

/**
 * The least harmful action that serves a verdict, or undefined for none.
 *
 * @param kv - what the engine can do
 * @param othersLive - whether another live run (running, queued, held, waiting for a tool) has context there
 */
export function actionFor(
  verdict: CacheVerdict['want'],
  kv: Capabilities['kv'],
  runId: string,
  othersLive: boolean,
): CacheAction | undefined {
  if (verdict === 'keep') return undefined
  if (verdict === 'flushAll') return kv.flushAll === 'none' ? undefined : { kind: 'flushAll' }
  if (kv.releaseSession !== 'none') return { kind: 'endSession', runId }
  if (verdict === 'flush' && kv.flushAll !== 'none' && !othersLive) return { kind: 'flushAll' }
  return undefined
}
