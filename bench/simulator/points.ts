// Published measurements that the engine model is held to, and how each is replayed.

import { randomStream } from '../../src/clock.ts'
import type { EngineName } from '../../src/simulator/presets/engines.ts'
import type { GpuName } from '../../src/simulator/presets/gpus.ts'
import type { ModelName } from '../../src/simulator/presets/models.ts'
import type { Lengths, Replayed } from './replay.ts'

/** One published figure. */
export interface Point {
  point: string
  source: string
  /** A constant of the presets was fitted on it. */
  fitted: boolean
  gpu: GpuName
  model: ModelName
  engine: EngineName
  requests: readonly Lengths[]
  concurrency: number
  publishedMs: number
  measure: (replayed: Replayed) => number
}

const gpustack = (page: string): string => `gpustack performance lab, ${page}`
const duration = (replayed: Replayed): number => replayed.durationMs
const perToken = (replayed: Replayed): number => replayed.tpotMs
const firstToken = (replayed: Replayed): number => replayed.ttftMs

const same = (count: number, prompt: number, output: number): Lengths[] =>
  Array.from({ length: count }, () => ({ prompt, output }))

/** Lengths with the mean that was published. Nothing more of the distribution is, so lognormals are assumed. */
function lognormal(count: number, label: string, mean: number, sigma: number, cap: number): number[] {
  const random = randomStream(1, label)
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
  const shape = Array.from({ length: count }, () => Math.exp(sigma * normal()))
  const scaled = (scale: number): number[] => shape.map((x) => Math.round(Math.min(cap, Math.max(4, scale * x))))
  const meanOf = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / count
  let low = 0
  let high = mean * 4
  for (let i = 0; i < 50; i++) {
    const middle = (low + high) / 2
    if (meanOf(scaled(middle)) < mean) low = middle
    else high = middle
  }
  return scaled(high)
}

function shareGpt(count: number, promptMean: number, outputMean: number): Lengths[] {
  const prompts = lognormal(count, 'prompt', promptMean, 1.2, 1_024)
  const outputs = lognormal(count, 'output', outputMean, 0.9, 1_500)
  return prompts.map((prompt, i) => ({ prompt, output: outputs[i]! }))
}

/** Milliseconds that requests take at a published total of prompt and output tokens a second. */
const atTotalRate = (requests: readonly Lengths[], tokensPerSecond: number): number =>
  (requests.reduce((sum, { prompt, output }) => sum + prompt + output, 0) * 1_000) / tokensPerSecond

const chats = shareGpt(100, 232.6, 220.6)
const thousandChats = shareGpt(1_000, 217.4, 201.6)
const medium = same(500, 1_996, 100)
const long = same(500, 3_996, 200)
const veryLong = same(100, 32_000, 99)

const small = { requests: chats, concurrency: 4, gpu: 'h100', model: 'qwen3-8b' } as const
const smallSource = gpustack('qwen3-8b/h100-latency')
const h100 = { gpu: 'h100', model: 'qwen3-14b', engine: 'vllm', measure: duration } as const
const h100Source = gpustack('qwen3-14b/h100')
const a100 = { gpu: 'a100-80gb', model: 'qwen3-14b', engine: 'vllm', measure: duration } as const
const a100Source = gpustack('qwen3-14b/a100, total tokens a second as time')
const pro5000 = { gpu: 'rtx-pro-5000', engine: 'vllm', concurrency: 50, measure: duration } as const
const pro5000Source = 'databasemart vLLM benchmark of RTX PRO 5000'

const mixtureTokenMs = [
  [128, 9.6],
  [1_024, 9.8],
  [2_048, 9.9],
  [3_072, 10.1],
  [4_096, 10.3],
  [8_192, 10.6],
] as const

