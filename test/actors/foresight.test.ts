import { expect, test } from 'vitest'
import { OrlaError } from '../../src/errors.ts'
import { RuntimeForesight } from '../../src/runtime-foresight.ts'
import type { ChatResult } from '../../src/schema/chat.ts'
import { user } from '../../src/schema/message.ts'
import type { StageDefinition } from '../../src/workflow/definition.ts'

const stage = {
  name: 'check',
  stageClass: 'w/check',
  mapping: { kind: 'explicit', backend: 'b' },
  requirements: {},
  params: {},
} as unknown as StageDefinition
const run = { runId: 'r', tenant: 'acme', definitionId: 'd' }
const prefill = { kind: 'prefill', runId: 'r', stage: 'check' } as const

function foresight(refusal?: string) {
  const told: object[] = []
  const asked: object[] = []
  const cancelled: OrlaError[] = []
  const calls: PromiseWithResolvers<ChatResult>[] = []
  const made = new RuntimeForesight({
    measure: () => ({ tokens: 7 }) as never,
    isPool: () => false,
    modelOf: () => 'm',
    foreseen: (prompt) => void told.push(prompt),
    chat(_backend, request, context) {
      if (refusal !== undefined) return refusal
      asked.push({ request, context })
      const call = Promise.withResolvers<ChatResult>()
      calls.push(call)
      return {
        result: call.promise,
        cancel(reason) {
          cancelled.push(reason)
          call.reject(reason)
        },
      }
    },
  })
  return { made, told, asked, cancelled, calls }
}

test('a prefill is the request that it is for, with an answer of one token and the lowest priority', async () => {
  const { made, told, asked, calls } = foresight()
  made.next(run, stage, [user('so far')])
  expect(told).toEqual([
    { runId: 'r', stage: 'check', stageClass: 'w/check', backend: 'b', model: 'm', tokens: 7, of: 'run' },
  ])
  const heard: object[] = []
  made.prefill('b', prefill, 1, (outcome) => void heard.push(outcome))
  expect(asked).toMatchObject([
    {
      request: { model: 'm', messages: [{ content: 'so far' }], params: { maxTokens: 1 } },
      context: { salt: 'acme', sessionId: 'r', priority: -1_000_000 },
    },
  ])
  calls[0]!.resolve({ usage: { promptTokens: 7 } } as ChatResult)
  await calls[0]!.promise
  expect(heard).toEqual([{ usage: { promptTokens: 7 }, message: '' }])
})

test('nothing is sent for what is not known, not any more, or where there is no slot', () => {
  const { made, asked } = foresight()
  const heard: object[] = []
  const hear = (outcome: object): void => void heard.push(outcome)
  made.prefill('b', prefill, 1, hear)
  made.next(run, stage, [user('so far')])
  made.forget('r')
  made.prefill('b', prefill, 2, hear)
  expect(asked).toEqual([])
  const full = foresight('the backend is busy')
  full.made.next(run, stage, [user('so far')])
  full.made.prefill('b', prefill, 3, hear)
  const unknown = { message: 'nothing is known of the prompt any more' }
  expect(heard).toEqual([unknown, unknown, { busy: true, message: 'the backend is busy' }])
})

test('what is abandoned is cancelled, and nobody hears of it', async () => {
  const { made, cancelled, calls } = foresight()
  made.next(run, stage, [user('so far')])
  const heard: object[] = []
  made.prefill('b', prefill, 1, (outcome) => void heard.push(outcome))
  made.abandon()
  await calls[0]!.promise.catch(() => {})
  await Promise.resolve()
  expect([cancelled.length, heard]).toEqual([1, []])
  // The number is free again for another.
  made.prefill('b', prefill, 1, (outcome) => void heard.push(outcome))
  made.stop(1, 'enough')
  await calls[1]!.promise.catch(() => {})
  await Promise.resolve()
  expect(heard).toEqual([{ message: 'enough' }])
})
