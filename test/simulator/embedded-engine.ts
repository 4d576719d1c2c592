// An engine model that lives in a module, as one for the engine thread must.

import type { Clock } from '../../src/clock.ts'
import { simpleEngineModel, simpleSpeeds } from '../../src/simulator/simple-model.ts'

export const engine = (clock: Clock, options: { kvTokensMax: number }) =>
  simpleEngineModel({ clock, ...simpleSpeeds.instant, ...options })
