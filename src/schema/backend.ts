// Options that every backend takes, whatever its engine.

import { z } from 'zod'
import { limits } from '../limits.ts'

/** Deadlines of one inference, ms. */
export const Timeouts = z.strictObject({
  /** To open a connection. */
  connectMs: z.number().positive().default(limits.connectTimeoutMsDefault),
  /** From grant to first token. */
  firstTokenMs: z.number().positive().default(limits.firstTokenTimeoutMsDefault),
  /** Between two deltas. */
  idleMs: z.number().positive().default(limits.idleTimeoutMsDefault),
  /** Of the inference as a whole. */
  totalMs: z.number().positive().default(limits.totalTimeoutMsDefault),
})
/** Deadlines of one inference, ms. */
export type Timeouts = z.infer<typeof Timeouts>

/** Prices in US dollars per million tokens. */
export const Prices = z.strictObject({
  inputUsdPerMTok: z.number().min(0),
  cachedInputUsdPerMTok: z.number().min(0).optional(),
  outputUsdPerMTok: z.number().min(0),
})
/** Prices in US dollars per million tokens. */
export type Prices = z.infer<typeof Prices>

/** A window that finds its size. */
export const AdaptiveWindowSettings = z
  .strictObject({
    /** Requests that may always be in flight. */
    min: z.int().min(1).max(100_000).default(1),
    /** Requests that may never be exceeded. */
    max: z.int().min(1).max(100_000).default(256),
    /** How often the engine is asked how it is while requests run, where its driver can, ms; 0 never asks. */
    askEveryMs: z.number().min(0).max(3_600_000).default(1_000),
  })
  .refine(({ min, max }) => min <= max, { path: ['max'], message: 'expected at least `min`' })
/** A window that finds its size, complete. */
export type AdaptiveWindowSettings = z.infer<typeof AdaptiveWindowSettings>

/** Options that every backend takes. */
export const BackendSettings = z.strictObject({
  /** Model that requests ask for unless a stage says otherwise. */
  model: z.string().min(1).max(256),
  /** Requests in flight at once. */
  windowRequests: z.int().min(1).max(100_000).default(limits.windowRequestsDefault),
  /** The window finds its size between these bounds, beginning at `windowRequests`; fixed when absent. */
  adaptiveWindow: AdaptiveWindowSettings.optional(),
  /** Requests that may wait; more are rejected. */
  queueCapacity: z.int().min(0).max(10_000_000).default(limits.queueCapacityDefault),
  /** Tokens of prompt and answer together; found by probing when absent. */
  contextLength: z.int().min(1).optional(),
  /** Whether the engine takes tools; true unless the driver knows better. */
  tools: z.boolean().optional(),
  /** Whether the engine takes a JSON Schema for the answer; true unless the driver knows better. */
  jsonSchema: z.boolean().optional(),
  timeouts: Timeouts.prefault({}),
  /** Quality from 0 to 1, for mappers that trade it for cost. */
  quality: z.number().min(0).max(1).optional(),
  prices: Prices.optional(),
})
/** Options of a backend, complete. */
export type BackendSettings = z.infer<typeof BackendSettings>
/** Options of a backend as a user writes them. */
export type BackendOptions = z.input<typeof BackendSettings>
