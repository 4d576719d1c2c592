// Faults instead of an answer: the engine never hears of the request, except where it is only late.

import { gzipSync } from 'node:zlib'
import type { Clock, Random } from '../../clock.ts'
import type { Fault } from './catalogue.ts'
import { errorBody } from './texts.ts'
import type { Wire } from './wire.ts'

/** What faults instead of an answer need. */
export interface InsteadOptions {
  wire: () => Wire
  clock: Clock
  random: Random
  model: string
  /** Stops listening for so many milliseconds, and closes every connection. */
  refuse: (ms: number) => void
  /** Requests that met this fault before. */
  before: number
  /** Id of the answer to another request. */
  anotherId: string
}

/** Milliseconds for which nothing listens. */
const refuseMs = 1_000
/** Milliseconds that a slow start takes; a ramp grows to ten times this. */
const slowMs = 200
/** Bytes that a bomb inflates to. */
const bombBytes = 16 * 1024 * 1024
/** One request in so many works where most fail. */
const worksOnceIn = 20

const json = { 'content-type': 'application/json' }
const stream = { 'content-type': 'text/event-stream' }

/** Values of `retry-after`, by kind. */
const retryAfter: Readonly<Record<string, (clock: Clock) => string>> = {
  seconds: () => '1',
  date: (clock) => new Date(clock.epochMs() + 1_000).toUTCString(),
  negative: () => '-5',
  nan: () => 'NaN',
  year: () => '31536000',
  limited: () => '1',
  // In milliseconds one more than a 32-bit timer holds.
  overflow: () => '2147484',
}

/**
 * Answers in the engine's place.
 *
 * @returns false if the engine is to answer after all, now or later
 */
export async function answerInstead({ fault, kind }: Fault, options: InsteadOptions): Promise<boolean> {
  if (fault === 'B32') return answerSlowly(kind, options)
  const wire = options.wire()
  switch (fault) {
    case 'B1':
      wire.reset()
      options.refuse(refuseMs)
      return true
    case 'B2':
      return true
    case 'B3':
      wire.reset()
      return true
    case 'B12':
      wire.reply(200, json, JSON.stringify(errorBody(kind)))
      return true
    case 'B13':
      wire.reply(200, { 'content-type': 'text/html; charset=utf-8' }, '<!doctype html><title>Log in</title>')
      return true
    case 'B20':
      wire.reply(200, { ...stream, 'x-trace': 'y'.repeat(40_000) }, 'data: [DONE]\n\n')
      return true
    case 'B21':
      wire.raw('SSH-2.0-OpenSSH_9.9\r\n\r\n')
      wire.fin()
      return true
    case 'B22':
      answerCompressed(kind, wire)
      return true
    case 'B23':
      wire.reply(302, { location: 'http://169.254.169.254/latest/meta-data/' }, '')
      return true
    case 'B24':
    case 'B25': {
      const status = kind === 'limited' ? 429 : 503
      const wait = retryAfter[kind]!(options.clock)
      wire.reply(status, { ...json, 'retry-after': wait }, errorOf(status, 'The request queue is full.'))
      return true
    }
    case 'B26':
      answerOddly(kind, wire)
      return true
    case 'B27':
      wire.reply(Number(kind), json, errorOf(Number(kind), 'the key was revoked'))
      return true
    case 'B28':
      if (kind === 'model') wire.reply(404, json, errorOf(404, `The model \`${options.model}\` does not exist.`))
      else wire.reply(400, json, errorOf(400, "This model's maximum context length is 16 tokens."))
      return true
    case 'B33':
      wire.reply(500, json, errorOf(500, 'CUDA error: an illegal memory access was encountered'))
      return true
    case 'B34':
      wire.fin()
      return true
    case 'B35':
      answerAnother(options, wire)
      return true
    default:
      return false
  }
}

async function answerSlowly(kind: string, { wire, clock, random, before }: InsteadOptions): Promise<boolean> {
  if (kind === 'flaky') {
    if (before % worksOnceIn === worksOnceIn - 1) return false
    wire().reply(503, json, errorOf(503, 'not now'))
    return true
  }
  const factor = kind === 'ramp' ? Math.min(10, before) : kind === 'bimodal' ? Math.round(random()) : 1
  await new Promise<void>((resolve) => void clock.setTimer(slowMs * factor, resolve))
  return false
}

function answerCompressed(kind: string, wire: Wire): void {
  const body = gzipSync(Buffer.alloc(bombBytes, ': bomb\n'))
  // A chain as long as a header may be: each link is a decompressor.
  const encoding = kind === 'bomb' ? 'gzip' : Array.from({ length: 2_000 }, () => 'gzip').join(',')
  wire.head(200, { ...stream, 'content-encoding': encoding }, body.length)
  wire.raw(body)
  wire.fin()
}

function answerOddly(kind: string, wire: Wire): void {
  switch (kind) {
    case 'flood':
      // What comes after so many promises is an error as well.
      for (let i = 0; i < 100; i++) wire.raw('HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n')
      return wire.reply(500, json, errorOf(500, 'after all that'))
    case '101':
      wire.raw('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n')
      return wire.fin()
    case '204':
      wire.raw('HTTP/1.1 204 No Content\r\ncontent-length: 7\r\n\r\nsurplus')
      return wire.fin()
    default:
      return wire.reply(Number(kind), json, errorOf(Number(kind), `status ${kind}`))
  }
}

/** A whole and sound answer, which nobody here asked for. */
function answerAnother({ model, anotherId }: InsteadOptions, wire: Wire): void {
  const event = { id: anotherId, object: 'chat.completion.chunk', created: 0, model }
  const choices = (delta: object, reason: string | null): string =>
    `data: ${JSON.stringify({ ...event, choices: [{ index: 0, delta, finish_reason: reason }] })}\n\n`
  const body = `${choices({ role: 'assistant', content: "another's secret" }, null)}${choices({}, 'stop')}`
  wire.reply(200, { ...stream, 'x-request-id': 'of-another' }, `${body}data: [DONE]\n\n`)
}

function errorOf(status: number, message: string): string {
  return JSON.stringify({ error: { message, type: 'InjectedFault', param: null, code: status } })
}
