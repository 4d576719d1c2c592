// Actors of users' own on threads of their own.

import { describe, expect, test } from 'vitest'
import {
  createRuntime,
  defineActor,
  onThread,
  simulated,
  virtualClock,
  workflow,
  type Logger,
} from '../../src/index.ts'
import { auditor, deaf } from './fixtures/actors.ts'

const module = new URL('./fixtures/actors.ts', import.meta.url)

/** A log that can be waited for. */
function listening() {
  const lines: { level: string; message: string; details: Record<string, unknown> }[] = []
  const waiting: { holds: () => boolean; resolve: () => void }[] = []
  const say =
    (level: string) =>
    (details: object, message: string): void => {
      lines.push({ level, message, details: details as Record<string, unknown> })
      for (const each of waiting) if (each.holds()) each.resolve()
    }
  const log: Logger = { debug() {}, info: say('info'), warn: say('warn'), error: say('error') }
  const said = (message: string, times = 1): Promise<void> => {
    const holds = (): boolean => lines.filter((line) => line.message.includes(message)).length >= times
    return holds() ? Promise.resolve() : new Promise((resolve) => waiting.push({ holds, resolve }))
  }
  return {
    log,
    lines,
    said,
    last: (message: string) => lines.findLast((line) => line.message.includes(message))?.details,
  }
}

const backends = () => ({ main: simulated({ model: 'm', engine: 'instant', windowRequests: 4 }) })
const two = workflow('two')
  .stage('a', { backend: 'main', prompt: () => 'one' })
  .stage('b', { backend: 'main', after: ['a'], prompt: () => 'two' })

describe('an actor on a thread of its own', () => {
  test('hears transitions and messages, knows loads, sends itself messages, and speaks to backends', async () => {
    const { log, said, last } = listening()
    const actor = onThread(auditor, module)
    const runtime = await createRuntime({ backends: backends(), actors: [actor], log })
    for (let i = 0; i < 3; i++) await runtime.start(two, undefined).outcome
    expect(runtime.tell(actor, { type: 'say' })).toBe(true)
    await said('so far')
    expect(last('so far')).toMatchObject({ answers: '6', windows: '4' })
    expect(last('so far')?.['thread']).not.toBe('0')
    runtime.tell(actor, { type: 'window', backend: 'main', windowRequests: 2 })
    runtime.tell(actor, { type: 'later', ms: 1 })
    await said('so far', 2)
    expect(runtime.backends()[0]?.windowRequests).toBe(2)
    expect(() => runtime.tell(actor, { type: 'nonsense' } as never)).toThrow(/message to actor "auditor"/)
    await runtime.close()
    await said('stops')
  })

  test('computes for long while runs go on', async () => {
    const { log, said } = listening()
    const actor = onThread(auditor, module)
    await using runtime = await createRuntime({ backends: backends(), actors: [actor], log })
    runtime.tell(actor, { type: 'busy', ms: 500 })
    runtime.tell(actor, { type: 'say' })
    let over = false
    const busy = said('so far').then(() => (over = true))
    for (let i = 0; i < 5; i++) expect((await runtime.start(two, undefined).outcome).state).toBe('completed')
    expect(over).toBe(false)
    await busy
  })

  test('is started again when it throws, and when its thread ends; too often, and it alone is gone', async () => {
    const { log, lines, said } = listening()
    const actor = onThread(auditor, module)
    await using runtime = await createRuntime({ backends: backends(), actors: [actor], log })
    runtime.tell(actor, { type: 'throw' })
    runtime.tell(actor, { type: 'say' })
    await said('so far')
    runtime.tell(actor, { type: 'exit' })
    await said('was lost with its thread')
    runtime.tell(actor, { type: 'say' })
    await said('so far', 2)
    for (let i = 2; i <= 4; i++) {
      runtime.tell(actor, { type: 'exit' })
      await said(i === 4 ? 'ended too often' : 'was lost with its thread', i === 4 ? 1 : i)
    }
    expect(runtime.tell(actor, { type: 'say' })).toBe(false)
    expect((await runtime.start(two, undefined).outcome).state).toBe('completed')
    expect(lines.filter(({ message }) => message === 'an actor broke')).toHaveLength(1)
  })

  test('that hears no transitions is sent none', async () => {
    const { log, lines } = listening()
    const actor = onThread(deaf, module)
    await using runtime = await createRuntime({ backends: backends(), actors: [actor], log })
    await runtime.start(two, undefined).outcome
    expect(runtime.tell(actor, { type: 'say' })).toBe(true)
    expect(lines).toEqual([])
  })

  test('is refused where its module does not export it or cannot be loaded, and on a virtual clock', async () => {
    const other = defineActor({ ...auditor, name: 'other' })
    await expect(createRuntime({ backends: backends(), actors: [onThread(other, module)] })).rejects.toThrow(
      /exports no actor "other"; it exports: "auditor", "deaf"/,
    )
    const nowhere = onThread(auditor, new URL('./nowhere.ts', import.meta.url))
    await expect(createRuntime({ backends: backends(), actors: [nowhere] })).rejects.toThrow(/cannot be imported/)
    const clock = virtualClock()
    await expect(createRuntime({ backends: backends(), actors: [onThread(auditor, module)], clock })).rejects.toThrow(
      /actors\[0\]: virtual time is of one thread/,
    )
  })
})
