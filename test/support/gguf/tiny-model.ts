// A model of some 500 kB for tests: real inference, a real KV cache, and words that can be predicted.
//
// Llama architecture, one token a byte, random weights of a seed; on top of them a few dimensions are wired by hand:
//   bigrams    each wired token makes one other likely, so that greedy replies are "fine." and end
//   flags      an attention head carries "this token occurred" from anywhere in the context to the present
//   tools      offered and not yet answered: the reply begins with a call
//   '?'        in the context: the reply begins with a thought
//   '~'        in the context: the reply never ends by itself
//   '%'        in the context: the reply begins with the mark of a call, and then there is none
//   '^'        in the context: a JSON string never ends by itself

import { writeFile } from 'node:fs/promises'
import { randomStream } from '../../../src/clock.ts'
import { ggufFile, type GgufTensor } from './gguf-file.ts'

const width = 128
const heads = 8
const headWidth = width / heads
const feedForward = 128
const layers = 2
/** First dimension of the random part of an embedding; those before it have a meaning. */
const randomFrom = 16

/** Dimensions with a meaning: a constant, and for each flag the token itself and "it occurred". */
const dimension = { constant: 0, tools: 1, answered: 2, thinks: 3, endless: 4, unquoted: 5, stutters: 6 } as const
const occurred = 8

/** Special tokens, each the whole text of a piece of the chat template. */
const special = {
  bos: '<|begin|>',
  start: '<|im_start|>',
  end: '<|im_end|>',
  tools: '<tools>',
  call: '<tool_call>\n{"name": "',
  opener: '<tool_call>',
  callEnd: '</tool_call>',
  answered: '<tool_response>',
  think: '<think>\n',
  thinkEnd: '\n</think>\n\n',
  reply: 'assistant\n',
} as const

/** Qwen's way of writing a conversation, shortened. */
const chatTemplate = `{%- if tools %}
{{- '<|im_start|>system\\n' }}
{%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
{{- 'Functions: <tools>' }}
{%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}
{{- '\\n</tools><|im_end|>\\n' }}
{%- else %}
{%- if messages[0].role == 'system' %}{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}{%- endif %}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- elif message.role == 'assistant' %}
{%- set content = message.content %}
{%- set reasoning_content = '' %}
{%- if message.reasoning_content is defined and message.reasoning_content is not none %}
{%- set reasoning_content = message.reasoning_content %}
{%- elif '</think>' in content %}
{%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
{%- set content = content.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
{%- if reasoning_content %}
{{- '<|im_start|>assistant\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
{%- else %}
{{- '<|im_start|>assistant\\n' + content }}
{%- endif %}
{%- if message.tool_calls %}
{%- for tool_call in message.tool_calls %}
{%- if (loop.first and content) or (not loop.first) %}{{- '\\n' }}{%- endif %}
{%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
{{- '<tool_call>\\n{"name": "' }}{{- tool_call.name }}{{- '", "arguments": ' }}
{%- if tool_call.arguments is string %}{{- tool_call.arguments }}{%- else %}{{- tool_call.arguments | tojson }}{%- endif %}
{{- '}\\n</tool_call>' }}
{%- endfor %}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- elif message.role == 'tool' %}
{%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}
{{- '\\n<tool_response>\\n' }}{{- message.content }}{{- '\\n</tool_response>' }}
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{%- endif %}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}`

/** GPT-2's spelling of bytes: printable ones as they are, the others from U+0100 on. */
function byteTokens(): string[] {
  const printable = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255)
  let next = 256
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++))
}

/** Which token makes which likely; the second wish counts where a grammar forbids the first. */
const bigrams: [from: string, to: string, logit: number][] = [
  [special.reply, 'f', 20],
  ['f', 'i', 20],
  ['i', 'n', 20],
  ['n', 'e', 20],
  ['e', '.', 20],
  ['.', special.end, 28],
  ['.', '"', 16],
  ['.', 'f', 12],
  ['"', 'f', 16],
  ['"', ',', 14],
  ['"', '}', 13],
  [special.think, 'h', 20],
  ['h', 'm', 20],
  ['m', special.thinkEnd, 20],
  [special.thinkEnd, 'f', 20],
  [special.callEnd, special.end, 28],
  [special.opener, 'f', 20],
  ['1', ',', 14],
  ['1', '}', 13],
]

/**
 * Writes the model to `path`.
 *
 * @param options.contextLength - tokens that the model says it was trained on, default 4,096
 * @param options.seed - of the random weights, default 1
 */
