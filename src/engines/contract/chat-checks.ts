// Checks of the driver contract: answers, tools, schemas, usage, cancellation.

import { CancelledError } from '../../errors.ts'
import { parseJson } from '../../schema/json.ts'
import { user } from '../../schema/message.ts'
import { pause } from '../kv-control.ts'
import { answer, ask, longText, saying } from './asking.ts'
import { promised, rejectionOf, type Check } from './check.ts'

/** Milliseconds in which an engine has noticed that nobody listens any more. */
const noticeMs = 3_000

const weather = {
  name: 'read_weather',
  description: 'Tells the weather of a city. Always use it for questions about the weather.',
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
}

const verdict = {
  type: 'object',
  properties: { verdict: { enum: ['yes', 'no'] }, reason: { type: 'string' } },
  required: ['verdict', 'reason'],
  additionalProperties: false,
}

/** Checks of answers. */
export const chatChecks = {
  async 'streams text, and the deltas are the answer (D1)'(checked) {
    const call = ask(checked, saying(checked, 'Say something about parcels that arrive late.'))
    const { content, reasoning, finishReason } = await call.result
    promised(content !== '', 'an answer has content')
    promised(call.deltas.length > 1, 'an answer arrives in pieces', call.deltas.length)
    const told = (wanted: string): string =>
      call.deltas.map(([channel, text]) => (channel === wanted ? text : '')).join('')
    promised(told('content') === content, 'the content deltas are the content', { told: told('content'), content })
    promised(told('reasoning') === reasoning, 'the reasoning deltas are the reasoning')
    promised(finishReason === 'stop', 'an answer that ended by itself says stop', finishReason)
  },

  async 'tells an answer that was cut by its bound'(checked) {
    const { finishReason, usage } = await answer(
      checked,
      saying(checked, 'Tell a long story about the sea.', { params: { maxTokens: 4 } }),
    )
    promised(finishReason === 'length', 'an answer that was cut says length', finishReason)
    promised((usage.completionTokens ?? 4) <= 4, 'no more than maxTokens are generated', usage)
  },

  async 'takes tool calls out of the stream, and their results back in'(checked) {
    const question = saying(checked, 'What is the weather in Aarhus?', { tools: [weather] })
    const first = await answer(checked, question)
    promised(first.finishReason === 'tool_calls', 'a model that asks for a tool says tool_calls', first.finishReason)
    const [call] = first.toolCalls
    promised(call?.name === 'read_weather', 'a call names its tool', first.toolCalls)
    promised(call.id !== '', 'a call has an id')
    const parsed = parseJson(call.arguments)
    promised(parsed.ok && typeof parsed.value === 'object', 'arguments are whole', call.arguments)
    const second = await answer(checked, {
      ...question,
      messages: [
        user('What is the weather in Aarhus?'),
        { role: 'assistant', content: first.content, toolCalls: first.toolCalls },
        { role: 'tool', content: 'Rain, 9 degrees.', toolCallId: call.id },
      ],
      toolChoice: 'none',
    })
    promised(second.toolCalls.length === 0, 'no tool is called where the choice is none', second.toolCalls)
    promised(second.content !== '', 'results lead to an answer')
  },

  async 'requires a tool where one is required'(checked) {
    const tools = [weather]
    const { messages } = saying(checked, 'Good morning!')
    // Once everything was called a plausible model would answer in words.
    const called = { id: 'call_a', name: weather.name, arguments: '{"city":"Aarhus"}' }
    const history = [
      ...messages,
      { role: 'assistant' as const, content: '', toolCalls: [called] },
      { role: 'tool' as const, content: 'Rain.', toolCallId: 'call_a' },
    ]
    const { toolCalls } = await answer(checked, {
      ...saying(checked, ''),
      messages: history,
      tools,
      toolChoice: 'required',
    })
    promised(toolCalls.length > 0, 'a required tool is called', toolCalls)
  },

  async 'obeys a schema'(checked) {
    const request = saying(checked, 'Is the sea wet? Answer as JSON.', {
      responseSchema: { name: 'verdict', schema: verdict },
    })
    const { content } = await answer(checked, request)
    const parsed = parseJson(content)
    promised(parsed.ok, 'an answer with a schema is JSON', content)
    const { verdict: said, reason } = parsed.value as { verdict?: unknown; reason?: unknown }
    promised((said === 'yes' || said === 'no') && typeof reason === 'string', 'it matches the schema', content)
  },

  async 'reports usage'(checked) {
    const short = await answer(checked, saying(checked, 'Hello.'))
    const long = await answer(checked, saying(checked, longText('usage')))
    const { promptTokens = 0, completionTokens = 0 } = short.usage
    promised(promptTokens > 0 && completionTokens > 0, 'tokens are counted', short.usage)
    promised((long.usage.promptTokens ?? 0) > promptTokens, 'a longer prompt has more tokens', long.usage)
    const { cachedTokens = 0 } = long.usage
    promised(cachedTokens <= (long.usage.promptTokens ?? 0), 'no more tokens are cached than there are', long.usage)
  },

  async 'reports cached tokens after a repeat'(checked) {
    const request = saying(checked, longText('repetition'))
    const context = { sessionId: 'repeat' }
    await answer(checked, request, context)
    const { usage } = await answer(checked, request, context)
    promised((usage.cachedTokens ?? 0) > 0, 'a prompt that was just computed is cached', usage)
    promised((usage.cachedTokens ?? 0) < (usage.promptTokens ?? 0), 'the last token is always computed', usage)
  },

  async 'a cancelled request ends at once, here and in the engine (D3)'(checked) {
    const { subject } = checked
    const call = ask(
      checked,
      saying(checked, 'Count to a thousand.', { params: { maxTokens: 2_000, ignoreEos: true } }),
    )
    await call.first
    const heard = call.deltas.length
    const reason = new CancelledError('caller', 'the check has seen enough')
    call.cancel(reason)
    const error = await rejectionOf(call.result, 'a cancelled call rejects')
    promised((error as unknown) === reason, 'it rejects with the reason of the cancellation', error.message)
    promised(call.deltas.length === heard, 'no delta follows', call.deltas.length - heard)
    promised(subject.running !== undefined, 'the subject tells how many requests run')
    let running = subject.running()
    for (let waitedMs = 0; running > 0 && waitedMs < noticeMs; waitedMs += 20) {
      await pause(checked.clock, 20)
      running = subject.running()
    }
    promised(running === 0, `the engine has let go of it within ${noticeMs} ms`, running)
    const after = await answer(checked, saying(checked, 'Still there?'))
    promised(after.content !== '', 'the next request is answered')
  },

  async 'counts the tokens of a prompt as its usage does'(checked) {
    const { driver } = checked
    promised(driver.countTokens !== undefined, 'the driver counts tokens')
    const request = saying(checked, longText('counting'))
    const counted = await driver.countTokens(request)
    const { usage } = await answer(checked, request)
    promised(counted === usage.promptTokens, 'both counts are equal', { counted, usage })
  },
} satisfies Record<string, Check>
