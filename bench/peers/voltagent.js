// VoltAgent: a step a stage, `andThen` and `andAll`; its default memory, which is in process.

import { andThen, createWorkflowChain } from '@voltagent/core'
import { z } from 'zod'

/** @type {import('../overhead/shape.ts').System} */
export const system = {
  open({ name, levels }, call) {
    let chain = createWorkflowChain({ id: name, name, input: z.any(), result: z.any() })
    for (const [level, stages] of levels.entries()) {
      const step = (id) => ({ id, execute: async () => ({ text: await call(level) }) })
      chain =
        stages.length === 1
          ? chain.andThen(step(stages[0]))
          : chain.andAll({ id: `level${level}`, steps: stages.map((stage) => andThen(step(stage))) })
    }
    return Promise.resolve({
      async run() {
        const { status } = await chain.run({})
        if (status !== 'completed') throw new Error(`a run of VoltAgent ended as ${status}`)
      },
    })
  },
}
