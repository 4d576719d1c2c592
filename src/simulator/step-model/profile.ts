// What an engine is, to the model: its pool, its limits, its habits and its costs.

import { z } from 'zod'
import { OptionsError } from '../../errors.ts'
import { StepCosts } from './step-cost.ts'

/**
 * One engine with one model on one GPU. Presets make these (`enginePreset`); any field can be changed.
 *
 * The token budget must be at least the number of sequences, because each decoding sequence takes one token of it.
 */
export const EngineProfile = z
  .strictObject({
    /** Tokens of a KV block: 16 for vLLM, 1 for SGLang's radix cache. */
    blockTokens: z.int().min(1),
    /** Tokens of the KV pool. Whole blocks of it are used. */
    kvTokens: z.int().min(1),
    /** Tokens of prompt and answer together that the model takes. */
    contextTokens: z.int().min(2),
    /** Tokens that one step computes at most, prefill and decode together (vLLM: `max_num_batched_tokens`). */
    tokenBudget: z.int().min(1),
    /** Sequences that run at once at most (vLLM: `max_num_seqs`). */
    sequencesMax: z.int().min(1),
    /**
     * `mixed`: one step decodes and prefills (vLLM, chunked prefill). `prefill-first`: a step with prefill work does
     * nothing else (SGLang's default).
     */
    batching: z.enum(['mixed', 'prefill-first']),
    /**
     * What must fit for a request to be admitted: its next `chunk` (vLLM), or its whole `prompt` (SGLang). With chunks
     * more runs at once, and more is preempted.
     */
    admission: z.enum(['chunk', 'prompt']),
    /** Order the queue, and choose whom to preempt, by the requests' priorities; arrival order when false. */
    priorities: z.boolean(),
    /** Milliseconds from submission until the engine's scheduler sees a request: HTTP, template, tokenizer. */
    frontOverheadMs: z.number().min(0),
    costs: StepCosts,
  })
  .refine((profile) => profile.tokenBudget >= profile.sequencesMax, {
    path: ['tokenBudget'],
    message: 'must be at least sequencesMax: each decoding sequence takes one token of every step',
  })
  .refine((profile) => profile.kvTokens >= profile.blockTokens, {
    path: ['kvTokens'],
    message: 'must hold at least one block',
  })
/** One engine with one model on one GPU. Presets make these (`enginePreset`); any field can be changed. */
export type EngineProfile = z.infer<typeof EngineProfile>

/**
 * Checks profiles by name.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` with every problem of every profile
 */
export function checkProfiles(profiles: Readonly<Record<string, EngineProfile>>): void {
  const issues = Object.entries(profiles).flatMap(([name, profile]) => {
    const checked = EngineProfile.safeParse(profile)
    if (checked.success) return []
    return checked.error.issues.map((issue) => ({
      path: ['engines', name, ...issue.path].map(String).join('.'),
      code: 'engine_profile',
      message: issue.message,
    }))
  })
  if (Object.keys(profiles).length === 0) {
    issues.push({ path: 'engines', code: 'empty', message: 'name at least one engine' })
  }
  if (issues.length > 0) throw new OptionsError('engine model', issues)
}
