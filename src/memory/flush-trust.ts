// Whether an engine's word that it emptied its cache is to be believed
//
// Owns: for each backend, the flush that was said to be done last, and how often such a word was not true.
// Does not own: the flush (actions.ts), or what is resident (ledger).
// The first request after a flush finds nothing cached: engines that report cached tokens give themselves away. Somebody
// else who shares the engine looks the same, and flushing is of no use there either.
// Invariants
//   T1. Only a request that was granted after the flush, and before any other, speaks for or against it.
//   T2. After `liesMax` false words in a row a backend is not believed any more, until its engine is another.

/** False words in a row after which a backend's flush counts as something it cannot do. */
const liesMax = 2

interface Word {
  /** False words in a row. */
  lies: number
  /** A flush was said to be done and nobody has asked since. */
  waits: boolean
  /** The first request granted after it. */
  requestId: string | undefined
}

/** What is believed of backends that say they flushed. */
export class FlushTrust {
  readonly #words = new Map<string, Word>()

  /** Whether a backend's flush is worth asking for. */
  believes(backend: string): boolean {
    return (this.#words.get(backend)?.lies ?? 0) < liesMax
  }

  /**
   * A backend says that it emptied its cache.
   *
   * @param isIdle - false if a request of ours was running meanwhile: then nothing can be told
   */
  flushed(backend: string, isIdle: boolean): void {
    const lies = this.#words.get(backend)?.lies ?? 0
    this.#words.set(backend, { lies, waits: isIdle, requestId: undefined })
  }

  /** A request goes to a backend. */
  granted(backend: string, requestId: string): void {
    const word = this.#words.get(backend)
    if (word === undefined || !word.waits) return
    word.waits = false
    word.requestId = requestId
  }

  /**
   * A request came back.
   *
   * @returns tokens that were still cached although the cache was said to be empty; undefined if nothing is wrong
   */
  answered(backend: string, requestId: string, cachedTokens: number | undefined): number | undefined {
    const word = this.#words.get(backend)
    if (word === undefined || word.requestId !== requestId) return undefined
    word.requestId = undefined
    if (cachedTokens === undefined) return undefined
    word.lies = cachedTokens > 0 ? word.lies + 1 : 0
    return cachedTokens > 0 ? cachedTokens : undefined
  }

  /** The engine behind a backend is another. */
  forget(backend: string): void {
    this.#words.delete(backend)
  }
}
