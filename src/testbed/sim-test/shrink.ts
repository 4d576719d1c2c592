// Makes a scenario that fails smaller, as long as it still breaks the same oracle.

import type { SimOracleName } from './oracles.ts'
import type { Scenario, SimFaultName, SimRun } from './scenario.ts'

/** What a shrinker found. */
export interface Shrunk {
  scenario: Scenario
  /** Scenarios that were played for it. */
  tried: number
}

/**
 * Takes out faults, runs, deeds, stages and features, one after another, while the failure stays.
 *
 * @param fails - plays a scenario and says whether it breaks an oracle of that name
 * @param triesMax - scenarios to play at most
 */
export async function shrink(
  scenario: Scenario,
  oracle: SimOracleName,
  fails: (scenario: Scenario, oracle: SimOracleName) => Promise<boolean>,
  triesMax: number,
): Promise<Shrunk> {
  let smallest = scenario
  let tried = 0
  for (let progress = true; progress;) {
    progress = false
    for (const candidate of smaller(smallest)) {
      if (tried >= triesMax) return { scenario: smallest, tried }
      tried++
      if (!(await fails(candidate, oracle))) continue
      smallest = candidate
      progress = true
      break
    }
  }
  return { scenario: smallest, tried }
}

/** Scenarios that are a step smaller: big steps first. */
function* smaller(scenario: Scenario): Generator<Scenario> {
  const { runs, deeds, faults } = scenario
  for (const half of halves(runs)) yield { ...scenario, runs: half }
  for (const half of halves(deeds)) yield { ...scenario, deeds: half }
  for (const name of Object.keys(faults) as SimFaultName[]) {
    const { [name]: _gone, ...rest } = faults
    yield { ...scenario, faults: rest }
  }
  if (scenario.memory !== undefined) {
    const { memory, ...rest } = scenario
    yield rest
    if (memory.prewarm) yield { ...scenario, memory: { ...memory, prewarm: false } }
  }
  if (scenario.pools && !runs.some(({ stages }) => stages.some(({ backend }) => backend?.startsWith('pool-')))) {
    yield { ...scenario, pools: false }
  }
  if (scenario.failover) yield { ...scenario, failover: false }
  for (const [i, run] of runs.entries()) {
    for (const simpler of simplerRuns(run)) yield { ...scenario, runs: runs.with(i, simpler) }
  }
}

/** Both halves, and then all with one left out. */
function* halves<T>(items: readonly T[]): Generator<T[]> {
  if (items.length > 3) {
    const middle = items.length >> 1
    yield items.slice(0, middle)
    yield items.slice(middle)
  }
  for (const i of items.keys()) yield items.toSpliced(i, 1)
}

function* simplerRuns(run: SimRun): Generator<SimRun> {
  const { stages } = run
  if (stages.length > 1) yield { ...run, stages: stages.slice(0, -1) }
  if (run.deadlineMs !== undefined) {
    const { deadlineMs: _gone, ...rest } = run
    yield rest
  }
  for (const [i, stage] of stages.entries()) {
    if (stage.toolCalls > 0) yield { ...run, stages: stages.with(i, { ...stage, toolCalls: 0 }) }
    if (stage.headTokens > 0) yield { ...run, stages: stages.with(i, { ...stage, headTokens: 0 }) }
    if (stage.json) yield { ...run, stages: stages.with(i, { ...stage, json: false }) }
    if (stage.after.length > 0) {
      yield { ...run, stages: stages.with(i, { ...stage, after: [], appends: false }) }
    }
    if (stage.attempts > 1) yield { ...run, stages: stages.with(i, { ...stage, attempts: 1 }) }
    if (stage.cascade.length > 0) yield { ...run, stages: stages.with(i, { ...stage, cascade: [] }) }
    if (stage.chooses !== 'load') yield { ...run, stages: stages.with(i, { ...stage, chooses: 'load' }) }
    if (stage.fallback.length > 0) yield { ...run, stages: stages.with(i, { ...stage, fallback: [] }) }
  }
}
