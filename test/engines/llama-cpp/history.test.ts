// Conversations as the chat template's reader wants them.

import { expect, test } from 'vitest'
import { historyOf } from '../../../src/engines/llama-cpp/history.ts'
import { assistant, system, user } from '../../../src/schema/message.ts'

test('a result goes to the call that it answers, in one reply of the model', () => {
  const history = historyOf([
    system('be kind'),
    user('hi'),
    {
      role: 'assistant',
      content: 'let me see',
      toolCalls: [
        { id: 'c1', name: 'read', arguments: '{"a":1}' },
        { id: 'c2', name: 'read', arguments: 'not json' },
      ],
    },
    { role: 'tool', toolCallId: 'c2', content: 'text' },
    { role: 'tool', toolCallId: 'c1', content: '{"b":2}' },
    assistant('done'),
  ])
  expect(history).toEqual([
    { type: 'system', text: 'be kind' },
    { type: 'user', text: 'hi' },
    {
      type: 'model',
      response: [
        'let me see',
        { type: 'functionCall', name: 'read', params: { a: 1 }, result: { b: 2 }, startsNewChunk: true },
        { type: 'functionCall', name: 'read', params: 'not json', result: 'text', startsNewChunk: false },
        'done',
      ],
    },
  ])
})

test('a result that answers no call is not lost', () => {
  expect(historyOf([{ role: 'tool', toolCallId: 'gone', content: 'text' }])).toEqual([{ type: 'user', text: 'text' }])
})

test('tokens without text become filler text that keeps prefixes shared', () => {
  const span = (to: number) => ({ role: 'user', content: '', span: { stream: 's', from: 0, to } }) as const
  const [[short], [long]] = [historyOf([span(5)]), historyOf([span(9)])]
  expect(long?.type === 'user' && short?.type === 'user' && long.text.startsWith(short.text)).toBe(true)
})
