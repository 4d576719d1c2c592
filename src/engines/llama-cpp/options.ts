// Options of a model that runs in a process of this program.

import { closeSync, openSync, readSync } from 'node:fs'
import { findPackageJSON } from 'node:module'
import { availableParallelism } from 'node:os'
import { basename, resolve } from 'node:path'
import { z } from 'zod'
import { messageOf, OptionsError } from '../../errors.ts'
import { BackendSettings } from '../../schema/backend.ts'
import { parseOptions } from '../../schema/options.ts'

/** Tokens of one sequence unless the options say otherwise. Each costs memory whether it is used or not. */
const contextLengthDefault = 8_192
/** Contexts that are kept at once unless the options say otherwise. */
const sequencesDefault = 4

/** Milliseconds in which a model must be loaded unless the options say otherwise: tens of GB from a slow disk. */
const loadTimeoutMsDefault = 300_000

/** Options of `llamaCpp`, as they are parsed. */
export const LlamaCppSettings = BackendSettings.extend({
  /** Path of the GGUF file. Its name without folder and ending is the model's name. */
  model: z.string().min(1).max(4_096),
  /** Requests in flight at once; as many as there are sequences when absent. More wait for a sequence. */
  windowRequests: z.int().min(1).max(100_000).optional(),
  /** Contexts that are kept and evaluated at once, one for each live run. */
  sequences: z.int().min(1).max(256).default(sequencesDefault),
  /** Tokens of one sequence, prompt and answer; never more than the model was trained on. */
  contextLength: z.int().min(256).max(10_000_000).default(contextLengthDefault),
  /** Threads that evaluate tokens. More than there are free cores makes it slower by far. Default: all cores. */
  threads: z.int().min(1).max(1_024).optional(),
  /** `'auto'` puts layers on a GPU where node-llama-cpp has a binary for it. */
  gpu: z.union([z.literal('auto'), z.literal(false)]).default(false),
  /** Milliseconds in which the model must be loaded. Connecting waits for it. */
  loadTimeoutMs: z.number().positive().max(3_600_000).default(loadTimeoutMsDefault),
  /** Folder of saved contexts. Default: one of its own, deleted on close. */
  saveFolder: z.string().min(1).max(4_096).optional(),
})
/** Options of `llamaCpp`. */
export type LlamaCppOptions = z.input<typeof LlamaCppSettings>

/** Options of `llamaCpp`, complete. */
export interface LlamaCppPlan {
  settings: BackendSettings
  /** Absolute. */
  file: string
  sequences: number
  contextLength: number
  threads: number
  gpu: 'auto' | false
  loadTimeoutMs: number
  /** Absolute; undefined for one of its own. */
  saveFolder: string | undefined
}

/**
 * Parses options. Touches no file: a definition may be made where the model is not.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` with every problem
 */
export function parseLlamaCppOptions(options: LlamaCppOptions): LlamaCppPlan {
  const parsed = parseOptions(LlamaCppSettings, options, 'options of llamaCpp()')
  const { model, sequences, threads, gpu, loadTimeoutMs, saveFolder, contextLength, ...rest } = parsed
  const settings = BackendSettings.parse({
    ...rest,
    model: basename(model, '.gguf'),
    windowRequests: rest.windowRequests ?? sequences,
    contextLength,
  })
  return {
    settings,
    file: resolve(model),
    sequences,
    contextLength,
    threads: threads ?? availableParallelism(),
    gpu,
    loadTimeoutMs,
    saveFolder: saveFolder === undefined ? undefined : resolve(saveFolder),
  }
}

/**
 * Checks what a model needs before a process is started for it: the package, and the file.
 *
 * @param from - file from which the package is looked for
 * @throws {OptionsError} `ORLA_OPTIONS`, with what to install or to correct
 */
export function checkLoadable(backend: string, file: string, from = import.meta.url): void {
  const issues = []
  if (!isInstalled(from)) {
    issues.push({
      path: 'node-llama-cpp',
      code: 'not_installed',
      message:
        'llamaCpp() runs models with the package node-llama-cpp, which is not installed: npm install node-llama-cpp',
    })
  }
  const problem = fileProblem(file)
  if (problem !== undefined) issues.push({ path: 'model', code: 'model_file', message: problem })
  if (issues.length > 0) throw new OptionsError(`options of backend "${backend}"`, issues)
}

function isInstalled(from: string): boolean {
  try {
    return findPackageJSON('node-llama-cpp', from) !== undefined
  } catch {
    return false
  }
}

/** Versions of the format that llama.cpp reads. */
const ggufVersions = new Set([2, 3])
/** Tensors, and metadata entries, that a file may announce. The largest models have some thousands. */
const ggufCountMax = 1_000_000n

/** Why a file cannot be a GGUF model; undefined if it can. A header of nonsense would keep its reader busy for ever. */
function fileProblem(file: string): string | undefined {
  let descriptor: number
  try {
    descriptor = openSync(file, 'r')
  } catch (error) {
    return `the model file cannot be read: ${messageOf(error)}`
  }
  try {
    const header = Buffer.alloc(24)
    const bytes = readSync(descriptor, header, 0, header.length, 0)
    if (bytes < header.length || header.toString('latin1', 0, 4) !== 'GGUF') return `${file} is not a GGUF file`
    const version = header.readUInt32LE(4)
    if (!ggufVersions.has(version)) return `${file} is of GGUF version ${version}: llama.cpp reads 2 and 3`
    const counts = [header.readBigUInt64LE(8), header.readBigUInt64LE(16)]
    return counts.every((count) => count <= ggufCountMax) ? undefined : `${file} is a damaged GGUF file`
  } catch (error) {
    return `the model file cannot be read: ${messageOf(error)}`
  } finally {
    closeSync(descriptor)
  }
}
