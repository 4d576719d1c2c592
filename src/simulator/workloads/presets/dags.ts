// Presets of workflows with several stages.

import type { Random } from '../../../clock.ts'
import type { TokenSpan } from '../../../schema/message.ts'
import { lognormal, whole } from '../distributions.ts'
import type { WorkloadRun, WorkloadStep, WorkloadTurn } from '../workload.ts'
import type { Preset } from './preset.ts'

/** Steps of the exemplars that the data set's repository publishes (DAG-MATH). */
const exemplarSteps = [11, 22, 25, 26, 36, 38]
/** Instructions and problem: assumed. */
const mathSystemTokens = 250
const mathProblemTokens = 150
/** Answers: capped as in the paper (section 4). */
const mathAnswer = lognormal(210, 0.4, 256)
/** Share of steps with one, two, three, four parents: assumed. */
const parentShares = [0.4, 0.4, 0.15, 0.05]

/** Where an answer lies, so that other steps can name it. */
function answerAnchor(name: string): TokenSpan {
  return { stream: `answer ${name}`, from: 0, to: 0 }
}

/** Steps that `step` depends on: the one before, and others at random. */
function parentsOf(random: Random, step: number): number[] {
  if (step === 0) return []
  let wanted = 1
  let draw = random()
  for (const share of parentShares) {
    if (draw < share) break
    draw -= share
    wanted++
  }
  const parents = new Set([step - 1])
  for (let tries = 0; parents.size < Math.min(wanted, step) && tries < 20; tries++) {
    parents.add(Math.floor(random() * step))
  }
  return [...parents].toSorted((a, b) => a - b)
}

/**
 * The paper's cache experiment: mathematical DAGs of 11 to 38 steps with answers of at most 256 tokens (paper, section 4;
 * steps of DAG-MATH's published exemplars). With `append` a step sees all earlier answers, with `parents` those it
 * depends on; both begin with instructions that all problems share. Lengths of prompts and edges are assumed.
 */
export const dagMath: Preset = {
  source: "the paper's cache experiment on DAG-MATH; prompts and edges assumed",
  sessionsDefault: 5,
  runs({ sessions, random, dagContext }) {
    const counts = random('steps')
    return Array.from({ length: sessions }, (_, i) => {
      const id = `dag-math-${i + 1}`
      const steps = exemplarSteps[Math.floor(counts() * exemplarSteps.length)]!
      return { id, steps: mathSteps(id, steps, random(id), dagContext) }
    })
  },
}

function mathSteps(id: string, count: number, random: Random, dagContext: 'append' | 'parents'): WorkloadStep[] {
  const start: TokenSpan[] = [
    { stream: 'dag-math system', from: 0, to: mathSystemTokens },
    { stream: `${id} problem`, from: 0, to: mathProblemTokens },
  ]
  const answers: TokenSpan[] = []
  return Array.from({ length: count }, (_, step): WorkloadStep => {
    const parents = parentsOf(random, step)
    const seen = dagContext === 'append' ? [...answers] : parents.map((parent) => answers[parent]!)
    const outputTokens = whole(mathAnswer(random))
    const anchor = answerAnchor(`${id} ${step}`)
    answers.push({ ...anchor, to: outputTokens })
    // Who sees every earlier answer waits for every earlier step, and so for the one before.
    const after = dagContext === 'append' ? parents.slice(-1) : parents
    return {
      name: `step${step + 1}`,
      after: after.map((parent) => `step${parent + 1}`),
      turns: [{ shared: 0, fresh: [...start, ...seen, anchor], outputTokens, waitMs: 0, waitFor: 'user' }],
    }
  })
}

/** Lengths of the support example: assumed, in tokens. */
const support = {
  ticket: lognormal(120, 0.6, 1_000),
  classify: { instructions: 180, answer: lognormal(40, 0.2, 80) },
  policy: { instructions: 320, observation: lognormal(450, 0.5, 2_000), answer: lognormal(90, 0.4, 300), calls: 2 },
  route: { instructions: 300, observation: lognormal(200, 0.5, 1_000), answer: lognormal(60, 0.4, 200), calls: 2 },
  reply: { instructions: 260, observation: lognormal(40, 0.2, 80), answer: lognormal(160, 0.4, 500), calls: 1 },
  /** One tool call, ms. */
  toolMs: lognormal(150, 0.5, 2_000),
}

/**
 * The paper's customer support workflow (section 3): classify, then check the policy and route the ticket side by side,
 * both with tools, then reply. The shape is the paper's; all lengths and tool times are assumed.
 */
export const supportTicket: Preset = {
  source: "the paper's customer support example; lengths assumed",
  sessionsDefault: 100,
  runs({ sessions, random }) {
    return Array.from({ length: sessions }, (_, i) => supportRun(`support-${i + 1}`, random))
  },
}

function supportRun(id: string, streams: (label: string) => Random): WorkloadRun {
  const random = streams(id)
  const ticket = { stream: `${id} ticket`, from: 0, to: whole(support.ticket(random)) }
  const instructions = (stage: string, tokens: number): TokenSpan => ({
    stream: `support ${stage}`,
    from: 0,
    to: tokens,
  })
  const classified = whole(support.classify.answer(random))
  const classification = { ...answerAnchor(`${id} classify`), to: classified }
  const checked = { ...answerAnchor(`${id} policy`), to: 0 }

  const toolStage = (stage: 'policy' | 'route' | 'reply', given: readonly TokenSpan[]): WorkloadTurn[] => {
    const { instructions: length, observation, answer, calls } = support[stage]
    const turns: WorkloadTurn[] = []
    let contextTokens = 0
    for (let turn = 0; turn <= calls; turn++) {
      const seen =
        turn === 0
          ? [instructions(stage, length), ticket, ...given]
          : [{ stream: `${id} ${stage} tool ${turn}`, from: 0, to: whole(observation(random)) }]
      const outputTokens = whole(answer(random))
      const last = turn === calls && stage === 'policy'
      turns.push({
        shared: contextTokens,
        fresh: last ? [...seen, answerAnchor(`${id} policy`)] : seen,
        outputTokens,
        waitMs: turn === 0 ? 0 : support.toolMs(random),
        waitFor: turn === 0 ? 'user' : `${stage}-tool`,
      })
      contextTokens += seen.reduce((sum, { from, to }) => sum + to - from, 0) + outputTokens
      if (last) checked.to = outputTokens
    }
    return turns
  }

  const classify: WorkloadTurn = {
    shared: 0,
    fresh: [instructions('classify', support.classify.instructions), ticket, answerAnchor(`${id} classify`)],
    outputTokens: classified,
    waitMs: 0,
    waitFor: 'user',
  }
  const policy = toolStage('policy', [classification])
  return {
    id,
    steps: [
      { name: 'classify', after: [], turns: [classify] },
      { name: 'policy_check', after: ['classify'], turns: policy },
      { name: 'route_ticket', after: ['classify'], turns: toolStage('route', [classification]) },
      { name: 'reply', after: ['classify', 'policy_check'], turns: toolStage('reply', [classification, checked]) },
    ],
  }
}
