// The example that the demonstration runs, as it needs it.

import {
  checkEffects,
  createSupportDesk,
  sampleTickets,
  supportResponder,
  supportWorkflow,
} from '../../examples/customer-support/index.ts'
import type { RunOutcome, Workflow } from '../../index.ts'
import type { Ended } from '../view/summary.ts'

/** A ticket to choose. */
export interface Sample {
  id: string
  title: string
  text: string
}

/** A workflow to show, and the world around it. */
export interface Example {
  workflow: Workflow<{ text: string }>
  samples: readonly Sample[]
  /** Ids of two samples that take different ways: one is answered, one goes to a person. */
  paths: readonly string[]
  /** Module that says what the simulated models answer. */
  responder: URL
  /** What a run did outside, and claims of it that nothing bears out. */
  look: (outcome: RunOutcome) => Pick<Ended, 'effects' | 'issues'>
}

/** The customer support example, with an empty outbox. */
export function supportExample(): Example {
  const desk = createSupportDesk()
  return {
    workflow: supportWorkflow(desk),
    samples: sampleTickets.map(({ name, description, ticket }) => ({
      id: name,
      title: description,
      text: ticket.text,
    })),
    paths: ['duplicate-charge', 'many-departments'],
    responder: supportResponder,
    look(outcome) {
      const effects = desk.effectsOf(outcome.runId)
      return { effects, issues: checkEffects(outcome, effects) }
    },
  }
}
