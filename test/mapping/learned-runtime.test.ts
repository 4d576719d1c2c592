// A mapper that learns, in whole runtimes: what it is told is what runs did and what people thought of them.

import { onTestFinished, describe, expect, test } from 'vitest'
import { randomStream } from '../../src/clock.ts'
import {
  createRuntime,
  firstOf,
  learned,
  simulated,
  workflow,
  type LearnedMapper,
  type Run,
  type RunOutcome,
} from '../../src/index.ts'
import { scripted } from '../support/scripted-backend.ts'
import { testRuntime } from '../support/runtime.ts'
import { ask as threaded, mapper as threadedMapper } from './fixtures/learning.ts'

interface Task {
  text: string
  /** Whether the small model gets it wrong as a rule. */
  isHard: boolean
}

const clauses = [
  (n: number) => `There are ${n} crates on the quay, and each holds ${n + 7} boxes.`,
  (n: number) => `A box costs $${n}.50, or 20% less if more than ${n * 3} are sold, and half of them are.`,
  (n: number) => `After ${n} weeks 1/${n + 1} of what is left is worth twice as much.`,
  (n: number) => `The harbour is old, its keeper is called Ada, and she likes the number ${n}.`,
]

/** Questions of one to six sentences, in no order: long ones are hard. */
function* tasks(seed: number): Generator<Task> {
  const random = randomStream(seed, 'tasks')
  for (;;) {
    const length = 1 + Math.floor(random() * 6)
    const sentences = Array.from({ length }, () =>
      clauses[Math.floor(random() * clauses.length)]!(1 + Math.floor(random() * 40)),
    )
    yield { text: [...sentences, 'How much is it?'].join(' '), isHard: length >= 4 }
  }
}

/** Two backends of different cost and speed. */
const backends = () => {
  const responder = () => ({
    content: 'It is one of the numbers above, or one that is near to it, as you may see for yourself.',
  })
  const light = { inputUsdPerMTok: 0.1, outputUsdPerMTok: 0.4 }
  const heavy = { inputUsdPerMTok: 0.5, outputUsdPerMTok: 50 }
  return {
    light: simulated({ model: 'small', engine: 'light', transport: 'in-process', responder, prices: light }),
    heavy: simulated({ model: 'large', engine: 'heavy', transport: 'in-process', responder, prices: heavy }),
  }
}

const answer = (mapper: LearnedMapper) =>
  workflow('answer').stage('solve', { mapping: mapper, maxTokens: 40, prompt: ({ input }) => String(input) })

/** One answer in ten is judged the wrong way round. */
function rate(run: Run, { isHard }: Task, { stages }: RunOutcome, random: () => number): string {
  const { backend } = stages['solve']!
  const isGood = backend === 'heavy' || !isHard
  run.feedback({ rating: isGood === random() >= 0.1 ? 1 : 0 })
  return backend!
}

const isRight = (backend: string, { isHard }: Task): boolean => backend === (isHard ? 'heavy' : 'light')

/** A dollar is worth so much that a large answer costs a tenth to a third of what a right one is worth. */
const costWeight = 300

