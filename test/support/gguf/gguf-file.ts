// A writer of GGUF files, version 3: what llama.cpp loads models from.
//
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Little endian, tensors as F32 only.

/** A metadata value. Numbers are written as u32 unless wrapped in {@link float32}. */
export type GgufValue =
  | string
  | number
  | boolean
  | { float32: number }
  | readonly string[]
  | { int32s: readonly number[] }

/** A tensor: `dimensions` fastest first, as ggml has them, and one value for each element. */
export interface GgufTensor {
  name: string
  dimensions: readonly number[]
  data: Float32Array
}

const type = { uint32: 4, int32: 5, float32: 6, bool: 7, string: 8, array: 9 } as const
const alignment = 32

/** The bytes of a GGUF file. */
export function ggufFile(metadata: Readonly<Record<string, GgufValue>>, tensors: readonly GgufTensor[]): Uint8Array {
  const parts: Uint8Array[] = []
  let length = 0
  const push = (bytes: Uint8Array): void => {
    parts.push(bytes)
    length += bytes.length
  }
  const u32 = (value: number): void => push(new Uint8Array(new Uint32Array([value]).buffer))
  const u64 = (value: number): void => push(new Uint8Array(new BigUint64Array([BigInt(value)]).buffer))
  const f32 = (value: number): void => push(new Uint8Array(new Float32Array([value]).buffer))
  const text = (value: string): void => {
    const bytes = new TextEncoder().encode(value)
    u64(bytes.length)
    push(bytes)
  }
  const pad = (): void => push(new Uint8Array((alignment - (length % alignment)) % alignment))

  push(new TextEncoder().encode('GGUF'))
  u32(3)
  u64(tensors.length)
  u64(Object.keys(metadata).length)
  for (const [key, value] of Object.entries(metadata)) {
    text(key)
    if (typeof value === 'string') {
      u32(type.string)
      text(value)
    } else if (typeof value === 'number') {
      u32(type.uint32)
      u32(value)
    } else if (typeof value === 'boolean') {
      u32(type.bool)
      push(new Uint8Array([value ? 1 : 0]))
    } else if ('float32' in value) {
      u32(type.float32)
      f32(value.float32)
    } else {
      const items = 'int32s' in value ? value.int32s : value
      u32(type.array)
      u32('int32s' in value ? type.int32 : type.string)
      u64(items.length)
      if ('int32s' in value) push(new Uint8Array(new Int32Array(value.int32s).buffer))
      else for (const item of value) text(item)
    }
  }
  let offset = 0
  for (const { name, dimensions, data } of tensors) {
    text(name)
    u32(dimensions.length)
    for (const dimension of dimensions) u64(dimension)
    u32(0)
    u64(offset)
    offset += Math.ceil(data.byteLength / alignment) * alignment
  }
  pad()
  for (const { data } of tensors) {
    push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    pad()
  }
  const file = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    file.set(part, at)
    at += part.length
  }
  return file
}
