// `orla sim-test`: whole runtimes in virtual time, seed after seed, with faults.

import { simFaultNames, simTest, type SimFailure, type SimFaultName, type SimReport } from '../../testing.ts'
import { exitCodes, unknownName, type ExitCode } from '../exit-code.ts'
import { count } from '../view/format.ts'
import { numberFlag } from './flags.ts'

/** Flags of `sim-test` as the command line gives them: text, unchecked. */
export interface SimTestFlags {
  seeds?: string
  seed?: string
  faults?: string
  json?: boolean
}

/** Events of a failing seed that are shown. */
const tailShown = 15
const seedMax = 2 ** 31 - 1
const wordsOfNone = ['none', '']

/** Simulates, and says what broke and how to see it again. */
export async function simTestCommand(flags: SimTestFlags): Promise<ExitCode> {
  const seeds = numberFlag('--seeds', flags.seeds, { min: 1, max: 1e8, whole: true }) ?? 1_000
  const seed = numberFlag('--seed', flags.seed, { whole: true, max: seedMax }) ?? 1
  const faults = faultsOf(flags.faults)
  process.once('SIGINT', () => process.exit(exitCodes.interrupted))
  const isWatched = process.stderr.isTTY && flags.json !== true
  let played = 0
  const report = await simTest({
    seed,
    seeds,
    faults,
    onSeed() {
      if (isWatched && ++played % 50 === 0) process.stderr.write(`\r${count(played)} of ${count(seeds)} seeds`)
    },
  })
  if (isWatched) process.stderr.write('\r\u001B[K')
  if (flags.json === true) console.log(JSON.stringify({ type: 'simTest.report', ...report }))
  else {
    for (const failure of report.failures) console.log(failureText(failure, flags.faults))
    console.log(summaryText(report))
  }
  return report.failures.length > 0 ? exitCodes.runFailed : exitCodes.done
}

function faultsOf(text: string | undefined): SimFaultName[] {
  if (text === undefined) return [...simFaultNames]
  if (wordsOfNone.includes(text.trim())) return []
  return text.split(',').map((word) => {
    const found = simFaultNames.find((name) => name === word.trim())
    if (found === undefined) throw unknownName('--faults', word.trim(), simFaultNames)
    return found
  })
}

function summaryText(report: SimReport): string {
  const { seed, seeds, failures, runs, events, virtualMs, wallSeconds, struck, codes, lastHash } = report
  const struckWords = Object.entries(struck).map(([name, times]) => `${name} ${count(times)}`)
  const codeWords = Object.entries(codes)
    .sort((a, b) => b[1] - a[1])
    .map(([code, times]) => `${code} ${count(times)}`)
  return [
    `${count(seeds)} seeds from ${seed}: ${failures.length === 0 ? 'no failure' : `${failures.length} FAILED`}`,
    `  runs    ${count(runs.completed)} completed, ${count(runs.failed)} failed, ${count(runs.cancelled)} cancelled`,
    `  faults  ${struckWords.length === 0 ? 'none' : struckWords.join(', ')}`,
    `  codes   ${codeWords.length === 0 ? 'none' : codeWords.join(', ')}`,
    `  time    ${count(Math.round(virtualMs / 3_600_000))} virtual hours in ${wallSeconds.toFixed(1)} s, ${count(events)} events, ${count(Math.round(seeds / wallSeconds))} seeds a second`,
    `  trace   ${lastHash.slice(0, 16)} (of the last seed; the same on every machine)`,
  ].join('\n')
}

function failureText({ seed, violations, smallest }: SimFailure, faults: string | undefined): string {
  const { scenario } = smallest
  const faultWords = Object.entries(scenario.faults).map(([name, chance]) => `${name} (${chance})`)
  const again = `npx orla sim-test --seed ${seed} --seeds 1${faults === undefined ? '' : ` --faults ${faults || 'none'}`}`
  return [
    `SEED ${seed} FAILED; to see it again: ${again}`,
    ...violations.map(({ oracle, message, atMs }) => `  ${oracle} at ${Math.round(atMs)} ms: ${message}`),
    `  smallest scenario found (of ${smallest.tried} tried): ${scenario.runs.length} run(s), ${scenario.deeds.length} deed(s), faults ${faultWords.join(', ') || 'none'}`,
    `    ${JSON.stringify(scenario)}`,
    ...smallest.violations.slice(0, 3).map(({ oracle, message }) => `    ${oracle}: ${message}`),
    '  its last events:',
    ...smallest.tail.slice(-tailShown).map((event) => `    ${JSON.stringify(event).slice(0, 200)}`),
    '',
  ].join('\n')
}
