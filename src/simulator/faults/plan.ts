// Which requests meet which faults
//
// Owns: the count of requests, and chance.
// Does not own: what a fault does.
// Invariants
//   P1. Equal plan, seed and order of requests give equal faults.
//   P2. The header of a request wins over the plan; within the plan the first rule that applies wins.

import type { IncomingHttpHeaders } from 'node:http'
import { z } from 'zod'
import { randomStream, type Random } from '../../clock.ts'
import { issuesOf } from '../../schema/options.ts'
import { faultEntry, faultNames, faultPositions, type Fault, type FaultName, type FaultPlace } from './catalogue.ts'

/** Header that asks for a fault: `B6`, `B6;at=middle`, `B26;kind=502`. */
const faultHeader = 'x-orla-fault'

const When = z.strictObject({
  /** Numbers of requests, from 1. */
  nth: z.union([z.int().min(1), z.array(z.int().min(1)).min(1).max(10_000)]).optional(),
  /** Every so many requests. */
  every: z.int().min(1).optional(),
  /** Chance, 0 to 1, drawn from the engine's seed. */
  rate: z.number().min(0).max(1).optional(),
  /** Requests with this header; of any value where none is given. */
  header: z.strictObject({ name: z.string().min(1).toLowerCase(), value: z.string().optional() }).optional(),
})

const FaultRule = z
  .strictObject({
    /** Which requests; all conditions must hold. Every request when absent. */
    when: When.optional(),
    /** The fault, or several, of which one is drawn each time. */
    fault: z.union([z.enum(faultNames), z.array(z.enum(faultNames)).min(1)]),
    /** A form of the fault; its usual one when absent. */
    kind: z.string().optional(),
    /** Where in the answer; `any` is drawn each time. Default `first`. */
    at: z.enum([...faultPositions, 'any']).default('first'),
  })
  .superRefine(({ fault, kind }, context) => {
    if (kind === undefined) return
    for (const name of [fault].flat()) {
      const { kinds } = faultEntry(name)
      if (kinds.includes(kind)) continue
      context.addIssue({ code: 'custom', path: ['kind'], message: `${name} is one of ${kinds.join(', ')}` })
    }
  })

/** Which requests meet which faults: the first rule that applies to a request decides. */
export const FaultPlan = z.array(FaultRule).max(1_000)
/** Which requests meet which faults. */
export type FaultPlan = z.output<typeof FaultPlan>
/** A fault plan as a user writes it. */
export type FaultPlanInput = z.input<typeof FaultPlan>

/** Reads the header of a request. `problem` says what is wrong with it, and what would be right. */
export function parseFaultHeader(text: string): Fault | { problem: string } {
  const [name = '', ...parameters] = text.split(';').map((part) => part.trim())
  const rule: Record<string, unknown> = { fault: name }
  for (const parameter of parameters) {
    const [key = '', value = ''] = parameter.split('=', 2)
    if (key !== 'at' && key !== 'kind') return { problem: `"${key}" is not known: B6;at=middle;kind=done` }
    rule[key] = value
  }
  if (!faultNames.includes(name as FaultName)) return { problem: `"${name}" is none of ${faultNames.join(', ')}` }
  const parsed = FaultRule.safeParse(rule)
  if (!parsed.success) {
    const problems = issuesOf(parsed.error).map(({ path, message }) => `${path}: ${message}`)
    return { problem: problems.join('; ') }
  }
  const { fault, kind, at } = parsed.data
  if (Array.isArray(fault) || at === 'any') return { problem: 'a header names one fault at one place' }
  return { fault, kind: kind ?? faultEntry(fault).kinds[0], at }
}

/** Chooses the faults of one front. */
export class FaultPicker {
  readonly #plan: FaultPlan
  readonly #random: Random
  readonly #requests = { chat: 0, beside: 0 }

  constructor(plan: FaultPlan, seed: number) {
    this.#plan = plan
    this.#random = randomStream(seed, 'faults')
  }

  /**
   * The fault of the next request.
   *
   * @param about - `chat`, or `beside` for every other path; each has faults and numbers of its own
   */
  pick(about: 'chat' | 'beside', headers: IncomingHttpHeaders): Fault | { problem: string } | undefined {
    const number = ++this.#requests[about]
    const asked = headers[faultHeader]
    if (typeof asked === 'string') {
      const fault = parseFaultHeader(asked)
      if ('problem' in fault) return about === 'chat' ? fault : undefined
      return isAbout(faultEntry(fault.fault).place, about) ? fault : undefined
    }
    for (const { when = {}, fault, kind, at } of this.#plan) {
      const names = [fault].flat().filter((name) => isAbout(faultEntry(name).place, about))
      if (names.length === 0 || !this.#applies(when, number, headers)) continue
      const name = this.#draw<FaultName>(names)
      return {
        fault: name,
        kind: kind ?? faultEntry(name).kinds[0],
        at: at === 'any' ? this.#draw(faultPositions) : at,
      }
    }
    return undefined
  }

  #applies({ nth, every, rate, header }: z.output<typeof When>, number: number, headers: IncomingHttpHeaders): boolean {
    if (nth !== undefined && ![nth].flat().includes(number)) return false
    if (every !== undefined && number % every !== 0) return false
    if (header !== undefined) {
      const value = headers[header.name]
      if (value === undefined || (header.value !== undefined && value !== header.value)) return false
    }
    return rate === undefined || this.#random() < rate
  }

  #draw<Item>(items: readonly Item[]): Item {
    return items[Math.floor(this.#random() * items.length)]!
  }
}

function isAbout(place: FaultPlace, about: 'chat' | 'beside'): boolean {
  return (place === 'beside') === (about === 'beside')
}
