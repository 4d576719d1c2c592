// What the tests of the step model share: small engines, and a record of what listeners heard.

import { virtualClock, type VirtualClock } from '../../../src/clock.ts'
import type { TokenSpan } from '../../../src/schema/message.ts'
import type { EngineModel, EngineRequest } from '../../../src/simulator/engine-model.ts'
import type { EngineProfile } from '../../../src/simulator/step-model/profile.ts'

/** A small engine with round costs: a decode step of d sequences is 10 + d ms while weights dominate. */
export function smallProfile(changes: Partial<EngineProfile> = {}): EngineProfile {
  return {
    blockTokens: 16,
    kvTokens: 1_600,
    contextTokens: 1_600,
    tokenBudget: 64,
    sequencesMax: 8,
    batching: 'mixed',
    admission: 'chunk',
    priorities: false,
    frontOverheadMs: 5,
    costs: {
      stepMs: 4,
      sequenceMs: 1,
      denseWeightsMs: 6,
      expertWeightsMs: 0,
      expertShare: 0,
      tokenMs: 0.25,
      contextTokenMs: 0,
      attentionPairMs: 0,
    },
    ...changes,
  }
}

/** One thing a listener heard. */
export interface Heard {
  atMs: number
  id: string
  what: 'started' | 'tokens' | 'completed' | 'refused'
  count: number
}

/** A request with a prompt of its own and `output` tokens of answer. */
export function request(id: string, prompt: number | readonly TokenSpan[], output: number): EngineRequest {
  const spans = typeof prompt === 'number' ? [{ stream: id, from: 0, to: prompt }] : prompt
  return { id, prompt: spans, output: { stream: `${id}/answer`, from: 0, to: output }, watched: false }
}

/** Submits requests and writes down what is heard. */
export class Recorder {
  readonly heard: Heard[] = []
  readonly #clock: VirtualClock

  constructor(clock: VirtualClock) {
    this.#clock = clock
  }

  submit(model: EngineModel, what: EngineRequest, onFinished?: () => void): () => void {
    const note = (kind: Heard['what'], count: number): void => {
      this.heard.push({ atMs: this.#clock.nowMs(), id: what.id, what: kind, count })
    }
    return model.submit(what, {
      started: (cachedTokens) => note('started', cachedTokens),
      tokens: (count) => note('tokens', count),
      finished: (outcome) => {
        note(outcome.outcome, 0)
        onFinished?.()
      },
    })
  }

  of(id: string): Heard[] {
    return this.heard.filter((heard) => heard.id === id)
  }

  /** When a request's first token came. */
  firstTokenAtMs(id: string): number | undefined {
    return this.of(id).find((heard) => heard.what === 'tokens')?.atMs
  }

  /** When a request ended. */
  endedAtMs(id: string): number | undefined {
    return this.of(id).find((heard) => heard.what === 'completed' || heard.what === 'refused')?.atMs
  }

  /** Tokens of its answer that a request was told of. */
  tokensOf(id: string): number {
    return this.of(id).reduce((sum, heard) => sum + (heard.what === 'tokens' ? heard.count : 0), 0)
  }
}

/** A virtual clock and a recorder on it. */
export function stage(): { clock: VirtualClock; recorder: Recorder } {
  const clock = virtualClock()
  return { clock, recorder: new Recorder(clock) }
}
