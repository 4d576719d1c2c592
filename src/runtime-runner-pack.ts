// The end of a port that packs: what a runner says, in short (runtime-runner-wire.ts).

import type { ActorMessage, BackendRelease, BackendRequest } from '../actors/messages.ts'
import type { FromRunner } from './runtime-runner-protocol.ts'
import { kinds, nameLengthMax, namesMax, type Packed } from './runtime-runner-wire.ts'
import type { StageGranted, StageQueued, StageReleased, Transition } from './schema/transition.ts'
import type { StageReport } from './workflow/report.ts'

/** The end that packs. */
export class Packer {
  readonly #names = new Map<string, number>()

  /** The message in short; itself where it has no short form. */
  pack(message: FromRunner): FromRunner | Packed {
    switch (message.type) {
      case 'transition':
        return this.#transition(message.transition) ?? message
      case 'post':
        return (message.to.actor === 'backend' ? this.#post(message.to.name, message.message) : undefined) ?? message
      case 'answered': {
        const [stageClass, outputTokens, serviceMs, uncachedTokens] = message.told
        return [kinds.answered, this.#name(stageClass), outputTokens ?? null, serviceMs, uncachedTokens ?? null]
      }
      case 'completed':
        return [kinds.served, this.#name(message.told[0]), message.told[1]]
      default:
        return message
    }
  }

  /** Reports of a run's stages in short, to be sent before its end; undefined if one of them has no short form. */
  reports(stages: Readonly<Record<string, StageReport>>): Packed | undefined {
    const each = Object.entries(stages)
    if (!each.every(([, report]) => isShort(report))) return undefined
    const packed: Packed = [kinds.reports]
    for (const [stage, report] of each) {
      const { backend, model, finishReason, reason, turns } = report
      packed.push(
        this.#name(stage),
        this.#name(report.state),
        backend === null ? null : this.#name(backend),
        model === null ? null : this.#name(model),
        report.startedAtMs,
        report.endedAtMs,
        report.queueWaitMs,
        report.ttftMs,
        report.promptTokens,
        report.cachedTokens,
        report.completionTokens,
        finishReason === null ? null : this.#name(finishReason),
        report.truncated,
        this.#name(reason!),
        turns[0]!.attempts,
      )
    }
    return packed
  }

  #transition(transition: Transition): Packed | undefined {
    const { runId, seq, atMs } = transition
    switch (transition.type) {
      case 'stage.started':
        if (fieldsOf(transition) !== 8 || transition.from !== 'pending') return undefined
        return [kinds.started, runId, seq, atMs, this.#name(transition.stage), this.#name(transition.reason)]
      case 'stage.mapped': {
        if (fieldsOf(transition) !== 10 || transition.from !== 'mapping') return undefined
        const { stage, reason, backend, model } = transition
        const names = [this.#name(stage), this.#name(reason), this.#name(backend), this.#name(model)]
        return [kinds.mapped, runId, seq, atMs, ...names]
      }
      case 'stage.queued':
        return this.#queued(transition)
      case 'stage.granted': {
        if (fieldsOf(transition) !== 13 || transition.from !== 'queued') return undefined
        return [kinds.granted, ...this.#turn(transition), transition.requestId, transition.queueWaitMs]
      }
      case 'stage.released':
        return this.#released(transition)
      case 'stage.completed': {
        if (fieldsOf(transition) !== 9 || transition.from !== 'validating') return undefined
        const { stage, reason, turns } = transition
        return [kinds.completed, runId, seq, atMs, this.#name(stage), this.#name(reason), turns]
      }
      default:
        return undefined
    }
  }

  #queued(transition: StageQueued): Packed | undefined {
    const { from, cacheHint, prefix } = transition
    const fields = 17 + (prefix === undefined ? 0 : 1) + (cacheHint === undefined ? 0 : 1)
    if (fieldsOf(transition) !== fields) return undefined
    const { requestId, stagePriority, requestPriority, promptTokens, addedTokens, contextHash } = transition
    return [
      kinds.queued,
      ...this.#turn(transition),
      requestId,
      this.#name(from),
      stagePriority,
      requestPriority,
      promptTokens,
      addedTokens,
      contextHash,
      prefix === undefined ? null : prefix.flatMap(({ hash, tokens }) => [hash, tokens]),
      cacheHint ?? null,
    ]
  }

  #released(transition: StageReleased): Packed | undefined {
    const { requestId, outcome, durationMs, usage, finishReason, costUsd } = transition
    const fields = 15 + (finishReason === undefined ? 0 : 1) + (costUsd === undefined ? 0 : 1)
    if (fieldsOf(transition) !== fields || transition.from !== 'inferring') return undefined
    const { promptTokens, cachedTokens, completionTokens, reasoningTokens, ...unknown } = usage
    if (fieldsOf(unknown) > 0) return undefined
    return [
      kinds.released,
      ...this.#turn(transition),
      requestId,
      this.#name(outcome),
      durationMs,
      promptTokens ?? null,
      cachedTokens ?? null,
      completionTokens ?? null,
      reasoningTokens ?? null,
      finishReason === undefined ? null : this.#name(finishReason),
      costUsd ?? null,
    ]
  }

  #turn(transition: StageQueued | StageGranted | StageReleased): (number | string)[] {
    const { runId, seq, atMs, stage, turn, backend, model, reason } = transition
    return [runId, seq, atMs, this.#name(stage), turn, this.#name(backend), this.#name(model), this.#name(reason)]
  }

  #post(backend: string, message: ActorMessage): Packed | undefined {
    if (message.type === 'backend.release') return this.#release(backend, message)
    return message.type === 'backend.request' ? this.#request(backend, message) : undefined
  }

  #request(backend: string, message: BackendRequest): Packed | undefined {
    const { request, replyTo, retry, outputTokensMax } = message
    if (outputTokensMax === undefined || fieldsOf(message) !== (retry === undefined ? 4 : 5)) return undefined
    if (fieldsOf(request) !== 15) return undefined
    if (replyTo.actor !== 'stage' || replyTo.runId !== request.runId) return undefined
    return [
      kinds.request,
      this.#name(backend),
      request.runId,
      this.#name(replyTo.stage),
      retry ?? null,
      outputTokensMax,
      request.requestId,
      this.#name(request.stageClass),
      this.#name(request.tenant),
      request.stagePriority,
      request.requestPriority,
      request.promptTokens,
      request.uncachedTokens,
      request.outputTokens,
      request.askedTokens,
      request.serviceMs,
      request.remainingMs,
      request.runStartedAtMs,
      request.attainedTokens,
      request.deadlineMs,
    ]
  }

  #release(backend: string, message: BackendRelease): Packed | undefined {
    const { requestId, verdict, served } = message
    if (fieldsOf(message) !== (served === undefined ? 3 : 4)) return undefined
    const packed: Packed = [kinds.release, this.#name(backend), requestId, this.#name(verdict)]
    if (served === undefined) return packed
    const { promptTokens, uncachedTokens, outputTokens, durationMs, ttftMs } = served
    if (fieldsOf(served) !== (ttftMs === undefined ? 4 : 5)) return undefined
    packed.push(promptTokens, uncachedTokens, outputTokens, durationMs, ttftMs ?? null)
    return packed
  }

  /** The number of a string; the string itself the first time. */
  #name(name: string): number | string {
    const known = this.#names.get(name)
    if (known !== undefined) return known
    if (name.length <= nameLengthMax && this.#names.size < namesMax) this.#names.set(name, this.#names.size)
    return name
  }
}

/** Own fields of an object. A field that somebody adds has no place in the short form. */
function fieldsOf(object: object): number {
  let count = 0
  for (const _ in object) count++
  return count
}

/** Whether a report says nothing but what its only turn says. */
function isShort(report: StageReport): boolean {
  const [turn] = report.turns
  if (turn === undefined || report.turns.length > 1 || report.toolCalls.length > 0) return false
  return (
    report.reason !== undefined &&
    fieldsOf(report) === 15 &&
    fieldsOf(turn) === 7 &&
    turn.queueWaitMs === report.queueWaitMs &&
    turn.ttftMs === report.ttftMs &&
    turn.promptTokens === report.promptTokens &&
    turn.cachedTokens === report.cachedTokens &&
    turn.completionTokens === report.completionTokens &&
    turn.finishReason === report.finishReason
  )
}
