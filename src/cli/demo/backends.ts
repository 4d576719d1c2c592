// The two backends of the demonstration.

import { openAi, OptionsError, simulated, type BackendDefinition, type Runtime } from '../../index.ts'
import { CommandError, exitCodes } from '../exit-code.ts'
import { oneLine } from '../view/sanitize.ts'
import type { BackendChoice } from './options.ts'

/**
 * The backends `light` and `heavy` as chosen.
 *
 * @throws {CommandError} with exit code 3, naming every option that is wrong and whose it is
 */
export function demoBackends(choice: BackendChoice, responder: URL): Record<'light' | 'heavy', BackendDefinition> {
  const problems: string[] = []
  const make = (name: 'light' | 'heavy'): BackendDefinition | undefined => {
    const model = choice.models[name]
    try {
      if (choice.kind === 'sim') return simulated({ model, engine: name, responder })
      const { apiKeyEnv } = choice
      return openAi({ url: choice.urls[name], model, ...(apiKeyEnv !== undefined && { apiKeyEnv }) })
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
    const url = choice.kind === 'openai' ? ` at ${choice.urls[name as 'light' | 'heavy']}` : ''
    return [`backend "${name}"${url} cannot be used: ${oneLine(probe.error.message)}`]
  })
  if (problems.length === 0) return
  const check =
    choice.kind === 'openai'
      ? 'check that a server listens there (curl URL/v1/models), that the address and port are right, ' +
        'or leave the URLs out to use the simulated engines'
      : 'the simulated engines listen on free ports of 127.0.0.1: check that a firewall does not stop them'
  throw new CommandError([...problems, check].join('\n'), exitCodes.unreachable)
}
