// Prewarming on and off: a small model drafts, and a large one reviews the whole conversation at a backend of its own.
//
// The documents are the runs' own, so nothing of them is at the second backend but by prewarming. Half of the reviews are
// not taken when `skipped` is 0.5: what is computed for those is lost.

import { z } from 'zod'
import { virtualClock } from '../../src/clock.ts'
import { openAi } from '../../src/engines/openai.ts'
import { utf8BytesEstimator } from '../../src/prompts/estimator.ts'
import { createRuntime } from '../../src/runtime.ts'
import { user } from '../../src/schema/message.ts'
import type { ModelName } from '../../src/simulator/presets/models.ts'
import { createSimulated } from '../../src/simulator/simulated.ts'
import { workflow } from '../../src/workflow/builder.ts'
import { lognormal } from '../recipes/draw.ts'
import type { Cell } from './cells.ts'
import type { ArmOutcome } from './play-arm.ts'

interface Load {
  name: string
  /** Runs that arrive a second. */
  rate: number
  skipped: number
}

const loads: readonly Load[] = [
  { name: 'light load', rate: 0.2, skipped: 0 },
  { name: 'light load, half not taken', rate: 0.2, skipped: 0.5 },
  { name: 'heavy load', rate: 1.2, skipped: 0 },
]
const runsCount = 120
/** Words of a document: some 1.3 tokens each by the estimator. */
const wordsMedian = 4_000
const wordsMax = 16_000
const draft = 'so it says. '.repeat(80)

const simulated = createSimulated(openAi)

function engine(model: ModelName, memoryShare: number): ReturnType<typeof simulated> {
  return simulated({
    model,
    contextLength: 60_000,
    transport: 'in-process',
    engine: { preset: { gpu: 'rtx-pro-6000-max-q', model, engine: 'sglang', memoryShare } },
    responder: () => ({ content: draft }),
    queueCapacity: 10_000,
  })
}

const Input = z.object({ document: z.string(), isTaken: z.boolean() })

const review = workflow('review', { input: Input })
  .stage('draft', { backend: 'light', prompt: ({ input }) => [user(input.document)] })
  .stage('check', {
    after: ['draft'],
    backend: 'heavy',
    context: 'append',
    when: ({ input }) => input.isTaken,
    prompt: () => [user('Is that so?')],
  })

async function play({ rate, skipped }: Load, prewarm: boolean, seed: number): Promise<ArmOutcome> {
  const clock = virtualClock({ seed })
  const runtime = await createRuntime({
    backends: { light: engine('qwen3-4b', 0.35), heavy: engine('qwen3-8b', 0.6) },
    clock,
    estimator: utf8BytesEstimator,
    memory: { prewarm },
  })
  const ttftsMs: number[] = []
  const sums = { prompt: 0, cached: 0, output: 0, failed: 0 }
  const one = async (i: number): Promise<void> => {
    const random = clock.random(`run ${i}`)
    const document = `${i} ${'a word '.repeat(lognormal(random, wordsMedian / 2, 0.6, wordsMax / 2))}`
    const { stages, state } = await runtime.start(review, { document, isTaken: random() >= skipped }).outcome
    if (state !== 'completed') sums.failed++
    const { ttftMs, promptTokens, cachedTokens } = stages['check']!
    for (const stage of Object.values(stages)) sums.output += stage.completionTokens ?? 0
    sums.prompt += promptTokens ?? 0
    sums.cached += cachedTokens ?? 0
    if (ttftMs !== null) ttftsMs.push(ttftMs)
  }
  const gaps = clock.random('arrivals')
  const all: Promise<void>[] = []
  for (let i = 0; i < runsCount; i++) {
    await clock.advance((-Math.log(1 - gaps()) / rate) * 1_000)
    all.push(one(i))
  }
  await clock.run(Promise.all(all))
  const seconds = clock.nowMs() / 1_000
  const ahead = runtime.backends().find(({ name }) => name === 'heavy')!.prewarm
  await clock.run(runtime.close())
  return {
    runs: runsCount,
    turns: ttftsMs.length,
    seconds,
    runsPerSecond: runsCount / seconds,
    outputTokensPerSecond: sums.output / seconds,
    hitRatio: sums.cached / Math.max(1, sums.prompt),
    // What prefills that were done computed beyond what was then found.
    rePrefilledTokens: Math.max(0, (ahead?.computedTokens ?? 0) - sums.cached),
    ttftsMs: ttftsMs.toSorted((a, b) => a - b),
    maxHoldMs: 0,
    holds: 0,
    fairness: 1,
    workingSetTokens: 0,
    busyShare: 0,
    failed: sums.failed,
    flushes: 0,
    refusedFlushes: 0,
    stoppedPrefills: ahead?.stopped ?? 0,
  }
}

/** Time to first token of the second stage, without and with prewarming. */
export async function prewarmCells(seeds: readonly number[]): Promise<Cell[]> {
  const cells: Cell[] = []
  for (const load of loads) {
    for (const prewarm of [false, true]) {
      const outcomes: ArmOutcome[] = []
      for (const seed of seeds) outcomes.push(await play(load, prewarm, seed))
      cells.push({ workload: `prewarm, ${load.name}`, ratio: 0, arm: prewarm ? 'prewarm' : 'no prewarm', outcomes })
    }
  }
  return cells
}
