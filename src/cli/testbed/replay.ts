// `orla replay`: a workload through the runtime, and its figures.

import { accessSync, constants, statSync } from 'node:fs'
import { dirname } from 'node:path'
import {
  engineNames,
  gpuNames,
  loadWorkload,
  memoryPolicyNames,
  modelNameOf,
  modelNames,
  replay,
  schedulingPolicyNames,
  workloadPreset,
  workloadPresetNames,
  type ReplayOptions,
  type Workload,
} from '../../testing.ts'
import { CommandError, exitCodes, unknownName, type ExitCode } from '../exit-code.ts'
import { sanitize } from '../view/sanitize.ts'
import { nameFlag, numberFlag } from './flags.ts'
import { summaryTable } from './summary-table.ts'

/** Flags of `replay` as the command line gives them: text, unchecked. */
export interface ReplayFlags {
  preset?: string
  sessions?: string
  concurrency?: string
  rate?: string
  burstiness?: string
  gpu?: string
  model?: string
  engine?: string
  contextScale?: string
  kvScale?: string
  stagePolicy?: string
  requestPolicy?: string
  memoryPolicy?: string
  window?: string
  maxTurns?: string
  maxWait?: string
  dagContext?: string
  blockTokens?: string
  seed?: string
  record?: string
  json?: boolean
}

/** Failures that are told one by one. */
const failuresShownMax = 5
const seedMax = 2 ** 31 - 1

/** Replays a workload and prints its figures. */
export async function replayCommand(file: string | undefined, flags: ReplayFlags): Promise<ExitCode> {
  const options = optionsOf(flags)
  const workload = await workloadOf(file, flags, options.seed)
  if (flags.record !== undefined) checkWritable(flags.record)
  process.once('SIGINT', () => process.exit(exitCodes.interrupted))
  let failures = 0
  const summary = await replay(workload, {
    ...options,
    onFailure(runId, { code, message }) {
      if (++failures <= failuresShownMax) process.stderr.write(sanitize(`${runId} failed: ${message} [${code}]`) + '\n')
    },
  })
  if (failures > failuresShownMax) process.stderr.write(`... and ${failures - failuresShownMax} more failed\n`)
  console.log(flags.json === true ? JSON.stringify(summary) : summaryTable(workload, summary))
  return summary.failed > 0 ? exitCodes.runFailed : exitCodes.done
}

function optionsOf(flags: ReplayFlags): ReplayOptions {
  const count = { min: 1, whole: true }
  const factor = { above: true, max: 1_000 }
  if (flags.concurrency !== undefined && flags.rate !== undefined) {
    throw new CommandError('--concurrency (closed loop) and --rate (open loop) exclude each other: give one of them')
  }
  if (flags.burstiness !== undefined && flags.rate === undefined) throw new CommandError('--burstiness needs --rate')
  if (flags.model !== undefined && modelNameOf(flags.model) === undefined) {
    throw unknownName('--model', flags.model, modelNames)
  }
  const waitSeconds = numberFlag('--max-wait', flags.maxWait)
  return defined({
    sessions: numberFlag('--sessions', flags.sessions, count),
    concurrency: numberFlag('--concurrency', flags.concurrency, { ...count, max: 100_000 }),
    ratePerSecond: numberFlag('--rate', flags.rate, { above: true, max: 1e6 }),
    burstiness: numberFlag('--burstiness', flags.burstiness, factor),
    gpu: nameFlag('--gpu', flags.gpu, gpuNames),
    model: flags.model,
    engine: nameFlag('--engine', flags.engine, engineNames),
    contextScale: numberFlag('--context-scale', flags.contextScale, { above: true, max: 100 }),
    kvScale: numberFlag('--kv-scale', flags.kvScale, factor),
    stagePolicy: nameFlag('--stage-policy', flags.stagePolicy, schedulingPolicyNames),
    requestPolicy: nameFlag('--request-policy', flags.requestPolicy, schedulingPolicyNames),
    memoryPolicy: nameFlag('--memory-policy', flags.memoryPolicy, memoryPolicyNames),
    windowRequests: numberFlag('--window', flags.window, { ...count, max: 100_000 }),
    turnsMax: numberFlag('--max-turns', flags.maxTurns, count),
    waitMsMax: waitSeconds === undefined ? undefined : waitSeconds * 1_000,
    seed: numberFlag('--seed', flags.seed, { whole: true, max: seedMax }),
    recordTo: flags.record,
  })
}

async function workloadOf(file: string | undefined, flags: ReplayFlags, seed: number | undefined): Promise<Workload> {
  if ((file === undefined) === (flags.preset === undefined)) {
    const names = workloadPresetNames.join(', ')
    throw new CommandError(`name a workload file, or a preset with --preset (there are: ${names})`)
  }
  const dagContext = nameFlag('--dag-context', flags.dagContext, ['append', 'parents'])
  const blockTokens = numberFlag('--block-tokens', flags.blockTokens, { min: 1, max: 1e6, whole: true })
  if (file === undefined) {
    const preset = nameFlag('--preset', flags.preset, workloadPresetNames)!
    const sessions = numberFlag('--sessions', flags.sessions, { min: 1, max: 100_000, whole: true })
    return workloadPreset(preset, defined({ sessions, seed, dagContext }))
  }
  try {
    return await loadWorkload(file, defined({ blockTokens }))
  } catch (error) {
    throw fileProblem(file, error) ?? error
  }
}

/** What the system said of a file, as a mistake on the command line; undefined for other errors. */
function fileProblem(file: string, error: unknown): CommandError | undefined {
  const code = (error as NodeJS.ErrnoException | undefined)?.code
  const known: Readonly<Record<string, string>> = {
    ENOENT: 'there is no such file',
    ENOTDIR: 'there is no such file',
    EISDIR: 'is a directory',
    EACCES: 'may not be read',
    EPERM: 'may not be read',
  }
  return code !== undefined && known[code] !== undefined ? new CommandError(`${file}: ${known[code]}`) : undefined
}

/** Before anything is replayed: an hour of figures must not end in a file that cannot be written. */
function checkWritable(path: string): void {
  const problem = (what: string): CommandError => new CommandError(`--record ${path}: ${what}`)
  const found = statSync(path, { throwIfNoEntry: false })
  if (found?.isDirectory() === true) throw problem('is a directory')
  try {
    accessSync(found === undefined ? dirname(path) : path, constants.W_OK)
  } catch {
    throw problem('cannot be written')
  }
}

/** An object without the keys that are undefined. */
function defined<T extends object>(value: T): { [Key in keyof T]?: Exclude<T[Key], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as never
}
