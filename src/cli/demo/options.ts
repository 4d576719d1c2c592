// What the command line of `demo` says, checked: flags and environment in, options out. Loads nothing.

import type { MemoryPolicyName, PolicyOption } from '../../index.ts'
import { CommandError, unknownName } from '../exit-code.ts'
import type { Environment } from '../view/terminal.ts'

/** Names of scheduling policies. */
const policyNames = ['fcfs', 'priority', 'sjf'] as const satisfies readonly PolicyOption[]

/** Names of memory policies that need no size of a KV pool. */
const memoryNames = [
  'lru',
  'paper',
  'flush-per-request',
  'flush-per-workflow',
] as const satisfies readonly MemoryPolicyName[]

/** Engines that ORLA_BACKEND may name, and where each listens unless told otherwise. */
const engineUrls = {
  openai: { light: 'http://127.0.0.1:8000', heavy: 'http://127.0.0.1:8001' },
  vllm: { light: 'http://127.0.0.1:8000', heavy: 'http://127.0.0.1:8001' },
  sglang: { light: 'http://127.0.0.1:30000', heavy: 'http://127.0.0.1:30001' },
  // One server serves both models.
  ollama: { light: 'http://127.0.0.1:11434', heavy: 'http://127.0.0.1:11434' },
  llamacpp: { light: 'http://127.0.0.1:8080', heavy: 'http://127.0.0.1:8081' },
} as const

/** Engines that listen somewhere. */
export type ServedKind = keyof typeof engineUrls

/** Flags of `demo` as the command line gives them: text, unchecked. */
export interface DemoFlags {
  ticket?: string
  sample?: string
  json?: boolean
  lightUrl?: string
  heavyUrl?: string
  lightModel?: string
  heavyModel?: string
  gguf?: string
  seed?: string
  stagePolicy?: string
  memoryPolicy?: string
  deadlineMs?: string
  part?: string
  /** False for `--no-color`. */
  color?: boolean
}

/** Where the two models are served. */
export type BackendChoice =
  | { kind: 'sim'; models: { light: string; heavy: string } }
  /** One model file for both, run by this program. */
  | { kind: 'gguf'; file: string }
  | {
      kind: ServedKind
      models: { light: string; heavy: string }
      urls: { light: string; heavy: string }
      apiKeyEnv: string | undefined
    }

/** Number of a part of the demonstration. */
export type PartNumber = 1 | 2 | 3

/** What `demo` is to do. */
export interface DemoOptions {
  ticket: string | undefined
  sample: string | undefined
  json: boolean
  backend: BackendChoice
  seed: number | undefined
  stagePolicy: (typeof policyNames)[number]
  memoryPolicy: (typeof memoryNames)[number]
  deadlineMs: number | undefined
  part: PartNumber | undefined
  noColor: boolean
}

/**
 * Checks flags and environment.
 *
 * @throws {CommandError} with exit code 2 for what is not understood
 */
export function demoOptions(flags: DemoFlags, env: Environment): DemoOptions {
  if (flags.ticket !== undefined && flags.sample !== undefined) {
    throw new CommandError('--ticket and --sample exclude each other: give one of them')
  }
  if (flags.part !== undefined && !['1', '2', '3'].includes(flags.part)) {
    throw new CommandError(`--part: there is no part "${flags.part}"; there are: 1, 2, 3`)
  }
  const stagePolicy = policyNames.find((name) => name === (flags.stagePolicy ?? 'priority'))
  if (stagePolicy === undefined) throw unknownName('--stage-policy', flags.stagePolicy ?? '', policyNames)
  const memoryPolicy = memoryNames.find((name) => name === (flags.memoryPolicy ?? 'lru'))
  if (memoryPolicy === undefined) throw unknownName('--memory-policy', flags.memoryPolicy ?? '', memoryNames)
  return {
    ticket: flags.ticket,
    sample: flags.sample,
    json: flags.json ?? false,
    backend: backendChoice(flags, env),
    seed: wholeNumber('--seed', flags.seed, 0, 2 ** 31 - 1),
    stagePolicy,
    memoryPolicy,
    deadlineMs: wholeNumber('--deadline-ms', flags.deadlineMs, 1, 86_400_000),
    part: partOf(flags),
    noColor: flags.color === false,
  }
}

/** The part that was asked for; whoever names a memory policy wants to see what it does. */
function partOf({ part, memoryPolicy }: DemoFlags): PartNumber | undefined {
  if (part !== undefined) return Number(part) as PartNumber
  return memoryPolicy === undefined ? undefined : 3
}

function backendChoice(flags: DemoFlags, env: Environment): BackendChoice {
  const named = env['ORLA_BACKEND'] ?? ''
  if (flags.gguf !== undefined) return ggufChoice(flags.gguf, flags, named)
  const models = { light: flags.lightModel ?? 'qwen3-4b', heavy: flags.heavyModel ?? 'qwen3-8b' }
  const hasUrl = flags.lightUrl !== undefined || flags.heavyUrl !== undefined
  const name = named === '' ? (hasUrl ? 'openai' : 'sim') : named
  if (name === 'sim') {
    if (!hasUrl) return { kind: 'sim', models }
    throw new CommandError('ORLA_BACKEND=sim excludes --light-url and --heavy-url: leave one of them out')
  }
  if (!isServed(name)) throw unknownName('ORLA_BACKEND', name, ['sim', ...Object.keys(engineUrls)])
  const usual = engineUrls[name]
  const urls = { light: flags.lightUrl ?? usual.light, heavy: flags.heavyUrl ?? usual.heavy }
  // The key of a cloud goes to what was named as one, not to engines of one's own.
  const hasKey = name === 'openai' && (env['OPENAI_API_KEY'] ?? '') !== ''
  return { kind: name, models, urls, apiKeyEnv: hasKey ? 'OPENAI_API_KEY' : undefined }
}

function ggufChoice(file: string, flags: DemoFlags, named: string): BackendChoice {
  const others = (['lightUrl', 'heavyUrl', 'lightModel', 'heavyModel'] as const).filter(
    (key) => flags[key] !== undefined,
  )
  const spelled = others.map((key) => `--${key.replace(/[A-Z]/, (letter) => `-${letter.toLowerCase()}`)}`)
  if (named !== '') spelled.unshift(`ORLA_BACKEND=${named}`)
  if (spelled.length === 0) return { kind: 'gguf', file }
  throw new CommandError(`--gguf runs one model file as both models: leave out ${spelled.join(' and ')}`)
}

function isServed(name: string): name is ServedKind {
  return Object.hasOwn(engineUrls, name)
}

function wholeNumber(flag: string, text: string | undefined, min: number, max: number): number | undefined {
  if (text === undefined) return undefined
  const value = /^\d{1,12}$/.test(text) ? Number(text) : Number.NaN
  if (value >= min && value <= max) return value
  throw new CommandError(`${flag}: "${text}" is not a whole number from ${min} to ${max}`)
}
