// Which of several replicas a stage goes to: by load and by prefix.

import type { BackendView } from './mapper.ts'
import type { QueuePace } from '../schema/queue-pace.ts'
import type { Speed } from '../prediction/service-fit.ts'

/** One of several backends that may serve a stage. Plain data, as of the instant when the stage was mapped. */
export interface Place {
  backend: string
  /** Expected time until a turn is done there, its queue included, ms; Infinity where nothing is taken now. */
  doneMs: number
  /** Of that the queue, ms. */
  waitMs: number
  /** What a token of the prompt costs that is not cached there, ms. */
  msPerPromptToken: number
  /** What a token of the answer costs there, ms; absent where nothing was measured. */
  msPerOutputToken?: number
}

/** What a place is made of. */
export interface PlaceFacts {
  name: string
  /** Absent: it takes requests. */
  health?: BackendView['health']
  pace?: QueuePace
  speed?: Pick<Speed, 'msPerPromptToken' | 'msPerOutputToken'>
}

/** Ms for a token of a prompt that is not cached, where nothing was measured (as in `StageHistory`). */
const msPerPromptTokenGuess = 0.1
/** Service of a turn where nothing was measured anywhere, ms. */
const turnMsGuess = 1_000
/** What was measured of an engine says half as much after so long without an answer, ms. */
const staleHalfMs = 30_000

/**
 * The places of replicas.
 *
 * What is not known of one is taken from the others. What was measured long ago fades into what the others do, so that
 * an engine that was slow once is tried again.
 */
export function placesOf(replicas: readonly PlaceFacts[], nowMs: number): Place[] {
  const turnMsUsual = middle(replicas.map(({ pace }) => pace?.turnMs)) ?? turnMsGuess
  const perTokenUsual = middle(replicas.map(({ speed }) => speed?.msPerPromptToken)) ?? msPerPromptTokenGuess
  return replicas.map(({ name, health = 'healthy', pace, speed }) => {
    const { turnMs = turnMsUsual, answeredAtMs, waitMs = 0 } = pace ?? {}
    const msPerPromptToken = speed?.msPerPromptToken ?? perTokenUsual
    const trust = answeredAtMs === undefined ? 1 : 0.5 ** (Math.max(0, nowMs - answeredAtMs) / staleHalfMs)
    // Under load an engine is as slow as it is: only one that has nothing to do is given the benefit of the doubt.
    const expectedMs = waitMs > 0 ? turnMs : turnMsUsual + (turnMs - turnMsUsual) * trust
    const serves = health === 'healthy' || health === 'halfOpen'
    return {
      backend: name,
      doneMs: serves ? waitMs + expectedMs : Infinity,
      waitMs: serves ? waitMs : Infinity,
      msPerPromptToken,
      ...(speed !== undefined && { msPerOutputToken: speed.msPerOutputToken }),
    }
  })
}

/** A later turn goes elsewhere if it is done there in at most this share of the time that it takes here. */
const moveShare = 0.5
/** And if that is at least so much sooner, ms: what is nearly as good may be wrong. */
const moveGainMs = 50

/** A turn, as places are compared for it. */
export interface PlacedTurn {
  promptTokens: number
  /** Of the answer, predicted. */
  outputTokens: number
  /** Tokens of the prompt believed to be cached at a place. */
  readonly knownTokens: (backend: string) => number
}

/**
 * Where a turn does better than where its stage is, if that is at most half of the time: the stage is bound to what its
 * turns left in the cache, which counts. By its own tokens and what those take, not by what turns take on average: the
 * lengths of answers differ more than engines do. Undefined if it stays.
 */
export function betterPlace(
  places: readonly Place[],
  here: string,
  { promptTokens, outputTokens, knownTokens }: PlacedTurn,
): { place: Place; doneMs: number; hereMs: number } | undefined {
  const doneMs = ({ backend, waitMs, msPerPromptToken, msPerOutputToken = NaN }: Place): number =>
    waitMs + Math.max(0, promptTokens - knownTokens(backend)) * msPerPromptToken + outputTokens * msPerOutputToken
  const present = places.find(({ backend }) => backend === here)
  if (present === undefined) return undefined
  const hereMs = doneMs(present)
  // Where nothing is taken now, failover is asked, not this.
  if (!Number.isFinite(hereMs)) return undefined
  let best: { place: Place; doneMs: number; hereMs: number } | undefined
  for (const place of places) {
    const thereMs = doneMs(place)
    const pays = thereMs <= hereMs * moveShare && hereMs - thereMs >= moveGainMs
    if (pays && (best === undefined || thereMs < best.doneMs)) best = { place, doneMs: thereMs, hereMs }
  }
  return best
}

/** The middle one of what is known. */
function middle(values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined).toSorted((a, b) => a - b)
  return known[(known.length - 1) >> 1]
}

/** A place that was chosen. */
export interface Placement {
  place: Place
  /** Tokens of the prompt that it has and that not all have. */
  savedTokens: number
}

/**
 * The place where a prompt is done first: its queue, and the prompt less what the place has of it. Of equal ones the
 * first.
 *
 * A beginning that all of them have is no reason for any: only what one has beyond the others counts.
 *
 * @param knownTokens - tokens of the prompt believed to be cached at a place
 */
export function choosePlace(places: readonly Place[], knownTokens: (backend: string) => number): Placement | undefined {
  const known = places.map(({ backend }) => knownTokens(backend))
  const shared = Math.min(...known)
  let best: Placement | undefined
  let bestMs = Infinity
  for (const [i, place] of places.entries()) {
    const savedTokens = known[i]! - shared
    const costMs = place.doneMs - savedTokens * place.msPerPromptToken
    if (best === undefined || costMs < bestMs) [best, bestMs] = [{ place, savedTokens }, costMs]
  }
  return best
}
