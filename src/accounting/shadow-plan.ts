// Which answers are to be compared with those of another backend
//
// A shadow variant gets copies of a share of a stage class's requests, after they were answered. What it answers goes
// nowhere but into accounts and, if somebody gives one, a comparison.

import { z } from 'zod'
import type { Random } from '../clock.ts'
import type { Issue } from '../errors.ts'
import { limits } from '../limits.ts'
import type { ChatRequest, ChatResult } from '../schema/chat.ts'
import { issuesOf } from '../schema/options.ts'

/** Two answers to one request. */
export interface ShadowPair {
  stageClass: string
  request: ChatRequest
  /** What the stage got. */
  answer: ChatResult
  /** What the shadow variant says. Tool calls in it are not carried out. */
  shadow: ChatResult
}

/** A shadow variant of a stage class. */
export interface ShadowOptions {
  /** Backend that gets the copies. */
  backend: string
  /** The backend's own when absent. */
  model?: string
  /** Share of the requests that are copied, 0..1. */
  share: number
  /** Copies of this stage class under way at once, 1 to 64, default 4; more are left out. */
  inFlightMax?: number
  /** Dollars that all copies may cost together; a copy that might cost more than is left is not sent. */
  budgetUsd?: number
  /** How good the copy's answer is beside the other, 0..1: counts as a rating of the variant. */
  compare?(pair: ShadowPair): number | Promise<number>
}

/** Shadow variants by stage class, `workflow/stage`. */
export type Shadows = Readonly<Record<string, ShadowOptions>>

const Shadow = z.strictObject({
  backend: z.string(),
  model: z.string().min(1).max(256).optional(),
  share: z.number().min(0).max(1),
  inFlightMax: z.int().min(1).max(limits.shadowsInFlightMax).default(limits.shadowsInFlightDefault),
  budgetUsd: z.number().min(0).optional(),
  compare: z
    .custom<NonNullable<ShadowOptions['compare']>>((value) => typeof value === 'function', 'expected a function')
    .optional(),
})
const Plan = z.record(z.string().min(1), Shadow)

/** Shadow variants, checked. */
export type ShadowPlan = z.output<typeof Plan>

/** Reads a plan that {@link shadowIssues} found nothing wrong with. */
export function shadowPlan(shadows: Shadows): ShadowPlan {
  return Plan.parse(shadows)
}

/** What is wrong with shadow variants. */
export function shadowIssues(shadows: Shadows | undefined, backends: readonly string[]): Issue[] {
  if (shadows === undefined) return []
  const parsed = Plan.safeParse(shadows)
  if (!parsed.success) return issuesOf(parsed.error, 'shadows', Plan)
  return Object.entries(parsed.data).flatMap(([stageClass, { backend }]) => {
    if (backends.includes(backend)) return []
    const message = `there is no backend "${backend}"; there are: ${backends.join(', ')}`
    return [{ path: `shadows.${stageClass}.backend`, code: 'unknown_backend', message }]
  })
}

/** Draws the requests that are copied. */
export class ShadowSampler {
  readonly #shares: Readonly<Record<string, number>>
  readonly #random: Random

  /** @param shares - by stage class */
  constructor(shares: Readonly<Record<string, number>>, random: Random) {
    this.#shares = shares
    this.#random = random
  }

  /** Whether the next request of a stage class is copied. */
  draws(stageClass: string): boolean {
    const share = this.#shares[stageClass]
    return share !== undefined && this.#random() < share
  }
}
