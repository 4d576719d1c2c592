// Which waiting requests are better off at another replica.

import type { QueuePace } from '../schema/queue-pace.ts'

/** A request that waits, and where else it may be served. */
export interface Movable {
  requestId: string
  /** Its place in line by arrival, from 0. */
  position: number
  /** Tokens of its prompt that only the backend where it waits is believed to have. */
  cachedTokens: number
  /** Backends that may serve it instead. */
  among: readonly string[]
}

/** One backend as rerouting sees it. */
export interface Queue {
  name: string
  /** False if it is draining, failed or gone: it gets nothing, and what waits is better off anywhere. */
  serves: boolean
  inFlight: number
  waiting: number
  windowRequests: number
  queueCapacity: number
  pace: QueuePace
  /** What its engine takes for a token of a prompt that is not cached, ms; absent where nobody knows. */
  msPerPromptToken?: number
  /** Those of what waits that may go elsewhere, the last to arrive first. */
  movable: readonly Movable[]
}

/** One request that is to go elsewhere. */
export interface Move {
  requestId: string
  from: string
  to: string
  /** In words for a person. */
  reason: string
}

/** Settings of rerouting. */
export interface RerouteSettings {
  /** A request moves if it is done there in at most this share of the time it would take here, 0..1. */
  share: number
  /** And if that is at least so much sooner, ms. */
  gainMsMin: number
  /** Moves of one review. */
  movesMax: number
}

/** Usual settings: a move costs a lost place, so it has to halve the time. */
export const rerouteDefaults: RerouteSettings = { share: 0.5, gainMsMin: 50, movesMax: 1_024 }

const turnMsGuess = 1_000
const msPerPromptTokenGuess = 0.1

/**
 * Plans moves: what would wait longest first, to where it is done first, each move counted before the next is planned.
 *
 * No request is moved twice, none to a queue that is full or to a backend that does not serve. Between replicas of equal
 * speed nothing moves back: what moved is done there in half the time.
 */
export function planMoves(queues: readonly Queue[], settings: RerouteSettings = rerouteDefaults): Move[] {
  const byName = new Map(queues.map((queue) => [queue.name, queue]))
  const known = queues.flatMap(({ serves, pace }) => (serves ? (pace.turnMs ?? []) : [])).toSorted((a, b) => a - b)
  const usual = known[(known.length - 1) >> 1] ?? turnMsGuess
  const waiting = new Map(queues.map((queue) => [queue.name, queue.waiting]))
  const turnMsOf = ({ pace }: Queue): number => pace.turnMs ?? usual
  /** Ms until a request with so many before it in the queue is done. */
  const doneMs = (queue: Queue, before: number): number => {
    const ahead = before + queue.inFlight + 1 - queue.windowRequests
    const turnMs = turnMsOf(queue)
    return (ahead <= 0 ? 0 : (ahead / Math.max(1, queue.windowRequests)) * turnMs) + turnMs
  }
  const moves: Move[] = []
  for (const from of queues) {
    for (const { requestId, position, cachedTokens, among } of from.movable) {
      if (moves.length >= settings.movesMax) return moves
      let best: Queue | undefined
      let bestMs = Infinity
      for (const name of among) {
        const to = byName.get(name)
        if (to === undefined || to === from || !to.serves || waiting.get(name)! >= to.queueCapacity) continue
        const reloadMs = cachedTokens * (to.msPerPromptToken ?? msPerPromptTokenGuess)
        const thereMs = doneMs(to, waiting.get(name)!) + reloadMs
        if (thereMs < bestMs) [best, bestMs] = [to, thereMs]
      }
      if (best === undefined) continue
      const hereMs = doneMs(from, position)
      if (from.serves && (bestMs > hereMs * settings.share || hereMs - bestMs < settings.gainMsMin)) continue
      waiting.set(best.name, waiting.get(best.name)! + 1)
      waiting.set(from.name, waiting.get(from.name)! - 1)
      const there = `about ${Math.round(bestMs)} ms at "${best.name}"`
      const reason = from.serves
        ? `done in ${there}, against ${Math.round(hereMs)} ms at "${from.name}"`
        : `"${from.name}" takes nothing now; ${there}`
      moves.push({ requestId, from: from.name, to: best.name, reason })
    }
  }
  return moves
}
