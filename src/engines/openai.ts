// The backend for any server that speaks the OpenAI wire.

import { BackendSettings } from '../schema/backend.ts'
import { parseOptions } from '../schema/options.ts'
import type { BackendDefinition } from './backend-definition.ts'
import { createOpenAiDriver, openAiDialect } from './openai-driver.ts'
import { OpenAiSettings, type OpenAiOptions } from './openai-options.ts'

/**
 * A backend behind an OpenAI-compatible server: a cloud, a gateway, or an engine of which only the common wire is used.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` with every problem of the options. A missing API key is found on `connect`.
 */
export function openAi(options: OpenAiOptions): BackendDefinition {
  const parsed = parseOptions(OpenAiSettings, options, 'options of openAi()')
  return Object.freeze({
    engine: openAiDialect.engine,
    settings: BackendSettings.parse(pickSettings(parsed)),
    connect: async (environment) => createOpenAiDriver(environment, parsed, openAiDialect),
  } satisfies BackendDefinition)
}

/** The settings that every backend has; the engine's own, headers among them, stay with the driver. */
function pickSettings(parsed: OpenAiSettings): Partial<OpenAiSettings> {
  const {
    url: _url,
    apiKeyEnv: _key,
    headers: _headers,
    connections: _sockets,
    maxTokensField: _field,
    ...rest
  } = parsed
  return rest
}
