// Workloads made from published statistics: everything runs from a clean clone, without data files.

import { randomStream } from '../../clock.ts'
import { OptionsError, type Issue } from '../../errors.ts'
import { claudeCode, sweAgent } from './presets/agents.ts'
import { dagMath, supportTicket } from './presets/dags.ts'
import type { Preset, PresetOptions } from './presets/preset.ts'
import { mix } from './presets/mix.ts'
import { chat, codeComplete, longChat, sweOneshot } from './presets/requests.ts'
import type { Workload } from './workload.ts'

const presets = {
  'support-ticket': supportTicket,
  'swe-oneshot': sweOneshot,
  'dag-math': dagMath,
  'claude-code': claudeCode,
  'swe-agent': sweAgent,
  chat,
  'code-complete': codeComplete,
  'long-chat': longChat,
  mix,
} as const satisfies Record<string, Preset>

/** Name of a workload preset. */
export type WorkloadPresetName = keyof typeof presets

/** Names of all workload presets. */
export const workloadPresetNames = Object.keys(presets) as readonly WorkloadPresetName[]

/** Sessions that one preset is made with at most: more do not tell more, and all of them are held. */
const sessionsMax = 100_000

/** How to make a preset. */
export interface WorkloadPresetOptions {
  /** Runs to make. Default: 5 to 2,294, by preset. */
  sessions?: number
  /** Equal seeds give equal workloads. Default 1. */
  seed?: number
  /** What a step of `dag-math` sees of earlier ones. Default `append`. */
  dagContext?: PresetOptions['dagContext']
}

/**
 * Makes a workload from published statistics.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` for a name that is not known, or a number of sessions out of range
 */
export function workloadPreset(name: WorkloadPresetName, options: WorkloadPresetOptions = {}): Workload {
  const preset: Preset | undefined = Object.hasOwn(presets, name) ? presets[name] : undefined
  const issues: Issue[] = []
  if (preset === undefined) {
    const message = `there is no preset "${name}"; there are ${workloadPresetNames.join(', ')}`
    issues.push({ path: 'preset', code: 'unknown', message })
  }
  const { seed = 1, dagContext = 'append', sessions = preset?.sessionsDefault ?? 1 } = options
  if (!Number.isInteger(sessions) || sessions < 1 || sessions > sessionsMax) {
    const message = `is ${sessions}; a whole number from 1 to ${sessionsMax} is needed`
    issues.push({ path: 'sessions', code: 'range', message })
  }
  if (issues.length > 0) throw new OptionsError('workload preset', issues)
  const random = (label: string): ReturnType<typeof randomStream> => randomStream(seed, `${name} ${label}`)
  const runs = preset!.runs({ sessions, random, dagContext })
  return {
    name,
    source: preset!.source,
    runs,
    seed,
    settings: { sessions, ...(name === 'dag-math' && { dagContext }) },
  }
}
