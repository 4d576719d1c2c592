// The command `doctor`: looks at this machine and at the engines that it can reach.

import process from 'node:process'
import { detectEngine } from '../../index.ts'
import { CommandError, exitCodes, type ExitCode } from '../exit-code.ts'
import { nodeProblem } from '../node-version.ts'
import { printableJson } from '../view/sanitize.ts'
import { fileLimit, findings, renderFindings, type Finding } from './findings.ts'
import type { DoctorFlags } from './register.ts'

/** Where engines listen unless told otherwise. */
const usualPorts = [8000, 8001, 30000, 30001, 11434, 8080, 8081, 9931, 1234]

/** Milliseconds for each of two rounds of questions. */
const timeoutMsDefault = 1_000

/**
 * Looks, and writes what it found.
 *
 * @throws {CommandError} with exit code 2 for a timeout that is none; {OptionsError} for a URL that is none
 */
export async function doctor(flags: DoctorFlags): Promise<ExitCode> {
  const timeoutMs = timeoutOf(flags.timeout)
  const given = flags.url ?? []
  const usual = usualPorts.map((port) => `http://127.0.0.1:${port}`)
  const urls = [...new Set([...given, ...usual])]
  const engines = await Promise.all(urls.map((url) => detectEngine(url, timeoutMs)))
  const found: Finding = findings({
    engines: engines.filter(({ url, state }) => state !== 'silent' || given.includes(url)),
    node: { version: process.versions.node, problem: nodeProblem(process.versions.node) },
    fileLimit: fileLimit(),
    looked: urls,
  })
  process.stdout.write(flags.json === true ? `${printableJson(found)}\n` : renderFindings(found))
  const missing = engines.some(({ url, state }) => state !== 'found' && given.includes(url))
  return missing ? exitCodes.unreachable : exitCodes.done
}

function timeoutOf(text: string | undefined): number {
  if (text === undefined) return timeoutMsDefault
  const value = /^\d{1,6}$/.test(text) ? Number(text) : Number.NaN
  if (value >= 50 && value <= 60_000) return value
  throw new CommandError(`--timeout: "${text.slice(0, 60)}" is not a whole number from 50 to 60000`)
}
