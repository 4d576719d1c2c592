import { EventEmitter } from 'node:events'
import { expect, test } from 'vitest'
import { SseWriter } from '../../src/simulator/sse-writer.ts'

/** A response whose socket is full whenever `full` is. */
class FakeResponse extends EventEmitter {
  full = false
  status = 0
  written: string[] = []
  ended = false
  writeHead(status: number): void {
    this.status = status
  }
  write(text: string): boolean {
    this.written.push(text)
    return !this.full
  }
  end(text: string): void {
    this.written.push(text)
    this.ended = true
  }
}

test('W1, W2: writes nothing to a full socket, and joins what waits', () => {
  const response = new FakeResponse()
  const writer = new SseWriter(response, { id: 'x', created: 1, model: 'm' })
  writer.parts([{ channel: 'reasoning', text: 'hm' }])
  expect(response.status).toBe(200)
  expect(response.written).toHaveLength(2)
  response.full = true
  writer.parts([{ channel: 'content', text: 'a' }])
  expect(response.written).toHaveLength(3)
  const one = { channel: 'tool', index: 0, text: '{' } as const
  const call = { channel: 'call', index: 1, id: 'c', name: 'f' } as const
  writer.parts([{ channel: 'content', text: 'b' }])
  writer.parts([{ channel: 'content', text: 'c' }, one, one])
  writer.parts([{ ...one, index: 1 }, call])
  writer.end([{ last: true }])
  expect(response.written).toHaveLength(3)
  expect(one.text).toBe('{')
  response.emit('drain')
  // Still full: one write, then it waits again.
  expect(response.written).toHaveLength(4)
  expect(response.written[3]).toContain('"content":"bc"')
  response.full = false
  response.emit('drain')
  expect(response.ended).toBe(true)
  expect(response.written.slice(4, -1).map((event) => /"arguments":"([^"]*)"/.exec(event)?.[1])).toEqual([
    '{{',
    '{',
    '',
  ])
  expect(response.written.at(-1)).toBe('data: {"last":true}\n\ndata: [DONE]\n\n')
})
