// The prompt pool
//
// Owns: what is known of messages and texts (one meter), and the choice between this thread and the prompt threads.
// Does not own: the threads and their queue (task-runner.ts), or how anything is counted (src/prompts).
// Invariants
//   P1. Inline and pooled work give the same results.
//   P2. Only text that was never counted is counted, and only that decides where.
//   P3. In mode `inline` no thread is ever started, and every answer is synchronous.

import { availableParallelism } from 'node:os'
import { OptionsError, OrlaError, type Issue } from '../errors.ts'
import { createPromptMeter, messageChars, type PromptMeasure } from '../prompts/conversation.ts'
import { loadableName, type EstimatorName, type TokenEstimator } from '../prompts/estimator.ts'
import { buildMessage, fillPrompt, type DraftMessage, type TemplateValues } from '../prompts/render.ts'
import type { CompiledPrompt } from '../prompts/template.ts'
import type { ToolSpec } from '../schema/chat.ts'
import type { Message } from '../schema/message.ts'
import { entryFile } from '../threads.ts'
import { createTaskRunner } from './task-runner.ts'

/**
 * Characters of new text from which work goes to a thread.
 *
 * Measured by `npm run bench -- tokens` on two busy cores, o200k_base, every text new; CPU of the thread that asks and
 * latency, here and on another thread:
 *   1 kB     25 and 20 us     0.05 and 0.10 ms
 *   4 kB     80 and 32 us     0.11 and 0.18 ms
 *   16 kB   306 and 73 us     0.41 and 0.54 ms
 *   64 kB  1207 and 208 us    1.42 and 2.09 ms
 * By CPU alone a thread pays from 1 kB on, but what it saves there is nothing, and the prompt is twice as late. At 16 kB it
 * takes three quarters of the work off this thread, a piece as long as a turn of a busy loop may be, and the prompt is a
 * third later. The p99 of the loop's delay was 8.6 and 4.0 ms there.
 */
const thresholdCharsDefault = 16 * 1024
const queueMaxDefault = 16_384
const threadsMax = 64
const promptWorkerUrl = entryFile(import.meta.url, 'prompt-worker')

/** How prompts are built and measured. */
export interface PromptPoolOptions {
  /** Counts tokens, on this thread and (if it came from `loadEstimator`) on the prompt threads. */
  estimator: TokenEstimator
  /** `inline`: everything on this thread, as virtual time needs it. `pool`: large prompts on threads. */
  mode: 'inline' | 'pool'
  /** Prompt threads, 1 to 64; default one less than the computer has cores, 1 to 4. */
  threads?: number
  /** Characters of new text from which a prompt goes to a thread, at least 1, default 16,384. */
  thresholdChars?: number
  /** Prompts that may wait for a thread, at least 1, default 16,384. */
  queueMax?: number
  /** Entry file of the threads, instead of the package's own. */
  workerUrl?: URL
}

/** How a caller leaves while its prompt waits for a thread. Called only for prompts that go to one. */
export type SignalSource = () => AbortSignal

/** A prompt that is ready to be sent. */
export interface BuiltPrompt {
  messages: Message[]
  measure: PromptMeasure
}

/** What has happened in a pool so far, and what waits. */
export interface PromptPoolStats {
  inlineTasks: number
  pooledTasks: number
  /** Tasks tried again because their thread died. */
  retriedTasks: number
  queuedTasks: number
  runningTasks: number
}

/**
 * Builds and measures prompts, large ones on threads.
 *
 * Small work is answered at once, not by a promise: `await` takes both. What fails on a thread rejects with
 * `ORLA_LIMIT` (the queue is full, retryable), `ORLA_WORKER_TASK` (its threads died twice, retryable), `ORLA_CANCELLED`
 * (or the signal's own OrlaError) or `ORLA_CLOSED`, which inline work throws as well.
 */
