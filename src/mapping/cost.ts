// What an inference costs.

import type { Prices } from '../schema/backend.ts'
import type { Usage } from '../schema/chat.ts'

/** Tokens that a price is for. */
const tokensPerPrice = 1_000_000

/**
 * Cost of one inference, in dollars; undefined without prices, or where the engine did not say how many tokens there were.
 *
 * Tokens that were cached cost `cachedInputUsdPerMTok`, or what others cost where a backend has no price for them.
 */
export function costUsd(usage: Usage, prices: Prices | undefined): number | undefined {
  const { promptTokens, completionTokens, cachedTokens = 0 } = usage
  if (prices === undefined || promptTokens === undefined || completionTokens === undefined) return undefined
  const { inputUsdPerMTok, outputUsdPerMTok, cachedInputUsdPerMTok = inputUsdPerMTok } = prices
  const sum =
    (promptTokens - cachedTokens) * inputUsdPerMTok +
    cachedTokens * cachedInputUsdPerMTok +
    completionTokens * outputUsdPerMTok
  return sum / tokensPerPrice
}
