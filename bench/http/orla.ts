// Orla: runs of ten stages, one after the other, against one backend. It streams from the engine always.

import { createRuntime, openAi, system, user, workflow, type Workflow } from '../../src/index.ts'
import { instruction, question, type CallerKind } from './caller.ts'

const stages = 10

interface LooseBuilder extends Workflow {
  stage(name: string, options: object): LooseBuilder
}

let built = workflow('calls') as unknown as LooseBuilder
const instructed = system(instruction)
for (let i = 0; i < stages; i++) {
  built = built.stage(`s${i}`, {
    backend: 'engine',
    after: i === 0 ? [] : [`s${i - 1}`],
    prompt: () => [instructed, user(question())],
  })
}

/** Orla. */
export const orla: CallerKind = {
  async open({ origin, concurrency, watches }) {
    const engine = openAi({ url: `${origin}/v1`, model: 'none', windowRequests: concurrency, queueCapacity: 100_000 })
    const runtime = await createRuntime({ backends: { engine }, probeTimeoutMs: 0 })
    const once = async (): Promise<number> => {
      const run = runtime.start(built, undefined)
      let characters = 0
      if (watches) {
        for await (const event of run.events) if (event.type === 'stage.token') characters += event.text.length
        await run.result
      } else {
        const results = (await run.result) as Record<string, string>
        for (const text of Object.values(results)) characters += text.length
      }
      return characters / stages
    }
    return { callsPerTurn: stages, once, close: () => runtime.close() }
  },
}
