// The simulated backend: an engine that needs no GPU, behind the same driver contract as a real one.

import type { BackendDefinition } from '../engines/backend-definition.ts'
import type { Driver, DriverEnvironment } from '../engines/driver.ts'
import type { BackendOptions } from '../schema/backend.ts'
import { embeddedEngines } from './embedded.ts'
import { buildEngine, concurrencyOf, isPortable, type EnginePlan, type PortablePlan } from './engine-plan.ts'
import type { FlavourName } from './flavours/flavour.ts'
import { inProcessDriver, simulatedCapabilities } from './in-process.ts'
import { parseSimulatedOptions, type SimulatedOptions } from './simulated-options.ts'

/** Makes a backend of an engine that listens: what `openAi`, `vllm` and their like do. */
export type HttpBackend = (options: BackendOptions & { url: string }) => BackendDefinition

/**
 * Makes `simulated(options)`.
 *
 * @param httpBackend - speaks to the engine for the `http` transport; given from outside, because drivers for real
 *   engines and the simulator do not know each other
 * @param flavours - speak to engines that are like others than the plain OpenAI wire
 */
export function createSimulated(
  httpBackend: HttpBackend,
  flavours: Readonly<Partial<Record<FlavourName, HttpBackend>>> = {},
): (options: SimulatedOptions) => BackendDefinition {
  return (options) => {
    const { settings, transport, plan } = parseSimulatedOptions(options)
    return {
      engine: 'simulated',
      settings,
      connect(environment) {
        const planned = plan(environment.clock)
        if (transport !== 'in-process' && isPortable(planned) && (transport === 'http' || !environment.clock.virtual)) {
          const make = flavours[planned.flavour?.engine ?? 'openai'] ?? httpBackend
          if (environment.elsewhere !== undefined) {
            return make({ ...settings, url: environment.elsewhere }).connect(environment)
          }
          return connectHttp(planned, environment, (url) => make({ ...settings, url }))
        }
        return connectInProcess(planned, environment)
      },
    }
  }
}

async function connectInProcess(plan: EnginePlan, { clock, backend }: DriverEnvironment): Promise<Driver> {
  const engine = await buildEngine(plan, clock)
  // On a virtual clock nobody watches single tokens, and each would cost a timer.
  return inProcessDriver({ engine, backend, concurrencyMax: concurrencyOf(plan), watched: !clock.virtual })
}

async function connectHttp(
  plan: PortablePlan,
  environment: DriverEnvironment,
  httpBackend: (url: string) => BackendDefinition,
): Promise<Driver> {
  const engine = await embeddedEngines(environment.clock).start(plan)
  let driver: Driver
  try {
    driver = await httpBackend(engine.url).connect(environment)
  } catch (error) {
    await engine.close()
    throw error
  }
  const close = async (): Promise<void> => {
    await driver.close()
    await engine.close()
  }
  // Like another engine means: can what that one can, as far as its own driver finds out.
  if (plan.flavour !== undefined) return { ...driver, elsewhere: engine.url, close }
  const declared = simulatedCapabilities(plan.model, plan.contextLength, concurrencyOf(plan))
  // What the wire does not carry, the engine behind it cannot do.
  const capabilities = { ...declared, kv: driver.capabilities.kv }
  return {
    capabilities,
    elsewhere: engine.url,
    async probe(timeoutMs) {
      const found = await driver.probe(timeoutMs)
      return found.state === 'ready' ? { state: 'ready', capabilities } : found
    },
    chat: (request, context, sink) => driver.chat(request, context, sink),
    close,
  }
}
