// Models: the numbers of their architecture that time and memory depend on. All weights and KV in bf16.
//
// Sources: the `config.json` of each model on Hugging Face (layers, heads, sizes, experts, vocabulary) and the parameter
// counts of the Qwen3 technical report. What is read in a step leaves out the input embedding, of which a step needs a
// few rows only.

/** One model. */
export interface ModelSpec {
  layers: number
  kvHeads: number
  headDim: number
  /** Query heads times head dimension: the width of attention. */
  attentionWidth: number
  /** Parameters that are in memory. */
  parameters: number
  /** Parameters that one token is multiplied with. */
  activeParameters: number
  /** Parameters that every step reads: without the input embedding, unless it is the output layer too, and experts. */
  denseParameters: number
  /** Experts, if it is a mixture of them. */
  experts?: {
    /** Parameters of all experts of all layers. */
    parameters: number
    /** Experts of one layer, and how many of them one token uses. */
    count: number
    perToken: number
  }
  /** Tokens of prompt and answer together. */
  contextTokens: number
}

/** Bytes of a weight or a KV entry in bf16. */
export const bytesPerValue = 2

/** Models by name. */
export const models = {
  /** 36 layers, hidden size 2,560, vocabulary 151,936 tied to the output layer. */
  'qwen3-4b': {
    layers: 36,
    kvHeads: 8,
    headDim: 128,
    attentionWidth: 4_096,
    parameters: 4.02e9,
    activeParameters: 4.02e9,
    denseParameters: 4.02e9,
    contextTokens: 40_960,
  },
  /** 36 layers, hidden size 4,096; the untied input embedding is 0.62e9. The same KV per token as the 4B. */
  'qwen3-8b': {
    layers: 36,
    kvHeads: 8,
    headDim: 128,
    attentionWidth: 4_096,
    parameters: 8.19e9,
    activeParameters: 8.19e9,
    denseParameters: 7.57e9,
    contextTokens: 40_960,
  },
  /** 40 layers, hidden size 5,120; the untied input embedding is 0.78e9. */
  'qwen3-14b': {
    layers: 40,
    kvHeads: 8,
    headDim: 128,
    attentionWidth: 5_120,
    parameters: 14.77e9,
    activeParameters: 14.77e9,
    denseParameters: 13.99e9,
    contextTokens: 40_960,
  },
  /**
   * Qwen3-Coder-30B-A3B and Qwen3-30B-A3B, which are built alike: 48 layers, hidden size 2,048, 128 experts of 3 x 2,048
   * x 768 in each, 8 of which a token uses: 28.99e9 parameters in experts, 1.54e9 elsewhere, 0.31e9 of them the input
   * embedding.
   */
  'qwen3-coder-30b-a3b': {
    layers: 48,
    kvHeads: 4,
    headDim: 128,
    attentionWidth: 4_096,
    parameters: 30.53e9,
    activeParameters: 3.35e9,
    denseParameters: 1.23e9,
    experts: { parameters: 28.99e9, count: 128, perToken: 8 },
    contextTokens: 262_144,
  },
} as const satisfies Record<string, ModelSpec>

/** Name of a model that there is a preset for. */
export type ModelName = keyof typeof models

/** Bytes of KV cache that one token of context takes: keys and values of every layer and KV head. */
export function kvBytesPerToken(model: ModelSpec): number {
  return 2 * model.layers * model.kvHeads * model.headDim * bytesPerValue
}
