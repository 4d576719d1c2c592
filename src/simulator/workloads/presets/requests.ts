// Presets of single requests, and of chats, that arrive by themselves.

import { arrivalGaps } from '../arrivals.ts'
import { byPercentiles, lognormal, whole, type Sampler } from '../distributions.ts'
import { sessionRun, singleTurn, type WorkloadTurn } from '../workload.ts'
import type { Preset } from './preset.ts'

interface RequestTrace {
  source: string
  /** Requests a second. */
  ratePerSecond: number
  /** Coefficient of variation of the gaps between requests. */
  gapVariation: number
  input: Sampler
  output: Sampler
}

/** Requests of which nothing is known but lengths and times: no two share a prefix. */
function independent(prefix: string, trace: RequestTrace): Preset {
  return {
    source: trace.source,
    sessionsDefault: 1_000,
    runs({ sessions, random }) {
      const [inputs, outputs] = [random('inputs'), random('outputs')]
      const gap = arrivalGaps(trace.ratePerSecond, trace.gapVariation ** -2, random('arrivals'))
      let atMs = 0
      return Array.from({ length: sessions }, (_, i) => {
        const id = `${prefix}-${i + 1}`
        const fresh = [{ stream: id, from: 0, to: whole(trace.input(inputs)) }]
        const run = sessionRun(id, [singleTurn(fresh, whole(trace.output(outputs)))], atMs)
        atMs += gap()
        return run
      })
    },
  }
}

/**
 * Chat of Azure's 2023 trace, `conv`: percentiles, maxima, rate and gap variation of its 19,366 requests
 * (Azure/AzurePublicDataset, CC-BY). Assumed: lengths of prompt and answer are independent (published correlation
 * -0.11), gaps are gamma distributed, nothing is shared.
 */
export const chat = independent('chat', {
  source: 'Azure 2023 conversation trace, published statistics',
  ratePerSecond: 5.53,
  gapVariation: 1.09,
  input: byPercentiles([181, 396, 1_020, 1_189, 2_735, 4_142], { min: 60, max: 14_050 }),
  output: byPercentiles([41, 85, 129, 395, 424, 601], { min: 5, max: 1_000 }),
})

/**
 * Code completion of Azure's 2023 trace, `code`: 8,819 requests that come in bursts (Azure/AzurePublicDataset, CC-BY).
 * Assumed as for `chat` (published correlation 0.00).
 */
export const codeComplete = independent('code', {
  source: 'Azure 2023 code trace, published statistics',
  ratePerSecond: 2.567,
  gapVariation: 13.15,
  input: byPercentiles([75, 578, 1_469, 2_745, 5_194, 7_436], { min: 20, max: 7_437 }),
  output: byPercentiles([6, 9, 13, 24, 55, 252], { min: 3, max: 1_899 }),
})

/** Share of simple requests, and medians of simple and complex ones: the recipe for the paper's mapping experiment. */
const swe = {
  simpleShare: 956 / 2_294,
  input: { simple: lognormal(7_700, 0.8, 28_000), complex: lognormal(8_250, 0.8, 28_000) },
  output: { simple: lognormal(570, 0.9, 4_096), complex: lognormal(628, 0.9, 4_096) },
  ratePerSecond: 2.4,
}

/**
 * The paper's mapping experiment: one request an issue of SWE-bench, 41.7 % of them simple (paper, section 4; 2,294 is
 * the size of the full test split). All lengths are assumed, lognormal with the medians and caps of a recipe that
 * reproduces the published times; arrivals are Poisson. The kind of a request is in its name.
 */
export const sweOneshot: Preset = {
  source: "the paper's mapping experiment; lengths assumed",
  sessionsDefault: 2_294,
  runs({ sessions, random }) {
    const [kinds, inputs, outputs] = [random('kinds'), random('inputs'), random('outputs')]
    const gap = arrivalGaps(swe.ratePerSecond, 1, random('arrivals'))
    let atMs = 0
    return Array.from({ length: sessions }, (_, i) => {
      const kind = kinds() < swe.simpleShare ? 'simple' : 'complex'
      const id = `swe-${i + 1}-${kind}`
      const fresh = [{ stream: id, from: 0, to: whole(swe.input[kind](inputs)) }]
      const run = sessionRun(id, [singleTurn(fresh, whole(swe.output[kind](outputs)))], atMs)
      atMs += gap()
      return run
    })
  },
}

/** Mooncake's conversation trace: rate, gap variation and percentiles of its 12,031 requests. */
const mooncake = {
  ratePerSecond: 3.401,
  gapVariation: 3.03,
  input: byPercentiles([901, 2_306, 6_909, 15_368, 27_367, 85_401], { min: 500, max: 126_195 }),
  output: byPercentiles([10, 156, 350, 472, 597, 1_120], { min: 1, max: 2_000 }),
}
/** Its prefixes are known in blocks of this many tokens. */
const blockTokens = 512
/**
 * Chance that a chat goes on after a turn: fitted so that a cache without end finds 37 % of all prompt tokens, as it
 * does in the trace.
 */
const chatContinues = 0.68
/** Between the turns of a chat: assumed, a person reads and types. */
const readingMs = lognormal(20_000, 1, 600_000)

/**
 * Chats with long contexts: lengths, rate and reuse of Mooncake's conversation trace (kvcache-ai/Mooncake, Apache-2.0).
 * Assumed: a chat's prompts are draws from the published lengths in rising order, each a continuation of the one before
 * up to a whole block; chats have a geometric number of turns.
 */
export const longChat: Preset = {
  source: 'Mooncake conversation trace, published statistics',
  sessionsDefault: 500,
  runs({ sessions, random }) {
    const [inputs, outputs, waits, lengths] = [random('inputs'), random('outputs'), random('waits'), random('turns')]
    const turnsMean = 1 / (1 - chatContinues)
    const gap = arrivalGaps(mooncake.ratePerSecond / turnsMean, mooncake.gapVariation ** -2, random('arrivals'))
    let atMs = 0
    return Array.from({ length: sessions }, (_, i) => {
      const id = `long-chat-${i + 1}`
      const prompts = [whole(mooncake.input(inputs))]
      while (lengths() < chatContinues) prompts.push(whole(mooncake.input(inputs)))
      prompts.sort((a, b) => a - b)
      const turns = prompts.map((tokens, k): WorkloadTurn => {
        const before = k === 0 ? 0 : Math.min(prompts[k - 1]!, tokens - 1)
        const shared = before - (before % blockTokens)
        return {
          shared,
          fresh: [{ stream: `${id}#${k}`, from: 0, to: tokens - shared }],
          outputTokens: whole(mooncake.output(outputs)),
          waitMs: k === 0 ? 0 : readingMs(waits),
          waitFor: 'user',
        }
      })
      const run = sessionRun(id, turns, atMs)
      atMs += gap()
      return run
    })
  },
}
