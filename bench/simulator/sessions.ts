// Closed-loop sessions of a coding agent: a context that grows turn by turn, tools in between, and a new session when
// the context is full.

import type { VirtualClock } from '../../src/clock.ts'
import type { TokenSpan } from '../../src/schema/message.ts'
import type { EngineModel } from '../../src/simulator/engine-model.ts'

/** Tools and instructions that all sessions share: about 15,000 tokens in Claude Code traces (kv-cache-tester). */
const sharedTokens = 15_000
/** A session starts with this much of its own, and ends at `contextMax`. */
const ownTokens = 25_000
const contextMax = 150_000

/** Medians and spreads of Claude Code traces (kv-cache-tester): new tokens and answer of a turn, and time to the next. */
const turn = { freshMedian: 706, freshSigma: 1.4, outputMedian: 217, outputSigma: 0.9, outputMax: 4_000 }
const thinkMs = { median: 5_000, sigma: 0.8, max: 10_000 }

/**
 * Keeps `sessions` sessions going until `turns` turns are over.
 *
 * @returns a promise that resolves with the last turn
 */
export function runSessions(options: {
  clock: VirtualClock
  model: EngineModel
  sessions: number
  turns: number
}): Promise<void> {
  const { clock, model } = options
  const random = clock.random('sessions')
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
  const lognormal = (median: number, sigma: number): number => median * Math.exp(sigma * normal())
  const { promise, resolve } = Promise.withResolvers<void>()
  let finished = 0
  let started = 0

  const session = (): void => {
    const stream = `session ${started++}`
    const prompt: TokenSpan[] = [{ stream: 'shared', from: 0, to: sharedTokens }]
    let position = 0
    let turnNumber = 0
    const extend = (tokens: number): TokenSpan => {
      const span = { stream, from: position, to: position + tokens }
      position = span.to
      return span
    }
    prompt.push(extend(ownTokens))
    const next = (): void => {
      if (finished >= options.turns) return
      prompt.push(extend(Math.round(Math.min(20_000, lognormal(turn.freshMedian, turn.freshSigma)) + 1)))
      const output = extend(Math.round(Math.min(turn.outputMax, lognormal(turn.outputMedian, turn.outputSigma)) + 1))
      model.submit(
        { id: `${stream}/${turnNumber++}`, prompt: [...prompt], output, watched: false },
        {
          started: () => {},
          tokens: () => {},
          finished: () => {
            finished++
            if (finished === options.turns) resolve()
            prompt.push(output)
            const after = sharedTokens + position < contextMax ? next : session
            clock.setTimer(Math.min(thinkMs.max, lognormal(thinkMs.median, thinkMs.sigma)), after)
          },
        },
      )
    }
    clock.setTimer(random() * thinkMs.max, next)
  }
  for (let i = 0; i < options.sessions; i++) session()
  return promise
}
