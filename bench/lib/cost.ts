// What a piece of asynchronous work costs this process: CPU and wall time, and what stays on the heap.

/** Time for one operation, microseconds. */
export interface Cost {
  /** Of the whole process: all threads, garbage collection and the kernel's work for it. */
  cpuUs: number
  wallUs: number
}

/**
 * Runs `work` and says what one of its operations cost.
 *
 * @param work - resolves with the number of operations that it did
 * @param options.collect - false: garbage of what was before is not collected first. For a share of something that goes on,
 *   which has to pay for the collections that fall into it
 */
export async function costOf(work: () => Promise<number>, { collect = true } = {}): Promise<Cost> {
  if (collect) globalThis.gc?.()
  const cpu = process.cpuUsage()
  const startedAtMs = performance.now()
  const operations = await work()
  const wallUs = (performance.now() - startedAtMs) * 1_000
  const { user, system } = process.cpuUsage(cpu)
  return { cpuUs: (user + system) / operations, wallUs: wallUs / operations }
}

/** Calls `run` `runs` times, `atOnce` of them at any time, the next as soon as one has ended. Resolves with `runs`. */
export async function inLanes(runs: number, atOnce: number, run: () => Promise<unknown>): Promise<number> {
  let left = runs
  const lane = async (): Promise<void> => {
    while (left-- > 0) await run()
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, runs) }, lane))
  return runs
}

/** The same for as long as `forMs`; what has begun then is waited for. Resolves with the number of calls. */
export async function inLanesFor(forMs: number, atOnce: number, run: () => Promise<unknown>): Promise<number> {
  const endsAtMs = performance.now() + forMs
  let runs = 0
  const lane = async (): Promise<void> => {
    do {
      await run()
      runs++
    } while (performance.now() < endsAtMs)
  }
  await Promise.all(Array.from({ length: atOnce }, lane))
  return runs
}

/** Rounds that a heap gets to settle: finalizers and weak references need turns of the loop between collections. */
const settlingRounds = 4

/**
 * Bytes on this thread's heap and in its buffers, after garbage collection.
 *
 * @throws {Error} in a thread that cannot collect on demand
 */
export async function settledHeapBytes(): Promise<number> {
  const { gc } = globalThis
  if (gc === undefined) throw new Error('heap figures need exposeGc() or node --expose-gc')
  for (let i = 0; i < settlingRounds; i++) {
    gc()
    await new Promise((resolve) => setImmediate(resolve))
  }
  gc()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
