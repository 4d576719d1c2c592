// Garbage collection on demand, also where Node was started without --expose-gc.

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Makes `globalThis.gc` available in this thread. */
export function exposeGc(): void {
  if (globalThis.gc !== undefined) return
  setFlagsFromString('--expose-gc')
  globalThis.gc = runInNewContext('gc') as NonNullable<typeof globalThis.gc>
}
