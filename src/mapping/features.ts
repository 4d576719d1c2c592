// Features: numbers that say what kind of request it is, for mappers that learn.

import { messageOf, type Issue } from '../errors.ts'
import { limits } from '../limits.ts'
import type { MappingRequest } from './mapper.ts'

/** What features may be made of: a request without what is known of backends. */
export type FeatureSource<Input = unknown, Results = unknown> = Pick<
  MappingRequest<Input, Results>,
  'workflow' | 'stage' | 'input' | 'results'
>

/** Largest size of a feature: beyond it regressions over them lose their precision. */
const featureMax = 1_000

/** What is wrong with what a caller's function made; undefined if these are features. */
export function featureIssue(made: unknown, path: string): Issue | undefined {
  const isGood = (value: unknown): boolean => typeof value === 'number' && Math.abs(value) <= featureMax
  if (Array.isArray(made) && made.length <= limits.learnedFeaturesMax && made.every(isGood)) return undefined
  const odd: unknown = Array.isArray(made) ? made.find((each) => !isGood(each)) : made
  const what = Array.isArray(made)
    ? `${made.length} values${odd === undefined ? '' : `, ${messageOf(odd)} among them`}`
    : messageOf(odd)
  const message = `features are at most ${limits.learnedFeaturesMax} numbers from -${featureMax} to ${featureMax}; got ${what}`
  return { path, code: 'invalid_features', message }
}
