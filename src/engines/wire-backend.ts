// From options and a dialect to a backend.

import { BackendSettings } from '../schema/backend.ts'
import type { BackendDefinition } from './backend-definition.ts'
import { createOpenAiDriver, type OpenAiDialect } from './openai-driver.ts'
import type { OpenAiSettings } from './openai-options.ts'

/** A backend that speaks the OpenAI wire in a dialect. `dialect` is called once for each runtime. */
export function wireBackend(settings: OpenAiSettings, dialect: () => OpenAiDialect): BackendDefinition {
  // The settings that every backend has; the engine's own, headers among them, stay with the driver.
  const common = Object.keys(BackendSettings.shape).map((key) => [key, settings[key as keyof BackendSettings]])
  return Object.freeze({
    engine: dialect().engine,
    settings: BackendSettings.parse(Object.fromEntries(common)),
    connect: async (environment) => createOpenAiDriver(environment, settings, dialect()),
  } satisfies BackendDefinition)
}
