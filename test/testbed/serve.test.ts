import { describe, expect, test } from 'vitest'
import { OptionsError } from '../../src/errors.ts'
import { serveSimulated } from '../../src/testing.ts'

describe('a simulated engine by itself', () => {
  test('answers any OpenAI client, in the time of the engine', async () => {
    const engine = await serveSimulated({ model: 'qwen3-coder-30b', gpu: 'h200', speed: 50 })
    const reply = await fetch(`${engine.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        model: 'qwen3-coder-30b',
        messages: [{ role: 'user', content: 'write a long story' }],
        max_tokens: 100,
        ignore_eos: true,
      }),
    })
    const { usage } = (await reply.json()) as { usage: { completion_tokens: number } }
    expect(usage.completion_tokens).toBe(100)
    const { busyMs, outputTokens } = engine.stats()
    expect(outputTokens).toBe(100)
    // About 7 ms a token, whatever the speed.
    expect(busyMs).toBeGreaterThan(400)
    await engine.close()
    await expect(fetch(`${engine.url}/health`)).rejects.toThrow()
  })

  test('refuses what it does not know', async () => {
    await expect(serveSimulated({ model: 'gpt' })).rejects.toThrow(/there are qwen3-4b/)
    await expect(serveSimulated({ speed: 0 })).rejects.toThrow(OptionsError)
    await expect(serveSimulated({ gpu: 'abacus' as 'h100' })).rejects.toThrow(OptionsError)
  })
})
