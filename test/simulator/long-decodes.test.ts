import { describe, expect, test } from 'vitest'
import { virtualClock } from '../../src/clock.ts'
import type { ChatRequest } from '../../src/schema/chat.ts'
import { user } from '../../src/schema/message.ts'
import { buildEngine } from '../../src/simulator/engine-plan.ts'
import { enginePreset } from '../../src/simulator/presets/engines.ts'
import { stepEngineModel } from '../../src/simulator/step-model/gpu.ts'

const profile = enginePreset({ gpu: 'h100', model: 'qwen3-8b', engine: 'vllm' })

/** An answer of 4,000 tokens, with others beside it that come and go; when it was heard of, ms. */
async function heard(watched: boolean): Promise<{ atMs: number[]; tokens: number }> {
  const clock = virtualClock()
  const model = stepEngineModel({ clock, profile })
  const atMs: number[] = []
  let tokens = 0
  const submit = (id: string, output: number, listen: boolean): Promise<void> =>
    new Promise((resolve) => {
      model.submit(
        {
          id,
          prompt: [{ stream: id, from: 0, to: 100 }],
          output: { stream: `${id}/answer`, from: 0, to: output },
          watched: watched && listen,
        },
        {
          started: () => {},
          tokens(count) {
            if (!listen) return
            atMs.push(clock.nowMs())
            tokens += count
          },
          finished: () => resolve(),
        },
      )
    })
  const long = submit('long', 4_000, true)
  for (let i = 0; i < 20; i++) clock.setTimer(i * 1_300, () => void submit(`short ${i}`, 40, false))
  await clock.run(long)
  return { atMs, tokens }
}

describe('a long decode', () => {
  test('E6: is heard of every few seconds, although nobody watches its tokens', async () => {
    const { atMs, tokens } = await heard(false)
    expect(tokens).toBe(4_000)
    expect(atMs.at(-1)! - atMs[0]!).toBeGreaterThan(25_000)
    expect(atMs.length).toBeLessThan(12)
    for (const [i, at] of atMs.entries()) expect(at - (atMs[i - 1] ?? at)).toBeLessThanOrEqual(10_000)
  })

  test('ends at the same time as one that is watched', async () => {
    const [quiet, watched] = [await heard(false), await heard(true)]
    expect(watched.atMs).toHaveLength(4_000)
    expect(quiet.atMs.at(-1)).toBeCloseTo(watched.atMs.at(-1)!, 3)
  })
})

describe('an answer to a prompt without text', () => {
  test('has a place and a length, and no text', async () => {
    const clock = virtualClock()
    const engine = await buildEngine(
      {
        model: 'm',
        contextLength: 10_000,
        speed: 1,
        seed: 1,
        engine: { kind: 'step', profile },
        responder: () => {
          throw new Error('nobody asks for words')
        },
      },
      clock,
    )
    const request: ChatRequest = {
      model: 'm',
      messages: [{ ...user(''), span: { stream: 's', from: 0, to: 500 } }],
      params: { maxTokens: 200, ignoreEos: true },
    }
    const said: string[] = []
    const result = await clock.run(
      new Promise((resolve) => {
        engine.chat(
          request,
          { requestId: 'r', watched: false },
          {
            parts: (parts) => said.push(...parts.map((part) => ('text' in part ? part.text : ''))),
            finished: resolve,
          },
        )
      }),
    )
    expect(result).toMatchObject({
      outcome: 'completed',
      result: {
        content: '',
        finishReason: 'length',
        span: { stream: 's', from: 500, to: 700 },
        usage: { promptTokens: 500, completionTokens: 200 },
      },
    })
    // A word each time that tokens exist: somebody may wait for the first.
    expect(said).toHaveLength(2)
    expect(said.every((text) => text.length > 0)).toBe(true)
  })
})
