// Names of engines, models and GPUs as people write them.

import { gpus, type GpuName } from '../simulator/presets/gpus.ts'
import { models, type ModelName } from '../simulator/presets/models.ts'

/** Names of the GPUs that there are presets for. */
export const gpuNames = Object.keys(gpus) as readonly GpuName[]
/** Names of the models that there are presets for. */
export const modelNames = Object.keys(models) as readonly ModelName[]
/** Names of the engines that there are presets for. */
export const engineNames = ['vllm', 'sglang'] as const

/** Names that are also known in a shorter form. */
const shortNames: Readonly<Record<string, ModelName>> = { 'qwen3-coder-30b': 'qwen3-coder-30b-a3b' }

/** The preset's name of a model, also from its shorter form; undefined for a model without a preset. */
export function modelNameOf(name: string): ModelName | undefined {
  if (Object.hasOwn(shortNames, name)) return shortNames[name]
  return modelNames.find((known) => known === name)
}
