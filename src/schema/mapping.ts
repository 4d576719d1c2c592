// Mappers as plain data, for workflows that are submitted as JSON.

import { z } from 'zod'
import { limits } from '../limits.ts'

const backend = z.string().min(1).max(limits.nameLengthMax)
const backends = z.array(backend).min(1).max(limits.mappingBackendsMax)
const oneOrMore = z.union([backend, backends])
const router = {
  /** Backend whose model is asked. */
  router: backend,
  model: z.string().min(1).max(256).optional(),
  criteria: z.string().min(1).max(10_000).optional(),
  schema: z.boolean().optional(),
  cache: z.enum(['question', 'template', 'none']).optional(),
}

const LeastLoaded = z.strictObject({ use: z.literal('least-loaded'), among: backends.optional() })
const Replicas = z.strictObject({ use: z.literal('replicas'), among: backends.optional() })
const AccuracyFloor = z.strictObject({
  use: z.literal('accuracy-floor'),
  floor: z.number().min(0).max(1),
  mode: z.enum(['prefer', 'strict']).optional(),
  among: backends.optional(),
})
const Threshold = z.strictObject({
  use: z.literal('threshold'),
  /** A number of the input or of results: `results.rank.score`. */
  path: z.string().min(1).max(1_000),
  at: z.number(),
  below: oneOrMore,
  above: oneOrMore,
})
const OneBit = z.strictObject({
  use: z.literal('one-bit'),
  ...router,
  light: oneOrMore,
  heavy: oneOrMore,
  unsure: z.enum(['simple', 'complex']).optional(),
})
const Score = z.strictObject({
  use: z.literal('score'),
  ...router,
  at: z.number().min(1).max(5),
  below: oneOrMore,
  above: oneOrMore,
  unsure: z.number().min(1).max(5).optional(),
})
const LoadAware = z.strictObject({
  use: z.literal('load-aware'),
  among: backends.optional(),
  secondUsd: z.number().min(0).optional(),
  /** Asked how hard a stage is, where the choice depends on it. */
  hardness: z.strictObject({ ...router, unsure: z.enum(['simple', 'complex']).optional() }).optional(),
})

const Step = z.discriminatedUnion('use', [LeastLoaded, Replicas, AccuracyFloor, Threshold, OneBit, Score, LoadAware])
const FirstOf = z.strictObject({ use: z.literal('first-of'), steps: z.array(Step).min(1).max(limits.mappingStepsMax) })

/** One mapper of the package, with its options. */
export type MappingStepData = z.infer<typeof Step>

/** A mapper as plain data: one of the package with its options, or the name of one that the host provides. */
export const MappingData = z.union([
  z.string().min(1).max(limits.nameLengthMax),
  z.discriminatedUnion('use', [FirstOf, ...Step.options]),
])
/** A mapper as plain data. */
export type MappingData = z.infer<typeof MappingData>
