// Options of a simulated backend, and the plan of its engine that comes out of them.

import { z } from 'zod'
import type { Clock } from '../clock.ts'
import { OptionsError, type Issue } from '../errors.ts'
import { BackendSettings, type BackendOptions } from '../schema/backend.ts'
import { parseOptions } from '../schema/options.ts'
import type { EngineFactory, EnginePlan, EngineSource } from './engine-plan.ts'
import { FaultPlan, type FaultPlanInput } from './faults/plan.ts'
import { FlavourOptions, type FlavourName } from './flavours/flavour.ts'
import { enginePreset, type EnginePresetOptions } from './presets/engines.ts'
import type { Responder } from './responder.ts'
import { simpleSpeeds, type SimpleSpeed } from './simple-model.ts'
import { EngineProfile } from './step-model/profile.ts'

/** Options of a simulated backend. */
export interface SimulatedOptions extends BackendOptions {
  /** How many times faster than real the engine's time passes, above 0; default 1. */
  speed?: number
  /**
   * Who decides what the model says: a function (in process only), or the `file:` URL of a module that exports
   * `responder`. Default: something plausible that obeys tools and response schema.
   */
  responder?: Responder | URL
  /**
   * `http`: an OpenAI server in a thread of its own, on a free port of this machine; everything is as with a real
   * engine. `in-process`: a function call away, on the runtime's clock. Default: `http`, but `in-process` on a virtual
   * clock, or where `responder` or `engine` is a function.
   */
  transport?: 'http' | 'in-process'
  /**
   * How the engine spends its time: a named speed (default `heavy`) or changes to it, where requests do not slow each
   * other down; a preset or profile of the step model, which batches, queues and preempts as an engine does; a module
   * that exports `engine: (clock, options) => EngineModel`, or such a function (in process only).
   */
  engine?:
    | keyof typeof simpleSpeeds
    | Partial<SimpleSpeed>
    | { preset: EnginePresetOptions }
    | { profile: EngineProfile }
    | { module: URL; options?: unknown }
    | EngineFactory
  /**
   * Be like a real engine on the wire, and use its driver (`http` only): its fields, its errors, its flags. Default: the
   * plain OpenAI wire.
   */
  flavour?: FlavourName | FlavourOptions
  /**
   * What goes wrong on the wire, and when (`http` only): see `faultCatalogue` of `orla/testing`. With a plan, if only an
   * empty one, requests may also ask for a fault by the header `x-orla-fault`.
   */
  faults?: FaultPlanInput
}

/** Tokens of prompt and answer together where neither options nor preset say: Qwen3's without extension. */
const contextLengthDefault = 32_768

const file = z.instanceof(URL, { error: 'a URL object: new URL("./file.ts", import.meta.url)' })
const func = z.custom<never>((value) => typeof value === 'function')
const SpeedName = z.enum(['light', 'heavy', 'instant'])
const Speed = z.strictObject({
  prefillMsPerToken: z.number().min(0).optional(),
  decodeMsPerToken: z.number().min(0).optional(),
  overheadMs: z.number().min(0).optional(),
  requestsMax: z.int().min(1).optional(),
  kvTokensMax: z.int().min(1).optional(),
})
const Preset = z.strictObject({
  preset: z.strictObject({
    gpu: z.string(),
    model: z.string(),
    engine: z.string(),
    memoryShare: z.number().optional(),
    kvTokens: z.int().min(1).optional(),
    kvScale: z.number().optional(),
    contextTokens: z.int().min(2).optional(),
  }),
})
const Profile = z.strictObject({ profile: EngineProfile })
const Module = z.strictObject({ module: file, options: z.unknown().optional() })

/** The one form that `value` is meant to have, so that its problems are named rather than those of every form. */
function formOf(value: unknown): z.ZodType {
  if (typeof value === 'function') return func
  if (typeof value === 'string') return SpeedName
  if (typeof value !== 'object' || value === null) return Speed
  if ('preset' in value) return Preset
  if ('profile' in value) return Profile
  return 'module' in value ? Module : Speed
}

