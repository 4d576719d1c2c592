// The turns of one run as prompts, one after the other
//
// Owns: the context of each step of one run, as messages of which only the tokens' identity is known.
// Does not own: when a turn is sent, or where.
// Invariants
//   P1. A prompt begins with exactly `shared` tokens of the previous turn's prompt and answer; its next token is another.
//   P2. A message that a prompt keeps whole is the same object in both, so that it is measured once.
//   P3. Equal positions scale to equal positions: what is shared stays shared at every context scale.

import { user, type Message, type TokenSpan, type UserMessage } from '../../schema/message.ts'
import type { WorkloadRun, WorkloadStep, WorkloadTurn } from './workload.ts'

/** What of a workload is played. */
export interface PlayLimits {
  /** Factor on every token count, above 0. */
  contextScale: number
  /** Tokens of prompt and answer together that the model takes: a step ends at the turn that exceeds them. */
  contextTokens: number
  /** Turns of a step that are played at most. */
  turnsMax: number
  /** Longest wait between turns, ms. */
  waitMsMax: number
}

/** One turn, ready to be sent. */
export interface PlayedTurn {
  messages: readonly Message[]
  outputTokens: number
  waitMs: number
  waitFor: string
}

/** A message and the span it was scaled from. */
interface Part {
  from: number
  to: number
  message: UserMessage & { span: TokenSpan }
}

/** Plays one run. Turns of a step are asked for in order. */
export class RunPlayer {
  readonly run: WorkloadRun
  readonly #limits: PlayLimits
  readonly #contexts: (StepContext | undefined)[]
  #truncated = false

  constructor(run: WorkloadRun, limits: PlayLimits) {
    this.run = run
    this.#limits = limits
    this.#contexts = run.steps.map(() => undefined)
  }

  /** True if a step ended because its next turn does not fit the model's context. */
  get truncated(): boolean {
    return this.#truncated
  }

  /** True if a step has a first turn, and it fits. */
  begins(step: number): boolean {
    const turn = this.run.steps[step]?.turns[0]
    if (turn === undefined || this.#limits.turnsMax < 1) return false
    const { promptTokens, outputTokens } = new StepContext(this.#limits.contextScale).next(turn)
    return this.#fits(promptTokens + outputTokens)
  }

  /**
   * The next turn of a step, or undefined if the step is over.
   *
   * @param step - index of the step
   * @param number - number of the turn, from 1
   */
  turn(step: number, number: number): PlayedTurn | undefined {
    const { turnsMax, waitMsMax } = this.#limits
    const turn = number > turnsMax ? undefined : (this.run.steps[step] as WorkloadStep).turns[number - 1]
    if (turn === undefined) return this.#over(step)
    const context = (this.#contexts[step] ??= new StepContext(this.#limits.contextScale))
    const { promptTokens, outputTokens, messages } = context.next(turn)
    if (!this.#fits(promptTokens + outputTokens)) return this.#over(step)
    return { messages, outputTokens, waitMs: Math.min(turn.waitMs, waitMsMax), waitFor: turn.waitFor }
  }

  #fits(tokens: number): boolean {
    const fits = tokens <= this.#limits.contextTokens
    if (!fits) this.#truncated = true
    return fits
  }

  #over(step: number): undefined {
    this.#contexts[step] = undefined
  }
}

/** Prompt and answer of a step's last turn. */
class StepContext {
  readonly #scale: number
  #parts: Part[] = []
  /** Tokens of the parts before scaling. */
  #tokens = 0

  constructor(scale: number) {
    this.#scale = scale
  }

  next({ shared, fresh, outputTokens }: WorkloadTurn): {
    messages: Message[]
    promptTokens: number
    outputTokens: number
  } {
    this.#cut(shared)
    for (const span of fresh) this.#add(span.stream, span.from, span.to)
    const messages: Message[] = []
    let promptTokens = 0
    for (const { message } of this.#parts) {
      promptTokens += message.span.to - message.span.from
      messages.push(message)
    }
    const last = this.#parts.at(-1)!
    const { stream } = last.message.span
    if (promptTokens === 0) {
      // Scaled down to nothing; an engine needs a token to begin with.
      promptTokens = 1
      messages.push(spanMessage(stream, last.message.span.to, last.message.span.to + 1))
    }
    const answer = this.#add(stream, last.to, last.to + outputTokens)
    return { messages, promptTokens, outputTokens: Math.max(1, answer.message.span.to - answer.message.span.from) }
  }

  #add(stream: string, from: number, to: number): Part {
    const part = { from, to, message: spanMessage(stream, this.#scaled(from), this.#scaled(to)) }
    this.#parts.push(part)
    this.#tokens += to - from
    return part
  }

  /** Keeps the first `tokens` tokens, and no empty part behind them. */
  #cut(tokens: number): void {
    while (this.#tokens > tokens || this.#parts.at(-1)?.to === this.#parts.at(-1)?.from) {
      const last = this.#parts.pop()
      if (last === undefined) return
      this.#tokens -= last.to - last.from
      const kept = tokens - this.#tokens
      if (kept > 0) this.#add(last.message.span.stream, last.from, Math.min(last.to, last.from + kept))
    }
  }

  #scaled(position: number): number {
    return Math.round(position * this.#scale)
  }
}

function spanMessage(stream: string, from: number, to: number): UserMessage & { span: TokenSpan } {
  return { ...user(''), span: { stream, from, to } }
}
