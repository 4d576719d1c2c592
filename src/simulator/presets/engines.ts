// Engines: what vLLM and SGLang make of a GPU, and the presets that follow from GPU, model and engine.
//
// A constant is either published, with its source beside it, or fitted on a published measurement, which is named.
// `bench/simulator-accuracy.ts` replays those measurements, and others that nothing was fitted on.

import { OptionsError, type Issue } from '../../errors.ts'
import type { EngineProfile } from '../step-model/profile.ts'
import { gpus, type GpuName, type GpuSpec } from './gpus.ts'
import { bytesPerValue, kvBytesPerToken, models, type ModelName, type ModelSpec } from './models.ts'

/** Name of an engine that there is a preset for. */
export type EngineName = 'vllm' | 'sglang'

/** What an engine is like on every GPU. */
interface Habits extends Pick<
  EngineProfile,
  'blockTokens' | 'batching' | 'admission' | 'priorities' | 'frontOverheadMs'
> {
  /** Share of the specified bandwidth that weights and KV are read with, 0..1. */
  bandwidthShare: number
  /** Any step, ms (c0). */
  stepMs: number
  /** One more decoding sequence in a step, ms (c1). */
  sequenceMs: number
  /** What a layer of experts adds to a step, ms: routing, and many small kernels. */
  expertLayerMs: number
}

const habits: Record<EngineName, Habits> = {
  /**
   * Blocks of 16, chunked prefill mixed with decode, first come first served: vLLM docs, defaults of V1.
   *
   * `bandwidthShare`: assumed; with it, `stepMs` is fitted on the 7.38 ms per token of Qwen3-8B on H100 at
   * 4 concurrent ShareGPT requests, and `frontOverheadMs` on their median time to first token, 60.3 ms, through the chat
   * endpoint (vLLM 0.11, gpustack performance lab, qwen3-8b/h100-latency). `sequenceMs`: fitted on 50 concurrent requests
   * of 100 + 600 tokens to Qwen3-8B on RTX PRO 5000 in 14.12 s (databasemart vLLM benchmark). `expertLayerMs`: fitted on
   * the 9.6 ms per token of Qwen3-30B-A3B on A100 at batch 1 with 128 prompt tokens (tenstorrent tt-inference-server #340).
   */
  vllm: {
    blockTokens: 16,
    batching: 'mixed',
    admission: 'chunk',
    priorities: false,
    frontOverheadMs: 49,
    bandwidthShare: 0.8,
    stepMs: 1.25,
    sequenceMs: 0.087,
    expertLayerMs: 0.094,
  },
  /**
   * Radix cache with pages of one token, prefill before decode, whole prompts admitted: SGLang docs, defaults.
   *
   * `stepMs` and `frontOverheadMs` are fitted on the same load as vLLM's: 7.19 ms per token and 27.3 ms to the first
   * (SGLang 0.5.3). `sequenceMs`: fitted on 1,000 ShareGPT requests at once to Qwen3-14B on H100 in 49.9 s (SGLang 0.5.5,
   * gpustack performance lab, qwen3-14b/h100). The others are taken over from vLLM, for want of a measurement.
   */
  sglang: {
    blockTokens: 1,
    batching: 'prefill-first',
    admission: 'prompt',
    priorities: false,
    frontOverheadMs: 15,
    bandwidthShare: 0.8,
    stepMs: 1.1,
    sequenceMs: 0.045,
    expertLayerMs: 0.094,
  },
}

/** What an engine makes of one GPU. */
interface Reach extends Pick<EngineProfile, 'tokenBudget' | 'sequencesMax'> {
  /** Share of the specified arithmetic that prefill achieves, 0..1. */
  flopsShare: number
}

/** vLLM's own defaults: 8,192 tokens and 1,024 sequences with 70 GiB or more, except A100; else 2,048 and 256. */
const large = { tokenBudget: 8_192, sequencesMax: 1_024 }
const small = { tokenBudget: 2_048, sequencesMax: 256 }
/** SGLang's `chunked_prefill_size` is 8,192 with 60 GB or more, 4,096 with less; its sequences are limited by the pool. */
const radixLarge = { tokenBudget: 8_192, sequencesMax: 2_048 }
const radixSmall = { tokenBudget: 4_096, sequencesMax: 2_048 }

/**
 * What engines make of GPUs.
 *
 * Fitted: vLLM on H100 and on A100 with 500 requests of 2,000 + 100 tokens to Qwen3-14B (98.9 s, and 176 s from 5,967
 * tokens a second; vLLM 0.11, gpustack performance lab, qwen3-14b), SGLang on H100 with the 1,000 requests named above.
 * Nothing published was found for the others. RTX PRO 5000 and 6000 are assumed to lie between H100 and A100, which have
 * more and less arithmetic for their bandwidth; H200 is an H100 with other memory; SGLang elsewhere is taken for vLLM.
 */
