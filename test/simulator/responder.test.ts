import { beforeAll, describe, expect, test } from 'vitest'
import { randomStream } from '../../src/clock.ts'
import type { ChatRequest } from '../../src/schema/chat.ts'
import { assistant, system, user, type Message } from '../../src/schema/message.ts'
import { answerOf, requestRandom } from '../../src/simulator/answer.ts'
import { defaultResponder } from '../../src/simulator/default-responder.ts'
import { importResponder, type Reply } from '../../src/simulator/responder.ts'
import { scriptedResponder } from '../../src/simulator/scripted-responder.ts'
import { loadTokenText, type TokenText } from '../../src/simulator/token-text.ts'

const tools = [
  {
    name: 'read_policy',
    description: '',
    parameters: { type: 'object', properties: { topic: { enum: ['refund', 'delay'] } }, required: ['topic'] },
  },
  {
    name: 'send_ticket',
    description: '',
    parameters: { type: 'object', properties: { team: { type: 'string' } }, required: ['team'] },
  },
]
const responseSchema = {
  name: 'reply',
  schema: { type: 'object', properties: { ok: { type: 'boolean' } }, required: ['ok'] },
}

let text: TokenText
beforeAll(async () => {
  text = await loadTokenText()
})

function ask(given: Partial<ChatRequest> = {}): ChatRequest {
  return {
    model: 'm',
    messages: [system('You help.'), user('I want a refund for my broken lamp')],
    params: {},
    ...given,
  }
}

function reply(request: ChatRequest): Reply {
  return defaultResponder(request, { random: requestRandom(1, request), model: request.model })
}

/** The conversation after `given` called its tools. */
function after(messages: readonly Message[], given: Reply): Message[] {
  const toolCalls = (given.toolCalls ?? []).map(({ name }, i) => ({
    id: `c${messages.length}-${i}`,
    name,
    arguments: '{}',
  }))
  return [
    ...messages,
    { role: 'assistant', content: '', toolCalls },
    ...toolCalls.map(({ id }): Message => ({ role: 'tool', content: 'done', toolCallId: id })),
  ]
}

describe('the default responder', () => {
  test('calls each offered tool once, one a turn, then answers by the schema', () => {
    let messages = ask().messages as Message[]
    const first = reply(ask({ messages, tools, responseSchema }))
    expect(first).toEqual({ toolCalls: [{ name: 'read_policy', arguments: { topic: 'refund' } }] })
    messages = after(messages, first)
    const second = reply(ask({ messages, tools, responseSchema }))
    expect(second.toolCalls).toMatchObject([{ name: 'send_ticket', arguments: { team: expect.any(String) } }])
    messages = after(messages, second)
    const third = reply(ask({ messages, tools, responseSchema }))
    expect(third.toolCalls).toBeUndefined()
    expect(JSON.parse(third.content ?? '')).toEqual({ ok: expect.any(Boolean) })
  })

  test('calls nothing when told so, and goes on calling when it must', () => {
    expect(reply(ask({ tools, toolChoice: 'none' })).toolCalls).toBeUndefined()
    let messages = ask().messages as Message[]
    for (let turn = 0; turn < 4; turn++) {
      const given = reply(ask({ messages, tools, toolChoice: 'required' }))
      expect(given.toolCalls).toHaveLength(1)
      messages = after(messages, given)
    }
  })

  test('writes some sentences about what the user said', () => {
    expect(reply(ask()).content).toMatch(/^About refund, broken, lamp: .+\.$/)
    expect(reply(ask({ messages: [user('?')] })).content).toMatch(/^Thank you: .+\.$/)
    expect(reply(ask({ messages: [system('x')] })).content).toMatch(/^Thank you/)
  })

  test('says the same to the same request, and something else with another seed', () => {
    expect(reply(ask())).toEqual(reply(ask()))
    expect(reply(ask({ params: { seed: 5 } }))).toEqual(reply(ask({ params: { seed: 5 } })))
    expect(reply(ask({ params: { seed: 5 } }))).not.toEqual(reply(ask()))
    expect(reply(ask({ messages: [assistant('hi'), ...ask().messages] }))).not.toEqual(reply(ask()))
    expect(reply({ params: {}, messages: ask().messages, model: 'm', toolChoice: 'auto', tools: [] })).toEqual(
      reply(ask()),
    )
  })

  test('leaves the words of replayed workloads to the engine', () => {
    const messages: Message[] = [{ role: 'user', content: '', span: { stream: 's', from: 0, to: 9 } }]
    expect(reply(ask({ messages, params: { ignoreEos: true, maxTokens: 5 } }))).toEqual({})
  })
})

describe('a scripted responder', () => {
  const scripted = scriptedResponder([
    { model: 'big', reply: 'from the big one' },
    { system: 'triage', turn: 2, reply: { content: 'second turn of triage' } },
    { system: /triage/g, reply: 'triage' },
    {
      content: /lamp$/i,
      when: (request) => request.params.seed === 4,
      reply: (request, { model }) => ({ content: `${model} ${request.messages.length}` }),
    },
    { content: 'nothing like it', reply: 'never' },
  ])
  const say = (request: ChatRequest): string | undefined =>
    scripted(request, { random: randomStream(1, 'x'), model: 'm' }).content

  test('follows the first rule that fits, time and again', () => {
    expect(say(ask({ model: 'big', messages: [system('triage')] }))).toBe('from the big one')
    const triage = [system('You do triage.'), user('x')]
    for (let i = 0; i < 3; i++) expect(say(ask({ messages: triage }))).toBe('triage')
    expect(say(ask({ messages: [...triage, assistant('a'), user('b')] }))).toBe('second turn of triage')
    expect(say(ask({ params: { seed: 4 } }))).toBe('m 2')
  })

  test('leaves to the default, or to another, what no rule fits', () => {
    expect(say(ask())).toMatch(/^About/)
    expect(say(ask({ messages: [] }))).toMatch(/^Thank/)
    const strict = scriptedResponder([], () => ({ error: { status: 500, message: 'no rule' } }))
    expect(strict(ask(), { random: randomStream(1, 'x'), model: 'm' })).toHaveProperty('error')
  })
})

