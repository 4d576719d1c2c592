// Making a runtime: what it needs is connected and loaded first, and given back if anything fails
//
// Owns: nothing once the runtime is there.
// Does not own: the runtime (runtime-core.ts).

import { realClock } from './clock.ts'
import type { BackendDefinition } from './engines/backend-definition.ts'
import { OptionsError, type Issue } from './errors.ts'
import { silentLogger } from './log.ts'
import { loadEstimator } from './prompts/estimator.ts'
import { checkRuntimeOptions, type Runtime, type RuntimeOptions } from './runtime-api.ts'
import { connectBackend, type Connected } from './runtime-backends.ts'
import { OrlaRuntime, type RuntimeParts } from './runtime-core.ts'
import { loadModule, threadsPlan, type ThreadsPlan, type WorkflowModule } from './runtime-modules.ts'
import { PriceSource } from './services/price-source.ts'

/**
 * Makes a runtime: connects its backends, asks each what it serves, and starts the actors.
 *
 * A backend that does not answer does not stop the runtime: its `probe` says so, and its requests fail or wait.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` with every problem of the options
 */
export async function createRuntime(options: RuntimeOptions): Promise<Runtime> {
  const threads = threadsPlan(options)
  const module = threads === undefined ? undefined : await loadModule(options.workflows!.href)
  if (module !== undefined) options = { ...options, backends: module.backends }
  checkRuntimeOptions(options)
  const backends = options.backends!
  const clock = options.clock ?? realClock(options.seed === undefined ? {} : { seed: options.seed })
  const log = options.log ?? silentLogger
  const probeTimeoutMs = options.probeTimeoutMs ?? probeTimeoutMsDefault
  const prices = options.prices === undefined ? undefined : new PriceSource(options.prices, { clock, log })
  const [estimator, connected] = await Promise.all([
    options.estimator ?? loadEstimator('o200k_base'),
    connectAll(backends, { clock, log, probeTimeoutMs }),
    prices?.start(),
  ]).catch((error: unknown) => {
    prices?.close()
    throw error
  })
  let runtime: OrlaRuntime | undefined
  try {
    const remote = threads && module && (await remoteParts(threads, module, options.workflows!.href, connected))
    runtime = new OrlaRuntime(
      { ...options, backends },
      { clock, log, estimator, probeTimeoutMs, connected, prices, remote },
    )
    await runtime.ready()
    return runtime
  } catch (error) {
    if (runtime !== undefined) {
      await runtime.close().catch(() => {})
      throw error
    }
    prices?.close()
    // Whatever broke, nobody else can give back what the drivers hold.
    await Promise.allSettled(connected.map(({ driver }) => driver.close()))
    throw error
  }
}

const probeTimeoutMsDefault = 2_000

/** Connects all backends, in order. If one fails, what the others hold is given back. */
async function connectAll(
  backends: Readonly<Record<string, BackendDefinition>>,
  context: Pick<RuntimeParts, 'clock' | 'log' | 'probeTimeoutMs'>,
): Promise<Connected[]> {
  const settled = await Promise.allSettled(
    Object.entries(backends).map(([name, definition]) => connectBackend(name, definition, context)),
  )
  const connected = settled.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  const failed = settled.find((result) => result.status === 'rejected')
  if (failed === undefined) return connected
  await Promise.allSettled(connected.map(({ driver }) => driver.close()))
  throw failed.reason
}

/** What a runtime with runner threads needs besides. Loaded only for it. */
async function remoteParts(
  plan: ThreadsPlan,
  module: WorkflowModule,
  url: string,
  connected: readonly Connected[],
): Promise<NonNullable<RuntimeParts['remote']>> {
  const elsewhere: Record<string, string> = {}
  const issues: Issue[] = []
  Object.keys(module.backends).forEach((name, i) => {
    const there = connected[i]!.driver.elsewhere
    if (typeof there === 'string') elsewhere[name] = there
    else if (there === false) {
      const message = 'its engine lives inside one thread: give it a server (`http` transport), or leave `threads` out'
      issues.push({ path: `backends.${name}`, code: 'not_with_threads', message })
    }
  })
  if (issues.length > 0) throw new OptionsError('runtime options', issues)
  const { Runners: make } = await import('./runtime-runners.ts')
  return { plan, module, url, elsewhere, make }
}
