// Mappers from plain data.

import type { Issue } from '../errors.ts'
import { accuracyFloor } from '../mapping/accuracy-floor.ts'
import { firstOf } from '../mapping/first-of.ts'
import { leastLoaded } from '../mapping/least-loaded.ts'
import { loadAware } from '../mapping/load-aware.ts'
import type { Mapper } from '../mapping/mapper.ts'
import { modelScore } from '../mapping/model-score.ts'
import { modelBit, oneBit } from '../mapping/one-bit.ts'
import { replicas } from '../mapping/replicas.ts'
import { threshold } from '../mapping/threshold.ts'
import type { MappingData, MappingStepData } from '../schema/mapping.ts'
import type { StageContext } from './definition.ts'

/** Mappers that a host provides to workflows from plain data, by name. */
export type MapperSet = Readonly<Record<string, Mapper>>

/** What is needed to make mappers from data. */
export interface MappingScope {
  /** Where the mapping stands: `stages.reply.mapping`. */
  path: string
  mappers: MapperSet
  /** Reads a path of the input or of results. */
  reader(path: string, at: string): (context: StageContext) => unknown
  report(issues: readonly Issue[]): void
}

/** A mapper from data that was checked. What cannot be made is reported, and undefined. */
export function mapperFromData(data: MappingData, scope: MappingScope): Mapper | undefined {
  if (typeof data === 'string') {
    if (Object.hasOwn(scope.mappers, data)) return scope.mappers[data]
    const known = Object.keys(scope.mappers)
    const message = `there is no mapper "${data}"; ${known.length === 0 ? 'this host provides none' : `there are: ${known.slice(0, 20).join(', ')}`}`
    scope.report([{ path: scope.path, code: 'unknown_mapper', message }])
    return undefined
  }
  if (data.use !== 'first-of') return stepFromData(data, scope, scope.path)
  return firstOf(...data.steps.map((step, i) => stepFromData(step, scope, `${scope.path}.steps[${i}]`)))
}

function stepFromData(data: MappingStepData, scope: MappingScope, path: string): Mapper {
  switch (data.use) {
    case 'least-loaded':
      return leastLoaded(optionsOf(data))
    case 'replicas':
      return replicas(optionsOf(data))
    case 'accuracy-floor':
      return accuracyFloor(optionsOf(data))
    case 'one-bit':
      return oneBit(optionsOf(data))
    case 'score': {
      const { at, below, above, ...rest } = optionsOf(data)
      return threshold({ score: modelScore(rest), at, below, above })
    }
    case 'threshold': {
      const { path: at, ...rest } = optionsOf(data)
      const read = scope.reader(at, `${path}.path`)
      const score = ({ input, results }: { input: unknown; results: unknown }): number => {
        const value = read({ input, results: results as StageContext['results'] })
        return typeof value === 'number' ? value : Number.NaN
      }
      return threshold({ ...rest, score })
    }
    case 'load-aware': {
      const { hardness, ...rest } = optionsOf(data)
      return loadAware({ ...rest, ...(hardness !== undefined && { hardness: modelBit(defined(hardness)) }) })
    }
  }
}

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> }

function optionsOf<T extends { use: string }>(data: T): Defined<Omit<T, 'use'>> {
  const { use: _use, ...options } = data
  return defined(options)
}

/** Without what is undefined: options that are absent have their defaults. */
function defined<T extends object>(options: T): Defined<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Defined<T>
}
