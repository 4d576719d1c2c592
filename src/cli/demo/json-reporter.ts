// One JSON line for each transition, and one for the end: for programs.

import type { RunEvent, Transition } from '../../index.ts'
import { printableJson } from '../view/sanitize.ts'
import type { Ended } from '../view/summary.ts'
import type { Reporter } from './reporter.ts'

/**
 * Writes transitions as they are in the feed. The last one of a run waits for the outcome, and is written once, with
 * result, reports and effects added.
 */
export function jsonReporter(write: (text: string) => void): Reporter {
  let last: Transition | undefined
  const line = (value: object): void => write(`${printableJson(value)}\n`)
  return {
    begin() {
      last = undefined
    },
    event(event: RunEvent) {
      if (event.type === 'stage.token' || event.type === 'events.dropped') return
      if (event.type === 'run.completed' || event.type === 'run.failed') last = event
      else line(event)
    },
    end({ outcome, effects }: Ended) {
      line({
        ...last,
        runId: outcome.runId,
        result: outcome.result ?? null,
        ...(outcome.error !== undefined && { error: outcome.error }),
        ...(outcome.costUsd !== undefined && { costUsd: outcome.costUsd }),
        stages: outcome.stages,
        effects: { emails: effects.emails, tickets: effects.tickets },
      })
    },
  }
}
