// When and where a turn is tried again.

import { blamesBackend, type OrlaError } from '../errors.ts'
import { limits } from '../limits.ts'

/** Whether another backend may do what this one did not: it is sick, full or gone, or lacks the key, model or room. */
export function mayMove(error: OrlaError): boolean {
  switch (error.code) {
    case 'ORLA_BACKEND_DRAINING':
    case 'ORLA_RETRY_BUDGET':
    case 'ORLA_CONTEXT_LENGTH':
      return true
    case 'ORLA_TENANT_LIMIT':
      // It has had its tokens wherever it goes.
      return false
    case 'ORLA_BACKEND_HTTP':
      return error.retryable || [401, 403, 404].includes(error.details?.['status'] as number)
    default:
      return error.retryable || blamesBackend(error)
  }
}

/**
 * Pause before a turn is tried again, ms: full jitter, or what the backend asks for.
 *
 * @param exponent - pauses before this one
 * @param random - 0..1
 */
export function pauseMs(backoffMs: number, exponent: number, random: number, error: OrlaError): number {
  const ceilingMs = Math.min(backoffMs * 2 ** exponent, limits.retryBackoffMsMax)
  // Details come from drivers, which may be anybody's.
  const askedMs = Number(error.details?.['retryAfterMs'] ?? 0) || 0
  return Math.max(random * ceilingMs, Math.min(askedMs, limits.retryBackoffMsMax))
}
