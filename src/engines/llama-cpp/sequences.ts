// Sequences of one model
//
// Owns: which session's context each sequence keeps, who uses it now, and who waits for one.
// Does not own: what the sequences hold (llama.cpp) and how it is evaluated.
// Invariants
//   S1. A sequence is in use by at most one holder at any time.
//   S2. A session's context stays until the session ends, or until no other sequence is free: then the one that was
//       used longest ago gives way.
//   S3. Waiting requests are served by priority, then in order of arrival. None waits while a sequence is free.
//   S4. At most `waitingMax` wait.

import { RejectedError, type OrlaError } from '../../errors.ts'

/** A sequence in use. */
export interface SequenceLease<Sequence> {
  readonly sequence: Sequence
  /** Gives it back. Does nothing the second time. */
  release(): void
}

interface Seat<Sequence> {
  readonly sequence: Sequence
  session: string | undefined
  inUse: boolean
  /** Counts up with every use. */
  usedAt: number
}

interface Waiting<Sequence> {
  readonly session: string
  readonly priority: number
  readonly grant: (lease: SequenceLease<Sequence>) => void
}

/** Assigns sequences to sessions. */
export class SequenceTable<Sequence> {
  readonly #seats: Seat<Sequence>[]
  readonly #waitingMax: number
  readonly #waiting: Waiting<Sequence>[] = []
  #uses = 0

  /**
   * @param sequences - at least one
   * @param waitingMax - requests that may wait
   */
  constructor(sequences: readonly Sequence[], waitingMax: number) {
    this.#seats = sequences.map((sequence) => ({ sequence, session: undefined, inUse: false, usedAt: 0 }))
    this.#waitingMax = waitingMax
  }

  /** Sequences that are in use. */
  get running(): number {
    return this.#seats.filter(({ inUse }) => inUse).length
  }

  /** Requests that wait. */
  get waiting(): number {
    return this.#waiting.length
  }

  /** Sequences in which nothing runs. */
  idle(): Sequence[] {
    return this.#seats.filter(({ inUse }) => !inUse).map(({ sequence }) => sequence)
  }

  /**
   * A sequence for one request of `session`: its own if that is free, else another.
   *
   * @param priority - higher is sooner, where requests wait
   * @throws {RejectedError} `ORLA_QUEUE_FULL` if too many wait
   * @throws {OrlaError} the signal's reason, if it aborts while the request waits
   */
  async take(session: string, priority: number, signal: AbortSignal): Promise<SequenceLease<Sequence>> {
    signal.throwIfAborted()
    const free = this.#freeSeat(session)
    if (free !== undefined) return this.#lease(free, session)
    if (this.#waiting.length >= this.#waitingMax) {
      throw new RejectedError('ORLA_QUEUE_FULL', `${this.#waitingMax} requests wait for a sequence of the model`, {
        limit: this.#waitingMax,
      })
    }
    const { promise, resolve, reject } = Promise.withResolvers<SequenceLease<Sequence>>()
    const entry: Waiting<Sequence> = { session, priority, grant: resolve }
    const leave = (): void => {
      const at = this.#waiting.indexOf(entry)
      if (at < 0) return
      this.#waiting.splice(at, 1)
      reject(signal.reason as OrlaError)
    }
    const before = this.#waiting.findIndex((other) => other.priority < priority)
    this.#waiting.splice(before < 0 ? this.#waiting.length : before, 0, entry)
    signal.addEventListener('abort', leave, { once: true })
    try {
      return await promise
    } finally {
      signal.removeEventListener('abort', leave)
    }
  }

  /**
   * Ends a session, or all of them.
   *
   * @returns leases on the idle sequences that it had, to be erased and released, and how many are in use
   */
  end(session?: string): { leases: SequenceLease<Sequence>[]; busy: number } {
    const own = this.#seats.filter((seat) => session === undefined || seat.session === session)
    const leases: SequenceLease<Sequence>[] = []
    let busy = 0
    for (const seat of own) {
      if (seat.inUse) busy++
      else leases.push(this.#lease(seat, undefined))
    }
    return { leases, busy }
  }

  /** A lease on an idle sequence that keeps the session's context; undefined if there is none. */
  kept(session: string): SequenceLease<Sequence> | undefined {
    const seat = this.#seats.find((candidate) => candidate.session === session && !candidate.inUse)
    return seat === undefined ? undefined : this.#lease(seat, session)
  }

  /** The session's own seat, else one that nobody's context is in, else the one used longest ago. */
  #freeSeat(session: string): Seat<Sequence> | undefined {
    let best: Seat<Sequence> | undefined
    const rank = (seat: Seat<Sequence>): number => (seat.session === session ? 2 : seat.session === undefined ? 1 : 0)
    for (const seat of this.#seats) {
      if (seat.inUse) continue
      const isBetter =
        best === undefined ||
        rank(seat) > rank(best) ||
        (rank(seat) === rank(best) && (rank(seat) === 2 ? seat.usedAt > best.usedAt : seat.usedAt < best.usedAt))
      if (isBetter) best = seat
    }
    return best
  }

  #lease(seat: Seat<Sequence>, session: string | undefined): SequenceLease<Sequence> {
    seat.inUse = true
    seat.session = session
    seat.usedAt = ++this.#uses
    let released = false
    return {
      sequence: seat.sequence,
      release: () => {
        if (released) return
        released = true
        seat.inUse = false
        this.#serve()
      },
    }
  }

  #serve(): void {
    const next = this.#waiting[0]
    if (next === undefined) return
    const seat = this.#freeSeat(next.session)
    if (seat === undefined) return
    this.#waiting.shift()
    next.grant(this.#lease(seat, next.session))
  }
}
