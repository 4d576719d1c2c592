// What the engine thread and its owner say to each other. Plain data.

import type { ErrorFacts } from '../errors.ts'
import type { PortablePlan } from './engine-plan.ts'

/** To the engine thread. `id` names the engine in all that follows. */
export type EngineCommand = { type: 'start'; id: number; plan: PortablePlan } | { type: 'stop'; id: number }

/** From the engine thread: one answer to each command. */
export type EngineNotice =
  | { type: 'started'; id: number; url: string }
  | { type: 'failed'; id: number; error: ErrorFacts }
  | { type: 'stopped'; id: number }
