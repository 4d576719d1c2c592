// Actors of users' own: what they hear, what they may do, and what becomes of the others when they break.

import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { defineActor, simulated, user, workflow } from '../../src/index.ts'
import { tokenBudget } from '../../src/examples/actors/token-budget.ts'
import { actorContract } from '../../src/testing.ts'
import { scripted } from '../support/scripted-backend.ts'
import { testRuntime } from '../support/runtime.ts'

const say = workflow('say')
  .stage('s', { backend: 'main', prompt: () => [user('hello')] })
  .output(({ results }) => results.s)
const main = (): ReturnType<typeof scripted> =>
  scripted((call) => call.answer({ content: 'ok', usage: { promptTokens: 5, completionTokens: 30 } }, 10))

describe('the token budget, an actor in one file', () => {
  test('closes a backend that wrote enough, and opens it when it is topped up', async () => {
    const budget = tokenBudget('main', 50)
    const runtime = await testRuntime({ main: main() }, { actors: [budget] })
    const states: string[] = []
    for (let i = 0; i < 3; i++) states.push((await runtime.until(runtime.start(say, undefined).outcome)).state)
    expect(states).toEqual(['completed', 'completed', 'failed'])
    expect(runtime.backends()[0]!.health).toBe('draining')
    expect(runtime.tell(budget, { type: 'topUp', tokens: 100 })).toBe(true)
    await runtime.settle()
    expect(await runtime.until(runtime.start(say, undefined).result)).toBe('ok')
    runtime.audit()
    await runtime.close()
  })

  const contract = actorContract({
    actor: () => tokenBudget('main', 10),
    messages: [{ type: 'topUp', tokens: 1 }],
    backends: { main: simulated({ model: 'qwen3-8b' }) },
  })
  for (const { name, run } of contract) test(name, run)
})

test('the contract finds an actor that breaks, and one that leaves a timer running', async () => {
  const options = { messages: [{ n: 1 }], backends: { main: simulated({ model: 'qwen3-8b' }) } }
  const breaks = defineActor({
    name: 'breaks',
    messages: z.object({ n: z.number() }),
    start: () => ({
      message() {
        throw new Error('no')
      },
    }),
  })
  const checks = actorContract({ ...options, actor: () => breaks })
  await expect(checks[1]!.run()).rejects.toMatchObject({ code: 'ORLA_INVARIANT' })
  const leaves = defineActor({
    name: 'leaves',
    messages: z.object({ n: z.number() }),
    start: ({ clock }) => ({ message: () => void clock.setTimer(1e9, () => {}) }),
  })
  await expect(actorContract({ ...options, actor: () => leaves })[2]!.run()).rejects.toThrow(/timers are left/)
})

test('an actor hears transitions in order, after the step they belong to, and sends itself messages later', async () => {
  const heard: (string | number)[] = []
  const watcher = defineActor({
    name: 'watcher',
    messages: z.number(),
    start({ after }) {
      after(5, 1)
      after(6, 2)()
      after(7, 3)
      return {
        transition: ({ seq }) => void heard.push(`t${seq}`),
        message: (n) => void heard.push(n),
      }
    },
  })
  const runtime = await testRuntime({ main: main() }, { actors: [watcher] })
  await runtime.until(runtime.start(say, undefined).outcome)
  await runtime.settle()
  expect(heard.filter((each) => typeof each === 'string')).toEqual(runtime.transitions().map(({ seq }) => `t${seq}`))
  expect(heard.filter((each) => typeof each === 'number')).toEqual([1, 3])
  await runtime.close()
})

test('one that breaks starts anew; too often, and it alone is gone', async () => {
  let starts = 0
  const fragile = defineActor({
    name: 'fragile',
    messages: z.object({}),
    start: () => {
      starts++
      return {
        message() {
          throw new Error('as ever')
        },
      }
    },
  })
  const runtime = await testRuntime({ main: main() }, { actors: [fragile] })
  const taken: boolean[] = []
  for (let i = 0; i < 6; i++) {
    taken.push(runtime.tell(fragile, {}))
    await runtime.settle()
  }
  expect(starts).toBe(4)
  expect(taken).toEqual([true, true, true, true, false, false])
  expect(runtime.errors.length).toBeGreaterThan(0)
  expect(await runtime.until(runtime.start(say, undefined).result)).toBe('ok')
  await runtime.close()
})

test('mail beyond the bound is refused', async () => {
  const slow = defineActor({ name: 'slow', messages: z.number(), start: () => ({}) })
  const runtime = await testRuntime({ main: main() }, { actors: [slow] })
  const taken = Array.from({ length: 10_002 }, (_, i) => runtime.tell(slow, i))
  expect(taken.filter(Boolean).length).toBe(10_000)
  await runtime.settle()
  expect(runtime.tell(slow, 1)).toBe(true)
  await runtime.close()
})

test('wrong messages, unknown actors and two of one name are refused', async () => {
  const one = tokenBudget('main', 1)
  await expect(testRuntime({ main: main() }, { actors: [one, one] })).rejects.toMatchObject({ code: 'ORLA_OPTIONS' })
  const runtime = await testRuntime({ main: main() }, { actors: [one] })
  expect(() => runtime.tell(one, { type: 'topUp', tokens: -1 })).toThrow(/tokens/)
  expect(() => runtime.tell(tokenBudget('other', 1), { type: 'topUp', tokens: 1 })).toThrow(/there is no actor/)
  await runtime.close()
})
