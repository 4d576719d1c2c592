// Flavours by name.

import { openAiLook } from '../wire-response.ts'
import type { Flavour, FlavourOptions, FrontAccess } from './flavour.ts'
import { llamaCppFlavour } from './llamacpp.ts'
import { ollamaFlavour } from './ollama.ts'
import { sglangFlavour } from './sglang.ts'
import { vllmFlavour } from './vllm.ts'

/** Makes the flavour of one front. */
export function makeFlavour(options: FlavourOptions, access: FrontAccess): Flavour {
  switch (options.engine) {
    case 'openai':
      return {
        look: openAiLook,
        modelCard: { owned_by: 'simulated', max_model_len: access.engine.contextLength },
      }
    case 'vllm':
      return vllmFlavour(options, access)
    case 'sglang':
      return sglangFlavour(options, access)
    case 'llamacpp':
      return llamaCppFlavour(options, access)
    case 'ollama':
      return ollamaFlavour(access)
  }
}
