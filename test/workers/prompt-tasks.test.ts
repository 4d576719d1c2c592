import { describe, expect, test } from 'vitest'
import { createPromptMeter, measureMessage } from '../../src/prompts/conversation.ts'
import { loadEstimator, utf8BytesEstimator } from '../../src/prompts/estimator.ts'
import { user, type Message } from '../../src/schema/message.ts'
import { runPromptTask } from '../../src/workers/prompt-tasks.ts'
import type { MeasureTask } from '../../src/workers/protocol.ts'

const count = (text: string): number => utf8BytesEstimator.count(text)

describe('prompt tasks', () => {
  test('count texts by the estimator that is named', async () => {
    const o200k = await loadEstimator('o200k_base')
    const texts = ['', 'hello world', '<|endoftext|>']
    expect(await runPromptTask({ type: 'prompt.count', estimator: 'o200k_base', texts })).toEqual({
      ok: true,
      value: texts.map((text) => o200k.count(text)),
    })
  })

  test('measure messages as a meter does', async () => {
    const messages: Message[] = [user('hello'), { role: 'tool', content: 'done', toolCallId: 'call_1' }]
    const result = await runPromptTask({ type: 'prompt.measure', estimator: 'utf8-bytes', messages })
    expect(result).toEqual({ ok: true, value: messages.map((message) => measureMessage(message, count)) })
    expect(createPromptMeter(utf8BytesEstimator).measure(messages).tokens).toBe(2 + 1 + 8)
  })

  test('build messages from drafts, and measure them', async () => {
    const drafts = [
      { role: 'system' as const, pieces: ['be brief'] },
      { role: 'user' as const, pieces: ['a', 'b', 'c'] },
      { role: 'user' as const, pieces: [] },
    ]
    const messages: Message[] = [{ role: 'system', content: 'be brief' }, user('abc'), user('')]
    const facts = messages.map((message) => measureMessage(message, count))
    const result = await runPromptTask({ type: 'prompt.build', estimator: 'utf8-bytes', drafts })
    expect(result).toEqual({ ok: true, value: { messages, facts } })
  })

  test('come back as facts when they fail, plain enough to cross threads', async () => {
    const task = { type: 'prompt.measure', estimator: 'utf8-bytes', messages: [undefined] } as unknown as MeasureTask
    const result = await runPromptTask(task)
    expect(result).toMatchObject({ ok: false, error: { code: 'ORLA_WORKER_TASK', retryable: false } })
    expect(structuredClone(result)).toEqual(result)
  })
})
