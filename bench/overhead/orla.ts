// Orla on one thread, with everything on: a mapper decides among four backends when a stage is ready, requests go through
// two levels of sub-queues with a policy at each, and the ledger keeps account.

import { createRuntime, leastLoaded, user, workflow, type RuntimeOptions, type Workflow } from '../../src/index.ts'
import { instant } from '../lib/instant.ts'
import type { CallModel, Opened, Shape } from './shape.ts'

/** How Orla is set up. */
export interface OrlaSettings {
  /** Who decides where a stage runs: a mapper, or its definition. */
  mapped: boolean
  /** Requests in flight at each backend. */
  windowRequests: number
}

/** A run that is held for a measurement is not late. */
const dayMs = 86_400_000
const timeouts = { firstTokenMs: dayMs, idleMs: dayMs, totalMs: dayMs }

const names = ['a', 'b', 'c', 'd']

/** A workflow of this shape; a stage's prompt is the number of its level. */
export function workflowOf({ name, levels }: Shape, { mapped }: Pick<OrlaSettings, 'mapped'>): Workflow {
  const mapping = leastLoaded()
  let built = workflow(name) as unknown as LooseBuilder
  levels.forEach((stages, level) => {
    const prompt = (): unknown[] => [user(String(level))]
    for (const stage of stages) {
      const where = mapped ? { mapping } : { backend: names[0] }
      built = built.stage(stage, { ...where, after: levels[level - 1] ?? [], prompt })
    }
  })
  return built
}

/** The builder without its types, which a loop cannot give. */
interface LooseBuilder extends Workflow {
  stage(name: string, options: object): LooseBuilder
}

/** Options of a runtime with four instant backends. */
export function fullyOn(
  { mapped, windowRequests }: OrlaSettings,
  wait: (prompt: string) => Promise<unknown> | undefined,
): RuntimeOptions {
  const policies = mapped ? ({ stage: 'priority', request: 'priority' } as const) : {}
  return {
    backends: Object.fromEntries(
      names.map((name) => [name, instant({ windowRequests, queueCapacity: 1_000_000, timeouts, wait })]),
    ),
    scheduling: Object.fromEntries(names.map((name) => [name, policies])),
    probeTimeoutMs: 0,
  }
}

/** Opens Orla on a shape. */
export async function openOrla(shape: Shape, call: CallModel, settings: OrlaSettings): Promise<Opened> {
  const runtime = await createRuntime(
    fullyOn(settings, (prompt) => {
      const answered = call(Number(prompt))
      return answered === 'ok' ? undefined : answered
    }),
  )
  const made = workflowOf(shape, settings)
  return { run: () => runtime.start(made, undefined).result, close: () => runtime.close() }
}
