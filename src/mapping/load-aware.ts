// The backend with the least expected cost: of money, of time, and of an answer that is not good enough.

import { OptionsError } from '../errors.ts'
import { speedGuess, type Speed } from '../prediction/service-fit.ts'
import { candidates } from './candidates.ts'
import { costUsd } from './cost.ts'
import type { BackendView, Mapper, MappingContext, MappingPrompt, MappingRequest } from './mapper.ts'

/** How to choose by load, cache, price and quality. */
export interface LoadAwareOptions<Input = unknown, Results = unknown> {
  /** Backends to choose among; all when absent. */
  among?: readonly string[]
  /**
   * The one knob between cost and latency: dollars that a second is worth. 0 takes the cheapest, a large number the
   * fastest. Default 0.001, $3.60 an hour.
   */
  secondUsd?: number
  /**
   * How hard the stage is, 0 to 1: asked only where the choice depends on it. Default 1. A router of your own, or
   * `hardness` made of a model's bit by {@link modelBit}.
   */
  hardness?: (request: MappingRequest<Input, Results>, context: MappingContext) => number | Promise<number>
  /**
   * Chance that what a backend answers has to be done again at the best one, 0 to 1, not falling with hardness. Default:
   * hardness times (1 - quality); 0 where a backend does not say its quality.
   */
  risk?: (backend: BackendView, hardness: number) => number
}

const secondUsdDefault = 0.001

interface Estimate {
  backend: BackendView
  waitMs: number
  prefillMs: number
  decodeMs: number
  priceUsd: number
  /** Money and time, dollars. */
  ownUsd: number
}

/**
 * Maps to where the stage is expected to cost least, in dollars: what its tokens cost there; the time that it waits, is
 * prefilled and decoded there, at `secondUsd`; and the chance that it has to be done again at the best backend, at what
 * that would cost.
 *
 * Waiting is what a request that comes now is expected to wait there. Prefill is of the tokens that
 * are not cached there, so a switch of model pays for the lost prefix, in time and in price. The answer's length is
 * predicted from history. Speeds are measured under the load there is; a backend that has not answered yet counts as
 * fast as the average of those that have.
 *
 * Hardness is asked for only if the choice depends on it: where a hard and an easy stage would go to the same backend, a
 * router is not called.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` if `secondUsd` is no number of at least 0
 */
export function loadAware<Input = unknown, Results = unknown>(
  options: LoadAwareOptions<Input, Results> = {},
): Mapper<Input, Results> {
  const { among, secondUsd = secondUsdDefault, hardness, risk = riskOfQuality } = options
  if (!(secondUsd >= 0 && secondUsd < Infinity)) {
    const message = `expected dollars of at least 0, got ${String(secondUsd)}`
    throw new OptionsError('options of loadAware()', [{ path: 'secondUsd', code: 'range', message }])
  }
  return async (request, context) => {
    const able = candidates(request, among)
    const prompt = await context.prompt()
    const guess = averageSpeed(able)
    const estimates = able.map((backend) => estimateOf(backend, request.outputTokens, prompt, guess, secondUsd))
    const easy = best(estimates, (backend) => chance(risk(backend, 0)))
    const hard = best(estimates, (backend) => chance(risk(backend, 1)))
    const isAsked = hardness !== undefined && easy.estimate !== hard.estimate
    const level = isAsked ? chance(await hardness(request, context)) : 1
    const { estimate, riskUsd } = isAsked ? best(estimates, (backend) => chance(risk(backend, level))) : hard
    const { backend, waitMs, prefillMs, decodeMs, priceUsd } = estimate
    const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`
    return {
      backend: backend.name,
      by: 'load-aware',
      reason: `least expected cost of ${able.length}: waits ${seconds(waitMs)}, prefill ${seconds(prefillMs)}, decode ${seconds(decodeMs)}, $${priceUsd.toPrecision(2)}${isAsked ? `, hardness ${level}` : ''}`,
      figures: { waitMs, prefillMs, decodeMs, priceUsd, riskUsd, ...(isAsked && { hardness: level }) },
    }
  }
}

function estimateOf(
  backend: BackendView,
  outputTokens: number,
  prompt: MappingPrompt,
  guess: Speed,
  secondUsd: number,
): Estimate {
  const speed = backend.speed ?? guess
  const cachedTokens = Math.min(prompt.tokens, prompt.cachedTokens(backend.name))
  const waitMs = backend.pace?.waitMs ?? 0
  const prefillMs = (prompt.tokens - cachedTokens) * speed.msPerPromptToken
  const decodeMs = outputTokens * speed.msPerOutputToken
  const usage = { promptTokens: prompt.tokens, cachedTokens, completionTokens: outputTokens }
  const priceUsd = costUsd(usage, backend.prices) ?? 0
  const ownUsd = priceUsd + ((waitMs + prefillMs + decodeMs) / 1_000) * secondUsd
  return { backend, waitMs, prefillMs, decodeMs, priceUsd, ownUsd }
}

/** The estimate with the least expected cost. What has to be done again is done where the risk is least. */
function best(
  estimates: readonly Estimate[],
  riskOf: (backend: BackendView) => number,
): { estimate: Estimate; riskUsd: number } {
  const surest = estimates.reduce((least, each) => {
    const difference = riskOf(each.backend) - riskOf(least.backend)
    return difference < 0 || (difference === 0 && each.ownUsd < least.ownUsd) ? each : least
  })
  const riskUsdOf = ({ backend }: Estimate): number => riskOf(backend) * surest.ownUsd
  const estimate = estimates.reduce((least, each) =>
    each.ownUsd + riskUsdOf(each) < least.ownUsd + riskUsdOf(least) ? each : least,
  )
  return { estimate, riskUsd: riskUsdOf(estimate) }
}

function averageSpeed(backends: readonly BackendView[]): Speed {
  const known = backends.flatMap(({ speed }) => speed ?? [])
  if (known.length === 0) return speedGuess
  const mean = (of: (speed: Speed) => number): number => known.reduce((sum, speed) => sum + of(speed), 0) / known.length
  return {
    msPerPromptToken: mean((speed) => speed.msPerPromptToken),
    msPerOutputToken: mean((speed) => speed.msPerOutputToken),
    serviceMs: mean((speed) => speed.serviceMs),
  }
}

function riskOfQuality({ quality = 1 }: BackendView, hardness: number): number {
  return hardness * (1 - quality)
}

/** What user code says of a chance; what is no number is certain. */
function chance(value: number): number {
  return Number.isNaN(value) ? 1 : Math.min(1, Math.max(0, value))
}
