// What `openAi(...)`, `simulated(...)` and their like return: a backend before it has a runtime.

import type { BackendSettings } from '../schema/backend.ts'
import type { Driver, DriverEnvironment } from './driver.ts'

/** A backend as it is given to `createRuntime`. Immutable; one definition may serve several runtimes. */
export interface BackendDefinition {
  /** Name of the engine, for people: `openai`, `simulated`. */
  readonly engine: string
  readonly settings: BackendSettings
  /** Makes the driver. Called once per runtime; may start threads. */
  connect(environment: DriverEnvironment): Promise<Driver>
}
