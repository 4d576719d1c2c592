// Least attained service of the run, with ageing.

import { checkAgeingRate } from './ageing.ts'
import type { KeyedPolicy } from './policy.ts'

/**
 * Ms of waiting that one token is worth, unless said otherwise. Prompts count whole in every turn, so a session of sixty
 * turns comes to a million tokens: it gives way for 50 s.
 */
const ageMsPerTokenDefault = 0.05

/**
 * Runs that were served least go first: short runs finish early although nobody knows which are short.
 *
 * Key: `arrivalMs + attainedTokens * ageMsPerToken`. A request is passed by one that arrives later only if the run of
 * that one had fewer tokens, and it arrives less than the difference times `ageMsPerToken` after it.
 *
 * Source: least attained service, as Autellix (arXiv 2502.13965) uses it for agent programs; the ageing is ours.
 *
 * @param options.ageMsPerToken - ms of waiting worth one token of service, above 0, default 0.05; Infinity: no ageing
 * @throws {OptionsError} `ORLA_OPTIONS` if `ageMsPerToken` is not above 0
 */
export function leastAttained(options: { ageMsPerToken?: number } = {}): KeyedPolicy {
  const ageMsPerToken = options.ageMsPerToken ?? ageMsPerTokenDefault
  checkAgeingRate('las', 'ageMsPerToken', ageMsPerToken)
  if (ageMsPerToken === Infinity) return { name: 'las', key: (request) => request.attainedTokens }
  return { name: 'las', key: (request) => request.arrivalMs + request.attainedTokens * ageMsPerToken }
}
