// A fixed mix of everything at once, for comparing schedulers: fixed before any policy was tuned on it.

import type { Random } from '../../../clock.ts'
import type { TokenSpan } from '../../../schema/message.ts'
import { lognormal, whole } from '../distributions.ts'
import { singleTurn, type WorkloadRun, type WorkloadStep } from '../workload.ts'
import { sweAgent } from './agents.ts'
import { supportTicket } from './dags.ts'
import type { Preset } from './preset.ts'

/** Of twenty runs: ten tickets, six agents, three wide DAGs, one chain. In this order, over and over. */
const pattern = 'tatwtatatcwtatatatwt'
/** One run in so many belongs to the small tenant. */
const smallTenantEvery = 5
const branches = 8
const chainStages = 40

/** Lengths of the wide DAG and the chain: assumed, in tokens. */
const instructionTokens = 300
const inputTokens = lognormal(600, 0.5, 4_000)
const wideAnswer = lognormal(200, 0.5, 1_000)
const chainAnswer = lognormal(150, 0.4, 600)

/**
 * Half support tickets, 30 % `swe-agent` sessions, 15 % wide DAGs (one stage, eight beside each other, one), 5 % batch
 * chains of 40 stages; every fifth run is of tenant `small`, the others of `large`.
 */
export const mix: Preset = {
  source: 'support-ticket and swe-agent beside wide DAGs and long chains; lengths of the latter assumed',
  sessionsDefault: 400,
  runs(options) {
    const { sessions, random } = options
    const count = Math.ceil(sessions / 2) + pattern.length
    const tickets = supportTicket.runs({ ...options, sessions: count }).values()
    const agents = sweAgent.runs({ ...options, sessions: count }).values()
    return Array.from({ length: sessions }, (_, i): WorkloadRun => {
      const tenant = i % smallTenantEvery === 0 ? 'small' : 'large'
      switch (pattern[i % pattern.length]) {
        case 't':
          return { ...tickets.next().value!, tenant }
        case 'a':
          return { ...agents.next().value!, tenant }
        case 'w':
          return { id: `wide-${i + 1}`, tenant, steps: wideSteps(`wide-${i + 1}`, random(`wide ${i}`)) }
        default:
          return { id: `chain-${i + 1}`, tenant, steps: chainSteps(`chain-${i + 1}`, random(`chain ${i}`)) }
      }
    })
  },
}

function instructions(kind: string): TokenSpan {
  return { stream: `mix ${kind}`, from: 0, to: instructionTokens }
}

function wideSteps(id: string, random: Random): WorkloadStep[] {
  const input = { stream: `${id} input`, from: 0, to: whole(inputTokens(random)) }
  const step = (name: string, after: readonly string[], seen: readonly TokenSpan[]): WorkloadStep => {
    const anchor = { stream: `${id} ${name}`, from: 0, to: 0 }
    return { name, after, turns: [singleTurn([...seen, anchor], whole(wideAnswer(random)))] }
  }
  const names = Array.from({ length: branches }, (_, i) => `branch${i + 1}`)
  const answers = names.map((name): TokenSpan => ({ stream: `${id} part ${name}`, from: 0, to: 120 }))
  return [
    step('split', [], [instructions('split'), input]),
    ...names.map((name) => step(name, ['split'], [instructions('branch'), input])),
    step('join', names, [instructions('join'), ...answers]),
  ]
}

function chainSteps(id: string, random: Random): WorkloadStep[] {
  return Array.from({ length: chainStages }, (_, i): WorkloadStep => {
    const input = { stream: `${id} ${i}`, from: 0, to: whole(inputTokens(random)) }
    return {
      name: `link${i + 1}`,
      after: i === 0 ? [] : [`link${i}`],
      turns: [singleTurn([instructions('link'), input], whole(chainAnswer(random)))],
    }
  })
}
