import { expect, onTestFinished, test } from 'vitest'
import { createRuntime, simulated, user, workflow, type Runtime } from '../../src/index.ts'
import { longText } from '../workers/support.ts'

/** Every run asks for a prompt of its own that has to be counted on the one prompt thread. */
let asked = 0
const large = workflow('large').stage('s', { backend: 'main', prompt: () => [user(longText(40_000, ++asked))] })

async function narrow(): Promise<Runtime> {
  const runtime = await createRuntime({
    backends: { main: simulated({ model: 'qwen3-8b' }) },
    prompts: { threads: 1, thresholdChars: 1_000, queueMax: 1 },
  })
  onTestFinished(() => runtime.close())
  return runtime
}

test('a cancelled run takes its prompt out of the queue for prompt threads', async () => {
  const runtime = await narrow()
  const measured = runtime.start(large, undefined)
  const waiting = runtime.start(large, undefined)
  await Promise.resolve()
  waiting.cancel('changed my mind')
  expect((await waiting.outcome).state).toBe('cancelled')
  const next = runtime.start(large, undefined)
  expect((await next.outcome).error).toBeUndefined()
  expect((await measured.outcome).state).toBe('completed')
})

test('a prompt that finds the queue for prompt threads full fails its run with ORLA_LIMIT', async () => {
  const runtime = await narrow()
  const runs = [1, 2, 3].map(() => runtime.start(large, undefined))
  const outcomes = await Promise.all(runs.map(({ outcome }) => outcome))
  expect(outcomes.map(({ error }) => error?.code)).toEqual([undefined, undefined, 'ORLA_LIMIT'])
})
