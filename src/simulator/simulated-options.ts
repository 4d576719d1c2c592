// Options of a simulated backend, and the plan of its engine that comes out of them.

import { z } from 'zod'
import type { Clock } from '../clock.ts'
import { BackendSettings, type BackendOptions } from '../schema/backend.ts'
import { parseOptions } from '../schema/options.ts'
import type { EngineFactory, EnginePlan, EngineSource } from './engine-plan.ts'
import type { Responder } from './responder.ts'
import { simpleSpeeds, type SimpleSpeed } from './simple-model.ts'

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
   * How the engine spends its time: a named speed (default `heavy`), changes to it, a module that exports
   * `engine: (clock, options) => EngineModel`, or such a function (in process only).
   */
  engine?: keyof typeof simpleSpeeds | Partial<SimpleSpeed> | { module: URL; options?: unknown } | EngineFactory
}

/** Tokens of prompt and answer together unless said otherwise: what Qwen3 models are served with. */
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
const Module = z.strictObject({ module: file, options: z.unknown().optional() })

/** The one form that `value` is meant to have, so that its problems are named rather than those of every form. */
function formOf(value: unknown): z.ZodType {
  if (typeof value === 'function') return func
  if (typeof value === 'string') return SpeedName
  return typeof value === 'object' && value !== null && 'module' in value ? Module : Speed
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
  const functionsFit = options.transport !== 'http'
  const schema = z
    .strictObject({
      ...BackendSettings.shape,
      contextLength: z.int().min(2).default(contextLengthDefault),
      speed: z.number().positive().max(1e6).default(1),
      transport: z.enum(['http', 'in-process']).optional(),
      responder: typeof options.responder === 'function' ? func : file.optional(),
      engine: formOf(options.engine).optional(),
    })
    .check((context) => {
      for (const key of ['responder', 'engine'] as const) {
        if (functionsFit || typeof options[key] !== 'function') continue
        const message = 'a function cannot go to the engine thread: give a module URL, or transport "in-process"'
        context.issues.push({ code: 'custom', path: [key], input: options[key], message })
      }
    })
  const parsed = parseOptions(schema, options, `options of simulated backend "${options.model}"`)
  const { speed, transport, responder: _responder, engine: _engine, ...settings } = parsed
  const { responder } = options
  const source = sourceOf(options.engine)
  return {
    settings,
    transport,
    plan: (clock) => ({
      model: settings.model,
      contextLength: settings.contextLength,
      speed,
      seed: clock.seed,
      engine: source,
      responder: responder instanceof URL ? responder.href : responder,
    }),
  }
}

function sourceOf(engine: SimulatedOptions['engine']): EngineSource | EngineFactory {
  if (typeof engine === 'function') return engine
  if (typeof engine === 'string') return { kind: 'simple', speed: simpleSpeeds[engine] }
  if (engine !== undefined && 'module' in engine) {
    return { kind: 'module', url: engine.module.href, options: engine.options }
  }
  return { kind: 'simple', speed: { ...simpleSpeeds.heavy, ...engine } }
}
