// A map that forgets the entry that was set or read longest ago when it is full.

/** A map with a bound. */
export class BoundedMap<Key, Value> {
  readonly #entries = new Map<Key, Value>()
  readonly #sizeMax: number

  /** @param sizeMax - entries kept, at least 1 */
  constructor(sizeMax: number) {
    this.#sizeMax = sizeMax
  }

  /** The value of `key`, which becomes the youngest entry. */
  get(key: Key): Value | undefined {
    const value = this.#entries.get(key)
    if (value === undefined) return undefined
    this.#entries.delete(key)
    this.#entries.set(key, value)
    return value
  }

  /** Sets `key`; forgets the oldest entry if that makes one too many. */
  set(key: Key, value: Value): void {
    this.#entries.delete(key)
    this.#entries.set(key, value)
    if (this.#entries.size > this.#sizeMax) {
      const oldest = this.#entries.keys().next()
      if (!oldest.done) this.#entries.delete(oldest.value)
    }
  }
}
