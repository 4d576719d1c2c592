// What tenants may have: options of a runtime.

import { z } from 'zod'
import { limits } from '../limits.ts'

/** What one tenant may have. */
export const TenantLimits = z.strictObject({
  /** Its share, against those of others, where a backend's policy is `fair` or `drr` by name; default 1. */
  weight: z.number().positive().max(1e6).optional(),
  /** Requests of it in flight at all backends together; more wait. */
  inFlightMax: z.int().min(1).max(1_000_000).optional(),
  /** Requests of it in flight at each backend; more wait. */
  inFlightPerBackendMax: z.int().min(1).max(1_000_000).optional(),
  /** Runs of it that are live at once; the next is refused (`ORLA_TENANT_LIMIT`). */
  liveRunsMax: z.int().min(1).max(limits.liveRunsMax).optional(),
  /** Tokens of prompts and answers a minute, over all backends: a bucket that holds `burstTokens`. */
  tokensPerMinute: z.number().positive().max(1e12).optional(),
  /** Tokens that it may have at once after it had none for a while; default: those of a minute. */
  burstTokens: z.number().positive().max(1e12).optional(),
  /** What becomes of requests beyond the tokens: they wait (default), or are refused (`ORLA_TENANT_LIMIT`, retryable). */
  whenOver: z.enum(['wait', 'refuse']).default('wait'),
})
/** What one tenant may have, complete. */
export type TenantLimits = z.output<typeof TenantLimits>

/** What tenants may have, by name; `*` is for each one that is not named. */
export const TenantsOptions = z
  .record(z.string().min(1).max(limits.nameLengthMax), TenantLimits)
  .refine((tenants) => Object.keys(tenants).length <= limits.tenantsMax, {
    message: `at most ${limits.tenantsMax} tenants`,
  })
/** What tenants may have, as a user writes it. */
export type TenantsOptions = z.input<typeof TenantsOptions>
