// The two backends of the demonstration.

import { availableParallelism } from 'node:os'
import {
  llamaCpp,
  llamaServer,
  ollama,
  openAi,
  OptionsError,
  sglang,
  simulated,
  vllm,
  type BackendDefinition,
  type Runtime,
} from '../../index.ts'
import { CommandError, exitCodes } from '../exit-code.ts'
import { oneLine } from '../view/sanitize.ts'
import type { BackendChoice, DemoOptions, ServedKind } from './options.ts'

const makers: Readonly<Record<ServedKind, (options: { url: string; model: string }) => BackendDefinition>> = {
  openai: openAi,
  vllm,
  sglang,
  ollama,
  llamacpp: llamaServer,
}

/** Tokens of one run's context with `--gguf`: the longest stage of the example has some 3,000. */
const ggufContextLength = 8_192

/**
 * The backends `light` and `heavy` as chosen.
 *
 * @throws {CommandError} with exit code 3, naming every option that is wrong and whose it is
 */
export function demoBackends(
  { backend: choice, memoryPolicy }: Pick<DemoOptions, 'backend' | 'memoryPolicy'>,
  responder: URL,
): Record<'light' | 'heavy', BackendDefinition> {
  if (choice.kind === 'gguf') {
    // A process for each backend, and both may evaluate at once: more threads than cores are slower by far.
    const threads = Math.max(1, Math.floor(availableParallelism() / 2))
    const model = llamaCpp({ model: choice.file, threads, contextLength: ggufContextLength })
    return { light: model, heavy: model }
  }
  const problems: string[] = []
  const make = (name: 'light' | 'heavy'): BackendDefinition | undefined => {
    const model = choice.models[name]
    try {
      if (choice.kind === 'sim') {
        // The plain OpenAI wire cannot empty a cache: a policy that wants to needs an engine that can.
        const flavour = { engine: 'sglang', sessions: false } as const
        return simulated({ model, engine: name, responder, ...(memoryPolicy !== 'lru' && { flavour }) })
      }
      const { apiKeyEnv } = choice
      return makers[choice.kind]({ url: choice.urls[name], model, ...(apiKeyEnv !== undefined && { apiKeyEnv }) })
    } catch (error) {
      if (!(error instanceof OptionsError)) throw error
      problems.push(...error.issues.map(({ path, message }) => `--${name}-${path}: ${message}`))
      return undefined
    }
  }
  const light = make('light')
  const heavy = make('heavy')
  if (light === undefined || heavy === undefined) throw new CommandError(problems.join('\n'), exitCodes.invalid)
  return { light, heavy }
}

/**
 * Refuses to begin with backends that do not answer, or do not serve the model.
 *
 * @throws {CommandError} with exit code 4, naming every such backend and what to check
 */
export function checkReachable(runtime: Runtime, choice: BackendChoice): void {
  const problems = runtime.backends().flatMap(({ name, probe }) => {
    if (probe?.state !== 'unreachable') return []
    const isServed = choice.kind !== 'sim' && choice.kind !== 'gguf'
    const url = isServed ? ` at ${choice.urls[name as 'light' | 'heavy']}` : ''
    return [`backend "${name}"${url} cannot be used: ${oneLine(probe.error.message)}`]
  })
  if (problems.length === 0) return
  throw new CommandError([...problems, whatToCheck(choice)].join('\n'), exitCodes.unreachable)
}

function whatToCheck({ kind }: BackendChoice): string {
  if (kind === 'sim') {
    return 'the simulated engines listen on free ports of 127.0.0.1: check that a firewall does not stop them'
  }
  if (kind === 'gguf')
    return 'check that the file is a model that llama.cpp can load, and that it fits the memory twice'
  return (
    'check that a server listens there (orla doctor, or curl URL/v1/models), that the address and port are right, ' +
    'or leave the URLs out to use the simulated engines'
  )
}
