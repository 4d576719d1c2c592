// undici by hand: dispatch on a pool, eventsource-parser, and the JSON of each event. No queue, no deadline, no check.

import { createParser } from 'eventsource-parser'
import { Pool } from 'undici'
import { instruction, question, type CallerKind } from './caller.ts'

interface Chunk {
  choices: { delta: { content?: string } }[]
}

interface Answer {
  choices: { message: { content: string } }[]
}

const bodyOf = (stream: boolean): string =>
  JSON.stringify({
    model: 'none',
    messages: [
      { role: 'system', content: instruction },
      { role: 'user', content: question() },
    ],
    stream,
    ...(stream && { stream_options: { include_usage: true } }),
  })

const path = '/v1/chat/completions'
const headers = { 'content-type': 'application/json', accept: 'text/event-stream' }

/** Streams, and puts the text together. */
export const streaming: CallerKind = {
  open({ origin, concurrency }) {
    const pool = new Pool(origin, { connections: concurrency, pipelining: 1 })
    const once = (): Promise<number> =>
      new Promise((resolve, reject) => {
        let text = ''
        const decoder = new TextDecoder()
        const parser = createParser({
          onEvent({ data }) {
            if (data !== '[DONE]') text += (JSON.parse(data) as Chunk).choices[0]?.delta.content ?? ''
          },
        })
        pool.dispatch(
          { method: 'POST', path, headers, body: bodyOf(true) },
          {
            onRequestStart() {},
            onResponseStart() {},
            onResponseData: (_controller, chunk) => parser.feed(decoder.decode(chunk, { stream: true })),
            onResponseEnd: () => resolve(text.length),
            onResponseError: (_controller, error) => reject(error),
          },
        )
      })
    return Promise.resolve({ callsPerTurn: 1, once, close: () => pool.close() })
  },
}

/** Asks for the answer in one piece. */
export const whole: CallerKind = {
  open({ origin, concurrency }) {
    const pool = new Pool(origin, { connections: concurrency, pipelining: 1 })
    const once = async (): Promise<number> => {
      const { body } = await pool.request({ method: 'POST', path, headers, body: bodyOf(false) })
      return ((await body.json()) as Answer).choices[0]!.message.content.length
    }
    return Promise.resolve({ callsPerTurn: 1, once, close: () => pool.close() })
  },
}
