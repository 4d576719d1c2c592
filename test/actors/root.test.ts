import { expect, test, vi } from 'vitest'
import { createRuntime, simulated, virtualClock, workflow } from '../../src/index.ts'

test('no table keeps the machine of a run: XState enters actors in a register that it never reads', async () => {
  const clock = virtualClock({ seed: 1 })
  const runtime = await createRuntime({ clock, backends: { main: simulated({ model: 'qwen3-4b', engine: 'light' }) } })
  const hello = workflow('hello').stage('greet', { backend: 'main', prompt: () => 'Say hello.' })
  const entered = vi.spyOn(Map.prototype, 'set')
  let machines: unknown[]
  try {
    await clock.run(runtime.start(hello, undefined).result)
    machines = entered.mock.calls.filter(
      ([, value]) => typeof value === 'object' && value !== null && 'mailbox' in value,
    )
  } finally {
    entered.mockRestore()
  }
  expect(machines).toEqual([])
  await clock.run(runtime.close())
})
