import fc from 'fast-check'
import type { TokenEstimator } from '../../src/prompts/estimator.ts'
import type { Message } from '../../src/schema/message.ts'

/** An estimator that counts words, and its own calls. */
export function countingEstimator(): TokenEstimator & { calls: number; texts: string[] } {
  return {
    name: 'words',
    calls: 0,
    texts: [],
    count(text) {
      this.calls++
      this.texts.push(text)
      return text === '' ? 0 : text.split(/\s+/).length
    },
  }
}

/** Any text, special ones included. */
export const anyText = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 40 }),
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.constantFrom('<|endoftext|>', '<|im_start|>system', '{{ input.x }}', '', ' '.repeat(300), 'é漢字'.repeat(100)),
)

const span = fc
  .tuple(fc.constantFrom('a', 'b'), fc.nat(50), fc.nat(50))
  .map(([stream, from, length]) => ({ stream, from, to: from + length }))

/** Any message. */
const anyMessage: fc.Arbitrary<Message> = fc.oneof(
  anyText.map((content): Message => ({ role: 'system', content })),
  anyText.map((content): Message => ({ role: 'user', content })),
  anyText.map((content): Message => ({ role: 'assistant', content })),
  fc
    .tuple(anyText, fc.array(fc.tuple(anyText, anyText, anyText), { maxLength: 3 }))
    .map(([content, calls]): Message => {
      const toolCalls = calls.map(([id, name, text]) => ({ id, name, arguments: text }))
      return { role: 'assistant', content, toolCalls }
    }),
  fc.tuple(anyText, anyText).map(([content, toolCallId]): Message => ({ role: 'tool', content, toolCallId })),
  span.map((of): Message => ({ role: 'user', content: '', span: of })),
)

/** A short conversation in which messages repeat. */
export const anyMessages = fc.array(anyMessage, { maxLength: 8 })
