// Mastra: a step a stage, `then` and `parallel`; no storage.

import { createStep, createWorkflow } from '@mastra/core/workflows'
import { z } from 'zod'

/** @type {import('../overhead/shape.ts').System} */
export const system = {
  open({ name, levels }, call) {
    const step = (id, level) =>
      createStep({
        id,
        inputSchema: z.any(),
        outputSchema: z.any(),
        execute: async () => ({ text: await call(level) }),
      })
    let flow = createWorkflow({ id: name, inputSchema: z.any(), outputSchema: z.any() })
    for (const [level, stages] of levels.entries()) {
      const steps = stages.map((stage) => step(stage, level))
      flow = steps.length === 1 ? flow.then(steps[0]) : flow.parallel(steps)
    }
    flow.commit()
    return Promise.resolve({
      async run() {
        const run = await flow.createRun()
        const { status } = await run.start({ inputData: {} })
        if (status !== 'success') throw new Error(`a run of Mastra ended as ${status}`)
      },
    })
  },
}
