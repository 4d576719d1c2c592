// The three cache policies of the paper (section 2.4), with the reference system's defaults, and the two arms of its
// cache experiment (section 4).

import { chain, type CachePolicy } from './cache-policy.ts'

/** Tokens by which a context may grow and still be the same one (the reference's default). */
const smallIncrementTokens = 256
/** Utilisation at which idle runs give room (the reference's default). */
const pressureThreshold = 0.85

/** Keeps a context that goes on at the same backend and model and grows little. */
export function preserveOnSmallIncrement(thresholdTokens: number = smallIncrementTokens): CachePolicy {
  return {
    name: 'preserve-on-small-increment',
    atBoundary({ boundary, backend, residentTokens, addedTokens, previous }) {
      if (boundary !== 'request' || previous !== undefined) return undefined
      if (residentTokens === 0 || addedTokens > thresholdTokens) return undefined
      const reason = `the context goes on at the same backend and model and grows by ${addedTokens} tokens, at most ${thresholdTokens}`
      return { want: 'keep', backend, reason, figures: { addedTokens, residentTokens, thresholdTokens } }
    },
  }
}

/** Lets go of a run's contexts when it ends, and of those at a backend that it leaves for another backend or model. */
export function flushAtBoundary(): CachePolicy {
  return {
    name: 'flush-at-boundary',
    atBoundary({ boundary, backend, model, residentTokens, previous }) {
      if (boundary === 'end') {
        return { want: 'flush', backend, reason: 'the run is over', figures: { residentTokens } }
      }
      if (boundary !== 'request' || previous === undefined) return undefined
      const reason = `the run went on from ${previous.model} at "${previous.backend}" to ${model} at "${backend}"`
      const figures = { residentTokens: previous.residentTokens }
      return { want: 'flush', backend: previous.backend, reason, figures }
    },
  }
}

/** Lets whole runs go while a backend is too full: idle ones first, longest untouched first. */
export function flushUnderPressure(threshold: number = pressureThreshold): CachePolicy {
  return {
    name: 'flush-under-pressure',
    underPressure({ utilisation, capacityTokens, runs, source }) {
      if (utilisation < threshold) return []
      let excess = (utilisation - threshold) * capacityTokens
      const victims: { runId: string; reason: string }[] = []
      const order = { idle: 0, tool: 1, queued: 2, running: 3 }
      const idleFirst = runs
        .filter(({ residency, tokens }) => order[residency] < 2 && tokens > 0)
        .toSorted((a, b) => order[a.residency] - order[b.residency] || b.idleMs - a.idleMs)
      for (const { runId, tokens, idleMs, residency } of idleFirst) {
        if (excess < 0) break
        excess -= tokens
        const reason = `utilisation ${utilisation.toFixed(2)} (${source}) is at least ${threshold}: ${residency} for ${Math.round(idleMs)} ms with ${tokens} tokens`
        victims.push({ runId, reason })
      }
      return victims
    },
  }
}

/** All three, in the reference's order. */
export function paperPolicies(): CachePolicy {
  return chain('paper', [preserveOnSmallIncrement(), flushAtBoundary(), flushUnderPressure()])
}

/** Empties the cache after every answer, as request-level serving without reuse would: the paper's baseline. */
export function flushPerRequest(): CachePolicy {
  return {
    name: 'flush-per-request',
    atBoundary({ boundary, backend, residentTokens }) {
      if (boundary !== 'answer') return undefined
      return { want: 'flushAll', backend, reason: 'after every request', figures: { residentTokens } }
    },
  }
}

/** Empties the cache after every run: the paper's arm. */
export function flushPerWorkflow(): CachePolicy {
  return {
    name: 'flush-per-workflow',
    atBoundary({ boundary, backend, residentTokens }) {
      if (boundary !== 'end') return undefined
      return { want: 'flushAll', backend, reason: 'after every workflow', figures: { residentTokens } }
    },
  }
}
