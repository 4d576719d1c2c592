// The shape of a runtime's options: every key that there is, and of what kind its value is
//
// What values mean together (names that exist, policies that are known) is checked beside what they are for.

import { z } from 'zod'
import type { MemoryOptions } from './memory/plan.ts'
import type { RuntimeOptions } from './runtime-api.ts'

/** A value that somebody else looks at. */
const anything = z.unknown()

const object = (what: string, ...methods: string[]): z.ZodType =>
  z.custom((value) => {
    if (typeof value !== 'object' || value === null) return false
    return methods.every((method) => typeof (value as Record<string, unknown>)[method] === 'function')
  }, `expected ${what}`)

const memory = {
  policy: z.union([z.string(), object('the name of a policy, or one: { name, cache?, window? }')]).optional(),
  kvTokens: z.record(z.string(), z.number()).optional(),
  holdMsMax: z.number().optional(),
  prewarm: z.boolean().optional(),
} satisfies Record<keyof MemoryOptions, z.ZodType>

const options = {
  backends: anything,
  threads: anything,
  workflows: anything,
  actors: z.array(object('an actor: see defineActor')).optional(),
  scheduling: z.record(z.string(), z.strictObject({ stage: anything, request: anything }).partial()).optional(),
  failover: z.record(z.string(), anything).optional(),
  budgets: anything,
  pools: z.record(z.string(), anything).optional(),
  tenants: anything,
  reroute: z.boolean().optional(),
  shadows: anything,
  prices: anything,
  clock: object('a clock: see realClock and virtualClock', 'nowMs', 'setTimer', 'clearTimer', 'random').optional(),
  memory: z.strictObject(memory).optional(),
  seed: z.number().optional(),
  log: object('a logger with debug, info, warn and error', 'debug', 'info', 'warn', 'error').optional(),
  estimator: object('a token estimator').optional(),
  prompts: z
    .strictObject({
      threads: z.number().optional(),
      thresholdChars: z.number().optional(),
      queueMax: z.number().optional(),
    })
    .optional(),
  probeTimeoutMs: z.number().min(0).optional(),
  recorder: object('a recorder: see recordTo', 'turn', 'ended').optional(),
  cloneMessages: z.boolean().optional(),
  delivery: z.custom((value) => typeof value === 'function', 'expected a function').optional(),
} satisfies Record<keyof RuntimeOptions, z.ZodType>

/** Checks that a runtime's options have no key that is not one, and values of the right kind. */
export const RuntimeOptionsShape = z.strictObject(options).partial()
