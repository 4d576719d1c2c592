// What can go wrong on the way of one answer, by name: the faults of engines, gateways and wires that clients meet.
//
// Sources: incident reports and pull requests of gateways and engines, undici's advisories, and measurements of what a
// plain HTTP client makes of each fault.

/** Where a fault strikes: instead of an answer, within it, after it, or at other paths than chat. */
export type FaultPlace = 'instead' | 'within' | 'after' | 'beside'

/** One fault. */
export interface FaultEntry {
  /** What the client sees. */
  title: string
  /** Its forms; the first is the default. */
  kinds: readonly [string, ...string[]]
  /** `within` has a position; the others have none. */
  place: FaultPlace
  /** It can also strike an answer that is not streamed, as a cut. */
  cuts?: true
}

/** Every fault by name. */
export const faultCatalogue = {
  B1: { title: 'nothing listens for a second', kinds: ['refused'], place: 'instead' },
  B2: { title: 'no answer at all', kinds: ['silent'], place: 'instead' },
  B3: { title: 'reset before the response', kinds: ['reset'], place: 'instead' },
  B4: { title: 'reset within the stream', kinds: ['reset'], place: 'within', cuts: true },
  B5: { title: 'connection ends within a chunk', kinds: ['fin'], place: 'within', cuts: true },
  B6: { title: 'clean end without a finish reason', kinds: ['bare', 'done'], place: 'within', cuts: true },
  B7: { title: 'half an event, then a clean end', kinds: ['half'], place: 'within', cuts: true },
  B8: { title: 'body without length, cut', kinds: ['cut'], place: 'within', cuts: true },
  B9: { title: 'content-length too long', kinds: ['long'], place: 'within', cuts: true },
  B10: { title: 'content-length too short', kinds: ['short'], place: 'within', cuts: true },
  B11: { title: 'error object in a 200 stream', kinds: ['nested', 'done', 'flat', 'text', 'event'], place: 'within' },
  B12: { title: '200 with a JSON error', kinds: ['nested', 'flat', 'text'], place: 'instead' },
  B13: { title: '200 with a login page', kinds: ['html'], place: 'instead' },
  B14: { title: 'UTF-8 split, invalid, or called latin1', kinds: ['split', 'invalid', 'charset'], place: 'within' },
  B15: { title: 'more after the end, or an end that stays open', kinds: ['twice', 'more', 'open'], place: 'after' },
  B16: { title: 'comments for ever', kinds: ['comments'], place: 'within' },
  B17: { title: 'tokens for ever', kinds: ['tokens'], place: 'within' },
  B18: { title: 'one line of 200 MB', kinds: ['line'], place: 'within' },
  B19: { title: 'legal but odd event streams', kinds: ['bytes', 'line-ends', 'bom', 'fields'], place: 'within' },
  B20: { title: 'header of 40 kB', kinds: ['header'], place: 'instead' },
  B21: { title: 'garbage for a status line', kinds: ['garbage'], place: 'instead' },
  B22: { title: 'compressed although identity was asked for', kinds: ['bomb', 'chain'], place: 'instead' },
  B23: { title: 'redirect to a metadata service', kinds: ['redirect'], place: 'instead' },
  B24: {
    title: '503 or 429 with retry-after',
    kinds: ['seconds', 'date', 'negative', 'nan', 'year', 'limited'],
    place: 'instead',
  },
  B25: { title: 'retry-after beyond 2^31 ms', kinds: ['overflow'], place: 'instead' },
  B26: {
    title: 'odd statuses',
    kinds: ['500', '502', '504', '529', '418', 'flood', '101', '204'],
    place: 'instead',
  },
  B27: { title: 'key revoked', kinds: ['401', '403'], place: 'instead' },
  B28: { title: 'model or context refused', kinds: ['model', 'context'], place: 'instead' },
  B29: {
    title: 'damaged tool calls',
    kinds: ['invalid', 'cut', 'twice', 'gap', 'unnamed', 'merged', 'none'],
    place: 'within',
  },
  B30: {
    title: 'odd usage and choices',
    kinds: ['missing', 'negative', 'nan', 'huge', 'empty', 'many', 'unnumbered'],
    place: 'within',
  },
  B31: {
    title: 'dangerous text',
    kinds: ['surrogate', 'nul', 'marks', 'ansi', 'script', 'bidi'],
    place: 'within',
  },
  B32: { title: 'slow or mostly broken', kinds: ['slow', 'ramp', 'bimodal', 'flaky'], place: 'instead' },
  B33: { title: 'healthy but for its completions', kinds: ['grey'], place: 'instead' },
  B34: { title: 'kept connection closed under the request', kinds: ['fin'], place: 'instead' },
  B35: { title: 'the answer to another request', kinds: ['whole'], place: 'instead' },
  B36: { title: 'metrics hang or lie', kinds: ['hang', 'lie'], place: 'beside' },
  B37: { title: 'cache commands do nothing, fail or hang', kinds: ['idle', 'error', 'hang'], place: 'beside' },
  B38: { title: 'another model under the same name', kinds: ['model'], place: 'within' },
} as const satisfies Record<string, FaultEntry>

/** Name of a fault. */
export type FaultName = keyof typeof faultCatalogue

/** Every name, in the order of the catalogue. */
export const faultNames = Object.keys(faultCatalogue) as [FaultName, ...FaultName[]]

/** A fault as it strikes one answer. */
export interface Fault {
  fault: FaultName
  /** One of its {@link FaultEntry.kinds}. */
  kind: string
  /** Before the first piece of the answer, after some, or after the last but before its end. */
  at: FaultPosition
}

/** Where within an answer. */
export type FaultPosition = (typeof faultPositions)[number]

/** Where within an answer. */
export const faultPositions = ['first', 'middle', 'last'] as const

/** The entry of a fault. */
export function faultEntry(name: FaultName): FaultEntry {
  return faultCatalogue[name]
}