const reaches: Record<EngineName, Record<GpuName, Reach>> = {
  vllm: {
    h100: { flopsShare: 0.37, ...large },
    h200: { flopsShare: 0.37, ...large },
    'a100-80gb': { flopsShare: 0.63, ...small },
    'rtx-pro-6000-max-q': { flopsShare: 0.5, ...large },
    'rtx-pro-5000': { flopsShare: 0.5, ...small },
  },
  sglang: {
    h100: { flopsShare: 0.5, ...radixLarge },
    h200: { flopsShare: 0.5, ...radixLarge },
    'a100-80gb': { flopsShare: 0.63, ...radixLarge },
    'rtx-pro-6000-max-q': { flopsShare: 0.5, ...radixLarge },
    'rtx-pro-5000': { flopsShare: 0.5, ...radixSmall },
  },
}

/**
 * Bytes of GPU memory that are neither weights nor KV: activations, graphs, the framework. Assumed; it gives Qwen3-8B
 * about 398,000 tokens of KV at 0.9 of an H100, and 290,000 at the 60 % of an RTX PRO 6000 that the paper gives it
 * (appendix C.1).
 */
const otherBytes = 2.4e9

/** Share of the memory that an engine takes unless told otherwise (vLLM: `gpu_memory_utilization`). */
const memoryShareDefault = 0.9

/** What to make a preset of. */
export interface EnginePresetOptions {
  gpu: GpuName
  model: ModelName
  engine: EngineName
  /** Share of the GPU's memory for this engine, 0..1, default 0.9. Several engines split a GPU by it. */
  memoryShare?: number
  /** Tokens of the KV pool. Default: what weights and working memory leave of the share. */
  kvTokens?: number
  /** Factor on the tokens of the KV pool, default 1: a smaller pool shows pressure with fewer sessions. */
  kvScale?: number
  /** Tokens of prompt and answer together. Default: the model's own, or the pool if that is smaller. */
  contextTokens?: number
}

/**
 * The profile of an engine with a model on a GPU.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` if a name is unknown, a number is out of range or the weights do not fit
 */
export function enginePreset(options: EnginePresetOptions): EngineProfile {
  const { kvScale = 1, memoryShare = memoryShareDefault } = options
  const gpu: GpuSpec | undefined = gpus[options.gpu]
  const model: ModelSpec | undefined = models[options.model]
  const habit: Habits | undefined = habits[options.engine]
  const issues: Issue[] = []
  const unknown = (path: string, value: string, known: object): void => {
    const names = Object.keys(known).join(', ')
    issues.push({ path, code: 'unknown', message: `there is no preset "${value}"; there are ${names}` })
  }
  if (gpu === undefined) unknown('gpu', options.gpu, gpus)
  if (model === undefined) unknown('model', options.model, models)
  if (habit === undefined) unknown('engine', options.engine, habits)
  if (!(memoryShare > 0 && memoryShare <= 1)) {
    issues.push({ path: 'memoryShare', code: 'range', message: 'must be above 0 and at most 1' })
  }
  if (!(kvScale > 0)) issues.push({ path: 'kvScale', code: 'range', message: 'must be above 0' })
  if (issues.length > 0) throw new OptionsError('engine preset', issues)

  const { flopsShare, ...limits } = reaches[options.engine][options.gpu]
  const freeBytes = gpu.memoryBytes * memoryShare - model.parameters * bytesPerValue - otherBytes
  const kvTokens = Math.floor((options.kvTokens ?? freeBytes / kvBytesPerToken(model)) * kvScale)
  if (!(kvTokens >= habit.blockTokens)) {
    const message =
      options.kvTokens === undefined
        ? `the weights of ${options.model} leave no memory for KV cache in ${memoryShare} of ${options.gpu}`
        : `a pool of ${kvTokens} tokens does not hold a block of ${habit.blockTokens}`
    throw new OptionsError('engine preset', [{ path: 'kvTokens', code: 'range', message }])
  }
  const { blockTokens, batching, admission, priorities, frontOverheadMs } = habit
  return {
    blockTokens,
    batching,
    admission,
    priorities,
    frontOverheadMs,
    ...limits,
    kvTokens,
    contextTokens: Math.min(options.contextTokens ?? model.contextTokens, kvTokens),
    costs: stepCosts(gpu, model, habit, flopsShare),
  }
}

function stepCosts(gpu: GpuSpec, model: ModelSpec, habit: Habits, flopsShare: number): EngineProfile['costs'] {
  const bytesPerMs = (gpu.bandwidthBytesPerSecond * habit.bandwidthShare) / 1_000
  const flopsPerMs = (gpu.flopsPerSecond * flopsShare) / 1_000
  const { experts } = model
  return {
    stepMs: habit.stepMs + (experts === undefined ? 0 : habit.expertLayerMs * model.layers),
    sequenceMs: habit.sequenceMs,
    denseWeightsMs: (model.denseParameters * bytesPerValue) / bytesPerMs,
    expertWeightsMs: experts === undefined ? 0 : (experts.parameters * bytesPerValue) / bytesPerMs,
    expertShare: experts === undefined ? 0 : experts.perToken / experts.count,
    tokenMs: (2 * model.activeParameters) / flopsPerMs,
    contextTokenMs: kvBytesPerToken(model) / bytesPerMs,
    attentionPairMs: (4 * model.layers * model.attentionWidth) / flopsPerMs,
  }
}
