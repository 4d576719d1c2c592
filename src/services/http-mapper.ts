// A mapper that lives elsewhere: asked over HTTP, with little time.

import { z } from 'zod'
import { OrlaError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { MappingStep } from '../mapping/first-of.ts'
import type { MappingRequest } from '../mapping/mapper.ts'
import { issuesOf } from '../schema/options.ts'
import { askService, checkServiceUrl } from './json-service.ts'

/** How to ask a mapping service. */
export interface HttpMapperOptions {
  /** Where it takes questions by POST. */
  url: string | URL
  headers?: Readonly<Record<string, string>>
  /** From the question to the answer, ms, default 50 (as the reference system's scheduling service). */
  timeoutMs?: number
  /** Whether the run's input and results are sent; default true. They must be JSON then, and may be secret. */
  sendsData?: boolean
}

const timeoutMsDefault = 50

/** What a service answers; `null` leaves the decision to the next mapper. */
const Answer = z
  .strictObject({
    backend: z.string().min(1).max(limits.nameLengthMax),
    model: z.string().min(1).max(256).optional(),
    reason: z.string().max(1_000).optional(),
    costUsd: z.number().min(0).optional(),
    figures: z.record(z.string(), z.number()).optional(),
  })
  .nullable()

/**
 * Asks a service of yours: a POST of the question as JSON (`runId`, `workflow`, `stage`, `stageClass`, `tenant`,
 * `requirements`, `outputTokens`, `backends`, and `input` and `results` unless `sendsData` is false), answered by
 * `{ "backend", "model"?, "reason"?, "costUsd"?, "figures"? }`, or by `null` for no opinion. Questions do not wait for
 * each other.
 *
 * It is a step of {@link firstOf}: a service that is late, broken or without an opinion leaves the decision to the next.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` for what is no URL of HTTP
 * @example
 * mapping: firstOf(httpMapper({ url: 'http://127.0.0.1:9000/map' }), leastLoaded())
 */
export function httpMapper<Input = unknown, Results = unknown>(
  options: HttpMapperOptions,
): MappingStep<Input, Results> {
  const url = checkServiceUrl(options.url, 'options of httpMapper()')
  const { headers, timeoutMs = timeoutMsDefault, sendsData = true } = options
  return async (request, { clock, signal }) => {
    const service = { url, timeoutMs, ...(headers !== undefined && { headers }) }
    const answered = await askService(clock, service, { body: questionOf(request, sendsData), signal })
    const parsed = Answer.safeParse(answered)
    if (!parsed.success) {
      const what = issuesOf(parsed.error, 'answer').map(({ path, message }) => `${path}: ${message}`)
      throw new OrlaError('ORLA_SERVICE', `the mapping service answered nonsense: ${what.join('; ')}`)
    }
    if (parsed.data === null) return undefined
    const { backend, model, reason = 'the mapping service says so', costUsd, figures } = parsed.data
    return {
      backend,
      reason,
      by: 'http',
      ...(model !== undefined && { model }),
      ...(costUsd !== undefined && { costUsd }),
      ...(figures !== undefined && { figures }),
    }
  }
}

function questionOf(request: MappingRequest<unknown, unknown>, sendsData: boolean): object {
  const { input, results, ...rest } = request
  return sendsData ? { ...rest, input, results } : rest
}
