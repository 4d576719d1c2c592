// Shortest job first, by prompt length, with ageing.

import { checkAgeingRate } from './ageing.ts'
import type { KeyedPolicy } from './policy.ts'

/**
 * Milliseconds of waiting that one prompt token is worth, unless said otherwise.
 *
 * A difference of 1,000 tokens outweighs 20 s between arrivals, so among requests that compete length decides; and a
 * prompt of 32,768 tokens is passed by nothing that arrives 656 s after it.
 */
const ageMsPerTokenDefault = 20

/**
 * Shorter prompts first, and waiting makes up for length, so nothing starves.
 *
 * Level 1 reads the head of each class, level 2 each request. Key: `arrivalMs + promptTokens * ageMsPerToken`.
 *
 * Overtaking bound, within one level: a request of `m` tokens that arrives later passes one of `n` tokens only if
 * `m < n` and it arrives less than `(n - m) * ageMsPerToken` ms after it. Over both levels, where prompts are at most
 * `L` tokens long, nothing is served before a request that arrived more than `2 * L * ageMsPerToken` ms ahead of it.
 *
 * Source: paper, section 2.2 (shortest job first by prompt length); the ageing is ours.
 *
 * @param options.ageMsPerToken - ms of waiting worth one token, above 0, default 20. Infinity disables ageing: pure
 *   shortest job first, which starves long prompts under load and is meant for comparisons
 * @throws {OptionsError} `ORLA_OPTIONS` if `ageMsPerToken` is not above 0
 */
export function shortestFirst(options: { ageMsPerToken?: number } = {}): KeyedPolicy {
  const ageMsPerToken = options.ageMsPerToken ?? ageMsPerTokenDefault
  checkAgeingRate('sjf', 'ageMsPerToken', ageMsPerToken)
  if (ageMsPerToken === Infinity) return { name: 'sjf', key: (request) => request.promptTokens }
  return { name: 'sjf', key: (request) => request.arrivalMs + request.promptTokens * ageMsPerToken }
}