export async function writeTinyModel(
  path: string,
  options: { contextLength?: number; seed?: number } = {},
): Promise<void> {
  const random = randomStream(options.seed ?? 1, 'weights')
  /** Roughly normal: the sum of uniforms. */
  const noise = (size: number, scale: number): Float32Array =>
    Float32Array.from({ length: size }, () => (random() + random() + random() + random() - 2) * 1.7 * scale)

  const bytes = byteTokens()
  const specials = Object.values(special)
  const merged = 'Ġt'
  const tokens = [...bytes, merged, ...specials]
  const idOf = new Map(tokens.map((token, id) => [token, id]))
  const id = (token: string): number => idOf.get(token)!

  const embedding = noise(tokens.length * width, 0.7)
  for (let token = 0; token < tokens.length; token++) {
    embedding.fill(0, token * width, token * width + randomFrom)
    embedding[token * width + dimension.constant] = 2
  }
  for (const [token, flag] of [
    [special.tools, dimension.tools],
    [special.answered, dimension.answered],
    ['?', dimension.thinks],
    ['~', dimension.endless],
    ['^', dimension.unquoted],
    ['%', dimension.stutters],
  ] as const) {
    embedding[id(token) * width + flag] = 8
  }

  const output = noise(tokens.length * width, 0.05)
  const wire = (to: string, from: string, logit: number): void => {
    const source = embedding.subarray(id(from) * width, (id(from) + 1) * width)
    let square = 0
    for (let i = randomFrom; i < width; i++) square += source[i]! ** 2
    for (let i = randomFrom; i < width; i++) output[id(to) * width + i]! += (source[i]! * logit) / square / 1.2
  }
  const lean = (to: string, at: number, weight: number): void => {
    output[id(to) * width + at]! += weight
  }
  for (const [from, to, logit] of bigrams) wire(to, from, logit)
  wire(special.call, special.reply, 12)
  lean(special.call, occurred + dimension.tools, 2)
  lean(special.call, occurred + dimension.answered, -4)
  wire(special.think, special.reply, 16)
  lean(special.think, occurred + dimension.thinks, 1.2)
  wire(special.opener, special.reply, 16)
  lean(special.opener, occurred + dimension.stutters, 1.2)
  lean(special.call, occurred + dimension.stutters, -4)
  lean(special.end, occurred + dimension.endless, -6)
  lean('"', occurred + dimension.unquoted, -6)
  for (const blank of ['Ġ', 'Ċ', 'ĉ', 'č']) lean(blank, dimension.constant, -3)
  for (const never of [special.bos, special.start, special.tools, special.answered, special.reply, special.callEnd]) {
    lean(never, dimension.constant, -8)
  }

  const tensors: GgufTensor[] = [
    { name: 'token_embd.weight', dimensions: [width, tokens.length], data: embedding },
    { name: 'output_norm.weight', dimensions: [width], data: new Float32Array(width).fill(1) },
    { name: 'output.weight', dimensions: [width, tokens.length], data: output },
  ]
  for (let layer = 0; layer < layers; layer++) {
    const query = noise(width * width, 0.02)
    const key = noise(width * width, 0.02)
    const value = noise(width * width, 0.02)
    const out = noise(width * width, 0.02)
    if (layer === 0) {
      // The last pair of a head turns least with the position (RoPE), so it can look anywhere.
      const still = headWidth - 2
      for (const flag of Object.values(dimension).slice(1)) {
        const row = flag * headWidth
        for (let i = 0; i < headWidth; i++) {
          query.fill(0, (row + i) * width, (row + i + 1) * width)
          key.fill(0, (row + i) * width, (row + i + 1) * width)
          value.fill(0, (row + i) * width, (row + i + 1) * width)
        }
        query[(row + still) * width + dimension.constant] = 2
        key[(row + still) * width + flag] = 2.5
        value[row * width + flag] = 1
        for (let to = 0; to < width; to++) out[to * width + row] = to === occurred + flag ? 1 : 0
      }
    }
    const square = (name: string, data: Float32Array): GgufTensor => ({ name, dimensions: [width, width], data })
    tensors.push(
      { name: `blk.${layer}.attn_norm.weight`, dimensions: [width], data: new Float32Array(width).fill(1) },
      { name: `blk.${layer}.ffn_norm.weight`, dimensions: [width], data: new Float32Array(width).fill(1) },
      square(`blk.${layer}.attn_q.weight`, query),
      square(`blk.${layer}.attn_k.weight`, key),
      square(`blk.${layer}.attn_v.weight`, value),
      square(`blk.${layer}.attn_output.weight`, out),
      {
        name: `blk.${layer}.ffn_gate.weight`,
        dimensions: [width, feedForward],
        data: noise(width * feedForward, 0.02),
      },
      { name: `blk.${layer}.ffn_up.weight`, dimensions: [width, feedForward], data: noise(width * feedForward, 0.02) },
      {
        name: `blk.${layer}.ffn_down.weight`,
        dimensions: [feedForward, width],
        data: noise(width * feedForward, 0.02),
      },
    )
  }

  const normal = 1
  const control = 3
  const userDefined = 4
  const typeOf = (token: string): number => {
    if (!specials.includes(token as (typeof specials)[number])) return normal
    return token === special.bos || token === special.start || token === special.end ? control : userDefined
  }
  await writeFile(
    path,
    ggufFile(
      {
        'general.architecture': 'llama',
        'general.name': 'tiny-test',
        'llama.context_length': options.contextLength ?? 4_096,
        'llama.embedding_length': width,
        'llama.block_count': layers,
        'llama.feed_forward_length': feedForward,
        'llama.attention.head_count': heads,
        'llama.attention.head_count_kv': heads,
        'llama.attention.layer_norm_rms_epsilon': { float32: 1e-5 },
        'llama.rope.dimension_count': headWidth,
        'llama.rope.freq_base': { float32: 1_000_000 },
        'llama.vocab_size': tokens.length,
        'tokenizer.ggml.model': 'gpt2',
        'tokenizer.ggml.pre': 'gpt-2',
        'tokenizer.ggml.tokens': tokens,
        'tokenizer.ggml.token_type': { int32s: tokens.map(typeOf) },
        'tokenizer.ggml.merges': ['Ġ t'],
        'tokenizer.ggml.bos_token_id': id(special.bos),
        'tokenizer.ggml.eos_token_id': id(special.end),
        'tokenizer.ggml.add_bos_token': false,
        'tokenizer.chat_template': chatTemplate,
      },
      tensors,
    ),
  )
}