/** Every point. Throughput of a whole run is compared as its duration. */
export const points: readonly Point[] = [
  {
    ...small,
    point: 'Qwen3-8B, H100, vLLM, 4 chats at once: ms per token',
    source: smallSource,
    fitted: true,
    engine: 'vllm',
    publishedMs: 7.38,
    measure: perToken,
  },
  {
    ...small,
    point: 'same: median time to first token',
    source: smallSource,
    fitted: true,
    engine: 'vllm',
    publishedMs: 60.26,
    measure: firstToken,
  },
  {
    ...small,
    point: 'same: 100 requests',
    source: smallSource,
    fitted: false,
    engine: 'vllm',
    publishedMs: 44_400,
    measure: duration,
  },
  {
    ...small,
    point: 'Qwen3-8B, H100, SGLang, 4 chats at once: ms per token',
    source: smallSource,
    fitted: true,
    engine: 'sglang',
    publishedMs: 7.19,
    measure: perToken,
  },
  {
    ...small,
    point: 'same: median time to first token',
    source: smallSource,
    fitted: true,
    engine: 'sglang',
    publishedMs: 27.25,
    measure: firstToken,
  },
  {
    ...small,
    point: 'same: 100 requests',
    source: smallSource,
    fitted: false,
    engine: 'sglang',
    publishedMs: 41_970,
    measure: duration,
  },
  {
    ...h100,
    point: 'Qwen3-14B, H100, vLLM, 500 of 2,000 + 100 tokens',
    source: h100Source,
    fitted: true,
    requests: medium,
    concurrency: 500,
    publishedMs: 98_910,
  },
  {
    ...h100,
    point: 'Qwen3-14B, H100, vLLM, 500 of 4,000 + 200 tokens',
    source: h100Source,
    fitted: false,
    requests: long,
    concurrency: 500,
    publishedMs: 227_570,
  },
  {
    ...h100,
    point: 'Qwen3-14B, H100, vLLM, 100 of 32,000 + 100 tokens',
    source: h100Source,
    fitted: false,
    requests: veryLong,
    concurrency: 100,
    publishedMs: 386_800,
  },
  {
    ...h100,
    point: 'Qwen3-14B, H100, vLLM, 1,000 chats at once',
    source: h100Source,
    fitted: false,
    requests: thousandChats,
    concurrency: 1_000,
    publishedMs: 63_530,
  },
  {
    ...h100,
    engine: 'sglang',
    point: 'Qwen3-14B, H100, SGLang, 1,000 chats at once',
    source: h100Source,
    fitted: true,
    requests: thousandChats,
    concurrency: 1_000,
    publishedMs: 49_860,
  },
  {
    ...a100,
    point: 'Qwen3-14B, A100, vLLM, 500 of 2,000 + 100 tokens',
    source: a100Source,
    fitted: true,
    requests: medium,
    concurrency: 500,
    publishedMs: atTotalRate(medium, 5_967.06),
  },
  {
    ...a100,
    point: 'Qwen3-14B, A100, vLLM, 500 of 4,000 + 200 tokens',
    source: a100Source,
    fitted: false,
    requests: long,
    concurrency: 500,
    publishedMs: atTotalRate(long, 5_153.42),
  },
  {
    ...a100,
    point: 'Qwen3-14B, A100, vLLM, 100 of 32,000 + 100 tokens',
    source: a100Source,
    fitted: false,
    requests: veryLong,
    concurrency: 100,
    publishedMs: atTotalRate(veryLong, 4_430.14),
  },
  {
    ...a100,
    point: 'Qwen3-14B, A100, vLLM, 1,000 chats at once',
    source: a100Source,
    fitted: false,
    requests: thousandChats,
    concurrency: 1_000,
    publishedMs: atTotalRate(thousandChats, 3_922.41),
  },
  {
    ...pro5000,
    point: 'Qwen3-8B, RTX PRO 5000, vLLM, 50 of 100 + 600 tokens',
    source: pro5000Source,
    fitted: true,
    model: 'qwen3-8b',
    requests: same(50, 100, 600),
    publishedMs: 14_120,
  },
  {
    ...pro5000,
    point: 'Qwen3-14B, RTX PRO 5000, vLLM, 50 of 100 + 600 tokens',
    source: pro5000Source,
    fitted: false,
    model: 'qwen3-14b',
    requests: same(50, 99, 600),
    publishedMs: 23_980,
  },
  ...mixtureTokenMs.map(([prompt, publishedMs]): Point => ({
    point: `Qwen3-30B-A3B, A100, vLLM, one at a time, ${prompt.toLocaleString('en')} + 128 tokens: ms per token`,
    source: 'tenstorrent tt-inference-server #340',
    fitted: prompt === 128,
    gpu: 'a100-80gb',
    model: 'qwen3-coder-30b-a3b',
    engine: 'vllm',
    requests: same(4, prompt, 128),
    concurrency: 1,
    publishedMs,
    measure: perToken,
  })),
]
