// The end of a port that unpacks: what a runner said in short, as messages (runtime-runner-wire.ts).

import type { BackendRelease, BackendRequest } from '../actors/messages.ts'
import type { FromRunner } from './runtime-runner-protocol.ts'
import { kinds, nameLengthMax, namesMax, type Packed } from './runtime-runner-wire.ts'
import type { FinishReason } from './schema/chat.ts'
import type {
  PrefixMark,
  StageCompleted,
  StageGranted,
  StageMapped,
  StageQueued,
  StageReleased,
  StageStarted,
  StageState,
} from './schema/transition.ts'
import type { StageReport } from './workflow/report.ts'

/** The end that unpacks. */
export class Unpacker {
  readonly #names: string[] = []
  #packed: Packed = []
  /** Reports of the run that ends next. */
  #stages: Record<string, StageReport> | undefined
  #at = 0

  /** The message that was packed; undefined for a part of the next. */
  unpack(packed: FromRunner | Packed): FromRunner | undefined {
    if (!Array.isArray(packed)) return this.#whole(packed)
    this.#packed = packed
    this.#at = 1
    switch (packed[0] as (typeof kinds)[keyof typeof kinds]) {
      case kinds.started:
        return { type: 'transition', transition: this.#started() }
      case kinds.mapped:
        return { type: 'transition', transition: this.#mapped() }
      case kinds.queued:
        return { type: 'transition', transition: this.#queued() }
      case kinds.granted:
        return { type: 'transition', transition: this.#granted() }
      case kinds.released:
        return { type: 'transition', transition: this.#released() }
      case kinds.completed:
        return { type: 'transition', transition: this.#completed() }
      case kinds.request:
        return this.#request()
      case kinds.release:
        return this.#release()
      case kinds.answered:
        return { type: 'answered', told: [this.#name(), this.#count(), this.#next(), this.#count()] }
      case kinds.served:
        return { type: 'completed', told: [this.#name(), this.#next()] }
      case kinds.reports:
        this.#stages = this.#reports()
        return undefined
    }
  }

  /** A message without a short form: the end of a run, whose reports may have come before it. */
  #whole(message: FromRunner): FromRunner {
    const stages = this.#stages
    if (message.type !== 'ended' || stages === undefined) return message
    this.#stages = undefined
    return { ...message, outcome: { ...message.outcome, stages } }
  }

  #reports(): Record<string, StageReport> {
    const reports: Record<string, StageReport> = {}
    while (this.#at < this.#packed.length) reports[this.#name()] = this.#report()
    return reports
  }

  #report(): StageReport {
    const state = this.#name() as StageState
    const backend = this.#nameOrNull()
    const model = this.#nameOrNull()
    const startedAtMs = this.#next<number | null>()
    const endedAtMs = this.#next<number | null>()
    const queueWaitMs = this.#next<number>()
    const ttftMs = this.#next<number | null>()
    const promptTokens = this.#next<number | null>()
    const cachedTokens = this.#next<number | null>()
    const completionTokens = this.#next<number | null>()
    const finishReason = this.#nameOrNull() as FinishReason | null
    const truncated = this.#next<boolean>()
    const reason = this.#name()
    const attempts = this.#next<number>()
    const sums = { queueWaitMs, ttftMs, promptTokens, cachedTokens, completionTokens, finishReason }
    const turns = [{ ...sums, attempts }]
    return { state, backend, model, turns, toolCalls: [], startedAtMs, endedAtMs, ...sums, truncated, reason }
  }

  #started(): StageStarted {
    const [runId, seq, atMs] = this.#stamp()
    const stage = this.#name()
    const reason = this.#name()
    return { type: 'stage.started', stage, from: 'pending', to: 'mapping', reason, seq, atMs, runId }
  }

  #mapped(): StageMapped {
    const [runId, seq, atMs] = this.#stamp()
    const stage = this.#name()
    const reason = this.#name()
    const backend = this.#name()
    const model = this.#name()
    return { type: 'stage.mapped', stage, from: 'mapping', to: 'building', backend, model, reason, seq, atMs, runId }
  }

  #queued(): StageQueued {
    const [runId, seq, atMs] = this.#stamp()
    const stage = this.#name()
    const turn = this.#next<number>()
    const backend = this.#name()
    const model = this.#name()
    const reason = this.#name()
    const requestId = this.#next<string>()
    const from = this.#name() as StageState
    const queued: StageQueued = {
      type: 'stage.queued',
      stage,
      turn,
      backend,
      model,
      from,
      to: 'queued',
      reason,
      requestId,
      stagePriority: this.#next(),
      requestPriority: this.#next(),
      promptTokens: this.#next(),
      addedTokens: this.#next(),
      contextHash: this.#next(),
      seq,
      atMs,
      runId,
    }
    const marks = this.#next<(number | string)[] | null>()
    const cacheHint = this.#next<StageQueued['cacheHint'] | null>()
    if (marks !== null) {
      const prefix: PrefixMark[] = []
      for (let i = 0; i < marks.length; i += 2)
        prefix.push({ hash: marks[i] as string, tokens: marks[i + 1] as number })
      queued.prefix = prefix
    }
    if (cacheHint !== null && cacheHint !== undefined) queued.cacheHint = cacheHint
    return queued
  }

  #granted(): StageGranted {
    const [runId, seq, atMs] = this.#stamp()
    const stage = this.#name()
    const turn = this.#next<number>()
    const backend = this.#name()
    const model = this.#name()
    const reason = this.#name()
    const requestId = this.#next<string>()
    const queueWaitMs = this.#next<number>()
    const moved = { from: 'queued', to: 'inferring' } as const
    return {
      type: 'stage.granted',
      stage,
      turn,
      backend,
      model,
      ...moved,
      reason,
      requestId,
      queueWaitMs,
      seq,
      atMs,
      runId,
    }
  }

  #released(): StageReleased {
    const [runId, seq, atMs] = this.#stamp()
    const stage = this.#name()
    const turn = this.#next<number>()
    const backend = this.#name()
    const model = this.#name()
    const reason = this.#name()
    const requestId = this.#next<string>()
    const outcome = this.#name() as StageReleased['outcome']
    const durationMs = this.#next<number>()
    const usage: StageReleased['usage'] = {}
    const promptTokens = this.#next<number | null>()
    const cachedTokens = this.#next<number | null>()
    const completionTokens = this.#next<number | null>()
    const reasoningTokens = this.#next<number | null>()
    if (promptTokens !== null) usage.promptTokens = promptTokens
    if (cachedTokens !== null) usage.cachedTokens = cachedTokens
    if (completionTokens !== null) usage.completionTokens = completionTokens
    if (reasoningTokens !== null) usage.reasoningTokens = reasoningTokens
    const released: StageReleased = {
      type: 'stage.released',
      stage,
      turn,
      backend,
      model,
      from: 'inferring',
      to: 'validating',
      reason,
      requestId,
      outcome,
      durationMs,
      usage,
      seq,
      atMs,
      runId,
    }
    const finishReason = this.#next<number | string | null>()
    if (finishReason !== null) released.finishReason = this.#known(finishReason) as FinishReason
    const costUsd = this.#next<number | null>()
    if (costUsd !== null) released.costUsd = costUsd
    return released
  }

  #completed(): StageCompleted {
    const [runId, seq, atMs] = this.#stamp()
    const stage = this.#name()
    const reason = this.#name()
    const turns = this.#next<number>()
    return { type: 'stage.completed', stage, from: 'validating', to: 'completed', reason, turns, seq, atMs, runId }
  }

  #request(): FromRunner {
    const name = this.#name()
    const runId = this.#next<string>()
    const stage = this.#name()
    const retry = this.#next<boolean | null>()
    const message: BackendRequest = {
      type: 'backend.request',
      replyTo: { actor: 'stage', runId, stage },
      outputTokensMax: this.#next(),
      request: {
        requestId: this.#next(),
        runId,
        stageClass: this.#name(),
        tenant: this.#name(),
        stagePriority: this.#next(),
        requestPriority: this.#next(),
        promptTokens: this.#next(),
        uncachedTokens: this.#next(),
        outputTokens: this.#next(),
        askedTokens: this.#next(),
        serviceMs: this.#next(),
        remainingMs: this.#next(),
        runStartedAtMs: this.#next(),
        attainedTokens: this.#next(),
        deadlineMs: this.#next(),
      },
    }
    if (retry !== null) message.retry = retry
    return { type: 'post', to: { actor: 'backend', name }, message }
  }

  #release(): FromRunner {
    const name = this.#name()
    const message: BackendRelease = {
      type: 'backend.release',
      requestId: this.#next(),
      verdict: this.#name() as BackendRelease['verdict'],
    }
    if (this.#at < this.#packed.length) {
      const promptTokens = this.#next<number>()
      const uncachedTokens = this.#next<number>()
      message.served = { promptTokens, uncachedTokens, outputTokens: this.#next(), durationMs: this.#next() }
      const ttftMs = this.#next<number | null>()
      if (ttftMs !== null) message.served.ttftMs = ttftMs
    }
    return { type: 'post', to: { actor: 'backend', name }, message }
  }

  #stamp(): [runId: string, seq: number, atMs: number] {
    return [this.#next(), this.#next(), this.#next()]
  }

  #name(): string {
    return this.#known(this.#next())
  }

  #known(name: number | string): string {
    if (typeof name === 'number') return this.#names[name]!
    if (name.length <= nameLengthMax && this.#names.length < namesMax) this.#names.push(name)
    return name
  }

  #nameOrNull(): string | null {
    const name = this.#next<number | string | null>()
    return name === null ? null : this.#known(name)
  }

  #count(): number | undefined {
    return this.#next<number | null>() ?? undefined
  }

  #next<T>(): T {
    return this.#packed[this.#at++] as T
  }
}
