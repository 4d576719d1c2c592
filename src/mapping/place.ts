// Which of several replicas a stage goes to: by load and by prefix.

import type { BackendView } from './mapper.ts'
import type { QueuePace } from '../schema/queue-pace.ts'
import type { Speed } from '../prediction/service-fit.ts'

/** One of several backends that may serve a stage. Plain data, as of the instant when the stage was mapped. */
export interface Place {
  backend: string
  /** Expected time until a turn is done there, its queue included, ms; Infinity where nothing is taken now. */
  doneMs: number
  /** What a token of the prompt costs that is not cached there, ms. */
  msPerPromptToken: number
}

/** What a place is made of. */
export interface PlaceFacts {
  name: string
  /** Absent: it takes requests. */
  health?: BackendView['health']
  pace?: QueuePace
  speed?: Pick<Speed, 'msPerPromptToken'>
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
    return { backend: name, doneMs: serves ? waitMs + expectedMs : Infinity, msPerPromptToken }
  })
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