describe('a responder module', () => {
  test('is loaded by its URL', async () => {
    const responder = await importResponder(new URL('./embedded-responder.ts', import.meta.url).href)
    expect(responder(ask(), { random: randomStream(1, 'x'), model: 'm' }).content).toBe('module says: 2 message(s)')
  })
})

describe('an answer', () => {
  const answer = (given: Reply, params: ChatRequest['params'] = {}, tokensMax = 1_000) =>
    answerOf(ask({ params }), given, tokensMax, text, randomStream(1, 'ids'))

  test('is cut to its most tokens, and says so', () => {
    expect(answer({ content: 'one two three four' }, { maxTokens: 2 })).toMatchObject({
      content: 'one two',
      tokens: 2,
      finishReason: 'length',
    })
    expect(answer({ content: 'one two' }, { maxTokens: 2 })).toMatchObject({ tokens: 2, finishReason: 'stop' })
    expect(answer({ content: 'one two three four' }, { maxTokens: 9 }, 3)).toMatchObject({
      content: 'one two three',
      finishReason: 'length',
    })
    expect(answer({ toolCalls: [{ name: 'f', arguments: { a: 1 } }] }, { maxTokens: 2 })).toMatchObject({
      finishReason: 'length',
      toolCalls: [{ name: 'f', arguments: '{"' }],
    })
    expect(answer({ reasoning: 'well well well', content: 'x' }, { maxTokens: 2 })).toMatchObject({
      content: '',
      reasoningTokens: 2,
    })
  })

  test('ends at the first stop text', () => {
    expect(answer({ content: 'one STOP two END' }, { stop: ['END', 'STOP'] })).toMatchObject({
      content: 'one ',
      finishReason: 'stop',
    })
  })

  test('goes on to exactly its most tokens when it ignores the end', () => {
    const padded = answer(
      { content: 'one', toolCalls: [{ id: 'a', name: 'f', arguments: '{}' }] },
      { maxTokens: 40, ignoreEos: true },
    )
    expect(padded).toMatchObject({
      tokens: 40,
      finishReason: 'length',
      toolCalls: [{ id: 'a', name: 'f', arguments: '{}' }],
    })
    expect(text.count(padded.content)).toBe(40 - 1 - text.count('{}'))
    expect(answer({ content: 'one' }, { ignoreEos: true })).toMatchObject({ tokens: 1, finishReason: 'stop' })
  })

  test('is its parts, however they are cut', () => {
    const given: Reply = {
      reasoning: 'hm 日本語 👩‍👩‍👧',
      content: 'Café ☕ said: naïve 𝒳𝒴',
      toolCalls: [
        { name: 'f', arguments: { a: '日本' } },
        { name: 'g', arguments: 'not json' },
      ],
    }
    const whole = answer(given)
    for (const step of [1, 2, 3, 7, 1_000]) {
      const texts = { reasoning: '', content: '', refusal: '' }
      const calls: string[] = []
      for (let from = 0; from < whole.tokens; from += step) {
        for (const part of whole.parts(from, Math.min(from + step, whole.tokens))) {
          if (part.channel === 'call') calls[part.index] = ''
          else if (part.channel === 'tool') calls[part.index]! += part.text
          else texts[part.channel] += part.text
        }
      }
      expect(texts).toMatchObject({ reasoning: given.reasoning, content: given.content })
      expect(calls).toEqual(['{"a":"日本"}', 'not json'])
    }
    expect(new Set(whole.toolCalls.map(({ id }) => id)).size).toBe(2)
  })

  test('of nothing is one token', () => {
    expect(answer({})).toMatchObject({ content: '', tokens: 1, finishReason: 'stop' })
    expect(answer({ refusal: 'no' })).toMatchObject({ refusal: 'no', content: '' })
  })
})

describe('tokens of text', () => {
  test.each([
    '',
    'plain words here',
    '日本語 👩‍👩‍👧 ok',
    '<|endoftext|> is text',
    'lone \ud800 surrogate',
    '\ufffd replaced',
    'a'.repeat(5_000),
    ' '.repeat(3_000),
    `mixed ${'x9'.repeat(900)} words and more`,
  ])('are as many pieces as counted, and together the text: case %#', (value) => {
    const pieces = text.pieces(value)
    expect(pieces).toHaveLength(text.count(value))
    expect(pieces.join('')).toBe(value)
  })

  test('of ordinary prose are not disturbed by one long word', () => {
    const prose = 'The quick brown fox jumps over the lazy dog and runs away. '.repeat(20)
    const extra = text.count(prose + 'ab'.repeat(400)) - text.count(prose)
    expect(extra).toBeLessThan(420)
  })
})
