// Lifecycle of one run
//
// Owns: the run's phase, and what happens on entering each.
// Does not own: progress through the DAG (`src/workflow/progress.ts`), or how effects are carried out (actors/workflow).
// A run's machine hears about one event a stage; events inside a phase have no target, which is the cheap kind (1.6 us
// against 2.8 us with XState 5.33 on Node 24).

import { setup } from 'xstate'
import type { OrlaError } from '../src/errors.ts'

/** What the machine makes happen. The workflow actor supplies it; the machine only says when. */
export interface RunEffects {
  /** The run begins: say so, and start the stages that wait for nothing. */
  begin(): void
  /** A stage failed or the outside asked to stop: say so, and stop every stage that is alive. */
  stop(error: OrlaError): void
  /** All stages are settled: end the run. */
  finish(outcome: 'completed' | 'failed' | 'cancelled'): void
}

/** What a run's machine hears. */
export type RunEvent =
  | { type: 'run.start' }
  /** A stage is settled; `unsettled` are left. */
  | { type: 'stage.settled'; unsettled: number }
  /** A stage failed, or the input turned out not to be valid. */
  | { type: 'run.fail'; error: OrlaError }
  /** Asked from outside: the caller, a deadline, a shutdown. */
  | { type: 'run.cancel'; error: OrlaError }
  /** The run's own machinery broke; what could be saved was. */
  | { type: 'run.crash' }

/** Lifecycle of one run. */
export const workflowMachine = setup({
  types: {
    context: {} as { effects: RunEffects },
    events: {} as RunEvent,
    input: {} as { effects: RunEffects },
  },
  guards: {
    allSettled: ({ event }) => event.type === 'stage.settled' && event.unsettled === 0,
  },
  actions: {
    begin: ({ context }) => context.effects.begin(),
    stopStages: ({ context, event }) => {
      if (event.type === 'run.fail' || event.type === 'run.cancel') context.effects.stop(event.error)
    },
    finish: ({ context }, params: { outcome: 'completed' | 'failed' | 'cancelled' }) =>
      context.effects.finish(params.outcome),
  },
}).createMachine({
  id: 'run',
  context: ({ input }) => ({ effects: input.effects }),
  initial: 'pending',
  on: { 'run.crash': '.failed' },
  states: {
    pending: {
      on: {
        'run.start': 'running',
        'run.fail': { target: 'failing', actions: 'stopStages' },
        'run.cancel': { target: 'cancelling', actions: 'stopStages' },
      },
    },
    running: {
      entry: 'begin',
      on: {
        'stage.settled': { guard: 'allSettled', target: 'completed' },
        'run.fail': { target: 'failing', actions: 'stopStages' },
        'run.cancel': { target: 'cancelling', actions: 'stopStages' },
      },
    },
    failing: {
      description: 'A stage failed; its siblings are being stopped.',
      on: { 'stage.settled': { guard: 'allSettled', target: 'failed' } },
    },
    cancelling: {
      description: 'Caller, deadline or shutdown; every stage is being stopped.',
      on: { 'stage.settled': { guard: 'allSettled', target: 'cancelled' } },
    },
    completed: { type: 'final', entry: { type: 'finish', params: { outcome: 'completed' } } },
    failed: { type: 'final', entry: { type: 'finish', params: { outcome: 'failed' } } },
    cancelled: { type: 'final', entry: { type: 'finish', params: { outcome: 'cancelled' } } },
  },
})
