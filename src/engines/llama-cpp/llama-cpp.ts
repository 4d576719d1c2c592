// The backend for people who have a GGUF file and no server: llama.cpp in a process of this program.

import type { BackendDefinition } from '../backend-definition.ts'
import { createLlamaDriver } from './llama-driver.ts'
import { checkLoadable, parseLlamaCppOptions, type LlamaCppOptions } from './options.ts'

/**
 * A model that runs in a process started for it, through the package `node-llama-cpp`, which must be installed beside
 * this one (`npm install node-llama-cpp`). Needs real time: not for a runtime on a virtual clock.
 *
 * A run keeps its context in a sequence of its own while there are enough of them, so that its later turns find it in
 * the KV cache; cached tokens are counted exactly. A crash of native code costs the requests in it, nothing else.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` with every problem of the options. A missing package, and a file that is not
 *   there or is no GGUF, are found on `connect`.
 */
export function llamaCpp(options: LlamaCppOptions): BackendDefinition {
  const plan = parseLlamaCppOptions(options)
  return Object.freeze({
    engine: 'llama-cpp',
    settings: plan.settings,
    async connect(environment) {
      checkLoadable(environment.backend, plan.file)
      const driver = await createLlamaDriver(plan, environment)
      // Loading takes longer than any probe may. What comes of it is for the next probe to tell.
      await driver.probe(plan.loadTimeoutMs)
      return driver
    },
  } satisfies BackendDefinition)
}
