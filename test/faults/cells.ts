// Every cell of the fault matrix: what meets what, and what has to come of it.
//
// The tests run the cells against this table, and the page docs/fault-matrix.md is written from it: a table that is
// not true fails its tests, and a page that is not the table fails the check of the docs.

import type { ErrorCode, TimeoutKind } from '../../src/errors.ts'
import {
  faultEntry,
  faultNames,
  faultPositions,
  type Fault,
  type FaultPosition,
} from '../../src/simulator/faults/catalogue.ts'

/** Drivers that the matrix runs through. */
export const matrixDrivers = ['openAi', 'vllm', 'sglang', 'llamaServer', 'ollama', 'dynamo'] as const

/** Drivers whose engines repeat the request's id in the answer. */
const driversWithIds: readonly (typeof matrixDrivers)[number][] = ['vllm', 'sglang']

/** Whether the caller looks at every token, or waits for the result. */
export const matrixCallers = ['streams', 'awaits'] as const

/** What comes of a fault. */
export type Expected =
  | {
      /** The true answer; `inserted` where the fault put text of its own in, which is then part of the answer. */
      outcome: 'ok'
      inserted?: string
    }
  /** Another request's answer, whole and sound: an error where the engine repeats ids, not to be seen elsewhere. */
  | { outcome: 'unseen' }
  | { outcome: 'error'; code: ErrorCode; retryable: boolean; timeout?: TimeoutKind }

/** One row: a fault at a place. */
export interface MatrixRow extends Fault {
  expected: Expected
}

const ok: Expected = { outcome: 'ok' }

function error(code: ErrorCode, retryable: boolean, timeout?: TimeoutKind): Expected {
  return { outcome: 'error', code, retryable, ...(timeout && { timeout }) }
}

/** Retryable as long as nothing was handed out. */
function broken(code: ErrorCode, at: FaultPosition): Expected {
  return error(code, at === 'first')
}

/** The text that a fault puts into an answer. */
const insertedText: Readonly<Record<string, string>> = {
  split: 'grün 😀',
  charset: 'grün 😀',
  // What is no UTF-8 is replaced, visibly, as the decoder of the platform does it.
  invalid: 'gr\uFFFDn',
  surrogate: 'a\uD800b',
  nul: 'a\u0000b',
  marks: `a${'\u0301'.repeat(10_000)}b`,
  ansi: '\u001B[2J\u001B]0;owned\u0007b',
  script: '</script><script>alert(1)</script>',
  bidi: 'a\u202Etxt.exe\u202Cb',
}

function expectedOf({ fault, kind, at }: Fault): Expected {
  switch (fault) {
    case 'B1':
    case 'B3':
    case 'B34':
      return error('ORLA_BACKEND_UNREACHABLE', true)
    case 'B2':
      return error('ORLA_BACKEND_TIMEOUT', true, 'firstToken')
    case 'B4':
    case 'B5':
    case 'B6':
    case 'B7':
    case 'B8':
    case 'B9':
    case 'B10':
      return broken('ORLA_BACKEND_TRUNCATED', at)
    case 'B11':
      return broken('ORLA_BACKEND_HTTP', at)
    case 'B12':
      return error('ORLA_BACKEND_HTTP', true)
    case 'B13':
    case 'B22':
      return error('ORLA_BACKEND_PROTOCOL', false)
    case 'B14':
      return { outcome: 'ok', inserted: insertedText[kind]! }
    case 'B16':
      return error('ORLA_BACKEND_TIMEOUT', true, at === 'first' ? 'firstToken' : 'idle')
    case 'B17':
    case 'B18':
      return error('ORLA_BACKEND_PROTOCOL', false)
    case 'B20':
    case 'B21':
      return error('ORLA_BACKEND_PROTOCOL', true)
    case 'B23':
      return error('ORLA_BACKEND_HTTP', false)
    case 'B24':
    case 'B25':
    case 'B33':
      return error('ORLA_BACKEND_HTTP', true)
    case 'B26':
      if (kind === '101') return error('ORLA_BACKEND_UNREACHABLE', true)
      if (kind === '204') return error('ORLA_BACKEND_TRUNCATED', true)
      return error('ORLA_BACKEND_HTTP', kind !== '418')
    case 'B27':
      return error('ORLA_BACKEND_HTTP', false)
    case 'B28':
      return error(kind === 'context' ? 'ORLA_CONTEXT_LENGTH' : 'ORLA_BACKEND_HTTP', false)
    case 'B29':
      // A call that can be read is answered, and repaired by the model if it is wrong; this one makes it again for ever.
      if (kind === 'unnamed' || kind === 'none') return error('ORLA_BACKEND_PROTOCOL', false)
      return error('ORLA_STAGE_MAX_TURNS', false)
    case 'B31':
      return { outcome: 'ok', inserted: insertedText[kind]! }
    case 'B32':
      return kind === 'flaky' ? error('ORLA_BACKEND_HTTP', true) : ok
    case 'B35':
      return { outcome: 'unseen' }
    default:
      return ok
  }
}

/** Every row. Faults beside the answer are tested by themselves. */
export const matrixRows: readonly MatrixRow[] = faultNames.flatMap((fault) => {
  const { kinds, place } = faultEntry(fault)
  if (place === 'beside') return []
  const positions = place === 'within' ? faultPositions : (['first'] as const)
  return kinds.flatMap((kind) =>
    positions.map((at) => ({ fault, kind, at, expected: expectedOf({ fault, kind, at }) })),
  )
})

/** What a row has to come to through one driver. */
export function expectedThrough(driver: (typeof matrixDrivers)[number], { expected }: MatrixRow): Expected {
  const isTold = expected.outcome === 'unseen' && driversWithIds.includes(driver)
  return isTold ? error('ORLA_BACKEND_PROTOCOL', true) : expected
}

/** Cells of the whole matrix. */
export const matrixCells = matrixRows.length * matrixDrivers.length * matrixCallers.length
