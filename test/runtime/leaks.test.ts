// What runs leave on the heap. A collector is at hand in every Node, by a flag that can be set late.

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { z } from 'zod'
import type { DriverEnvironment } from '../../src/engines/driver.ts'
import { workflow } from '../../src/workflow/builder.ts'
import { tool } from '../../src/workflow/tool.ts'
import { scripted } from '../support/scripted-backend.ts'
import { testRuntime } from '../support/runtime.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

test('runs, their inputs, definitions and tools are let go, also of runs that failed or were cancelled', async () => {
  // A driver that remembers nothing: the recording one would keep every prompt.
  const recording = scripted()
  const backend = {
    engine: recording.engine,
    settings: recording.settings,
    async connect(environment: DriverEnvironment) {
      const driver = await recording.connect(environment)
      const result = {
        content: 'ok',
        reasoning: '',
        toolCalls: [],
        finishReason: 'stop' as const,
        usage: { promptTokens: 1 },
      }
      return { ...driver, chat: () => ({ result: Promise.resolve(result), cancel() {} }) }
    },
  }
  const runtime = await testRuntime({ main: backend }, { watch: false })
  const kept: WeakRef<object>[] = []
  await (async () => {
    for (let i = 0; i < 60; i++) {
      const t = tool({ description: '', input: z.object({}), run: () => 1 })
      const small = workflow(`w${i % 2}`).stage('s', {
        mapping: () => ({ backend: i % 3 === 0 ? 'nowhere' : 'main', reason: 'r' }),
        tools: { t },
        prompt: () => 'x',
      })
      const input = { big: 'x'.repeat(100) }
      const run = runtime.start(small, input, { signal: new AbortController().signal, deadlineMs: 1_000 })
      if (i % 5 === 0) run.cancel()
      kept.push(new WeakRef(run), new WeakRef(small), new WeakRef(small.definition), new WeakRef(input), new WeakRef(t))
      await runtime.until(run.outcome)
    }
  })()
  for (let i = 0; i < 5; i++) {
    await runtime.settle()
    collect()
  }
  const alive = kept.filter((ref) => ref.deref() !== undefined).length
  // The last run may still be held by a register of this function.
  expect(alive).toBeLessThanOrEqual(10)
  runtime.audit({ deadLetters: runtime.deadLetters })
})
