// Slots of a llama-server
//
// Owns: which request is in which slot, who waits, and which sequence each slot holds.
// Does not own: the tokens themselves. A slot is a namespace of the engine model's prefix cache: what one slot holds,
// another does not find.
// Invariants
//   B1. A slot runs one request at a time; requests wait in order of arrival.
//   B2. A pinned request gets its slot and no other; numbers beyond the last slot wrap.
//   B3. A slot holds one sequence: a prompt that shares nothing with it begins a new one. With a host cache the old
//       one comes back when it is asked for; without it is lost.

/** One slot, as `/slots` shows it. */
interface Slot {
  id: number
  busy: boolean
  /** Messages of the sequence it holds, each as text. */
  sequence: readonly string[]
  /** Tokens of it. */
  tokens: number
  /** Namespace of its sequence in the engine model. */
  space: string
  /** Order of use. */
  usedAt: number
}

interface Waiting {
  pinned: number | undefined
  messages: readonly string[]
  tokens: number
  start: (space: string) => void
}

/** Similarity to a slot's sequence above which a request without a pin goes there (`-sps`). */
const similarityMin = 0.1

/** The slots of one server. */
export class SlotBank {
  readonly slots: readonly Slot[]
  readonly #hostCache: boolean
  readonly #saved = new Map<string, Pick<Slot, 'sequence' | 'tokens' | 'space'>>()
  readonly #idle = new Set<() => void>()
  #waiting: Waiting[] = []
  #uses = 0
  #spaces = 0

  constructor(count: number, hostCache: boolean) {
    this.#hostCache = hostCache
    this.slots = Array.from({ length: count }, (_, id) => ({
      id,
      busy: false,
      sequence: [],
      tokens: 0,
      space: this.#newSpace(),
      usedAt: 0,
    }))
  }

  /** Requests that wait for a slot. */
  get deferred(): number {
    return this.#waiting.length
  }

  /** The slot of a number, which wraps. */
  slot(id: number): Slot {
    return this.slots[id % this.slots.length]!
  }

  /** Lets a request in when a slot is free for it. Returns what to call when it has ended, or no longer waits. */
  enter(pinned: number | undefined, messages: readonly string[], tokens: number, start: Waiting['start']): () => void {
    let held: Slot | undefined
    const waiting: Waiting = {
      pinned,
      messages,
      tokens,
      start: (space) => {
        held = this.slots.find((slot) => slot.space === space)
        start(space)
      },
    }
    this.#waiting.push(waiting)
    this.#pump()
    return () => {
      this.#waiting = this.#waiting.filter((other) => other !== waiting)
      if (held === undefined) return
      held.busy = false
      held = undefined
      for (const look of this.#idle) look()
      this.#pump()
    }
  }

  /** Resolves once a slot is idle, as every action on one waits. */
  whenIdle(id: number): Promise<Slot> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (this.slot(id).busy) return
        this.#idle.delete(look)
        resolve(this.slot(id))
      }
      this.#idle.add(look)
      look()
    })
  }

  /** Empties a slot. Returns the tokens that it held. */
  erase(slot: Slot): number {
    const { tokens } = slot
    slot.tokens = 0
    slot.sequence = []
    // With a host cache the engine finds a copy of the same sequence: its namespace stays.
    if (!this.#hostCache) slot.space = this.#newSpace()
    return tokens
  }

  /** Keeps a slot's sequence under a name. */
  save(slot: Slot, name: string): number {
    const { sequence, tokens, space } = slot
    this.#saved.set(name, { sequence, tokens, space })
    return tokens
  }

  /** Puts a kept sequence into a slot; undefined where there is none of that name. */
  restore(slot: Slot, name: string): number | undefined {
    const saved = this.#saved.get(name)
    if (saved === undefined) return undefined
    Object.assign(slot, saved)
    return saved.tokens
  }

  #pump(): void {
    for (const waiting of this.#waiting) {
      const slot = this.#slotFor(waiting)
      if (slot === undefined) {
        // The queue is in order: who waits for any slot holds up those behind it.
        if (waiting.pinned === undefined) return
        continue
      }
      this.#waiting = this.#waiting.filter((other) => other !== waiting)
      slot.busy = true
      slot.usedAt = ++this.#uses
      if (!this.#hostCache && similarity(slot, waiting.messages) === 0) slot.space = this.#newSpace()
      slot.sequence = waiting.messages
      slot.tokens = waiting.tokens
      waiting.start(slot.space)
    }
  }

  #slotFor({ pinned, messages }: Waiting): Slot | undefined {
    if (pinned !== undefined && pinned >= 0) {
      const slot = this.slot(pinned)
      return slot.busy ? undefined : slot
    }
    const idle = this.slots.filter((slot) => !slot.busy).toSorted((a, b) => a.usedAt - b.usedAt)
    const alike = idle.toSorted((a, b) => similarity(b, messages) - similarity(a, messages))[0]
    return alike !== undefined && similarity(alike, messages) > similarityMin ? alike : idle[0]
  }

  #newSpace(): string {
    return `slot:${this.#spaces++}`
  }
}

/** Share of `messages` that a slot's sequence begins with. */
function similarity({ sequence }: Slot, messages: readonly string[]): number {
  let same = 0
  while (same < messages.length && sequence[same] === messages[same]) same++
  return messages.length === 0 ? 0 : same / messages.length
}
