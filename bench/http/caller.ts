// Who calls the engine: Orla, or a client by itself.

/** What a caller does again and again: one prompt to the engine, its whole answer back. */
export interface Caller {
  /** Calls made by one `once`: stages of a run, or 1. */
  callsPerTurn: number
  /** Resolves with the characters of each answer. Asks with a new question each time. */
  once(): Promise<number>
  close?(): Promise<void>
}

/** How a caller is opened. */
export interface CallerOptions {
  /** `http://host:port` */
  origin: string
  /** The caller reads every piece of text as it comes; otherwise it waits for the whole. */
  watches: boolean
  /** Calls in flight at once. */
  concurrency: number
}

/** A way of calling. Each is one file. */
export interface CallerKind {
  open(options: CallerOptions): Promise<Caller>
}

/** The instruction that comes with every question: some 900 characters, the same each time. */
export const instruction = Array.from(
  { length: 12 },
  (_, i) => `Rule ${i + 1}: answer in the customer's language, say what you did, and promise nothing more.`,
).join('\n')

let asked = 0

/** A question that nobody has asked before, of some 100 characters. */
export function question(): string {
  return `Ticket ${++asked}: the invoice of last month has an item that I never ordered. Please look into it.`
}
