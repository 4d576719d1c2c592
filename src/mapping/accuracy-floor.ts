// The cheapest backend that is good enough.

import { MappingError, OptionsError } from '../errors.ts'
import { blendedPrice, candidates, leastBy, loadOf } from './candidates.ts'
import type { BackendView, Mapper } from './mapper.ts'

/** How to choose by quality and price. */
export interface AccuracyFloorOptions {
  /** Quality that a backend must have (`quality` of its options), 0..1. */
  floor: number
  /**
   * Where none has it: `prefer` (default) takes the best there is, `strict` fails the stage.
   */
  mode?: 'prefer' | 'strict'
  /** Backends to choose among; all when absent. */
  among?: readonly string[]
}

/**
 * The cheapest backend whose quality is at least the floor; of equally cheap ones, that with the least load. A backend
 * that says nothing of its quality has none.
 *
 * Source: the reference system's accuracy floors (0.30, 0.60 and 0.85 in its GSM8K example).
 *
 * @throws {OptionsError} `ORLA_OPTIONS` if the floor is not between 0 and 1
 */
export function accuracyFloor({ floor, mode = 'prefer', among }: AccuracyFloorOptions): Mapper {
  if (!(floor >= 0 && floor <= 1)) {
    const message = `expected a quality from 0 to 1, got ${String(floor)}`
    throw new OptionsError('options of accuracyFloor()', [{ path: 'floor', code: 'range', message }])
  }
  return (request) => {
    const able = candidates(request, among)
    const good = able.filter((backend) => qualityOf(backend) >= floor)
    if (good.length > 0) {
      const cheapest = Math.min(...good.map(blendedPrice))
      const { name, ...backend } = leastBy(
        good.filter((each) => blendedPrice(each) === cheapest),
        loadOf,
      )
      const quality = qualityOf({ name, ...backend })
      return {
        backend: name,
        by,
        reason: `cheapest of ${good.length} with quality of at least ${floor}: ${quality}, $${cheapest.toFixed(3)} per million tokens`,
      }
    }
    const best = leastBy(able, (backend) => -qualityOf(backend))
    const what = `the best of ${able.length} backends, "${best.name}", has quality ${qualityOf(best)}, below ${floor}`
    if (mode === 'prefer') return { backend: best.name, by, reason: `${what}: taken all the same` }
    throw new MappingError('ORLA_MAPPING_FAILED', `stage "${request.stage}" needs a better backend`, [
      { path: `stages.${request.stage}.mapping`, code: 'below_floor', message: what },
    ])
  }
}

const by = 'accuracy-floor'

function qualityOf({ quality }: BackendView): number {
  return quality ?? 0
}
