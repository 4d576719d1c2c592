// What a turn takes of its tenant's share.

import { OptionsError, type Issue } from '../errors.ts'
import type { RequestView } from './request-view.ts'

/**
 * Cost of a token of the answer, in tokens of the prompt, as in the virtual token counter (Sheng et al., "Fairness in
 * Serving Large Language Models", OSDI 2024).
 */
const outputWeight = 2

/** Cost of a turn, in tokens of a prompt that is not cached; at least 1. */
export function costOf({ uncachedTokens, outputTokens }: RequestView): number {
  return Math.max(1, uncachedTokens + outputWeight * outputTokens)
}

/**
 * Shares by tenant.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` for weights that are not above 0
 */
export function checkedWeights(policy: string, weights: Readonly<Record<string, number>> = {}): Map<string, number> {
  const issues: Issue[] = Object.entries(weights)
    .filter(([, weight]) => !(weight > 0 && weight < Infinity))
    .map(([tenant, weight]) => ({
      path: `weights.${tenant}`,
      code: 'range',
      message: `expected a number above 0, got ${String(weight)}`,
    }))
  if (issues.length > 0) throw new OptionsError(`options of policy "${policy}"`, issues)
  return new Map(Object.entries(weights))
}
