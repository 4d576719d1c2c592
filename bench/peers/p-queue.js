// p-queue: every stage is a job of one queue. A queue with a limit, and nothing else.

import PQueue from 'p-queue'

/** @type {import('../overhead/shape.ts').System} */
export const system = {
  open({ levels }, call, limit) {
    const queue = new PQueue({ concurrency: limit })
    return Promise.resolve({
      async run() {
        for (const [level, stages] of levels.entries()) {
          await Promise.all(stages.map(() => queue.add(async () => call(level))))
        }
      },
    })
  },
}
