// One check of the driver contract: what it works with, and how it complains.

import type { Clock } from '../../clock.ts'
import { messageOf, OrlaError } from '../../errors.ts'
import type { Capabilities } from '../../schema/capabilities.ts'
import type { BackendDefinition } from '../backend-definition.ts'
import type { Driver } from '../driver.ts'

/** A request as the engine received it. */
export interface ObservedRequest {
  /** With its query. */
  path: string
  /** Names in lower case. */
  headers: Readonly<Record<string, string | string[] | undefined>>
  /** Parsed. */
  body: unknown
}

/** What an engine can be told to do wrong with the next chat request. */
export type ContractFault = 'unavailable' | 'rateLimited' | 'errorInStream' | 'truncated' | 'cut'

/** An engine to check a driver against. */
export interface ContractSubject {
  definition: BackendDefinition
  close(): Promise<void>
  /** Chat requests that the engine received, oldest first. */
  observed?(): readonly ObservedRequest[]
  /** Breaks the next chat request. */
  inject?(fault: ContractFault): void
  /** Requests that run in the engine now. */
  running?(): number
}

/** What a check works with. */
export interface Checked {
  subject: ContractSubject
  driver: Driver
  clock: Clock
  model: string
  capabilities: Capabilities
}

/** A check by itself. */
export type Check = (checked: Checked) => Promise<void>

/** Says what was promised, unless it holds. */
export function promised(condition: boolean, promise: string, seen?: unknown): asserts condition {
  if (condition) return
  const shown = seen === undefined ? '' : `; seen: ${JSON.stringify(seen)?.slice(0, 500)}`
  throw new Error(`not as promised: ${promise}${shown}`)
}

/** The error that a promise rejects with. */
export async function rejectionOf(promise: Promise<unknown>, what: string): Promise<OrlaError> {
  let value: unknown
  try {
    value = await promise
  } catch (error) {
    promised(error instanceof OrlaError, 'a driver rejects with OrlaError only (D4)', messageOf(error))
    return error
  }
  throw new Error(`not as promised: ${what}; it resolved with ${JSON.stringify(value)?.slice(0, 500)}`)
}
