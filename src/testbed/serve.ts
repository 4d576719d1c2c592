// A simulated engine by itself, for any client that speaks the OpenAI wire.

import { realClock } from '../clock.ts'
import { OptionsError } from '../errors.ts'
import type { EngineStats } from '../simulator/engine-model.ts'
import { buildEngine } from '../simulator/engine-plan.ts'
import { serveEngine } from '../simulator/openai-front.ts'
import { enginePreset } from '../simulator/presets/engines.ts'
import type { GpuName } from '../simulator/presets/gpus.ts'
import { modelNameOf, modelNames } from './engine-names.ts'

/** Options of a simulated engine that is served. */
export interface ServeSimulatedOptions {
  /** Default `qwen3-8b`. It answers by the name given here. */
  model?: string
  /** Default `h100`. */
  gpu?: GpuName
  /** Default `vllm`. */
  engine?: 'vllm' | 'sglang'
  /** How many times faster than real its time passes, default 1. Its own times are those of the engine. */
  speed?: number
  /** Default: a free one. */
  port?: number
  seed?: number
}

/** A simulated engine that listens. */
export interface ServedEngine {
  /** `http://127.0.0.1:port` */
  readonly url: string
  readonly model: string
  /** State of the engine; its times are those of the engine, not of the clock on the wall. */
  stats(): EngineStats
  close(): Promise<void>
}

/**
 * Serves a simulated engine at 127.0.0.1, in this thread.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` for unknown names and a speed that is not above 0
 * @throws {BackendError} `ORLA_BACKEND_UNREACHABLE` if the port cannot be listened on
 */
export async function serveSimulated(options: ServeSimulatedOptions = {}): Promise<ServedEngine> {
  const { model = 'qwen3-8b', gpu = 'h100', engine = 'vllm', speed = 1, port = 0, seed } = options
  const preset = modelNameOf(model)
  const complain = (path: string, message: string): never => {
    throw new OptionsError('options of a simulated engine', [{ path, code: 'range', message }])
  }
  if (preset === undefined) return complain('model', `there is no "${model}"; there are ${modelNames.join(', ')}`)
  if (!(speed > 0 && speed <= 1e6)) return complain('speed', 'must be above 0 and at most 1,000,000')
  const profile = enginePreset({ gpu, model: preset, engine })
  const clock = realClock(seed === undefined ? {} : { seed })
  const source = { kind: 'step' as const, profile }
  const plan = { model, contextLength: profile.contextTokens, speed, seed: clock.seed, engine: source }
  const chat = await buildEngine({ ...plan, responder: undefined }, clock)
  const server = await serveEngine(chat, { clock, port })
  return { url: server.url, model, stats: () => chat.engine.stats(), close: () => server.close() }
}