export interface PromptPool {
  /** Tokens and context chain of a prompt. */
  measure(
    messages: readonly Message[],
    options?: { tools?: readonly ToolSpec[] | undefined; signal?: SignalSource | undefined },
  ): PromptMeasure | Promise<PromptMeasure>
  /** Tokens of each text. */
  count(texts: readonly string[], options?: { signal?: SignalSource | undefined }): number[] | Promise<number[]>
  /**
   * Builds a prompt from its template and measures it.
   *
   * Placeholders are looked up here: turning an object into JSON costs less than copying it to a thread (190 and 240 us
   * for 83 kB). Joining, counting and hashing are what goes to the thread.
   *
   * @throws {StageError} `ORLA_STAGE_BUILDER` if a value is missing
   */
  render(
    prompt: CompiledPrompt,
    values: TemplateValues,
    options?: { tools?: readonly ToolSpec[] | undefined; signal?: SignalSource | undefined },
  ): BuiltPrompt | Promise<BuiltPrompt>
  readonly stats: PromptPoolStats
  /** Ends the threads; what waits or runs rejects with `ORLA_CLOSED`. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * Makes a prompt pool. No thread starts before the first large prompt; that one waits about 0.3 s for it.
 *
 * A custom estimator cannot follow to other threads: with one, everything is counted inline.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` for numbers out of range, all at once
 */
export function createPromptPool(options: PromptPoolOptions): PromptPool {
  const { threads, thresholdChars, queueMax } = checkOptions(options)
  const meter = createPromptMeter(options.estimator)
  const estimator = options.mode === 'pool' ? loadableName(options.estimator) : undefined
  const runner = createTaskRunner({ threads, queueMax, workerUrl: options.workerUrl ?? promptWorkerUrl })
  let inlineTasks = 0
  let pooledTasks = 0
  let closed = false

  /** The name to count by on a thread, or undefined if the work is to be done here. */
  const threadFor = (chars: number): EstimatorName | undefined => {
    if (closed) throw new OrlaError('ORLA_CLOSED', 'the prompt pool is closed: its runtime has ended')
    const name = chars < thresholdChars ? undefined : estimator
    if (name === undefined) inlineTasks++
    else pooledTasks++
    return name
  }

  const measureThere = async (
    name: EstimatorName,
    unseen: readonly Message[],
    signal: SignalSource | undefined,
  ): Promise<void> => {
    const facts = await runner.run({ type: 'prompt.measure', estimator: name, messages: unseen.map(plain) }, signal?.())
    for (const [index, message] of unseen.entries()) meter.adopt(message, facts[index]!)
  }

  const countThere = async (
    name: EstimatorName,
    texts: readonly string[],
    signal: SignalSource | undefined,
  ): Promise<number[]> => {
    const counts = await runner.run({ type: 'prompt.count', estimator: name, texts }, signal?.())
    for (const [index, text] of texts.entries()) meter.adoptText(text, counts[index]!)
    return counts
  }

  const buildThere = async (
    name: EstimatorName,
    drafts: readonly DraftMessage[],
    tools: readonly ToolSpec[] | undefined,
    signal: SignalSource | undefined,
  ): Promise<BuiltPrompt> => {
    const { messages, facts } = await runner.run({ type: 'prompt.build', estimator: name, drafts }, signal?.())
    for (const [index, message] of messages.entries()) meter.adopt(message, facts[index]!)
    return { messages, measure: meter.measure(messages, tools) }
  }

  const close = async (): Promise<void> => {
    closed = true
    await runner.close()
  }

  return {
    measure(messages, { tools, signal } = {}) {
      const unseen = estimator === undefined ? [] : meter.unseen(messages)
      let chars = 0
      for (const message of unseen) chars += messageChars(message)
      const name = threadFor(chars)
      if (name === undefined) return meter.measure(messages, tools)
      return measureThere(name, unseen, signal).then(() => meter.measure(messages, tools))
    },
    count(texts, { signal } = {}) {
      let chars = 0
      if (estimator !== undefined) for (const text of texts) if (!meter.knows(text)) chars += text.length
      const name = threadFor(chars)
      return name === undefined ? texts.map((text) => meter.count(text)) : countThere(name, texts, signal)
    },
    render(prompt, values, { tools, signal } = {}) {
      const drafts = fillPrompt(prompt, values)
      const name = threadFor(newChars(drafts, (text) => meter.knows(text)))
      if (name !== undefined) return buildThere(name, drafts, tools, signal)
      const messages = drafts.map(buildMessage)
      return { messages, measure: meter.measure(messages, tools) }
    },
    get stats() {
      const { queued, running, retried } = runner
      return { inlineTasks, pooledTasks, retriedTasks: retried, queuedTasks: queued, runningTasks: running }
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

/** Characters of drafts that may be new. Texts without placeholders are the same string each time and may be known. */
function newChars(drafts: readonly DraftMessage[], knows: (text: string) => boolean): number {
  let chars = 0
  for (const { pieces } of drafts) {
    if (pieces.length === 1 && knows(pieces[0]!)) continue
    for (const piece of pieces) chars += piece.length
  }
  return chars
}

/** A message as its type has it: a host may have hung things on it that cannot cross threads. */
function plain(message: Message): Message {
  const { content } = message
  switch (message.role) {
    case 'system':
    case 'user':
      return { role: message.role, content }
    case 'assistant': {
      const calls = message.toolCalls ?? []
      return {
        role: 'assistant',
        content,
        toolCalls: calls.map(({ id, name, arguments: text }) => ({ id, name, arguments: text })),
      }
    }
    case 'tool':
      return { role: 'tool', content, toolCallId: message.toolCallId }
  }
}

function checkOptions(options: PromptPoolOptions): { threads: number; thresholdChars: number; queueMax: number } {
  const issues: Issue[] = []
  const check = (path: string, value: number, max: number): number => {
    if (!Number.isSafeInteger(value) || value < 1 || value > max) {
      issues.push({ path, code: 'out_of_range', message: `must be an integer from 1 to ${max}, is ${value}` })
    }
    return value
  }
  const threads = check('threads', options.threads ?? Math.max(1, Math.min(4, availableParallelism() - 1)), threadsMax)
  const thresholdChars = check(
    'thresholdChars',
    options.thresholdChars ?? thresholdCharsDefault,
    Number.MAX_SAFE_INTEGER,
  )
  const queueMax = check('queueMax', options.queueMax ?? queueMaxDefault, Number.MAX_SAFE_INTEGER)
  if (issues.length > 0) throw new OptionsError('options of the prompt pool', issues)
  return { threads, thresholdChars, queueMax }
}
