// Recording runs as a workload
//
// Owns: the turns of live runs as spans, and the file they go to.
// Does not own: the runs. It is told of each turn by the runtime (RuntimeOptions.recorder).
// Invariants
//   R1. Nothing of a prompt's text reaches the file: lengths and hashes only.
//   R2. Two recorded prompts share tokens as far as the prompts shared messages, over stages and runs.
//   R3. What is held belongs to live runs; a run is written when it ends.

import { closeSync, openSync, writeSync } from 'node:fs'
import { Digest } from '../prompts/digest.ts'
import { contextHash } from '../prompts/chain.ts'
import type { JsonValue } from '../schema/json.ts'
import type { Message, TokenSpan } from '../schema/message.ts'
import type { RunRecorder, TurnFacts } from '../workflow/recorder.ts'
import { headerLine, runLine } from '../simulator/workloads/formats/recorded.ts'
import type { WorkloadRun, WorkloadTurn } from '../simulator/workloads/workload.ts'

/** What travels with a recording. */
export interface RecordOptions {
  /** Seed of what is recorded. */
  seed?: number
  /** Anything that somebody who replays it should know. */
  settings?: Readonly<Record<string, JsonValue>>
  /** Where it comes from, for people. */
  source?: string
}

/** A recorder that writes a file. Give it to `createRuntime({ recorder })`, and close it after the runtime. */
export interface FileRecorder extends RunRecorder, Disposable {
  /** Runs written so far. */
  readonly runs: number
  /** Closes the file. Idempotent. */
  close(): void
}

/** Characters that are collected before they are written. */
const bufferChars = 64 * 1024

/**
 * Records runs into a file that `loadWorkload` reads.
 *
 * @throws the system's error if the file cannot be written
 */
export function recordTo(path: string, options: RecordOptions = {}): FileRecorder {
  const file = openSync(path, 'w')
  let buffer = ''
  let open = true
  const flush = (): void => {
    writeSync(file, buffer)
    buffer = ''
  }
  const recorder = recordLines((line) => {
    if (!open) return
    buffer += `${line}\n`
    if (buffer.length >= bufferChars) flush()
  }, options)
  const close = (): void => {
    if (!open) return
    open = false
    flush()
    closeSync(file)
  }
  return {
    get runs() {
      return recorder.runs
    },
    turn: (facts) => recorder.turn(facts),
    ended: (outcome, definition) => recorder.ended(outcome, definition),
    close,
    [Symbol.dispose]: close,
  }
}

/**
 * Records runs as lines: first the header, then a line for each run that ends.
 *
 * @param write - takes one line without its end
 */
export function recordLines(
  write: (line: string) => void,
  options: RecordOptions = {},
): RunRecorder & { readonly runs: number } {
  write(headerLine({ source: options.source ?? 'recorded by orla', ...options }))
  return new Recorder(write)
}

/** The turns of one stage so far. */
interface StageRecord {
  turns: WorkloadTurn[]
  /** Prompt and answer of the last turn. */
  context: TokenSpan[]
  endedAtMs: number
  /** Tool that the last answer called. */
  tool: string | undefined
}

interface RunRecord {
  tenant: string
  priority: number
  startedAtMs: number
  stages: Map<string, StageRecord>
}

/** Where an answer lies, and how long it is. */
interface AnswerPlace {
  stream: string
  from: number
  tokens: number
}

class Recorder implements RunRecorder {
  readonly #write: (line: string) => void
  readonly #live = new Map<string, RunRecord>()
  readonly #answers = new WeakMap<Message, AnswerPlace>()
  runs = 0

  constructor(write: (line: string) => void) {
    this.#write = write
  }

