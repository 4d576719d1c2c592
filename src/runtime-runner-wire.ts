// The short form of what a runner says most often
//
// Owns: which messages have a short form, and what of it both ends have to agree on.
// Does not own: how it is packed and unpacked (runtime-runner-pack.ts, runtime-runner-unpack.ts), when anything is sent
// (outbox), or what it means.
// Invariants
//   W1. What is unpacked equals what was packed. A message with a field that has no place here is sent as it is.
//   W2. Both ends learn the same strings in the same order, at most `namesMax`: what is packed must be unpacked, in order.
// A stage is a dozen messages. structuredClone writes the name of every field of each, and reads it again; lists of numbers,
// and of strings that were named before, took the control thread from 25 us a stage to 16, and the whole process from 65 to
// 43, together with what else was made faster meanwhile (one process after the other, on a loaded computer, Node 24).

import type { StageAddress, StageGranted } from '../actors/messages.ts'

/** A message in short: what it is, and its fields. */
export type Packed = (number | string | boolean | null | (number | string)[])[]

/** What a message in short is. */
export const kinds = {
  started: 0,
  mapped: 1,
  queued: 2,
  request: 3,
  granted: 4,
  released: 5,
  release: 6,
  completed: 7,
  answered: 8,
  served: 9,
  reports: 10,
} as const

/** Strings that are known by number, on one port. Names of stages, backends and models, and reasons. */
export const namesMax = 4_096
/** Longer ones are not worth it, and may be unique. */
export const nameLengthMax = 64

/** A slot that a stage got, in short: the request that it is for. */
export type PackedGrant = string

/** A slot that a stage got, in short; undefined where its request does not say whose it is. */
export function packGrant({ runId, stage }: StageAddress, { requestId }: StageGranted): PackedGrant | undefined {
  const whose = granted(requestId)
  return whose.runId === runId && whose.stage === stage ? requestId : undefined
}

/** Whose slot it is: requests are named `run/stage/turn.attempt`. */
export function granted(requestId: PackedGrant): { runId: string; stage: string } {
  const first = requestId.indexOf('/')
  return { runId: requestId.slice(0, first), stage: requestId.slice(first + 1, requestId.lastIndexOf('/')) }
}
