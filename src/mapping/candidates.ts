// Backends that a mapper may choose among.

import { MappingError } from '../errors.ts'
import type { BackendView, MappingRequest } from './mapper.ts'
import { verifyMapping } from './verify.ts'

/**
 * Backends that can serve the stage, those that take requests now first choice: one whose breaker is open or that is
 * draining is among them only if all are.
 *
 * @param names - to choose among; all when absent
 * @throws {MappingError} `ORLA_MAPPING_FAILED` with what stands against each, if none can
 */
export function candidates(request: MappingRequest, names?: readonly string[]): BackendView[] {
  const path = `stages.${request.stage}`
  const able: BackendView[] = []
  const awake: BackendView[] = []
  for (const backend of request.backends) {
    if (names?.includes(backend.name) === false) continue
    if (verifyMapping(request.requirements, backend, path).length > 0) continue
    able.push(backend)
    if (backend.health === 'healthy' || backend.health === 'halfOpen') awake.push(backend)
  }
  if (able.length === 0) {
    const named = names === undefined ? request.backends : request.backends.filter(({ name }) => names.includes(name))
    const issues = named.flatMap((backend) => verifyMapping(request.requirements, backend, path))
    const message = `none of ${(names ?? request.backends.map(({ name }) => name)).join(', ')} is a backend`
    throw new MappingError(
      'ORLA_MAPPING_FAILED',
      `no backend can serve stage "${request.stage}"`,
      issues.length > 0 ? issues : [{ path: `${path}.mapping`, code: 'no_candidate', message }],
    )
  }
  return awake.length > 0 ? awake : able
}

/** Tokens of the answer for each token of prompt and answer, where a mapper has to weigh prices before it knows them. */
const outputShare = 0.2

/** Price of a token at a backend, dollars per million, prompt and answer in their usual shares; 0 where it has none. */
export function blendedPrice({ prices }: BackendView): number {
  if (prices === undefined) return 0
  return prices.inputUsdPerMTok * (1 - outputShare) + prices.outputUsdPerMTok * outputShare
}

/** Requests at a backend for each place in its window: 1 is full, above that they wait. */
export function loadOf({ inFlight, waiting, windowRequests }: BackendView): number {
  return (inFlight + waiting) / windowRequests
}

/** The smallest by a figure, the first of equal ones. */
export function leastBy(backends: readonly BackendView[], figure: (backend: BackendView) => number): BackendView {
  return backends.reduce((best, each) => (figure(each) < figure(best) ? each : best))
}
