// A simulated engine behind a front like that of a real one, in this thread: for tests of drivers.

import { realClock } from '../../clock.ts'
import type { EngineStats } from '../engine-model.ts'
import { buildEngine, type EngineSource } from '../engine-plan.ts'
import { FaultPlan, type FaultPlanInput } from '../faults/plan.ts'
import { serveEngine, type FrontFault, type SeenRequest } from '../openai-front.ts'
import type { Responder } from '../responder.ts'
import { simpleSpeeds, type SimpleSpeed } from '../simple-model.ts'
import type { FlavourName, FlavourOptions } from './flavour.ts'

/** Options of {@link startFlavour}. */
export interface StartFlavourOptions {
  /** Default `m`. */
  model?: string
  /** Tokens of prompt and answer together; default 8,192. */
  contextLength?: number
  /** Decides what the model says; default: something plausible that obeys tools and response schema. */
  responder?: Responder
  /** Changes to the `instant` speed. */
  engine?: Partial<SimpleSpeed>
  /** Default: a free one. */
  port?: number
  /** Faults by plan and, with one, by header. */
  faults?: FaultPlanInput
}

/** A front that listens. */
export interface FlavourServer extends AsyncDisposable {
  /** `http://127.0.0.1:port` */
  readonly url: string
  readonly model: string
  /** Requests so far, the newest 1,000. */
  requests(): readonly SeenRequest[]
  /** Breaks the next chat request. Faults wait in line. */
  inject(fault: FrontFault): void
  /** Connections that are open. */
  connections(): number
  stats(): EngineStats
  close(): Promise<void>
}

/** Requests that are kept. */
const requestsMax = 1_000

/**
 * Starts a front like that of an engine, with the flags that are given.
 *
 * @throws {BackendError} `ORLA_BACKEND_UNREACHABLE` if the port cannot be listened on
 */
export async function startFlavour(
  flavour: FlavourName | FlavourOptions,
  options: StartFlavourOptions = {},
): Promise<FlavourServer> {
  const { model = 'm', contextLength = 8_192, responder, engine: speed, port = 0, faults: plan } = options
  const clock = realClock({ seed: 1 })
  const source: EngineSource = { kind: 'simple', speed: { ...simpleSpeeds.instant, ...speed } }
  const engine = await buildEngine({ model, contextLength, speed: 1, seed: 1, engine: source, responder }, clock)
  const requests: SeenRequest[] = []
  const faults: FrontFault[] = []
  const server = await serveEngine(engine, {
    clock,
    port,
    flavour: typeof flavour === 'string' ? { engine: flavour } : flavour,
    nextFault: () => faults.shift(),
    ...(plan !== undefined && { faults: FaultPlan.parse(plan) }),
    seen(request) {
      requests.push(request)
      if (requests.length > requestsMax) requests.shift()
    },
  })
  return {
    url: server.url,
    model,
    requests: () => requests,
    inject: (fault) => void faults.push(fault),
    connections: () => server.connections,
    stats: () => engine.engine.stats(),
    close: () => server.close(),
    [Symbol.asyncDispose]: () => server.close(),
  }
}
