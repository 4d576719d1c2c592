// The plan of one simulated engine, and how it is built: the same in this thread and in the engine thread.

import type { Clock } from '../clock.ts'
import { chatEngine, type ChatEngine } from './chat-engine.ts'
import { defaultResponder } from './default-responder.ts'
import type { EngineModel } from './engine-model.ts'
import type { FaultPlan } from './faults/plan.ts'
import type { FlavourOptions } from './flavours/flavour.ts'
import { promptSpans } from './prompt-spans.ts'
import { importExport, importResponder, type Responder } from './responder.ts'
import { scaledClock } from './scaled-clock.ts'
import { simpleEngineModel, type SimpleSpeed } from './simple-model.ts'
import { stepEngineModel } from './step-model/gpu.ts'
import type { EngineProfile } from './step-model/profile.ts'
import { loadTokenText } from './token-text.ts'

/** Makes an engine model on a clock. */
export type EngineFactory = (clock: Clock) => EngineModel

/** A module that exports `engine: (clock: Clock, options: unknown) => EngineModel`. */
export interface EngineModule {
  kind: 'module'
  /** `file:` URL. */
  url: string
  /** Plain data, handed to `engine`. */
  options: unknown
}

/** An engine as plain data: it can be sent to the engine thread. */
export type EngineSource =
  | { kind: 'simple'; speed: SimpleSpeed }
  /** Step by step, as an engine batches. */
  | { kind: 'step'; profile: EngineProfile }
  | EngineModule

/** One simulated engine. */
export interface EnginePlan<Source = EngineSource | EngineFactory, Words = Responder | string> {
  model: string
  /** Tokens of prompt and answer together. */
  contextLength: number
  /** How many times faster than real the engine's time passes, above 0. */
  speed: number
  seed: number
  engine: Source
  /** A function, or the URL of a module that exports `responder`; the default responder when undefined. */
  responder: Words | undefined
  /** What its HTTP front is like; the plain OpenAI wire when absent. */
  flavour?: FlavourOptions
  /** What goes wrong on its HTTP front; nothing when absent. */
  faults?: FaultPlan
}

/** A plan without functions: it can be sent to the engine thread. */
export type PortablePlan = EnginePlan<EngineSource, string>

/** True if nothing of the plan is tied to this thread. */
export function isPortable(plan: EnginePlan): plan is PortablePlan {
  return typeof plan.engine !== 'function' && typeof plan.responder !== 'function'
}

/** Requests that the engine of a plan runs at once, when known. */
export function concurrencyOf({ engine }: EnginePlan): number | undefined {
  if (typeof engine === 'function' || engine.kind === 'module') return undefined
  return engine.kind === 'step' ? engine.profile.sequencesMax : engine.speed.requestsMax
}

/**
 * Builds the engine of a plan.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` if a module cannot be loaded or lacks its export
 */
export async function buildEngine(plan: EnginePlan, clock: Clock): Promise<ChatEngine> {
  const { model, contextLength, seed } = plan
  const text = await loadTokenText()
  const makeModel = typeof plan.engine === 'function' ? plan.engine : await factoryOf(plan.engine)
  const responder = typeof plan.responder === 'string' ? await importResponder(plan.responder) : plan.responder
  return chatEngine({
    model,
    contextLength,
    seed,
    text,
    spans: promptSpans(text),
    engine: makeModel(scaledClock(clock, plan.speed)),
    responder: responder ?? defaultResponder,
  })
}

async function factoryOf(source: EngineSource): Promise<EngineFactory> {
  if (source.kind === 'simple') return (clock) => simpleEngineModel({ clock, ...source.speed })
  if (source.kind === 'step') return (clock) => stepEngineModel({ clock, profile: source.profile })
  const engine = (await importExport(source.url, 'engine')) as (clock: Clock, options: unknown) => EngineModel
  return (clock) => engine(clock, source.options)
}