  turn(facts: TurnFacts): void {
    const { runId, tenant, priority, runStartedAtMs, stage, result } = facts
    let run = this.#live.get(runId)
    if (run === undefined) {
      this.#live.set(runId, (run = { tenant, priority, startedAtMs: runStartedAtMs, stages: new Map() }))
    }
    let record = run.stages.get(stage)
    if (record === undefined) {
      record = { turns: [], context: [], endedAtMs: facts.stageStartedAtMs, tool: undefined }
      run.stages.set(stage, record)
    }
    const { prompt, place } = this.#spansOf(facts)
    const { shared, rest } = beyond(record.context, prompt)
    const whole = rest.length === 0
    record.turns.push({
      shared: whole ? 0 : shared,
      fresh: whole ? prompt : rest,
      outputTokens: place.tokens,
      waitMs: Math.max(0, facts.readyAtMs - record.endedAtMs),
      waitFor: record.turns.length === 0 ? 'user' : (record.tool ?? 'user'),
    })
    record.context = [...prompt, { stream: place.stream, from: place.from, to: place.from + place.tokens }]
    record.endedAtMs = facts.endedAtMs
    record.tool = result.toolCalls[0]?.name
  }

  ended(...[outcome, definition]: Parameters<RunRecorder['ended']>): void {
    const record = this.#live.get(outcome.runId)
    this.#live.delete(outcome.runId)
    // A run that got no answer at all asked for nothing that could be replayed.
    if (record === undefined) return
    const { tenant, priority, startedAtMs } = record
    const run: WorkloadRun = {
      id: outcome.runId,
      arrivalMs: startedAtMs,
      ...(tenant !== 'default' && { tenant }),
      ...(priority !== 0 && { priority }),
      steps: definition.stages.map(({ name, after }) => ({
        name,
        after: after.map((index) => definition.stages[index]!.name),
        turns: record.stages.get(name)?.turns ?? [],
      })),
    }
    this.#write(runLine(run))
    this.runs++
  }

  /** The prompt of a turn as spans, and where its answer lies. */
  #spansOf({ messages, chain, result, answer }: TurnFacts): { prompt: TokenSpan[]; place: AnswerPlace } {
    const prompt: TokenSpan[] = []
    const named = (index: number, tokens: number): void => {
      if (tokens > 0) prompt.push({ stream: `m:${chain.hashes[index]!}`, from: 0, to: tokens })
    }
    named(0, chain.tokens[0]!)
    messages.forEach((message, i) => {
      const tokens = chain.tokens[i + 1]! - chain.tokens[i]!
      const place = this.#answers.get(message)
      if (message.span !== undefined) {
        prompt.push(message.span)
      } else if (place === undefined) {
        named(i + 1, tokens)
      } else {
        const found = Math.min(tokens, place.tokens)
        prompt.push({ stream: place.stream, from: place.from, to: place.from + found })
        named(i + 1, tokens - found)
      }
    })
    const { span, usage, content } = result
    const tokens = Math.max(1, usage.completionTokens ?? 1)
    if (span !== undefined) return { prompt, place: { stream: span.stream, from: span.from, tokens } }
    // The same prompt may get another answer: the answer's text is part of its name.
    const stream = `a:${new Digest().text(contextHash(chain)).text(content).hex()}`
    prompt.push({ stream, from: 0, to: 0 })
    const place = { stream, from: 0, tokens }
    // Thoughts stand before the answer and are left out of later prompts: nothing of it is found again.
    if ((usage.reasoningTokens ?? 0) === 0) this.#answers.set(answer, place)
    return { prompt, place }
  }
}

/** Tokens that `prompt` has in common with `context` from the beginning, and what it has beyond them. */
function beyond(context: readonly TokenSpan[], prompt: readonly TokenSpan[]): { shared: number; rest: TokenSpan[] } {
  const known = context.filter((span) => span.to > span.from)
  let shared = 0
  let i = 0
  for (; i < known.length && i < prompt.length; i++) {
    const [a, b] = [known[i]!, prompt[i]!]
    if (a.stream !== b.stream || a.from !== b.from) break
    const common = Math.min(a.to, b.to) - b.from
    shared += common
    if (a.to === b.to) continue
    const left = b.from + common < b.to ? [{ ...b, from: b.from + common }] : []
    return { shared, rest: [...left, ...prompt.slice(i + 1)] }
  }
  return { shared, rest: prompt.slice(i) }
}
