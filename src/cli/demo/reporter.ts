// What watches a run and tells a person or a program about it.

import type { RunEvent, Workflow } from '../../index.ts'
import type { Ended } from '../view/summary.ts'
import type { RunPlan } from '../view/view-model.ts'
import type { Showing } from './parts.ts'

/** A run that is about to begin. */
export interface Beginning {
  plan: RunPlan
  showing: Showing
  /** The workflow's own name of its input, for prompts that are shown. */
  input: unknown
  workflow: Workflow
}

/** Tells about one run after the other. */
export interface Reporter {
  begin(beginning: Beginning): void
  event(event: RunEvent): void
  end(ended: Ended): void
}
