// Health of one backend
//
// Owns: whether requests are admitted: healthy, open (after failures in a row), half-open (one probe), draining.
// Does not own: the queue and the window (actors/backend), which asks for the state before it grants.
// Source of the pattern: circuit breaker; five failures in a row is Envoy's default for ejecting a host.

import { assign, setup } from 'xstate'

/** Settings of the breaker. */
export interface BreakerSettings {
  /** Failures in a row that open it. */
  failuresMax: number
  /** How long it stays open the first time, ms. Doubles with each failed probe. */
  openMs: number
  /** Longest time it stays open, ms. */
  openMsMax: number
}

/** Default settings of the breaker. */
export const breakerDefaults: BreakerSettings = { failuresMax: 5, openMs: 2_000, openMsMax: 60_000 }

/** What a backend's health machine hears. */
export type BackendHealthEvent =
  | { type: 'request.succeeded' }
  /** `last`: no other backend can serve in its place, so that its probes do not become rarer. */
  | { type: 'request.failed'; last?: boolean }
  /** The probe was given back without telling anything: the caller cancelled. */
  | { type: 'probe.inconclusive' }
  /** Its engine was replaced by another: what was learnt of the old one does not hold. */
  | { type: 'backend.replaced' }
  | { type: 'backend.drain' }
  | { type: 'backend.resume' }

interface HealthContext extends BreakerSettings {
  /** Failures in a row. */
  failures: number
  /** Times it opened since it was last healthy. */
  opened: number
}

/** Health of one backend. */
export const backendMachine = setup({
  types: {
    context: {} as HealthContext,
    events: {} as BackendHealthEvent,
    input: {} as BreakerSettings,
  },
  guards: {
    isLastFailure: ({ context }) => context.failures + 1 >= context.failuresMax,
  },
  actions: {
    countFailure: assign({ failures: ({ context }) => context.failures + 1 }),
    forgetFailures: assign({ failures: 0, opened: 0 }),
    countOpening: assign({
      opened: ({ context, event }) => (event.type === 'request.failed' && event.last === true ? 1 : context.opened + 1),
    }),
  },
  delays: {
    openMs: ({ context }) => openDelayMs(context, context.opened),
  },
}).createMachine({
  id: 'backend',
  context: ({ input }) => ({ ...input, failures: 0, opened: 0 }),
  initial: 'healthy',
  on: { 'backend.drain': '.draining' },
  states: {
    healthy: {
      entry: 'forgetFailures',
      on: {
        'backend.replaced': { actions: 'forgetFailures' },
        'request.succeeded': { guard: ({ context }) => context.failures > 0, actions: 'forgetFailures' },
        'request.failed': [{ guard: 'isLastFailure', target: 'open' }, { actions: 'countFailure' }],
      },
    },
    open: {
      description: 'Nothing is granted.',
      entry: 'countOpening',
      after: { openMs: 'halfOpen' },
      // Requests that were in flight when it opened still report.
      on: { 'request.succeeded': 'healthy', 'backend.replaced': 'healthy' },
    },
    halfOpen: {
      description: 'One request probes.',
      on: {
        'request.succeeded': 'healthy',
        'backend.replaced': 'healthy',
        'request.failed': 'open',
        'probe.inconclusive': { target: 'halfOpen', reenter: true },
      },
    },
    draining: {
      description: 'What runs may finish; nothing new is taken.',
      on: { 'backend.resume': 'healthy' },
    },
  },
})

/** How long the breaker stays open the `opened`th time, ms. */
export function openDelayMs(settings: BreakerSettings, opened: number): number {
  return Math.min(settings.openMs * 2 ** Math.max(0, opened - 1), settings.openMsMax)
}
