// What a mapper is given, where a test asks one without a runtime.

import { virtualClock } from '../../src/clock.ts'
import type { MappingContext } from '../../src/mapping/mapper.ts'

/** A context in which nothing can be asked. */
export function mappingContext(changes: Partial<MappingContext> = {}): MappingContext {
  return {
    signal: new AbortController().signal,
    clock: virtualClock({ seed: 1 }),
    random: () => 0.5,
    prompt: () => Promise.reject(new Error('no prompt here')),
    ask: () => Promise.reject(new Error('no model here')),
    ...changes,
  }
}
