// The backend for any server that speaks the OpenAI wire.

import { parseOptions } from '../schema/options.ts'
import type { BackendDefinition } from './backend-definition.ts'
import { openAiDialect, type OpenAiDialect } from './openai-driver.ts'
import { OpenAiSettings, type OpenAiOptions } from './openai-options.ts'
import { wireBackend } from './wire-backend.ts'

/**
 * A backend behind an OpenAI-compatible server: a cloud, a gateway, or an engine of which only the common wire is used.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` with every problem of the options. A missing API key is found on `connect`.
 */
export function openAi(options: OpenAiOptions): BackendDefinition {
  return wireBackend(parseOptions(OpenAiSettings, options, 'options of openAi()'), () => openAiDialect)
}

/**
 * A backend behind an engine that speaks the OpenAI wire in ways of its own: what a driver for a new engine begins with.
 *
 * @param dialect - makes the dialect; called once for each runtime, so that it may keep what it learns
 * @throws {OptionsError} `ORLA_OPTIONS` with every problem of the options
 */
export function openAiCompatible(options: OpenAiOptions, dialect: () => OpenAiDialect): BackendDefinition {
  return wireBackend(parseOptions(OpenAiSettings, options, `options of ${dialect().engine}`), dialect)
}
