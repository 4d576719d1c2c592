// The faults of one front
//
// Owns: the picker, and how often each fault has struck.
// Does not own: the sound answers (the front).
// Invariants
//   H1. A fault that cannot strike a request is said in a 400, never left out in silence.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Clock, Random } from '../../clock.ts'
import type { FrontReply } from '../flavours/flavour.ts'
import { faultEntry, type Fault, type FaultName } from './catalogue.ts'
import { answerInstead } from './instead.ts'
import { FaultPicker, type FaultPlan } from './plan.ts'
import { canCut, cutWhole, FaultyStream } from './within.ts'
import { Wire } from './wire.ts'

/** What a front gives to its faults. */
export interface FaultHostOptions {
  plan: FaultPlan
  seed: number
  clock: Clock
  model: string
  /** Stops listening for so many milliseconds, and closes every connection. */
  refuse: (ms: number) => void
}

/** Milliseconds that a cache command hangs. */
const hangMs = 30_000

/** What becomes of a request: the engine answers, perhaps with a fault within; nobody does any more; or a refusal. */
export type FaultVerdict = { go: true; within?: Fault } | { go: false; problem?: string }

/** Strikes the requests of one front. */
export class FaultHost {
  readonly #options: FaultHostOptions
  readonly #picker: FaultPicker
  readonly #random: Random
  readonly #strikes = new Map<FaultName, number>()

  constructor(options: FaultHostOptions) {
    this.#options = options
    this.#picker = new FaultPicker(options.plan, options.seed)
    this.#random = options.clock.random('fault times')
  }

  /**
   * Decides on a chat request, and answers it where a fault comes instead of the answer.
   *
   * @param anotherId - id of the answer to another request
   */
  async chat(
    request: IncomingMessage,
    response: ServerResponse,
    streams: boolean,
    anotherId: string,
  ): Promise<FaultVerdict> {
    const fault = this.#picker.pick('chat', request.headers)
    if (fault === undefined) return { go: true }
    if ('problem' in fault) return { go: false, problem: fault.problem }
    if (!streams && !canCut(fault)) {
      return { go: false, problem: `fault ${fault.fault} needs a request with "stream": true` }
    }
    if (faultEntry(fault.fault).place !== 'instead') return { go: true, within: fault }
    const { clock, model, refuse } = this.#options
    const before = this.#strike(fault)
    const wire = (): Wire => new Wire(response)
    const done = await answerInstead(fault, { wire, clock, model, refuse, random: this.#random, before, anotherId })
    return done ? { go: false } : { go: true }
  }

  /** Stands where the response would. `abort` is called when the client will hear no more of the engine. */
  stream(fault: Fault, response: ServerResponse, abort: () => void): FaultyStream {
    this.#strike(fault)
    return new FaultyStream({ wire: new Wire(response), fault, clock: this.#options.clock, abort })
  }

  /** Sends a whole answer, broken. */
  whole(fault: Fault, response: ServerResponse, body: string): void {
    cutWhole(
      this.stream(fault, response, () => {}),
      { 'content-type': 'application/json' },
      body,
    )
  }

  /**
   * Breaks what an engine answers at other paths than chat.
   *
   * @param path - without query
   * @param respond - what a sound engine does and says
   */
  async beside(
    request: IncomingMessage,
    path: string,
    respond: () => FrontReply | undefined | Promise<FrontReply | undefined>,
  ): Promise<FrontReply | undefined> {
    const isMetrics = path === '/metrics'
    const isCommand = request.method === 'POST' && commandPattern.test(path)
    const picked = isMetrics || isCommand ? this.#picker.pick('beside', request.headers) : undefined
    if (picked === undefined || 'problem' in picked || (picked.fault === 'B36') !== isMetrics) return respond()
    this.#strike(picked)
    if (picked.kind === 'hang') {
      await new Promise<void>((resolve) => {
        const timer = this.#options.clock.setTimer(hangMs, resolve)
        request.socket.once('close', () => {
          this.#options.clock.clearTimer(timer)
          resolve()
        })
      })
      return respond()
    }
    if (picked.kind === 'error') return { status: 500, json: { error: { message: 'the command failed' } } }
    if (picked.kind === 'idle') return { status: 200, json: { success: true, message: 'Cache flushed.' } }
    const reply = await respond()
    return reply !== undefined && 'text' in reply
      ? { ...reply, text: reply.text.replaceAll(usagePattern, '$1 3') }
      : reply
  }

  #strike({ fault }: Fault): number {
    const before = this.#strikes.get(fault) ?? 0
    this.#strikes.set(fault, before + 1)
    return before
  }
}

/** Paths that change an engine's cache. */
const commandPattern = /flush_cache|reset_prefix_cache|\/slots\/|\/api\/generate|release_session|close_session/

/** Samples of how full a cache is, which are 0 to 1 where they are true. */
const usagePattern = /^(\S*(?:cache_usage|token_usage|usage_ratio)\S*) \S+$/gm
