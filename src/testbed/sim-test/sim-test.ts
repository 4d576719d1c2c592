// Simulates whole runtimes, seed after seed, and says which seeds break what.

import { z } from 'zod'
import { realClock } from '../../clock.ts'
import { parseOptions } from '../../schema/options.ts'
import type { RunOutcome } from '../../workflow/report.ts'
import { generatedSubject } from './generated.ts'
import type { SimOracleName, SimViolation } from './oracles.ts'
import { playScenario, type SimTrace } from './play.ts'
import { drawScenario, simFaultNames, type Scenario, type SimFaultName } from './scenario.ts'
import { shrink } from './shrink.ts'
import type { SimSubject } from './subject.ts'

const seedMax = 2 ** 31 - 1

const Settings = z.strictObject({
  seed: z.int().min(0).max(seedMax).default(1),
  seeds: z.int().min(1).max(100_000_000).default(100),
  faults: z.array(z.enum(simFaultNames as [SimFaultName, ...SimFaultName[]])).default(simFaultNames),
  failuresMax: z.int().min(1).default(3),
  shrinkTriesMax: z.int().min(0).default(300),
})

/** Options of a simulation. */
export interface SimTestOptions {
  /** The first seed, default 1. */
  seed?: number
  /** How many seeds, default 100. */
  seeds?: number
  /** Kinds of faults to draw from, default all. An empty list simulates without faults. */
  faults?: SimFaultName[]
  /** What is simulated, default workflows drawn from the seed. */
  subject?: SimSubject
  /** Failures after which it stops, default 3. */
  failuresMax?: number
  /** Scenarios that are played to make a failing one smaller, default 300. 0 leaves it as it is. */
  shrinkTriesMax?: number
  /** Hears of every seed. */
  onSeed?: (seed: number, trace: SimTrace) => void
}

/** A seed that failed. */
export interface SimFailure {
  seed: number
  violations: readonly SimViolation[]
  scenario: Scenario
  /** The smallest scenario found that breaks the same oracle, and how it ends. */
  smallest: { scenario: Scenario; violations: readonly SimViolation[]; tail: SimTrace['tail']; tried: number }
}

/** What a simulation found. */
export interface SimReport {
  subject: string
  seed: number
  /** Seeds that were played. */
  seeds: number
  failures: SimFailure[]
  runs: Record<RunOutcome['state'], number>
  events: number
  virtualMs: number
  wallSeconds: number
  /** Faults that struck, by kind: a kind that never does tests nothing. */
  struck: Partial<Record<SimFaultName, number>>
  /** Codes that runs failed with. */
  codes: Record<string, number>
  /** SHA-256 of the last trace: compare it between machines. */
  lastHash: string
}

/**
 * Plays seeds on a virtual clock, with faults drawn for each, and checks every event against the oracles.
 *
 * A seed is the same in every process: play a failing one again with `{ seed, seeds: 1 }`.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` with every problem of the options
 */
export async function simTest(options: SimTestOptions = {}): Promise<SimReport> {
  const { subject = generatedSubject, onSeed, ...given } = options
  const {
    seed: first,
    seeds,
    faults,
    failuresMax,
    shrinkTriesMax,
  } = parseOptions(Settings, given, 'options of simTest()')
  const report: SimReport = {
    subject: subject.name,
    seed: first,
    seeds: 0,
    failures: [],
    runs: { completed: 0, failed: 0, cancelled: 0 },
    events: 0,
    virtualMs: 0,
    wallSeconds: 0,
    struck: {},
    codes: {},
    lastHash: '',
  }
  const wall = realClock({ seed: first })
  for (let seed = first; seed < first + seeds && report.failures.length < failuresMax; seed++) {
    const scenario = drawScenario(seed % seedMax, faults)
    const trace = await playScenario(scenario, subject)
    add(report, trace)
    onSeed?.(seed, trace)
    if (trace.violations.length > 0) report.failures.push(await failureOf(scenario, trace, subject, shrinkTriesMax))
  }
  report.wallSeconds = wall.nowMs() / 1_000
  return report
}

function add(report: SimReport, { outcomes, events, virtualMs, struck, codes, hash }: SimTrace): void {
  report.seeds++
  report.events += events
  report.virtualMs += virtualMs
  report.lastHash = hash
  addCounts(report.runs, outcomes)
  addCounts(report.struck, struck)
  addCounts(report.codes, codes)
}

function addCounts(sums: Partial<Record<string, number>>, counts: Partial<Record<string, number>>): void {
  for (const [name, count] of Object.entries(counts)) sums[name] = (sums[name] ?? 0) + (count ?? 0)
}

async function failureOf(
  scenario: Scenario,
  trace: SimTrace,
  subject: SimSubject,
  triesMax: number,
): Promise<SimFailure> {
  const breaks = async (smaller: Scenario, oracle: SimOracleName): Promise<boolean> => {
    const { violations } = await playScenario(smaller, subject)
    return violations.some((violation) => violation.oracle === oracle)
  }
  const shrunk = await shrink(scenario, trace.violations[0]!.oracle, breaks, triesMax)
  const { violations, tail } = await playScenario(shrunk.scenario, subject)
  return {
    seed: scenario.seed,
    violations: trace.violations,
    scenario,
    smallest: { ...shrunk, violations, tail },
  }
}