/** What simulated backends are made of. */
export interface ParsedOptions {
  settings: BackendSettings
  transport: 'http' | 'in-process' | undefined
  plan: (clock: Clock) => EnginePlan
}

/**
 * Parses the options of a simulated backend.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` with every problem, also for a function that `http` cannot take along
 */
export function parseSimulatedOptions(options: SimulatedOptions): ParsedOptions {
  const onWire = (['flavour', 'faults'] as const).filter((key) => options[key] !== undefined)
  const functionsFit = options.transport !== 'http' && onWire.length === 0
  const schema = z
    .strictObject({
      ...BackendSettings.shape,
      contextLength: z.int().min(2).optional(),
      speed: z.number().positive().max(1e6).default(1),
      transport: z.enum(['http', 'in-process']).optional(),
      responder: typeof options.responder === 'function' ? func : file.optional(),
      engine: formOf(options.engine).optional(),
      flavour: (typeof options.flavour === 'string' ? FlavourOptions.shape.engine : FlavourOptions).optional(),
      faults: FaultPlan.optional(),
    })
    .check((context) => {
      for (const { path, message } of presetIssues(options.engine)) {
        context.issues.push({ code: 'custom', path: ['engine', 'preset', path], input: options.engine, message })
      }
      for (const key of options.transport === 'in-process' ? onWire : []) {
        const message = 'is about the wire of an engine: leave transport "in-process" out'
        context.issues.push({ code: 'custom', path: [key], input: options[key], message })
      }
      for (const key of ['responder', 'engine'] as const) {
        if (functionsFit || typeof options[key] !== 'function') continue
        const message = 'a function cannot go to the engine thread: give a module URL, or transport "in-process"'
        context.issues.push({ code: 'custom', path: [key], input: options[key], message })
      }
    })
  const parsed = parseOptions(schema, options, `options of simulated backend "${options.model}"`)
  const { speed, transport, responder: _responder, engine: _engine, flavour: _flavour, faults, ...rest } = parsed
  const { responder } = options
  const flavour = typeof options.flavour === 'string' ? { engine: options.flavour } : options.flavour
  const source = sourceOf(options.engine)
  const known = 'kind' in source && source.kind === 'step' ? source.profile.contextTokens : contextLengthDefault
  const contextLength = rest.contextLength ?? known
  return {
    settings: { ...rest, contextLength },
    transport: onWire.length === 0 ? transport : 'http',
    plan: (clock) => ({
      model: rest.model,
      contextLength,
      speed,
      seed: clock.seed,
      engine: source,
      responder: responder instanceof URL ? responder.href : responder,
      ...(flavour !== undefined && { flavour }),
      ...(faults !== undefined && { faults }),
    }),
  }
}

/** What is wrong with a preset. Those of the wrong form are found by their schema. */
function presetIssues(engine: SimulatedOptions['engine']): readonly Issue[] {
  if (!Preset.safeParse(engine).success) return []
  try {
    sourceOf(engine)
    return []
  } catch (error) {
    if (error instanceof OptionsError) return error.issues
    throw error
  }
}

function sourceOf(engine: SimulatedOptions['engine']): EngineSource | EngineFactory {
  if (typeof engine === 'function') return engine
  if (typeof engine === 'string') return { kind: 'simple', speed: simpleSpeeds[engine] }
  if (engine !== undefined && 'preset' in engine) return { kind: 'step', profile: enginePreset(engine.preset) }
  if (engine !== undefined && 'profile' in engine) return { kind: 'step', profile: engine.profile }
  if (engine !== undefined && 'module' in engine) {
    return { kind: 'module', url: engine.module.href, options: engine.options }
  }
  return { kind: 'simple', speed: { ...simpleSpeeds.heavy, ...engine } }
}
