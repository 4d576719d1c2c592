// Bare promises: the floor. No queue, no window, no cancellation, no account of anything.

import type { System } from './shape.ts'

/** The system. */
export const system: System = {
  open: ({ levels }, call) =>
    Promise.resolve({
      async run() {
        for (const [level, stages] of levels.entries()) await Promise.all(stages.map(async () => call(level)))
      },
    }),
}
