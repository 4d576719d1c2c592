// Lifecycle of one stage of one run, as a statechart for people to look at.
//
// The runtime walks the equal table in `src/workflow/stage-lifecycle.ts`: a statechart actor for each stage would cost
// more than the request it makes. `test/machines/stage.test.ts` holds the two equal.

import { setup } from 'xstate'
import type { StageEvent } from '../src/workflow/stage-lifecycle.ts'

/** Lifecycle of one stage of one run. */
export const stageMachine = setup({
  types: {
    events: {} as { type: StageEvent },
  },
}).createMachine({
  id: 'stage',
  initial: 'pending',
  states: {
    pending: {
      description: 'Waits for its dependencies. Data, not an actor.',
      on: { start: 'mapping', skip: 'skipped', fail: 'failed', cancel: 'cancelled' },
    },
    mapping: {
      description: 'Gets its backend and model.',
      on: { mapped: 'building', fail: 'failed', cancel: 'cancelled' },
    },
    building: {
      description: 'Builds the prompt of a turn and counts its tokens.',
      on: { enqueued: 'queued', fail: 'failed', cancel: 'cancelled' },
    },
    queued: {
      description: 'A turn waits in its sub-queue for a slot.',
      on: { granted: 'inferring', rejected: 'validating', fail: 'failed', cancel: 'cancelled' },
    },
    inferring: {
      description: 'Holds a slot; the engine answers. Every way out gives the slot back.',
      on: { released: 'validating' },
    },
    validating: {
      description: 'Decides what follows from the answer, or from its absence.',
      on: {
        toolsCalled: 'tooling',
        continued: 'building',
        retry: 'waiting',
        complete: 'completed',
        fail: 'failed',
        cancel: 'cancelled',
      },
    },
    tooling: {
      description: 'Tools run. The slot is free meanwhile.',
      on: { continued: 'building', fail: 'failed', cancel: 'cancelled' },
    },
    waiting: {
      description: 'Pauses before a turn is tried again.',
      on: { enqueued: 'queued', fail: 'failed', cancel: 'cancelled' },
    },
    completed: { type: 'final' },
    failed: { type: 'final' },
    skipped: { type: 'final' },
    cancelled: { type: 'final' },
  },
})
