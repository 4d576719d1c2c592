// How a mapper learns, and what it is asked for.

import { z } from 'zod'
import type { Random } from '../clock.ts'
import type { FeatureSource } from './features.ts'
import { LearnedDataSchema, type LearnedData } from './learned-data.ts'
import type { Mapper, MappingOutcome } from './mapper.ts'

/** One outcome of the past, to begin with. */
export interface LearnedExample<Input = unknown, Results = unknown> extends FeatureSource<Input, Results> {
  backend: string
  /** Default: whatever model the backend has when it is first asked about. Needed where it is learned by models. */
  model?: string
  /** Whether the stage completed, default true. */
  completed?: boolean
  /** How good its answer was, 0..1. */
  rating?: number
  costUsd?: number
  durationMs?: number
}

/** How to learn. */
export interface LearnedOptions<Input = unknown, Results = unknown> {
  /** Backends to choose among; all that can serve the stage when absent. */
  among?: readonly string[]
  /**
   * What is learned of: `backend` (default), or `model`, where backends with one model are replicas of equal prices and
   * quality. What is learned of one is then learned of all, and the stage goes to the one where it is done first.
   */
  per?: 'backend' | 'model'
  /**
   * Numbers that say what kind of request it is, best between 0 and 1, always as many for a stage class (at most 64, each
   * at most 1,000 in size). Default {@link promptShape}.
   */
  features?(source: FeatureSource<Input, Results>): readonly number[]
  /** Quality that a dollar is worth: 100 makes a cent weigh as much as a whole right answer. From 0, default 0. */
  costWeight?: number
  /** Quality that a second is worth. From 0, default 0. */
  latencyWeight?: number
  /** Largest share of decisions that may be other than the best guess, 0..0.5, default 0.1. */
  explore?: number
  /** How much the uncertainty of a backend's quality and cost speaks for exploring it. From 0, default 1. */
  optimism?: number
  /** Rating that is expected before any was seen, of backends that do not say their `quality`. 0..1, default 0.5. */
  priorQuality?: number
  /** Observations that the first guess is worth. Above 0, default 1. */
  ridge?: number
  /** Outcomes of a stage class after which one counts half: what changes is learned anew. At least 1, default 1,000. */
  halfLife?: number
  /** Neither learns nor explores. Default false. */
  frozen?: boolean
  /** Outcomes of the past, all of which count in full. */
  warmStart?: readonly LearnedExample<Input, Results>[]
  /** What another one knew, from its `export()`. */
  from?: LearnedData
  /** Chance, for exploring. Default that of the runtime, which its seed determines. */
  random?: Random
  /** What decisions are `by`: two learned mappers of one stage need two names. Default `learned`. */
  name?: string
}

/** What a learned mapper knows of a stage class. */
export interface LearnedFacts {
  /** `workflow/stage` */
  stageClass: string
  decisions: number
  /** Decisions that were not the best guess. */
  explored: number
}

/** A mapper that learns, and can be kept as data. */
export interface LearnedMapper<Input = unknown, Results = unknown> extends Mapper<Input, Results> {
  /** Learns from what became of a decision of its own; ignores others. */
  observe(outcome: MappingOutcome): void
  /** Everything it knows as JSON. Features are code: give the same function to who reads it. */
  export(): LearnedData
  /** From now on it neither learns nor explores. */
  freeze(): void
  /** What it was asked, by stage class. */
  facts(): LearnedFacts[]
}

/** Checks the options of a learned mapper; callbacks and inputs of examples are anything. */
export const LearnedOptionsSchema = z.strictObject({
  among: z.array(z.string()).min(1).optional(),
  per: z.enum(['backend', 'model']).default('backend'),
  features: z.custom((value) => typeof value === 'function', 'expected a function').optional(),
  costWeight: z.number().min(0).default(0),
  latencyWeight: z.number().min(0).default(0),
  explore: z.number().min(0).max(0.5).default(0.1),
  optimism: z.number().min(0).default(1),
  priorQuality: z.number().min(0).max(1).default(0.5),
  ridge: z.number().positive().default(1),
  halfLife: z.number().min(1).default(1_000),
  frozen: z.boolean().default(false),
  warmStart: z
    .array(
      z.object({
        workflow: z.string().min(1),
        stage: z.string().min(1),
        backend: z.string().min(1),
        model: z.string().min(1).optional(),
        completed: z.boolean().optional(),
        rating: z.number().min(0).max(1).optional(),
        costUsd: z.number().min(0).optional(),
        durationMs: z.number().min(0).optional(),
      }),
    )
    .optional(),
  from: LearnedDataSchema.optional(),
  random: z.custom((value) => typeof value === 'function', 'expected a function').optional(),
  name: z.string().min(1).default('learned'),
})
