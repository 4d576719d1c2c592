// What a learned mapper knows, as plain data: written by `export()`, read by `learned({ from })`.

import { z } from 'zod'
import { limits } from '../limits.ts'

const Finite = z.number()
const Amount = z.number().min(0)

const Sums = z.strictObject({
  gram: z.array(Finite),
  moments: z.array(Finite),
  weight: Amount,
})

const Arm = z.strictObject({
  /** Backend, or model where it is learned by models. */
  name: z.string().min(1),
  /** Model that this was learned of; what is learned of one model says nothing of another. */
  model: z.string().min(1).optional(),
  /** Stages that completed and that failed, older ones with less than 1. */
  completed: Amount,
  failed: Amount,
  /** What was guessed before anything was seen; the sums are of differences to it. */
  guess: z.strictObject({ quality: Finite, costUsd: Amount }),
  /** Rating, 0..1. */
  quality: Sums,
  /** Dollars. */
  cost: Sums,
  /** Seconds. */
  seconds: Sums,
})

const StageClass = z
  .strictObject({
    /** `workflow/stage` */
    stageClass: z.string().min(1),
    /** Features of a request, the constant that stands before them included. */
    dimension: z
      .int()
      .min(1)
      .max(limits.learnedFeaturesMax + 1),
    decisions: z.int().min(0),
    /** Decisions that were not the best guess, made to learn. */
    explored: z.int().min(0),
    /** Outcomes that count in full, since what was known before last counted less. */
    unfaded: z.int().min(0),
    arms: z.array(Arm).max(limits.learnedArmsMax),
  })
  .superRefine(({ dimension, arms }, context) => {
    arms.forEach((arm, i) => {
      for (const name of ['quality', 'cost', 'seconds'] as const) {
        const { gram, moments } = arm[name]
        const gramLength = (dimension * (dimension + 1)) / 2
        if (gram.length === gramLength && moments.length === dimension) continue
        const message = `${dimension} features need ${gramLength} and ${dimension} numbers, got ${gram.length} and ${moments.length}`
        context.addIssue({ code: 'custom', path: ['arms', i, name], message })
      }
    })
  })

/** Data of a learned mapper. Version 1. */
export const LearnedDataSchema = z.strictObject({
  version: z.literal(1),
  /** What arms are. */
  per: z.enum(['backend', 'model']),
  classes: z.array(StageClass).max(limits.learnedClassesMax),
})
/** Data of a learned mapper: JSON, no functions. Features are not part of it: give the same function to who reads it. */
export type LearnedData = z.output<typeof LearnedDataSchema>
/** One stage class of it. */
export type LearnedClassData = LearnedData['classes'][number]
