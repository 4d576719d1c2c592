// Engine core
//
// Owns: one engine's sequences, its waiting queue, its prefix cache, and the step under way.
// Does not own: time. It says when its next visible moment is, in milliseconds of GPU work since the segment under way
// began, and is told when that came. The GPU turns work into time (gpu.ts).
//
// The engine works in segments: a step that prefills, or as many decode steps with the same sequences as nothing from
// outside and no end of a sequence interrupts. Whatever could change the batch cuts the segment at the end of the step
// under way, as it would wait for that in an engine; so a segment of a thousand steps and a thousand segments of one
// step have the same outcome (tested).
// Invariants
//   E1. A running sequence can hold its next token, or it is preempted before the step.
//   E2. The oldest running sequence is never preempted for a younger one, so the head always progresses.
//   E3. At least one token of every prefill is computed, never taken from the cache.
//   E4. Each token of an answer is reported once, in order, whatever preemptions did.
//   E5. Nothing is reported for a sequence that has ended.
//   E6. A sequence that decodes is heard of at least every `silenceMsMax` of work, also if nobody looks at each token.

import { assert } from '../../errors.ts'
import { IndexedHeap } from '../../scheduling/heap.ts'
import { PrefixCache, type PoolBlocks } from './prefix-cache.ts'
import type { EngineProfile } from './profile.ts'
import { isPrefilling, type Sequence } from './sequence.ts'
import { graceMs, StepRun } from './step-cost.ts'

/** Work between two reports of a decoding sequence at most, ms: clients give up on engines that are silent for long. */
const silenceMsMax = 10_000

/** Work that the GPU does without a change of the batch. */
interface Segment {
  run: StepRun
  /** Steps until the batch changes. */
  steps: number
  /** Steps whose outcome is in the sequences already. */
  applied: number
  decoding: Sequence[]
  prefilling: Sequence[]
  /** Somebody looks at each token of a decoding sequence: every step is a visible moment. */
  watched: boolean
}

/** What the engine computed so far, for whoever checks that nothing is lost. All in tokens. */
export interface EngineCounters {
  /** Prompt tokens of admitted requests, and how many of them were cached when it was admitted. */
  promptTokens: number
  cachedTokens: number
  /** Computed in prefill for the first time by their sequence. */
  prefilledTokens: number
  /** Computed in prefill once more, after a preemption. */
  recomputedTokens: number
  /** Found cached after a preemption although the sequence had not come that far: another computed them. */
  cachedLaterTokens: number
  /** Computed in decode. */
  decodedTokens: number
  /** Tokens of answers that exist. */
  outputTokens: number
  preemptions: number
  blocks: PoolBlocks
}

