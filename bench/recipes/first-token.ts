// The paper's cache experiment (section 4): time to first token of multi-stage workflows on SGLang with Qwen3-8B, when
// the KV cache is flushed after every request and when it is flushed after every workflow; and what it leaves out: never
// flushing, and several workflows at once.
//
// The paper runs five problems of a data set of mathematical DAGs, answers of at most 256 tokens. How long the prompts
// are and what a stage sees of earlier ones is not given. Step counts are those of the data set's published exemplars;
// a stage sees either all earlier answers (`append`) or those it depends on (`parents`), after a shared start.

import { virtualClock, type Random } from '../../src/clock.ts'
import type { TokenSpan } from '../../src/schema/message.ts'
import { enginePreset } from '../../src/simulator/presets/engines.ts'
import { stepEngineModel } from '../../src/simulator/step-model/gpu.ts'
import { lognormal, percentile, shuffled } from './draw.ts'

/** When the cache is flushed. */
export type Flush = 'per request' | 'per workflow' | 'never'

/** What a stage sees of earlier ones. */
export type ContextMode = 'append' | 'parents'

/** Times to first token of one arm. */
export interface FirstTokenOutcome {
  p50Ms: number
  p90Ms: number
  p99Ms: number
  meanMs: number
  /** Flushes that the engine refused because a request was under way. */
  refusedFlushes: number
}

/** Steps of the exemplars that the data set's repository publishes (DAG-MATH). */
const exemplarSteps = [11, 22, 25, 26, 36, 38]
const problemsDefault = 5
/** Instructions, the same for all problems, and the problem itself: assumed. */
const systemTokens = 250
const problemTokens = 150
/** Answers: lognormal, capped as in the paper. */
const outputMedian = 210
const outputSigma = 0.4
const outputMax = 256
/** Share of stages with one, two, three, ... parents: assumed. */
const parentShares = [0.4, 0.4, 0.15, 0.05]

function parentsOf(random: Random, step: number): number[] {
  let wanted = 1
  let draw = random()
  for (const share of parentShares) {
    if (draw < share) break
    draw -= share
    wanted++
  }
  // Recent steps are likelier parents: the step before is always one.
  const parents = new Set<number>(step > 0 ? [step - 1] : [])
  for (let tries = 0; parents.size < Math.min(wanted, step) && tries < 20; tries++) {
    parents.add(Math.floor(random() * step))
  }
  return [...parents].toSorted((a, b) => a - b)
}

/** Runs one arm in virtual time: `problems` workflows, `concurrent` at a time. */
export async function runFirstToken(options: {
  flush: Flush
  mode: ContextMode
  seed: number
  problems?: number
  concurrent?: number
}): Promise<FirstTokenOutcome> {
  const { flush, mode, seed, problems = problemsDefault, concurrent = 1 } = options
  const clock = virtualClock({ seed })
  const preset = enginePreset({ gpu: 'rtx-pro-6000-max-q', model: 'qwen3-8b', engine: 'sglang' })
  const model = stepEngineModel({ clock, profile: preset })
  const ttfts: number[] = []
  let refusedFlushes = 0
  const doFlush = (): void => {
    if (!model.flush()) refusedFlushes++
  }

  const infer = (id: string, prompt: readonly TokenSpan[], output: TokenSpan): Promise<void> => {
    const sentAtMs = clock.nowMs()
    let first = true
    return new Promise((resolve) => {
      model.submit(
        { id, prompt, output, watched: false },
        {
          started: () => {},
          tokens: () => {
            if (first) ttfts.push(clock.nowMs() - sentAtMs)
            first = false
          },
          finished: () => resolve(),
        },
      )
    })
  }

  const runProblem = async (problem: number, steps: number): Promise<void> => {
    const random = clock.random(`problem ${problem}`)
    const start: TokenSpan[] = [
      { stream: 'system', from: 0, to: systemTokens },
      { stream: `problem ${problem}`, from: 0, to: problemTokens },
    ]
    const answers: TokenSpan[] = []
    for (let step = 0; step < steps; step++) {
      const seen = mode === 'append' ? answers : parentsOf(random, step).map((parent) => answers[parent]!)
      const output = {
        stream: `answer ${problem}.${step}`,
        from: 0,
        to: lognormal(random, outputMedian, outputSigma, outputMax),
      }
      await infer(`${problem}.${step}`, [...start, ...seen], output)
      answers.push(output)
      if (flush === 'per request') doFlush()
    }
    if (flush === 'per workflow') doFlush()
  }

  const counts = clock.random('steps')
  const queue: { problem: number; steps: number }[] = []
  while (queue.length < problems) {
    for (const steps of shuffled(counts, exemplarSteps)) queue.push({ problem: queue.length, steps })
  }
  queue.length = problems
  const lane = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) await runProblem(next.problem, next.steps)
  }
  await clock.run(Promise.all(Array.from({ length: concurrent }, lane)))
  return {
    p50Ms: percentile(ttfts, 0.5),
    p90Ms: percentile(ttfts, 0.9),
    p99Ms: percentile(ttfts, 0.99),
    meanMs: ttfts.reduce((sum, ms) => sum + ms, 0) / ttfts.length,
    refusedFlushes,
  }
}
