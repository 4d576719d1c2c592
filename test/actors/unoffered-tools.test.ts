// A model that calls tools although none were offered.

import { expect, test } from 'vitest'
import { simulated, workflow } from '../../src/index.ts'
import { testRuntime } from '../support/runtime.ts'

test('a call of a tool that nobody offered is answered to the model, and its next answer counts', async () => {
  const backend = simulated({
    model: 'm',
    responder: ({ messages }) => {
      const told = messages.find((message) => message.role === 'tool')
      return told === undefined
        ? { toolCalls: [{ name: 'rm', arguments: { path: '/' } }] }
        : { content: `I was told: ${told.content}` }
    },
  })
  const runtime = await testRuntime({ b: backend })
  const hello = workflow('hello').stage('greet', { backend: 'b', prompt: () => 'Say hello.' })
  const run = runtime.start(hello, undefined)
  const outcome = await runtime.until(run.outcome)
  expect(outcome.results['greet']).toBe('I was told: error: there is no tool "rm"; none is offered')
  expect(outcome.stages['greet']?.toolCalls).toEqual([{ name: 'rm', arguments: { path: '/' }, ok: false }])
  runtime.audit()
})