describe('a learned mapper in a runtime', () => {
  test('sends more and more stages to the right backend, and frozen, exported and read again, the same ones', async () => {
    const mapper = learned({ costWeight, latencyWeight: 0.001, explore: 0.2 })
    const runtime = await testRuntime(backends(), { watch: false })
    const random = randomStream(1, 'ratings')
    const chosen: boolean[] = []
    for (const task of tasks(1).take(300)) {
      const run = runtime.start(answer(mapper), task.text)
      const outcome = await runtime.until(run.outcome)
      const backend = rate(run, task, outcome, random)
      chosen.push(isRight(backend, task))
    }
    const share = (from: number, to: number): number => chosen.slice(from, to).filter(Boolean).length / (to - from)
    // Up to a fifth of the decisions is made to learn more.
    expect(share(200, 300)).toBeGreaterThan(share(0, 50) + 0.25)
    expect(share(200, 300)).toBeGreaterThan(0.8)
    const accounts = runtime.accounts()
    expect(accounts.map(({ backend, variant }) => [backend, variant])).toEqual([
      ['heavy', 'learned'],
      ['light', 'learned'],
    ])
    const [facts] = mapper.facts()
    expect(facts!.explored).toBeGreaterThan(10)
    expect(facts!.explored).toBeLessThanOrEqual(60)

    mapper.freeze()
    const data = mapper.export()
    const read = learned({ from: JSON.parse(JSON.stringify(data)), costWeight, latencyWeight: 0.001, frozen: true })
    const other = await testRuntime(backends(), { seed: 9, watch: false })
    let right = 0
    for (const task of tasks(2).take(60)) {
      const [one, two] = [runtime.start(answer(mapper), task.text), other.start(answer(read), task.text)]
      const [first, second] = [await runtime.until(one.outcome), await other.until(two.outcome)]
      expect(second.stages['solve']!.backend).toBe(first.stages['solve']!.backend)
      expect(second.stages['solve']!.mapping!.figures).toEqual(first.stages['solve']!.mapping!.figures)
      if (isRight(rate(one, task, first, random), task)) right++
    }
    expect(right).toBeGreaterThanOrEqual(54)
    expect(mapper.export()).toEqual(data)
    runtime.audit()
  })

  test('in front of a cascade learns without ratings: an answer that is made again costs more', async () => {
    const usage = { promptTokens: 0, completionTokens: 100 }
    // A light answer costs 0.04, a heavy one 0.1.
    const light = scripted(
      (call) => call.answer({ content: call.lastText.length > 170 ? 'I do not know' : 'It is 7', usage }, 10),
      { prices: { inputUsdPerMTok: 0, outputUsdPerMTok: 400 } },
    )
    const heavy = scripted((call) => call.answer({ content: 'It is 7', usage }, 30), {
      prices: { inputUsdPerMTok: 0, outputUsdPerMTok: 1_000 },
    })
    const runtime = await testRuntime({ light, heavy }, { watch: false })
    const mapper = learned({ costWeight: 5, explore: 0.2 })
    const definition = workflow('checked').stage('solve', {
      mapping: firstOf(() => undefined, mapper),
      cascade: { to: 'heavy', accept: ({ value }) => value.startsWith('It is') },
      maxTokens: 100,
      prompt: ({ input }) => String(input),
    })
    const spentUsd: number[] = []
    const again: number[] = []
    const texts = [...tasks(3).take(240)].map(({ text }) => text)
    for (const text of texts) {
      const { costUsd, stages } = await runtime.until(runtime.start(definition, text).outcome)
      spentUsd.push(costUsd!)
      again.push(stages['solve']!.escalations?.length ?? 0)
    }
    const sum = (values: readonly number[]): number => values.reduce((all, each) => all + each, 0)
    // Long ones are made again by the heavy backend, short ones are not: what it would cost to begin with the light one.
    const lightFirstUsd = texts.map((text) => (text.length > 170 ? 0.14 : 0.04))
    const heavyUsd = 0.1 * texts.length
    expect(sum(spentUsd)).toBeLessThan(0.85 * Math.min(sum(lightFirstUsd), heavyUsd))
    expect(sum(again)).toBeLessThan(0.1 * texts.length)
    runtime.audit()
  })

  test('learns over real sockets as well', async () => {
    const mapper = learned({ features: () => [] })
    const runtime = await createRuntime({
      backends: {
        light: simulated({ model: 'small', engine: 'instant', transport: 'http' }),
        heavy: simulated({ model: 'large', engine: 'instant', transport: 'http' }),
      },
      seed: 1,
    })
    onTestFinished(() => runtime.close())
    const rounds: number[] = []
    for (let round = 0; round < 8; round++) {
      const runs = Array.from({ length: 10 }, (_, i) => runtime.start(answer(mapper), `question ${i}`))
      const outcomes = await Promise.all(runs.map(({ outcome }) => outcome))
      const heavy = outcomes.map(({ stages }) => stages['solve']!.backend === 'heavy')
      heavy.forEach((isHeavy, i) => runs[i]!.feedback({ rating: isHeavy ? 1 : 0 }))
      rounds.push(heavy.filter(Boolean).length)
    }
    // Ten at a time: nothing is known before the first ten are judged.
    expect(rounds[0]).toBeLessThanOrEqual(1)
    expect(rounds.at(-1)).toBeGreaterThanOrEqual(9)
  })

  test('learns of runs on runner threads, on the thread where it decides', async () => {
    const runtime = await createRuntime({
      threads: 2,
      workflows: new URL('./fixtures/learning.ts', import.meta.url),
      probeTimeoutMs: 0,
    })
    onTestFinished(() => runtime.close())
    const runs = Array.from({ length: 8 }, (_, i) => runtime.start(threaded, `question ${i}`))
    const outcomes = await Promise.all(runs.map(({ outcome }) => outcome))
    for (const run of runs) run.feedback({ rating: 1 })
    expect(outcomes.every(({ stages }) => stages['answer']!.mapping!.by === 'learned')).toBe(true)
    const [{ decisions, arms } = { decisions: 0, arms: [] }] = threadedMapper.export().classes
    expect(decisions).toBe(8)
    expect(arms.reduce((sum, { completed }) => sum + completed, 0)).toBeCloseTo(8, 1)
    expect(arms.reduce((sum, { quality }) => sum + quality.weight, 0)).toBeCloseTo(8, 1)
  })
})
