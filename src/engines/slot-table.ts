// Sticky slots
//
// Owns: which session sits in which slot of one engine, and how many of its requests are in each.
// Does not own: what the slots hold (the engine).
// Invariants
//   S1. A session keeps its slot until another session needs one and no slot is free.
//   S2. Slot numbers are in range: an engine would wrap what is beyond, silently.
//   S3. The session that gives way is the one used longest ago, of those without a request first.

interface Seat {
  slot: number
  /** Requests under way. */
  live: number
}

/** Assigns sessions to slots. */
export class SlotTable {
  readonly #slots: number
  /** In order of use, oldest first. */
  readonly #seats = new Map<string, Seat>()

  /** @param slots - slots of the engine, at least 1 */
  constructor(slots: number) {
    this.#slots = slots
  }

  /** Slots in all. */
  get size(): number {
    return this.#slots
  }

  /**
   * Takes the session's slot for a request.
   *
   * @returns the slot, and what to call once the request has ended
   */
  take(sessionId: string): { slot: number; release: () => void } {
    const seat = this.#seats.get(sessionId) ?? { slot: this.#freeSlot(), live: 0 }
    seat.live++
    this.#seats.delete(sessionId)
    this.#seats.set(sessionId, seat)
    let released = false
    return {
      slot: seat.slot,
      release: () => {
        if (released) return
        released = true
        seat.live--
      },
    }
  }

  /** Forgets a session. Returns the slot that it had. */
  forget(sessionId: string): number | undefined {
    const seat = this.#seats.get(sessionId)
    this.#seats.delete(sessionId)
    return seat?.slot
  }

  #freeSlot(): number {
    const taken = new Set([...this.#seats.values()].map(({ slot }) => slot))
    for (let slot = 0; slot < this.#slots; slot++) if (!taken.has(slot)) return slot
    const seats = [...this.#seats]
    const [sessionId, { slot }] = seats.find(([, { live }]) => live === 0) ?? seats[0]!
    this.#seats.delete(sessionId)
    return slot
  }
}