/** One engine, without time. Reports go to the `outbox`, to be delivered when its state is consistent. */
export class EngineCore {
  readonly profile: EngineProfile
  readonly #outbox: (sequence: Sequence, report: () => void) => void
  readonly #stepwise: boolean
  readonly #cache: PrefixCache
  /** By arrival, and by priority before that. Preempted sequences keep their arrival, so they come first. */
  readonly #waiting = new IndexedHeap<Sequence>()
  #running: Sequence[] = []
  #segment: Segment | undefined
  /** Work of all segments that are over, ms. */
  #workedMs = 0
  #counters: Omit<EngineCounters, 'blocks'> = {
    promptTokens: 0,
    cachedTokens: 0,
    prefilledTokens: 0,
    recomputedTokens: 0,
    cachedLaterTokens: 0,
    decodedTokens: 0,
    outputTokens: 0,
    preemptions: 0,
  }

  constructor(options: {
    profile: EngineProfile
    /** Takes a report, to be delivered unless the sequence has been aborted by then. */
    outbox: (sequence: Sequence, report: () => void) => void
    /** Make every segment one step: slow, and the same outcome. */
    stepwise: boolean
  }) {
    const { profile } = options
    this.profile = profile
    this.#outbox = options.outbox
    this.#stepwise = options.stepwise
    const totalBlocks = Math.floor(profile.kvTokens / profile.blockTokens)
    this.#cache = new PrefixCache({ blockTokens: profile.blockTokens, totalBlocks })
  }

  /** True while a step is under way. */
  get busy(): boolean {
    return this.#segment !== undefined
  }

  get running(): number {
    return this.#running.length
  }

  get waiting(): number {
    return this.#waiting.size
  }

  get counters(): EngineCounters {
    return { ...this.#counters, blocks: this.#cache.blocks }
  }

  /** Empties the prefix cache. Only when nothing runs. */
  flush(): void {
    this.#cache.flush()
  }

  /** Work from the segment's begin to its next visible moment, ms. */
  get nextAtWorkMs(): number {
    const segment = this.#segment
    if (segment === undefined) return Infinity
    return segment.run.elapsedMs(segment.watched ? Math.min(segment.applied + 1, segment.steps) : segment.steps)
  }

  /** Why a request can never run, or undefined. */
  refusal(sequence: Sequence): string | undefined {
    const { contextTokens, blockTokens, kvTokens } = this.profile
    const { promptTokens, outputTokens } = sequence
    if (promptTokens < 1) return 'the prompt is empty'
    if (outputTokens < 1) return 'an answer has at least one token'
    if (promptTokens + outputTokens > contextTokens) {
      return `${promptTokens} prompt tokens and ${outputTokens} output tokens exceed the context of ${contextTokens} tokens`
    }
    // The last token's KV is never needed.
    if (Math.ceil((promptTokens + outputTokens - 1) / blockTokens) > Math.floor(kvTokens / blockTokens)) {
      return `${promptTokens} prompt tokens and ${outputTokens} output tokens exceed the KV pool of ${kvTokens} tokens`
    }
    return undefined
  }

  /**
   * Takes a request in, `workMs` after the segment under way began. The step under way is not disturbed; the segment
   * ends with it if the request could join.
   */
  enqueue(sequence: Sequence, workMs: number): void {
    const refusal = this.refusal(sequence)
    if (refusal !== undefined) {
      this.#outbox(sequence, () => {
        sequence.state = 'ended'
        sequence.listener.finished({ outcome: 'refused', message: refusal })
      })
      return
    }
    this.#wait(sequence)
    if (this.#waiting.peek() === sequence && this.#running.length < this.profile.sequencesMax) this.#cut(workMs)
  }

  /** Ends a sequence from outside. Its blocks are free or cached at once; the step under way still takes its time. */
  abort(sequence: Sequence, workMs: number): void {
    const { state } = sequence
    sequence.state = 'ended'
    if (state === 'waiting') {
      // Whoever stood behind a head that did not fit may fit.
      if (this.#waiting.peek() === sequence) this.#cut(workMs)
      this.#waiting.remove(sequence)
    }
    if (state !== 'running') return
    this.catchUp(workMs)
    this.#cut(workMs)
    const segment = this.#segment
    if (segment !== undefined) {
      segment.decoding = segment.decoding.filter((other) => other !== sequence)
      segment.prefilling = segment.prefilling.filter((other) => other !== sequence)
    }
    this.#leave(sequence)
  }

  /** Brings sequences up to the steps that are over by `workMs`. Reports nothing; a segment's end is left to `reach`. */
  catchUp(workMs: number): void {
    const segment = this.#segment
    if (segment === undefined || segment.prefilling.length > 0) return
    const over = Math.min(segment.run.stepsWithin(workMs), segment.steps - 1)
    if (over > segment.applied && !segment.watched) this.#apply(segment, over - segment.applied)
  }

  /** The next visible moment has come. */
  reach(): void {
    const segment = this.#segment
    assert(segment !== undefined, 'an idle engine was told that a step is over')
    const upTo = segment.watched ? Math.min(segment.applied + 1, segment.steps) : segment.steps
    if (upTo > segment.applied) this.#apply(segment, upTo - segment.applied)
    if (segment.applied < segment.steps) return
    this.#segment = undefined
    this.#workedMs += segment.run.elapsedMs(segment.steps)
    for (const sequence of segment.prefilling) this.#prefilled(sequence)
    for (const sequence of segment.decoding) {
      if (sequence.generated === sequence.outputTokens) this.#complete(sequence)
      else if (this.#workedMs - sequence.reportedAtWorkMs >= silenceMsMax / 2) this.#report(sequence)
    }
  }

  /** Begins the next segment, if there is work. Only between segments. */
  start(): void {
    assert(this.#segment === undefined, 'a step began before the last one was over')
    const decoding: Sequence[] = []
    const prefilling: Sequence[] = []
    let prefillTokens = 0
    let attentionPairs = 0
    let budget = this.profile.tokenBudget

    const prefill = (sequence: Sequence): void => {
      const tokens = Math.min(sequence.prefillTarget - sequence.computed, budget)
      attentionPairs += tokens * (sequence.computed + (tokens + 1) / 2)
      prefillTokens += tokens
      budget -= tokens
      this.#computeChunk(sequence, tokens)
      prefilling.push(sequence)
    }

    let preempted = false
    /** Goes through the running sequences in order; makes room for each by preempting from the other end (E1, E2). */
    const serveRunning = (prefillsToo: boolean, decodesToo: boolean): void => {
      for (let i = 0; i < this.#running.length && budget > 0; i++) {
        const sequence = this.#running[i]!
        const toPrefill = isPrefilling(sequence)
        if (toPrefill ? !prefillsToo : !decodesToo) continue
        const ahead = toPrefill ? Math.min(sequence.prefillTarget - sequence.computed, budget) : 1
        while (!this.#fits(sequence, sequence.computed + ahead)) {
          preempted = true
          if (this.#preemptLast() === sequence) return
        }
        if (toPrefill) {
          prefill(sequence)
        } else {
          this.#cache.cover(sequence.lease!, sequence.computed + 1)
          decoding.push(sequence)
          budget--
        }
      }
    }

    const mixed = this.profile.batching === 'mixed'
    serveRunning(true, mixed)
    while (!preempted && budget > 0 && this.#running.length < this.profile.sequencesMax) {
      const head = this.#waiting.peek()
      if (head === undefined || !this.#admit(head, budget)) break
      prefill(head)
    }
    if (!mixed && prefilling.length === 0) serveRunning(false, true)
    if (decoding.length === 0 && prefilling.length === 0) return

    let contextTokens = 0
    let watched = false
    for (const sequence of decoding) {
      contextTokens += sequence.computed + 1
      watched ||= sequence.watched
    }
    const shape = { decoding: decoding.length, contextTokens, prefillTokens, attentionPairs }
    const run = new StepRun(this.profile.costs, shape)
    // After a preemption the queue has to be looked at again before the next step.
    const single = prefilling.length > 0 || preempted || this.#stepwise
    const steps = single
      ? 1
      : Math.min(this.#stepsUntilChange(decoding), Math.max(1, run.stepsWithin(silenceMsMax / 2)))
    this.#segment = { run, steps, applied: 0, decoding, prefilling, watched }
  }

  /** Decode steps until a sequence ends or the pool may be exhausted, whichever comes first. At least 1. */
  #stepsUntilChange(decoding: readonly Sequence[]): number {
    let steps = Infinity
    for (const sequence of decoding) steps = Math.min(steps, sequence.outputTokens - sequence.generated)
    const available = this.#cache.availableBlocks
    const fits = (count: number): boolean => {
      let blocks = 0
      for (const sequence of decoding) blocks += this.#cache.lacking(sequence.lease!, sequence.computed + count)
      return blocks <= available
    }
    if (fits(steps)) return steps
    // The first step's blocks are held already.
    let low = 1
    let high = steps
    while (high - low > 1) {
      const middle = (low + high) >> 1
      if (fits(middle)) low = middle
      else high = middle
    }
    return low
  }

  /** Ends the segment with the step that is under way at `workMs`. */
  #cut(workMs: number): void {
    const segment = this.#segment
    if (segment === undefined || segment.steps === 1) return
    const over = segment.run.stepsWithin(workMs)
    const atBoundary = over > 0 && workMs - segment.run.elapsedMs(over) <= graceMs
    segment.steps = Math.min(segment.steps, Math.max(segment.applied, atBoundary ? over : over + 1, 1))
  }

  #apply(segment: Segment, steps: number): void {
    segment.applied += steps
    // A step that has begun holds the blocks for its tokens.
    const begun = segment.applied < segment.steps ? 1 : 0
    for (const sequence of segment.decoding) {
      this.#cache.cover(sequence.lease!, sequence.computed + steps + begun)
      sequence.computed += steps
      sequence.furthest = Math.max(sequence.furthest, sequence.computed)
      this.#counters.decodedTokens += steps
      this.#generate(sequence, steps)
      if (sequence.watched) this.#report(sequence)
    }
  }

  #generate(sequence: Sequence, tokens: number): void {
    sequence.generated += tokens
    this.#counters.outputTokens += tokens
  }

  /** Reports the tokens that exist and were not reported (E4). */
  #report(sequence: Sequence): void {
    const count = sequence.generated - sequence.reported
    if (count === 0) return
    sequence.reported = sequence.generated
    sequence.reportedAtWorkMs = this.#workedMs
    this.#outbox(sequence, () => sequence.listener.tokens(count))
  }

  /** A step with a chunk of this sequence is over; if it was the last chunk, the next token exists. */
  #prefilled(sequence: Sequence): void {
    if (isPrefilling(sequence)) return
    this.#generate(sequence, 1)
    if (sequence.reported === 0 || sequence.watched) this.#report(sequence)
    if (sequence.generated === sequence.outputTokens) this.#complete(sequence)
  }

  #complete(sequence: Sequence): void {
    this.#report(sequence)
    this.#leave(sequence)
    // Stays `running` until it is delivered: only an abort in between silences it.
    this.#outbox(sequence, () => {
      sequence.state = 'ended'
      sequence.listener.finished({ outcome: 'completed' })
    })
  }

  #leave(sequence: Sequence): void {
    const { lease } = sequence
    if (lease === undefined) return
    this.#running = this.#running.filter((other) => other !== sequence)
    this.#cache.release(lease, sequence.computed)
    sequence.lease = undefined
  }

  #wait(sequence: Sequence): void {
    sequence.state = 'waiting'
    this.#waiting.push(sequence, this.profile.priorities ? -sequence.priority : 0)
  }

  #fits(sequence: Sequence, tokens: number): boolean {
    return this.#cache.lacking(sequence.lease!, tokens) <= this.#cache.availableBlocks
  }

  /** Puts the last of the running sequences back into the queue, and returns it. What it computed stays cached. */
  #preemptLast(): Sequence {
    const last = this.#running.at(-1)
    assert(last !== undefined, 'there is nothing to preempt')
    this.#leave(last)
    last.computed = 0
    last.prefillTarget = last.promptTokens + last.generated
    this.#counters.preemptions++
    this.#wait(last)
    return last
  }

  /** Gives the head of the queue a place if what has to fit fits. */
  #admit(head: Sequence, budget: number): boolean {
    const whole = this.profile.admission === 'prompt'
    const room = (hit: number): number => (whole ? head.prefillTarget : Math.min(head.prefillTarget, hit + budget))
    const lease = this.#cache.acquire(head.runs, head.salt, head.prefillTarget - 1, room)
    if (lease === undefined) return false
    const hit = lease.depth
    this.#waiting.pop()
    head.state = 'running'
    head.lease = lease
    head.computed = hit
    if (head.started) {
      this.#counters.cachedLaterTokens += Math.max(0, hit - head.furthest)
    } else {
      head.started = true
      this.#counters.promptTokens += head.promptTokens
      this.#counters.cachedTokens += hit
      this.#outbox(head, () => head.listener.started(hit))
    }
    head.furthest = Math.max(head.furthest, hit)
    this.#insert(head)
    return true
  }

  /** Puts a sequence into the running order: by arrival, and by priority before that if the engine has priorities. */
  #insert(sequence: Sequence): void {
    if (!this.profile.priorities) {
      this.#running.push(sequence)
      return
    }
    const at = this.#running.findIndex((other) => other.priority < sequence.priority)
    if (at === -1) this.#running.push(sequence)
    else this.#running.splice(at, 0, sequence)
  }

  #computeChunk(sequence: Sequence, tokens: number): void {
    const from = sequence.computed
    const to = from + tokens
    this.#cache.extend(sequence.lease!, to)
    sequence.computed = to
    const again = Math.max(0, Math.min(to, sequence.furthest) - from)
    this.#counters.recomputedTokens += again
    this.#counters.prefilledTokens += tokens - again
    sequence.furthest = Math.max(sequence.furthest, to)
  }
}
