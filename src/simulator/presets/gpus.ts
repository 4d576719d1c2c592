// GPUs: what their makers say of them. How much of it engines achieve is in engines.ts.

/** One GPU. */
export interface GpuSpec {
  /** Bytes of memory. */
  memoryBytes: number
  /** Bytes a second from memory, as specified. */
  bandwidthBytesPerSecond: number
  /** Dense bf16 operations a second with 32-bit sums, as specified. */
  flopsPerSecond: number
}

const GiB = 2 ** 30

/** GPUs by name. */
export const gpus = {
  /**
   * NVIDIA RTX PRO 6000 Blackwell Max-Q, 300 W: the GPU of the paper (appendix C.1). 96 GB GDDR7, 1,792 GB/s from
   * NVIDIA's data sheet; 110 TFLOPS in fp32, of which bf16 tensor cores do four times as much.
   */
  'rtx-pro-6000-max-q': { memoryBytes: 96 * GiB, bandwidthBytesPerSecond: 1.792e12, flopsPerSecond: 439e12 },
  /**
   * NVIDIA RTX PRO 5000 Blackwell: 48 GB GDDR7, 1,344 GB/s from NVIDIA's data sheet; 66.94 TFLOPS in fp32 (databasemart
   * vLLM benchmark page), four times that in bf16.
   */
  'rtx-pro-5000': { memoryBytes: 48 * GiB, bandwidthBytesPerSecond: 1.344e12, flopsPerSecond: 268e12 },
  /** NVIDIA A100 SXM 80 GB: 2,039 GB/s, 312 TFLOPS bf16 (NVIDIA data sheet). Kept for calibration. */
  'a100-80gb': { memoryBytes: 80 * GiB, bandwidthBytesPerSecond: 2.039e12, flopsPerSecond: 312e12 },
  /** NVIDIA H100 SXM 80 GB: 3,350 GB/s, 989 TFLOPS bf16 without sparsity (NVIDIA data sheet). */
  h100: { memoryBytes: 80 * GiB, bandwidthBytesPerSecond: 3.35e12, flopsPerSecond: 989e12 },
  /** NVIDIA H200 SXM 141 GB: 4,800 GB/s, 989 TFLOPS bf16 without sparsity (NVIDIA data sheet). */
  h200: { memoryBytes: 141e9, bandwidthBytesPerSecond: 4.8e12, flopsPerSecond: 989e12 },
} as const satisfies Record<string, GpuSpec>

/** Name of a GPU that there is a preset for. */
export type GpuName = keyof typeof gpus
