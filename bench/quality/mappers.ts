// Who decides between a weak and a strong model, from the prompt alone: mappers of the package as they are.
//
// This file does not import the graded half; what it knows of labels are the lessons that it is given.

import { randomStream, virtualClock, type Random } from '../../src/clock.ts'
import { learned } from '../../src/mapping/learned.ts'
import type { LearnedMapper } from '../../src/mapping/learned-options.ts'
import type { LearnedData } from '../../src/mapping/learned-data.ts'
import type { BackendView, Mapper, MappingContext, MappingRequest } from '../../src/mapping/mapper.ts'
import { threshold } from '../../src/mapping/threshold.ts'
import type { Lesson, Question } from './pairs.ts'

/** Decisions of one setting of a mapper's knob: 1 sends the question to the strong model. */
export type Decisions = Uint8Array

/** One way to decide, at every setting of its knob. */
export interface Decider {
  name: string
  /** What it has seen of the half to learn from. */
  learnsFrom: 'nothing' | 'both answers' | 'answers of its own choice'
  decide(lessons: readonly Lesson[], questions: readonly Question[], seed: number): Promise<Decisions[]>
}

const backend = (name: string): BackendView => ({
  name,
  model: name,
  inFlight: 0,
  waiting: 0,
  windowRequests: 1,
  health: 'healthy',
  capabilities: {
    engine: 'none',
    tools: false,
    jsonSchema: false,
    cachedTokens: 'never',
    sharedPrefix: false,
    kv: { flushAll: 'none', releaseSession: 'none', isolate: 'none', retain: 'none' },
  },
})
const backends = [backend('weak'), backend('strong')]
const place = { workflow: 'exam', stage: 'answer' }
const stageClass = 'exam/answer'

/** What a mapper sees: the prompt, and nothing that differs between questions besides. */
function requestOf({ prompt }: Pick<Question, 'prompt'>): MappingRequest<string> {
  return {
    runId: 'exam',
    ...place,
    stageClass,
    tenant: 'exam',
    input: prompt,
    results: {},
    requirements: { tools: false, jsonSchema: false },
    outputTokens: 0,
    backends,
  }
}

const clock = virtualClock({ seed: 1 })

/** Nobody here has time, models or a prompt other than the input. */
function contextOf(random: Random): MappingContext {
  const nothing = (): Promise<never> => Promise.reject(new Error('there is no model to ask'))
  return { signal: new AbortController().signal, clock, random, prompt: nothing, ask: nothing }
}

/** What a mapper makes of all questions. */
async function ask(mapper: Mapper<string>, questions: readonly Question[]): Promise<Decisions> {
  const decisions = new Uint8Array(questions.length)
  for (const [i, question] of questions.entries()) {
    const { backend: chosen } = await mapper(
      requestOf(question),
      contextOf(() => 1),
    )
    decisions[i] = chosen === 'strong' ? 1 : 0
  }
  return decisions
}

/** Settings from 0 to `max`. */
function settings(max: number, count: number): number[] {
  return Array.from({ length: count + 1 }, (_, i) => (max * i) / count)
}

const wordsOf = (text: string): number => text.match(/\S+/g)?.length ?? 0

/** A share of questions, drawn by lot, goes to the strong model. */
const random: Decider = {
  name: 'random',
  learnsFrom: 'nothing',
  async decide(_, questions, seed) {
    const runs = settings(1, 20).map((share) => {
      // One lot for each question, whatever the share.
      const lot = randomStream(seed, 'random')
      const mapper: Mapper<string> = () => ({ backend: lot() < share ? 'strong' : 'weak', reason: 'by lot' })
      return ask(mapper, questions)
    })
    return Promise.all(runs)
  },
}

/** Words from which on a question is complex. Set before any answer was looked at: a paragraph rather than a sentence. */
const complexWords = 50

const byWords = (at: number): Mapper<string> =>
  threshold<string, unknown>({ score: ({ input }) => wordsOf(input), at, below: 'weak', above: 'strong' })

/** One bit by a fixed rule about the prompt, in place of the short call of a model that a one-bit router makes. */
const oneBit: Decider = {
  name: 'one-bit (rule: 50 words)',
  learnsFrom: 'nothing',
  decide: async (_, questions) => [await ask(byWords(complexWords), questions)],
}

/** Longer questions to the strong model. */
const byLength: Decider = {
  name: 'threshold (words)',
  learnsFrom: 'nothing',
  decide: (_, questions) => Promise.all(settings(160, 40).map((at) => ask(byWords(at), questions))),
}

/** The learned mapper at every weight of costs. A strong answer costs one, a weak one nothing. */
async function sweep(data: LearnedData, questions: readonly Question[]): Promise<Decisions[]> {
  const runs = settings(0.6, 48).map((costWeight) =>
    ask(learned<string>({ from: data, costWeight, frozen: true }), questions),
  )
  return Promise.all(runs)
}

const costOf = { weak: 0, strong: 1 }

/** Name of the arm that the report is about. */
export const warmName = 'learned (warm start)'

/** The learned mapper, warm with both answers to each question of its half. */
const warm: Decider = {
  name: warmName,
  learnsFrom: 'both answers',
  decide(lessons, questions) {
    const mapper = learned<string>({
      warmStart: lessons.flatMap(({ prompt, weakOk, strongOk }) => [
        { ...place, input: prompt, results: {}, backend: 'weak', rating: weakOk ? 1 : 0, costUsd: costOf.weak },
        { ...place, input: prompt, results: {}, backend: 'strong', rating: strongOk ? 1 : 0, costUsd: costOf.strong },
      ]),
    })
    return sweep(mapper.export(), questions)
  },
}

/** The learned mapper as a bandit: of each question of its half it sees the answer of the model that it chose. */
const bandit: Decider = {
  name: 'learned (as a bandit)',
  learnsFrom: 'answers of its own choice',
  async decide(lessons, questions, seed) {
    const mapper: LearnedMapper<string> = learned<string>({
      explore: 0.5,
      costWeight: 0.2,
      halfLife: 1e9,
    })
    const context = contextOf(randomStream(seed, 'bandit'))
    for (const lesson of lessons) {
      const decision = await mapper(requestOf(lesson), context)
      const name = decision.backend === 'strong' ? 'strong' : 'weak'
      const isRight = name === 'strong' ? lesson.strongOk : lesson.weakOk
      mapper.observe({
        runId: `run-${lesson.id}`,
        ...place,
        stageClass,
        decision: { ...decision, model: name, by: decision.by ?? '' },
        state: 'completed',
        durationMs: 0,
        costUsd: costOf[name],
        rating: isRight ? 1 : 0,
      })
    }
    return sweep(mapper.export(), questions)
  },
}

/** All, the one to compare with first. */
export const deciders: readonly Decider[] = [random, oneBit, byLength, bandit, warm]
