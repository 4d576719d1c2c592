// What a workload preset is.

import type { Random } from '../../../clock.ts'
import type { WorkloadRun } from '../workload.ts'

/** What a preset is asked for. */
export interface PresetOptions {
  /** Runs to make, at least 1. */
  sessions: number
  /** Random stream of a label; equal labels give equal streams. */
  random: (label: string) => Random
  /** What a step of a `dag-math` run sees: all earlier answers, or those it depends on. */
  dagContext: 'append' | 'parents'
}

/** A kind of load, made from published statistics. */
export interface Preset {
  /** What it is, and where its figures come from. */
  source: string
  /** Runs when nobody says how many. */
  sessionsDefault: number
  runs(options: PresetOptions): WorkloadRun[]
}
